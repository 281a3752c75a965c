// Reverse mode through `@step`: what follows the loss gives every parameter its gradient, from the last op to the first.
#include "SelectRows.h"
#include "ds/Conversion/ModulePath.h"
#include "ds/Transforms/InlineLayers.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_DIFFERENTIATE
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
/// Ops whose gradients belong together: one op, or those of a layer.
struct Part {
  SmallVector<Operation *> ops; // in order
  bool isRecomputed = false;
  SwitchOp choice; // of a layer with a gate, else null
};

class Differentiation {
public:
  Differentiation(func::FuncOp step, Value lossScale, Value gates)
      : step(step), lossScale(lossScale), gates(gates), builder(step.getBody().front().getTerminator()) {}

  /// Replaces layers by what they hold, with a switch for those that have a gate; the first `recomputed` are marked.
  LogicalResult flatten(int64_t recomputed);
  /// Emits the gradients of the loss that `@step` returns.
  LogicalResult run();

private:
  LogicalResult flattenLayer(LayerOp layer, bool isRecomputed);
  LogicalResult findActive();
  LogicalResult differentiate(Part &part);
  LogicalResult differentiateOps(Part &part);
  LogicalResult differentiate(Operation *op);
  /// Copies the ops of a layer to where its gradients begin, which then go by the copies.
  void recompute(Part &part);
  /// Adds `gradient` to what is known of `value`, an operand of `op`.
  LogicalResult contribute(Operation *op, Value value, Value gradient);
  void accumulate(Operation *op, WeightOp weight, Value gradient);
  /// The gradient of `value`, which is complete; null where nothing reads it.
  Value take(Value value) {
    Value gradient = adjoints.lookup(value);
    adjoints.erase(value);
    return gradient;
  }

  func::FuncOp step;
  Value lossScale, gates;
  OpBuilder builder;
  SmallVector<Part> parts;
  llvm::DenseSet<Value> active; // values that depend on a parameter
  llvm::DenseMap<Value, Value> adjoints;
  // Of the layer with a gate that is being differentiated.
  SwitchOp choice;
  llvm::SmallPtrSet<Operation *, 32> inside;
};
} // namespace

LogicalResult Differentiation::flattenLayer(LayerOp layer, bool isRecomputed) {
  auto gate = layer->getAttrOfType<IntegerAttr>("ds.gate");
  if (gate && (layer.getNumResults() != 1 || !gates))
    return layer.emitError("expects a layer with a gate to have one input and result, and an argument 'layer_gates' of @step");
  SmallVector<LayerOp> inner;
  layer.getBody().walk<WalkOrder::PreOrder>([&](LayerOp nested) { inner.push_back(nested); });
  for (LayerOp nested : inner) {
    if (nested->hasAttr("ds.gate"))
      return nested.emitError("expects no gate of a layer inside a layer");
    nested.replaceAllUsesWith(inlineBody(nested));
    nested.erase();
  }
  Part part;
  part.isRecomputed = isRecomputed;
  for (Operation &op : layer.getBody().front().without_terminator())
    part.ops.push_back(&op);
  SmallVector<Value> results = inlineBody(layer);
  if (gate) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPoint(layer);
    part.choice = SwitchOp::create(builder, layer.getLoc(), results[0].getType(), gates, results[0], layer.getInputs()[0], gate);
    results[0] = part.choice;
  }
  layer.replaceAllUsesWith(results);
  layer.erase();
  parts.push_back(std::move(part));
  return success();
}

LogicalResult Differentiation::flatten(int64_t recomputed) {
  for (Operation &op : llvm::make_early_inc_range(step.getBody().front().without_terminator())) {
    auto layer = dyn_cast<LayerOp>(op);
    if (!layer)
      parts.push_back({{&op}, false, {}});
    else if (failed(flattenLayer(layer, recomputed-- > 0)))
      return failure();
  }
  return success();
}

