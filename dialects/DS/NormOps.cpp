// Verifiers of norms and softmax.
#include "dialects/DS/DSDialect.h"

using namespace mlir;
using namespace ds;

/// (C1) of the norms: a vector operand as long as the last axis.
static LogicalResult verifyVector(Operation *op, StringRef name, RankedTensorType vector, RankedTensorType input) {
  if (input.getRank() < 1)
    return op->emitOpError("expects input of rank 1 or more, got ") << input;
  if (vector.getRank() == 1 && vector.getDimSize(0) == input.getShape().back())
    return success();
  return op->emitOpError("expects ") << name << " of shape [" << input.getShape().back() << "] to match the last axis of input, got "
                                     << vector;
}

/// (C2) of the norms.
static LogicalResult verifyEps(Operation *op, const APFloat &eps) {
  if (eps.isFinite() && !eps.isNegative() && !eps.isZero())
    return success();
  return op->emitOpError("expects a positive eps, got ") << eps.convertToDouble();
}

LogicalResult LayerNormOp::verify() {
  if (failed(verifyVector(*this, "gain", getGain().getType(), getInput().getType())))
    return failure();
  if (getBias() && failed(verifyVector(*this, "bias", getBias().getType(), getInput().getType())))
    return failure();
  return verifyEps(*this, getEps());
}

LogicalResult RmsNormOp::verify() {
  if (failed(verifyVector(*this, "gain", getGain().getType(), getInput().getType())))
    return failure();
  return verifyEps(*this, getEps());
}

LogicalResult L2NormalizeOp::verify() {
  if (getInput().getType().getRank() < 1)
    return emitOpError("expects input of rank 1 or more, got ") << getInput().getType();
  return verifyEps(*this, getEps());
}

LogicalResult SoftmaxOp::verify() {
  if (getInput().getType().getRank() < 1) // (C1)
    return emitOpError("expects input of rank 1 or more, got ") << getInput().getType();
  return success();
}
