// Products of few rows, bound by the reading of weights.
#include "Gemm.h"

using namespace mlir;
using namespace ds;

void ds::emitSkinnyGemm(KernelContext &c, const GemmOperands &gemm) {
  Emitter &e = c.e;
  c.forTiles(e.constant(gemm.panels()), [&](Value panel) {
    // The first block of rows reads the panel from memory, the others find it in the cache.
    Value next = e.constant(0);
    for (int64_t height : gemmBlockHeights(c.level)) {
      Value count = e.div(e.sub(c.rows, next), height);
      next = e.forRange(e.constant(0), count, 1, next, [&](Value, ValueRange at) {
        emitGemmBlock(c, gemm, at[0], panel, height, /*stream=*/height <= 2);
        return SmallVector<Value>{e.add(at[0], height)};
      })[0];
    }
  });
}
