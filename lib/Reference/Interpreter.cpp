// Walks functions and regions; what an op computes is in the kernels.
#include "ds/Reference/Interpreter.h"
#include "Kernels.h"
#include "TrainingState.h"
#include "dialects/DSCheck/DSCheckDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace ds;
using namespace ds::reference;

using Values = std::vector<TensorPtr>;

/// The tensor types that have this tensor's element type and whose static sizes are its sizes.
static bool hasType(const Tensor &tensor, Type type) {
  auto ranked = dyn_cast<RankedTensorType>(type);
  return ranked && ranked.getElementType() == tensor.elementType && succeeded(verifyCompatibleShape(ranked.getShape(), tensor.shape));
}

static std::string typeText(const Tensor &tensor) {
  std::string text;
  llvm::raw_string_ostream(text) << RankedTensorType::get(tensor.shape, tensor.elementType);
  return text;
}

class Interpreter::Machine {
public:
  Machine(ModuleOp module, WeightLoader loader, Options options)
      : module(module), training(module), loader(std::move(loader)), options(options) {}

  FailureOr<Values> call(func::FuncOp function, const Values &arguments, Operation *caller);
  /// The value of a parameter; errors are at `user`.
  FailureOr<TensorPtr> fetch(ParameterOp parameter, Operation *user);

  ModuleOp module;
  TrainingState training;
  llvm::DenseMap<StringAttr, TensorPtr> caches;

private:
  /// What the values of one call are. A region's own values leave with it, so that memory holds one layer.
  using Frame = llvm::DenseMap<Value, TensorPtr>;

  FailureOr<Values> runBlock(Block &block, const Values &arguments, Frame &frame);
  LogicalResult execute(Operation &op, Frame &frame);
  FailureOr<Values> operands(Operation &op, Frame &frame);
  /// Runs the body of a layer or a fusion.
  template <typename OpT> LogicalResult body(OpT op, const Values &inputs, Frame &frame);
  LogicalResult append(CacheAppendOp op, const Values &inputs, Frame &frame);
  LogicalResult read(CacheReadOp op, Frame &frame);
  template <typename OpT> LogicalResult train(OpT op, const Values &inputs, Frame &frame);
  template <typename OpT> LogicalResult expect(OpT op, const Values &inputs);
  LogicalResult define(Operation &op, const Values &results, Frame &frame);
  template <typename OpT> LogicalResult compute(OpT op, const Values &inputs, Frame &frame);

  WeightLoader loader;
  Options options;
  SymbolTableCollection symbols;
  llvm::DenseMap<Attribute, TensorPtr> weights;
  int depth = 0;
};

FailureOr<Values> Interpreter::Machine::call(func::FuncOp function, const Values &arguments, Operation *caller) {
  constexpr int maxDepth = 64;
  if (function.isDeclaration())
    return caller->emitError("expects a body of function @") << function.getName();
  if (depth == maxDepth)
    return caller->emitError("expects calls at most ") << maxDepth << " deep";
  if (arguments.size() != function.getNumArguments())
    return function.emitError("expects ") << function.getNumArguments() << " arguments, got " << arguments.size();
  for (auto [index, argument] : llvm::enumerate(arguments))
    if (!argument || !hasType(*argument, function.getArgumentTypes()[index]))
      return function.emitError("expects argument ")
             << index << " of type " << function.getArgumentTypes()[index] << ", got " << (argument ? typeText(*argument) : "nothing");
  ++depth;
  Frame frame;
  FailureOr<Values> results = runBlock(function.getBody().front(), arguments, frame);
  --depth;
  return results;
}

FailureOr<Values> Interpreter::Machine::runBlock(Block &block, const Values &arguments, Frame &frame) {
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments))
    frame[argument] = value;
  for (Operation &op : block.without_terminator())
    if (failed(execute(op, frame)))
      return failure();
  FailureOr<Values> results = failure();
  if (isa<func::ReturnOp, YieldOp>(block.getTerminator()))
    results = operands(*block.getTerminator(), frame);
  else
    block.getTerminator()->emitOpError("has no meaning to the reference interpreter");
  for (BlockArgument argument : block.getArguments())
    frame.erase(argument);
  for (Operation &op : block)
    for (Value result : op.getResults())
      frame.erase(result);
  return results;
}

