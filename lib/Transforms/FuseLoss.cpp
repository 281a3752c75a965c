// One kernel of a loss and its gradient.
#include "Fusion.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FUSELOSS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct FuseLoss : ds::impl::FuseLossBase<FuseLoss> {
  void runOnOperation() override {
    forEachModelBlock(getOperation(), [](Block &block) {
      Fuser fuser(block, "ds-fuse-loss");
      SmallVector<CrossEntropyOp> losses(block.getOps<CrossEntropyOp>());
      // cross_entropy(x, labels), round(cross_entropy_grad(x, labels)) -> fusion { cross_entropy, cross_entropy_grad, round }
      for (CrossEntropyOp loss : losses)
        for (Operation *reader : loss.getLogits().getUsers())
          if (auto gradient = dyn_cast<CrossEntropyGradOp>(reader); gradient && gradient->getBlock() == &block) {
            SmallVector<Operation *> parts{loss, gradient};
            if (gradient->hasOneUse())
              if (auto round = dyn_cast<RoundOp>(*gradient->user_begin()))
                parts.push_back(round);
            fuser.join(parts, "loss-and-gradient");
            break;
          }
    });
  }
};
} // namespace
