// Dropout in a training step, where the importer found it in the model.
// Source: Srivastava et al. 2014, "Dropout".
#include "SelectRows.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_INSERTDROPOUT
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct InsertDropout : ds::impl::InsertDropoutBase<InsertDropout> {
  LogicalResult run(ModuleOp module) {
    auto step = module.lookupSymbol<func::FuncOp>("step");
    if (!step)
      return module.emitError("expects a function @step to drop elements in");
    SmallVector<std::pair<Operation *, FloatAttr>> places;
    WalkResult walk = module.walk<WalkOrder::PreOrder>([&](Operation *op) {
      Attribute mark = op->removeAttr(dropoutAttrName);
      if (!mark || !step->isProperAncestor(op))
        return WalkResult::advance();
      auto rate = dyn_cast<FloatAttr>(mark);
      if (!rate || !rate.getType().isF64() || op->getNumResults() != 1) {
        op->emitError("expects ") << dropoutAttrName << " to be the f64 rate of one result, got " << mark;
        return WalkResult::interrupt();
      }
      places.push_back({op, rate});
      return WalkResult::advance();
    });
    if (walk.wasInterrupted())
      return failure();
    if (places.empty())
      return success();
    FailureOr<Value> seed =
        insertNamedArgument(step, step.getNumArguments(), "dropout_seed", RankedTensorType::get({2}, IntegerType::get(&getContext(), 32)));
    if (failed(seed))
      return failure();
    for (auto [site, place] : llvm::enumerate(places)) {
      auto [op, rate] = place;
      OpBuilder builder(&getContext());
      IntegerAttr number = builder.getI64IntegerAttr(static_cast<int64_t>(site));
      if (auto attention = dyn_cast<AttentionOp>(op)) {
        attention.getSeedMutable().assign(*seed);
        attention.setRateAttr(rate), attention.setSiteAttr(number);
        continue;
      }
      builder.setInsertionPointAfter(op);
      Value whole = op->getResult(0);
      auto dropout = DropoutOp::create(builder, op->getLoc(), whole.getType(), whole, *seed, rate, number);
      whole.replaceAllUsesExcept(dropout, dropout);
    }
    return success();
  }

  void runOnOperation() override {
    if (failed(run(getOperation())))
      signalPassFailure();
  }
};
} // namespace