FailureOr<Values> Interpreter::Machine::operands(Operation &op, Frame &frame) {
  Values values;
  for (Value operand : op.getOperands()) {
    // A weight is fetched where it is used, never held by the frame.
    if (auto weightOp = operand.getDefiningOp<WeightOp>()) {
      FailureOr<TensorPtr> value = fetch(symbols.lookupNearestSymbolFrom<ParameterOp>(weightOp, weightOp.getParameterAttr()), weightOp);
      if (failed(value))
        return failure();
      values.push_back(*value);
      continue;
    }
    values.push_back(frame.lookup(operand));
    if (!values.back())
      return op.emitOpError("reads a value that has none yet");
  }
  return values;
}

FailureOr<TensorPtr> Interpreter::Machine::fetch(ParameterOp parameter, Operation *user) {
  if (TensorPtr changed = training.parameters.lookup(parameter.getSymNameAttr()))
    return changed;
  if (TensorPtr held = weights.lookup(parameter.getSymNameAttr()))
    return held;
  RankedTensorType type = parameter.getTensorType();
  auto name = FlatSymbolRefAttr::get(parameter.getSymNameAttr());
  auto tensor = std::make_shared<Tensor>();
  if (parameter.getValue()) {
    FailureOr<Tensor> value = tensorOf(*parameter.getValue());
    if (failed(value))
      return parameter.emitOpError("expects a value with its elements in the module");
    *tensor = std::move(*value);
  } else {
    if (!loader)
      return user->emitOpError("expects the weights of the model: parameter ") << name << " has no value in the module";
    Result<std::vector<double>> values = loader(parameter);
    if (!values)
      return user->emitOpError("cannot read parameter ") << name << ": " << values.error().message;
    if (static_cast<int64_t>(values->size()) != type.getNumElements())
      return user->emitOpError("expects ") << type.getNumElements() << " elements of parameter " << name << ", got " << values->size();
    // The loader rounds to a quantized type; to the ops the values are f32.
    Type element = type.getElementType();
    if (isa<QuantizedType>(element))
      element = Float32Type::get(element.getContext());
    *tensor = {element, type.getShape().vec(), std::move(*values)};
    if (!element.isF64())
      for (double &value : tensor->values)
        value = roundToType(value, element);
  }
  if (options.keepWeights)
    weights[parameter.getSymNameAttr()] = tensor;
  return TensorPtr(tensor);
}

LogicalResult Interpreter::Machine::define(Operation &op, const Values &results, Frame &frame) {
  for (auto [result, value] : llvm::zip_equal(op.getResults(), results)) {
    if (!hasType(*value, result.getType()))
      return op.emitOpError("expects result ") << result.getResultNumber() << " of type " << result.getType() << ", got "
                                               << typeText(*value);
    frame[result] = value;
  }
  return success();
}

static Values shared(std::vector<Tensor> tensors) {
  Values values;
  for (Tensor &tensor : tensors)
    values.push_back(std::make_shared<Tensor>(std::move(tensor)));
  return values;
}

template <typename OpT> LogicalResult Interpreter::Machine::compute(OpT op, const Values &inputs, Frame &frame) {
  llvm::SmallVector<const Tensor *> tensors;
  for (const TensorPtr &input : inputs)
    tensors.push_back(input.get());
  auto output = evaluate(op, Inputs<OpT>(tensors, op));
  if (failed(output))
    return failure();
  if constexpr (std::is_same_v<decltype(output), Evaluated>)
    return define(*op, {std::make_shared<Tensor>(std::move(*output))}, frame);
  else
    return define(*op, shared(std::move(*output)), frame);
}

