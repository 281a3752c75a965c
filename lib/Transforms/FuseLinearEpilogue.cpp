// Element-wise ops become a part of the product they read.
#include "Fusion.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FUSELINEAREPILOGUE
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// elementwise(fusion { linear }) -> fusion { linear, elementwise }, as far as it goes
static void absorbReaders(Fuser &fuser, Operation *product) {
  llvm::SmallPtrSet<Operation *, 8> refused;
  for (bool changed = true; changed;) {
    changed = false;
    for (Operation *reader : fuser.readersOf(product)) {
      if (!isElementwise(reader) || refused.contains(reader))
        continue;
      if (FusionOp fusion = fuser.join({product, reader}, "element-wise-behind-product")) {
        product = fusion;
        changed = true;
        break;
      }
      refused.insert(reader);
    }
  }
}

namespace {
struct FuseLinearEpilogue : ds::impl::FuseLinearEpilogueBase<FuseLinearEpilogue> {
  using FuseLinearEpilogueBase::FuseLinearEpilogueBase;

  void runOnOperation() override {
    if (target != "cpu" && target != "cuda") {
      getOperation().emitError("expects target to be cpu or cuda, got '") << target << "'";
      return signalPassFailure();
    }
    forEachModelBlock(getOperation(), [&](Block &block) {
      Fuser fuser(block, "ds-fuse-linear-epilogue", target);
      // Later products first: a sum of two products goes to the one that is computed last.
      SmallVector<Operation *> products;
      for (Operation &op : llvm::reverse(block))
        if (isa<LinearOp, FusionOp>(op) && linearRegionOf(&op))
          products.push_back(&op);
      for (Operation *product : products)
        absorbReaders(fuser, product);
    });
  }
};
} // namespace