LogicalResult Differentiation::findActive() {
  for (Operation &op : step.getBody().front().without_terminator()) {
    bool isActive = llvm::any_of(op.getOperands(), [&](Value operand) { return active.contains(operand); });
    if (auto weight = dyn_cast<WeightOp>(op)) {
      auto parameter = SymbolTable::lookupNearestSymbolFrom<ParameterOp>(&op, weight.getParameterAttr());
      isActive = parameter.getSource().has_value();
      if (isActive && !isa<FloatType>(parameter.getTensorType().getElementType()))
        return parameter.emitError("expects a parameter of floats to train it, got ") << parameter.getTensorType();
    }
    if (isActive)
      active.insert(op.result_begin(), op.result_end());
  }
  return success();
}

void Differentiation::accumulate(Operation *op, WeightOp weight, Value gradient) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(gradient); // a kernel of both needs no place for the gradient
  auto gate = choice ? choice.getIndexAttr() : IntegerAttr();
  AccumulateGradientOp::create(builder, op->getLoc(), weight.getParameterAttr(), gradient, choice ? gates : Value(), gate);
}

LogicalResult Differentiation::contribute(Operation *op, Value value, Value gradient) {
  if (auto weight = value.getDefiningOp<WeightOp>())
    return accumulate(op, weight, gradient), success();
  if (choice && value != choice.getOff() && !inside.contains(value.getDefiningOp()))
    return op->emitError("expects a layer with a gate to read nothing trained from outside but its input and parameters");
  Value &sum = adjoints[value];
  sum = sum ? AddOp::create(builder, op->getLoc(), value.getType(), sum, gradient).getResult() : gradient;
  return success();
}

LogicalResult Differentiation::differentiate(Operation *op) {
  SmallVector<Value> gradients;
  for (Value result : op->getResults())
    gradients.push_back(take(result));
  SmallVector<bool> wanted;
  for (Value operand : op->getOperands())
    wanted.push_back(active.contains(operand));
  if (!llvm::any_of(gradients, [](Value gradient) { return static_cast<bool>(gradient); }) || !llvm::is_contained(wanted, true))
    return success();
  auto differentiable = dyn_cast<DifferentiableOpInterface>(op);
  if (!differentiable)
    return op->emitOpError("has no gradient");
  gradients = differentiable.gradients(builder, gradients, wanted);
  for (auto [index, operand] : llvm::enumerate(op->getOperands())) {
    if (!wanted[index])
      continue;
    if (!gradients[index])
      return op->emitOpError("has no gradient of operand ") << index << ", which depends on a parameter";
    if (failed(contribute(op, operand, gradients[index])))
      return failure();
  }
  return success();
}

void Differentiation::recompute(Part &part) {
  llvm::SmallPtrSet<Operation *, 32> own(part.ops.begin(), part.ops.end());
  Value first; // of the gradients that the layer begins with
  for (Operation *op : part.ops)
    for (Value result : op->getResults())
      if (Value gradient = adjoints.lookup(result))
        first = gradient;
  if (!first)
    return; // nobody needs the layer
  IRMapping mapping;
  SmallVector<Operation *> barriers;
  for (Operation *op : part.ops)
    for (Value operand : op->getOperands()) {
      if (!active.contains(operand) || operand.getDefiningOp<WeightOp>() || own.contains(operand.getDefiningOp()) ||
          mapping.contains(operand))
        continue;
      auto barrier = OptimizationBarrierOp::create(builder, op->getLoc(), operand, first);
      barrier->setDiscardableAttr(recomputedAttrName, builder.getUnitAttr());
      mapping.map(operand, barrier.getOutput());
      active.insert(barrier.getOutput());
      barriers.push_back(barrier);
    }
  for (Operation *&op : part.ops) {
    Operation *copy = builder.clone(*op, mapping);
    copy->setDiscardableAttr(recomputedAttrName, builder.getUnitAttr());
    for (auto [from, to] : llvm::zip(op->getResults(), copy->getResults())) {
      if (active.contains(from))
        active.insert(to);
      if (Value gradient = take(from))
        adjoints[to] = gradient;
    }
    op = copy;
  }
  part.ops.insert(part.ops.begin(), barriers.begin(), barriers.end());
}

LogicalResult Differentiation::differentiateOps(Part &part) {
  if (part.isRecomputed)
    recompute(part);
  if (choice)
    inside.insert(part.ops.begin(), part.ops.end());
  for (Operation *op : llvm::reverse(part.ops))
    if (failed(differentiate(op)))
      return failure();
  inside.clear();
  return success();
}