template <typename OpT> LogicalResult Interpreter::Machine::body(OpT op, const Values &inputs, Frame &frame) {
  FailureOr<Values> outputs = runBlock(op.getBody().front(), inputs, frame);
  return failed(outputs) ? failure() : define(*op, *outputs, frame);
}

LogicalResult Interpreter::Machine::append(CacheAppendOp op, const Values &inputs, Frame &frame) {
  llvm::SmallVector<const Tensor *> tensors{inputs[0].get(), inputs[1].get()};
  TensorPtr &cache = caches[op.getCacheAttr().getAttr()];
  Evaluated after = reference::append(op, cache.get(), Inputs<CacheAppendOp>(tensors, op));
  if (failed(after))
    return failure();
  cache = std::make_shared<Tensor>(std::move(*after));
  return define(*op, {cache}, frame);
}

LogicalResult Interpreter::Machine::read(CacheReadOp op, Frame &frame) {
  TensorPtr cache = caches.lookup(op.getCacheAttr().getAttr());
  if (!cache)
    return op.emitOpError("expects something appended to ") << op.getCacheAttr() << " before";
  return define(*op, {cache}, frame);
}

template <typename OpT> LogicalResult Interpreter::Machine::train(OpT op, const Values &inputs, Frame &frame) {
  llvm::SmallVector<const Tensor *> tensors;
  for (const TensorPtr &input : inputs)
    tensors.push_back(input.get());
  if constexpr (std::is_same_v<OpT, AccumulateGradientOp>)
    return training.accumulate(op, Inputs<OpT>(tensors, op), inputs[0]);
  Evaluated output = failure();
  if constexpr (std::is_same_v<OpT, GradientNormsOp>)
    output = training.norms(op);
  if constexpr (std::is_same_v<OpT, OptimizerUpdateOp>)
    output = training.update(op, Inputs<OpT>(tensors, op), [&](ParameterOp parameter) { return fetch(parameter, op); });
  return failed(output) ? failure() : define(*op, {std::make_shared<Tensor>(std::move(*output))}, frame);
}

template <typename OpT> LogicalResult Interpreter::Machine::expect(OpT op, const Values &inputs) {
  const Tensor &value = *inputs[0], &expected = *inputs[1];
  if (failed(expectShape(op, "value", value, expected.shape)))
    return failure();
  std::optional<Difference> difference;
  if constexpr (std::is_same_v<OpT, ds_check::ExpectCloseOp>)
    difference = findFar(value, expected, op.getAtol().convertToDouble(), op.getRtol().convertToDouble());
  else
    difference = findUnequal(value, expected);
  if (!difference)
    return success();
  std::string numbers;
  llvm::raw_string_ostream(numbers) << llvm::format("%.9g, got %.9g", difference->expected, difference->found);
  return op.emitOpError("expects element ") << shapeText(difference->index) << " to be " << numbers;
}

