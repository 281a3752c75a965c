// What the ops of training promise on their own.
#include "dialects/DS/DSDialect.h"
#include "mlir/IR/TypeUtilities.h"
#include <cmath>
#include <limits>

using namespace mlir;
using namespace ds;

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }

/// (C1) of both: logits [R, V], labels [R].
template <typename OpT> static LogicalResult verifyLoss(OpT op) {
  ArrayRef<int64_t> logits = shapeOf(op.getLogits()), labels = shapeOf(op.getLabels());
  if (logits.size() != 2 || labels.size() != 1 || ShapedType::isDynamic(logits[1]) ||
      failed(verifyCompatibleShape(labels, logits.take_front())))
    return op.emitOpError("expects logits of shape [R, V] and labels of shape [R], got ")
           << op.getLogits().getType() << " and " << op.getLabels().getType();
  const double smoothing = op.getSmoothing().convertToDouble();
  if (!(smoothing >= 0 && smoothing < 1))
    return op.emitOpError("expects smoothing of 0 to less than 1");
  return success();
}

LogicalResult CrossEntropyOp::verify() {
  if (failed(verifyLoss(*this)))
    return failure();
  if (failed(verifyCompatibleShape(shapeOf(getOutput()), {shapeOf(getLogits())[0], 1}))) // (C1)
    return emitOpError("expects output of shape [R, 1], got ") << getOutput().getType();
  return success();
}

LogicalResult CrossEntropyGradOp::verify() {
  if (failed(verifyLoss(*this)))
    return failure();
  if (shapeOf(getScale()) != ArrayRef<int64_t>{1}) // (C1)
    return emitOpError("expects scale of shape [1], got ") << getScale().getType();
  return success();
}

/// (C1) of controls: [L] with `index < L`.
static LogicalResult verifyControl(Operation *op, Value control, int64_t index) {
  ArrayRef<int64_t> shape = shapeOf(control);
  if (shape.size() != 1 || ShapedType::isDynamic(shape[0]) || index < 0 || index >= shape[0])
    return op->emitOpError("expects a control of shape [L] with ") << index << " < L, got " << control.getType();
  return success();
}

LogicalResult RoundOp::verify() {
  if (!getTarget().isBF16() && !getTarget().isF16()) // (C1)
    return emitOpError("expects target to be bf16 or f16, got ") << getTarget();
  return success();
}

LogicalResult ScaleOp::verify() { return verifyControl(*this, getScales(), getIndex()); }

LogicalResult ds::verifyDropout(Operation *op, Value seed, std::optional<APFloat> rate, std::optional<uint64_t> site) {
  if (static_cast<bool>(seed) != rate.has_value() || rate.has_value() != site.has_value())
    return op->emitOpError("expects seed, rate and site of dropout to come together");
  if (!seed)
    return success();
  if (!(rate->convertToDouble() >= 0 && rate->convertToDouble() < 1))
    return op->emitOpError("expects rate of 0 to less than 1");
  if (shapeOf(seed) != ArrayRef<int64_t>{2})
    return op->emitOpError("expects seed of shape [2], got ") << seed.getType();
  if (*site > std::numeric_limits<uint32_t>::max())
    return op->emitOpError("expects site of 0 to less than 2^32, got ") << static_cast<int64_t>(*site);
  return success();
}

LogicalResult DropoutOp::verify() { return verifyDropout(*this, getSeed(), getRate(), getSite()); } // (C1), (C2), (C3)

uint32_t ds::dropoutThreshold(const APFloat &rate) {
  // A rate next to 1 would need 2^32 itself.
  return static_cast<uint32_t>(std::min(std::ceil(std::ldexp(rate.convertToDouble(), 32)), 4294967295.0));
}

double ds::dropoutFactor(const APFloat &rate) { return 1 / (1 - rate.convertToDouble()); }

LogicalResult SwitchOp::verify() { return verifyControl(*this, getGates(), getIndex()); }

LogicalResult AccumulateGradientOp::verify() {
  if (getGate().has_value() != static_cast<bool>(getGates())) // (C2)
    return emitOpError("expects gate and gates to come together");
  return getGates() ? verifyControl(*this, getGates(), *getGate()) : success();
}

LogicalResult AccumulateGradientOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto parameter = symbols.lookupNearestSymbolFrom<ParameterOp>(*this, getParameterAttr());
  if (!parameter) // (C1)
    return emitOpError("expects a ds.parameter named ") << getParameterAttr();
  if (parameter.getTensorType() != getGradient().getType()) // (C1)
    return emitOpError("expects a gradient of type ") << parameter.getTensorType() << ", got " << getGradient().getType();
  return success();
}

LogicalResult OptimizerUpdateOp::verify() {
  ArrayRef<int64_t> controls = shapeOf(getControls()), hyper = shapeOf(getHyper()), coefficients = shapeOf(getCoefficients());
  if (coefficients.size() != 2 || coefficients[0] != 1 || ShapedType::isDynamic(coefficients[1]) || // (C1)
      controls != ArrayRef<int64_t>{1, 5 * coefficients[1]} || hyper != ArrayRef<int64_t>{1, 8})
    return emitOpError("expects coefficients of shape [1, N], controls of [1, 5 N] and hyper of [1, 8], got ")
           << getCoefficients().getType() << ", " << getControls().getType() << " and " << getHyper().getType();
  return success();
}
