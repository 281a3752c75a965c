// A norm becomes a part of the products that read it.
#include "Fusion.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FUSENORMLINEAR
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct FuseNormLinear : ds::impl::FuseNormLinearBase<FuseNormLinear> {
  void runOnOperation() override {
    forEachModelBlock(getOperation(), [](Block &block) {
      Fuser fuser(block, "ds-fuse-norm-linear");
      SmallVector<Operation *> norms;
      for (Operation &op : block)
        if (isa<LayerNormOp, RmsNormOp>(op))
          norms.push_back(&op);
      // linear(norm(x)) -> fusion { norm(x), linear }
      for (Operation *norm : norms) {
        SmallVector<Operation *> products;
        for (Operation *reader : fuser.readersOf(norm))
          if (std::optional<LinearRegion> region = linearRegionOf(reader); region && region->input == norm->getResult(0))
            products.push_back(reader);
        if (products.size() == 1)
          fuser.join({norm, products.front()}, "norm-before-product");
        else if (products.size() > 1)
          fuser.refuse(norm, "norm-before-product",
                       "products of " + Twine(products.size()) + " kernels read the norm, and each would compute it");
      }
    });
  }
};
} // namespace