LogicalResult Interpreter::Machine::execute(Operation &op, Frame &frame) {
  if (isa<WeightOp>(op))
    return success();
  FailureOr<Values> inputs = operands(op, frame);
  if (failed(inputs))
    return failure();
  return llvm::TypeSwitch<Operation *, LogicalResult>(&op)
      .Case<EmbeddingOp, LinearOp, GatherRowsOp, LayerNormOp, RmsNormOp, L2NormalizeOp, SoftmaxOp, GeluOp, SiluOp, QuickGeluOp, ReluOp,
            TanhOp, RoundOp, AddOp, MulOp, RopeOp, AttentionOp, PoolOp, LinearWeightGradOp, ColumnSumOp, EmbeddingGradOp, GatherRowsGradOp,
            LayerNormGradOp, RmsNormGradOp, L2NormalizeGradOp, SoftmaxGradOp, GeluGradOp, SiluGradOp, QuickGeluGradOp, ReluGradOp,
            TanhGradOp, AttentionGradOp, PoolGradOp, CrossEntropyOp, CrossEntropyGradOp, ScaleOp, DropoutOp, SwitchOp,
            OptimizationBarrierOp>([&](auto typed) { return compute(typed, *inputs, frame); })
      .Case([&](ConstantOp constant) -> LogicalResult {
        FailureOr<Tensor> value = tensorOf(constant.getValue());
        if (failed(value))
          return constant.emitOpError("expects its elements in the module");
        return define(op, {std::make_shared<Tensor>(std::move(*value))}, frame);
      })
      .Case<LayerOp, FusionOp>([&](auto typed) { return body(typed, *inputs, frame); })
      .Case([&](CacheAppendOp typed) { return append(typed, *inputs, frame); })
      .Case([&](CacheReadOp typed) { return read(typed, frame); })
      .Case<AccumulateGradientOp, GradientNormsOp, OptimizerUpdateOp>([&](auto typed) { return train(typed, *inputs, frame); })
      .Case<ds_check::ExpectCloseOp, ds_check::ExpectEqualOp>([&](auto typed) { return expect(typed, *inputs); })
      .Case([&](func::CallOp callOp) -> LogicalResult {
        auto callee = symbols.lookupNearestSymbolFrom<func::FuncOp>(callOp, callOp.getCalleeAttr());
        FailureOr<Values> results = call(callee, *inputs, callOp);
        return failed(results) ? failure() : define(op, *results, frame);
      })
      .Default([](Operation *other) { return other->emitOpError("has no meaning to the reference interpreter"); });
}

Interpreter::Interpreter(ModuleOp module, WeightLoader loader, Options options)
    : machine(std::make_unique<Machine>(module, std::move(loader), options)) {}

Interpreter::~Interpreter() = default;

FailureOr<Values> Interpreter::call(StringRef function, ArrayRef<TensorPtr> arguments) {
  auto callee = machine->module.lookupSymbol<func::FuncOp>(function);
  if (!callee)
    return machine->module.emitError("expects a function @") << function;
  return machine->call(callee, arguments.vec(), callee);
}

TensorPtr Interpreter::cache(StringRef name) const { return machine->caches.lookup(StringAttr::get(machine->module.getContext(), name)); }

void Interpreter::resetCaches() { machine->caches.clear(); }

static ParameterOp parameterNamed(ModuleOp module, StringRef name) { return module.lookupSymbol<ParameterOp>(name); }

TensorPtr Interpreter::parameter(StringRef name) {
  ParameterOp parameter = parameterNamed(machine->module, name);
  if (!parameter)
    return nullptr;
  FailureOr<TensorPtr> value = machine->fetch(parameter, parameter);
  return failed(value) ? nullptr : *value;
}

LogicalResult Interpreter::setParameter(StringRef name, Tensor value) {
  ParameterOp parameter = parameterNamed(machine->module, name);
  if (!parameter)
    return machine->module.emitError("expects a ds.parameter named @") << name;
  if (!hasType(value, parameter.getTensorType()))
    return parameter.emitOpError("expects a value of type ") << parameter.getTensorType() << ", got " << typeText(value);
  for (double &element : value.values)
    element = roundToType(element, value.elementType);
  machine->training.parameters[parameter.getSymNameAttr()] = std::make_shared<Tensor>(std::move(value));
  return success();
}

TensorPtr Interpreter::gradient(StringRef name) const {
  ParameterOp parameter = parameterNamed(machine->module, name);
  return parameter ? machine->training.lookup(machine->training.gradients, parameter) : nullptr;
}

TensorPtr Interpreter::moment1(StringRef name) const {
  ParameterOp parameter = parameterNamed(machine->module, name);
  return parameter ? machine->training.lookup(machine->training.moment1, parameter) : nullptr;
}

TensorPtr Interpreter::moment2(StringRef name) const {
  ParameterOp parameter = parameterNamed(machine->module, name);
  return parameter ? machine->training.lookup(machine->training.moment2, parameter) : nullptr;
}

void Interpreter::resetGradients() { machine->training.gradients.clear(); }
