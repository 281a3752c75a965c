// The functions that work on all trained parameters at once: norms of their gradients, and one step of an optimizer.
#include "ds/Analysis/TrainedParameters.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_INSERTOPTIMIZER
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// A function at the end of `module` whose arguments, and one result of type `result`, are called as given; its body is left to the caller.
static func::FuncOp declare(OpBuilder &builder, ModuleOp module, StringRef name, ArrayRef<std::pair<StringRef, Type>> arguments,
                            StringRef resultName, Type result) {
  SmallVector<Type> types;
  for (const auto &argument : arguments)
    types.push_back(argument.second);
  builder.setInsertionPointToEnd(module.getBody());
  auto function = func::FuncOp::create(builder, module.getLoc(), name, builder.getFunctionType(types, {result}));
  for (auto [index, argument] : llvm::enumerate(arguments))
    function.setArgAttr(index, "ds.name", builder.getStringAttr(argument.first));
  function.setResultAttr(0, "ds.name", builder.getStringAttr(resultName));
  builder.setInsertionPointToStart(function.addEntryBlock());
  return function;
}

namespace {
struct InsertOptimizer : ds::impl::InsertOptimizerBase<InsertOptimizer> {
  using InsertOptimizerBase::InsertOptimizerBase;

  LogicalResult run(ModuleOp module) {
    std::optional<OptimizerKind> optimizer = symbolizeOptimizerKind(kind);
    if (!optimizer)
      return module.emitError("expects kind to be sgd, adam, adamw or lamb, got '") << kind << "'";
    for (StringRef name : {"norms", "update"})
      if (module.lookupSymbol(name))
        return module.emitError("expects no symbol @") << name << ", got one: a module has one optimizer";
    const auto count = static_cast<int64_t>(trainedParameters(module).size());
    if (count == 0)
      return module.emitError("expects parameters with a gradient (ds.accumulate_gradient) to update, found none");

    OpBuilder builder(&getContext());
    auto row = [&](int64_t size) { return RankedTensorType::get({1, size}, builder.getF32Type()); };
    func::FuncOp norms = declare(builder, module, "norms", {}, "norms", row(count));
    Value squares = GradientNormsOp::create(builder, norms.getLoc(), row(count));
    func::ReturnOp::create(builder, norms.getLoc(), squares);
    func::FuncOp update = declare(builder, module, "update", {{"controls", row(5 * count)}, {"hyper", row(8)}}, "coefficients", row(count));
    Value coefficients = OptimizerUpdateOp::create(builder, update.getLoc(), row(count), update.getArgument(0), update.getArgument(1),
                                                   OptimizerKindAttr::get(&getContext(), *optimizer));
    func::ReturnOp::create(builder, update.getLoc(), coefficients);
    return success();
  }

  void runOnOperation() override {
    if (failed(run(getOperation())))
      signalPassFailure();
  }
};
} // namespace
