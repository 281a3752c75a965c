// A norm becomes a part of the products that read it.
#include "Fusion.h"
#include "ds/Analysis/CostModel.h"
#include "ds/Analysis/FusionProfit.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FUSENORMLINEAR
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// linear(norm(x)) -> fusion { norm(x), linear }
static void fuseNorm(Fuser &fuser, Operation *norm, double stepBytes, const dsrt::MachineDescription &machine) {
  constexpr StringLiteral what = "norm-before-product";
  SmallVector<Operation *> products;
  for (Operation *reader : fuser.readersOf(norm))
    if (std::optional<LinearRegion> region = linearRegionOf(reader); region && region->input == norm->getResult(0))
      products.push_back(reader);
  if (products.empty())
    return;
  if (products.size() > 1)
    return fuser.refuse(norm, what, Refusal::profit,
                        "products of " + Twine(products.size()) + " kernels read the norm, and each would compute it");
  if (std::optional<std::string> why = whyNormIsBetterApart(norm, opsOf(products.front()), stepBytes, machine))
    return fuser.refuse(norm, what, Refusal::profit, *why);
  fuser.join({norm, products.front()}, what);
}

namespace {
struct FuseNormLinear : ds::impl::FuseNormLinearBase<FuseNormLinear> {
  using FuseNormLinearBase::FuseNormLinearBase;

  void runOnOperation() override {
    FailureOr<dsrt::MachineDescription> description = machineOf(getOperation(), machine);
    if (failed(description))
      return signalPassFailure();
    forEachModelBlock(getOperation(), [&](Block &block) {
      Fuser fuser(block, "ds-fuse-norm-linear");
      const double stepBytes = matrixBytesOf(block);
      SmallVector<Operation *> norms;
      for (Operation &op : block)
        if (isa<LayerNormOp, RmsNormOp>(op))
          norms.push_back(&op);
      for (Operation *norm : norms)
        fuseNorm(fuser, norm, stepBytes, *description);
    });
  }
};
} // namespace
