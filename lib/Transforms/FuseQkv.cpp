// One fusion of the linears that read one value.
#include "Fusion.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FUSEQKV
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct FuseQkv : ds::impl::FuseQkvBase<FuseQkv> {
  void runOnOperation() override {
    forEachModelBlock(getOperation(), [](Block &block) {
      Fuser fuser(block, "ds-fuse-qkv");
      llvm::MapVector<Value, SmallVector<Operation *>> readers;
      for (Operation &op : block)
        if (isa<LinearOp, FusionOp>(op))
          if (std::optional<LinearRegion> region = linearRegionOf(&op))
            readers[region->norm ? region->norm->getResult(0) : region->input].push_back(&op);
      // linear(x, a), linear(x, b) -> fusion { linear(x, a), linear(x, b) }
      for (auto &[value, parts] : readers) {
        Operation *joined = parts.front();
        for (Operation *part : ArrayRef(parts).drop_front())
          if (FusionOp fusion = fuser.join({joined, part}, "linears-of-one-value"))
            joined = fusion;
      }
    });
  }
};
} // namespace