/// A layer with a gate that is off hands the gradient of its result on.
LogicalResult Differentiation::differentiate(Part &part) {
  if (!part.choice)
    return differentiateOps(part);
  Value gradient = take(part.choice), input = part.choice.getOff(), outside = take(input);
  if (!gradient)
    return success();
  choice = part.choice;
  adjoints[choice.getOn()] = gradient;
  if (failed(differentiateOps(part)))
    return failure();
  choice = {};
  Value through = take(input);
  if (outside)
    adjoints[input] = outside;
  if (!active.contains(input))
    return success();
  if (!through)
    return part.choice.emitError("expects the result of a layer with a gate to depend on its input");
  Value chosen = SwitchOp::create(builder, part.choice.getLoc(), input.getType(), gates, through, gradient, part.choice.getIndexAttr());
  return contribute(part.choice, input, chosen);
}

LogicalResult Differentiation::run() {
  Operation *terminator = step.getBody().front().getTerminator();
  auto loss = terminator->getOperand(*resultNamed(step, "loss")).getDefiningOp<CrossEntropyOp>();
  if (!loss)
    return step.emitError("expects result 'loss' of @step to be a ds.cross_entropy");
  if (failed(findActive()))
    return failure();
  if (!active.contains(loss))
    return loss.emitError("expects a loss that depends on a parameter with a source");
  Operation *lastForward = terminator->getPrevNode();
  adjoints[loss] = lossScale;
  for (Part &part : llvm::reverse(parts))
    if (failed(differentiate(part)))
      return failure();
  for (Operation *op = lastForward->getNextNode(); op != terminator; op = op->getNextNode())
    op->setLoc(backwardOf(op->getLoc()));
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(step.getBody().front())))
    if (isOpTriviallyDead(&op))
      op.erase();
  return success();
}

/// The place of an argument of `function`.
static std::optional<unsigned> argumentNamed(func::FuncOp function, StringRef name) {
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (auto attr = function.getArgAttrOfType<StringAttr>(i, "ds.name"); attr && attr == name)
      return i;
  return std::nullopt;
}

namespace {
struct Differentiate : ds::impl::DifferentiateBase<Differentiate> {
  using DifferentiateBase::DifferentiateBase;

  /// How many layers, the first ones, are computed again, or a diagnostic.
  FailureOr<int64_t> recomputedLayers(func::FuncOp step) {
    auto layers = llvm::range_size(step.getBody().front().getOps<LayerOp>());
    int64_t count = 0;
    if (recompute == "none")
      return 0;
    if (recompute == "all")
      return static_cast<int64_t>(layers);
    if (StringRef(recompute).getAsInteger(10, count) || count < 0 || count > static_cast<int64_t>(layers))
      return step.emitError("expects recompute to be none, all or a number of at most ") << layers << " layers, got '" << recompute << "'",
             failure();
    return count;
  }

  LogicalResult run(ModuleOp module) {
    auto step = module.lookupSymbol<func::FuncOp>("step");
    if (!step)
      return module.emitError("expects a function @step to differentiate");
    std::optional<unsigned> labels = argumentNamed(step, "labels");
    if (!labels || !resultNamed(step, "loss"))
      return step.emitError("expects an argument 'labels' and a result 'loss' of @step");
    FailureOr<int64_t> recomputed = recomputedLayers(step);
    if (failed(recomputed))
      return failure();
    FailureOr<Value> lossScale =
        insertNamedArgument(step, *labels + 1, "loss_scale", RankedTensorType::get({1}, Float32Type::get(&getContext())));
    if (failed(lossScale))
      return failure();
    if (*recomputed > 0)
      module->setAttr("ds.recomputed_layers", IntegerAttr::get(IntegerType::get(&getContext(), 64), *recomputed));
    std::optional<unsigned> gates = argumentNamed(step, "layer_gates");
    Differentiation differentiation(step, *lossScale, gates ? Value(step.getArgument(*gates)) : Value());
    return failure(failed(differentiation.flatten(*recomputed)) || failed(differentiation.run()));
  }

  void runOnOperation() override {
    if (failed(run(getOperation())))
      signalPassFailure();
  }
};
} // namespace
