// Makes `@step` and `@evaluate` of the function of a model: the cross-entropy of the rows that have a label.
#include "SelectRows.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_INSERTLOSS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// The function that the importer made, or a diagnostic.
static FailureOr<func::FuncOp> importedFunction(ModuleOp module) {
  for (StringRef name : {"step", "evaluate"})
    if (module.lookupSymbol(name))
      return module.emitError("expects no symbol @") << name << ", got one: a module is trained by one loss", failure();
  for (StringRef name : {"forward", "encode"})
    if (auto function = module.lookupSymbol<func::FuncOp>(name))
      return function;
  return module.emitError("expects a function @forward or @encode to take the loss of"), failure();
}

/// The type of logits a loss can be taken of: one row of at least two classes for each token, [B, T, V], or sequence, [B, V].
static LogicalResult verifyLogits(func::FuncOp function, unsigned logits) {
  auto type = dyn_cast<RankedTensorType>(function.getResultTypes()[logits]);
  if (!type || (type.getRank() != 2 && type.getRank() != 3) || type.isDynamicDim(type.getRank() - 1))
    return function.emitError("expects logits of shape [B, T, V] or [B, labels], got ") << function.getResultTypes()[logits];
  if (type.getShape().back() < 2)
    return function.emitError("expects logits of 2 classes or more to take a cross-entropy of, got ") << type;
  if (type.getRank() == 3 && !resultNamed(function, "hidden"))
    return function.emitError("expects a result with ds.name 'hidden' beside the logits of tokens");
  return success();
}

/// A clone of `model` called `name` that returns its loss, and with `keepLogits` the logits.
static LogicalResult makeProgram(func::FuncOp model, StringRef name, double smoothing, bool keepLogits) {
  OpBuilder builder(model);
  auto function = cast<func::FuncOp>(builder.clone(*model));
  function.setName(name);
  const unsigned logits = *resultNamed(function, "logits");
  auto vector = RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
  if (cast<RankedTensorType>(function.getResultTypes()[logits]).getRank() == 3) {
    FailureOr<Value> rows = insertNamedArgument(function, function.getNumArguments(), "rows", vector);
    if (failed(rows) || failed(selectRows(function, *resultNamed(function, "hidden"), logits, *rows)))
      return failure();
  }
  FailureOr<Value> labels = insertNamedArgument(function, function.getNumArguments(), "labels", vector);
  if (failed(labels))
    return failure();
  Operation *terminator = function.getBody().front().getTerminator();
  Value of = terminator->getOperand(logits);
  auto type = cast<RankedTensorType>(of.getType());
  builder.setInsertionPoint(terminator);
  SmallVector<Value> results = {CrossEntropyOp::create(builder, terminator->getLoc(),
                                                       RankedTensorType::get({type.getDimSize(0), 1}, type.getElementType()), of, *labels,
                                                       builder.getF64FloatAttr(smoothing))};
  SmallVector<StringRef> names = {"loss"};
  if (keepLogits)
    results.push_back(of), names.push_back("logits");
  terminator->setOperands(results);
  function.setType(builder.getFunctionType(function.getArgumentTypes(), ValueRange(results).getTypes()));
  SmallVector<Attribute> attributes;
  for (StringRef result : names)
    attributes.push_back(builder.getDictionaryAttr(builder.getNamedAttr("ds.name", builder.getStringAttr(result))));
  function.setResAttrsAttr(builder.getArrayAttr(attributes));
  return success();
}

namespace {
struct InsertLoss : ds::impl::InsertLossBase<InsertLoss> {
  using InsertLossBase::InsertLossBase;

  LogicalResult run(ModuleOp module) {
    if (!(smoothing >= 0 && smoothing < 1))
      return module.emitError("expects smoothing of 0 to less than 1, got ") << smoothing;
    FailureOr<func::FuncOp> model = importedFunction(module);
    if (failed(model))
      return failure();
    std::optional<unsigned> logits = resultNamed(*model, "logits");
    if (!logits) {
      auto facts = module->getAttrOfType<DictionaryAttr>("ds.model");
      auto task = facts ? facts.getAs<StringAttr>("task") : StringAttr();
      InFlightDiagnostic error = model->emitError("expects a result 'logits' of @")
                                 << model->getName() << " to take the loss of, found none";
      if (task)
        error << ": a model of task '" << task.getValue() << "' has no head";
      return error;
    }
    if (failed(verifyLogits(*model, *logits)) || failed(makeProgram(*model, "step", smoothing, /*keepLogits=*/false)) ||
        failed(makeProgram(*model, "evaluate", smoothing, /*keepLogits=*/true)))
      return failure();
    model->erase();
    return success();
  }

  void runOnOperation() override {
    if (failed(run(getOperation())))
      signalPassFailure();
  }
};
} // namespace
