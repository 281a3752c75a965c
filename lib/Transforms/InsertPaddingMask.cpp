// Lets `@forward` take a mask of padding.
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_INSERTPADDINGMASK
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct InsertPaddingMask : ds::impl::InsertPaddingMaskBase<InsertPaddingMask> {
  void runOnOperation() override {
    auto forward = getOperation().lookupSymbol<func::FuncOp>("forward");
    if (!forward)
      return;
    WalkResult checked = forward.walk([](AttentionOp attention) {
      if (!attention.getMask() && !attention.getPast())
        return WalkResult::advance();
      attention.emitError("expects attention without mask and past to insert a mask");
      return WalkResult::interrupt();
    });
    if (checked.wasInterrupted())
      return signalPassFailure();
    OpBuilder builder(forward);
    auto type = RankedTensorType::get({ShapedType::kDynamic, ShapedType::kDynamic}, builder.getI32Type());
    auto attrs = builder.getDictionaryAttr(builder.getNamedAttr("ds.name", builder.getStringAttr("mask")));
    if (failed(forward.insertArgument(forward.getNumArguments(), type, attrs, forward.getLoc()))) {
      forward.emitError("cannot take an argument 'mask'");
      return signalPassFailure();
    }
    Value mask = forward.getArguments().back();
    forward.walk([&](AttentionOp attention) { attention.getMaskMutable().assign(mask); });
  }
};
} // namespace
