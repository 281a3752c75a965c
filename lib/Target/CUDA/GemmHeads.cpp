// Heads whose halves are no whole blocks of 8 rows: their products lie in scratch, and a launch behind them turns and stores them.
#include "Gemm.h"

using namespace mlir;
using namespace ds;

void ds::addHeadStage(std::shared_ptr<GpuGemm> gemm) {
  GpuShape shape;
  shape.name = "heads";
  shape.threads = 128;
  shape.grid[0].factors = {{GpuSize::rows, 1}};
  gemm->kernel->stage(shape, [gemm, threads = shape.threads](GpuBody &body) {
    GpuEmitter &e = body.e;
    Value token = e.block();
    Value row = e.at(body.scratch, e.mul(e.toI64(token), gemm->headsScratch));
    for (const GpuGroup &group : gemm->groups)
      for (const GpuDomain &domain : group.domains) {
        if (domain.scratchColumn < 0)
          continue;
        // The product with its bias is there; what is left is to turn and to store it.
        Value products = e.at(row, domain.scratchColumn);
        e.forRange(e.thread(), e.index(domain.domain->columns), threads, [&](Value column) {
          emitHeadValue(body, *gemm, domain, token, column, [&](Value at) { return e.load(e.f32(), e.element(products, e.f32(), at)); });
        });
      }
  });
}
