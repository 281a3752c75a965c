// What gradient ops promise on their own.
#include "dialects/DS/DSDialect.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace ds;

static ArrayRef<int64_t> shapeOf(Value value) { return cast<RankedTensorType>(value.getType()).getShape(); }

/// Fails unless `value` may have shape `shape`.
static LogicalResult expectShape(Operation *op, StringRef name, Value value, ArrayRef<int64_t> shape) {
  if (succeeded(verifyCompatibleShape(shapeOf(value), shape)))
    return success();
  return op->emitOpError("expects ") << name << " of shape " << RankedTensorType::get(shape, getElementTypeOrSelf(value.getType()))
                                     << ", got " << value.getType();
}

/// `shape` with its last size replaced.
static SmallVector<int64_t> withLast(ArrayRef<int64_t> shape, int64_t last) {
  SmallVector<int64_t> result(shape);
  result.back() = last;
  return result;
}

LogicalResult LinearWeightGradOp::verify() {
  ArrayRef<int64_t> input = shapeOf(getInput()), grad = shapeOf(getGrad());
  if (input.size() < 2 || grad.empty()) // (C1)
    return emitOpError("expects input of rank 2 or more, got ") << getInput().getType();
  if (failed(expectShape(*this, "grad", getGrad(), withLast(input, grad.back())))) // (C1)
    return failure();
  return expectShape(*this, "output", getOutput(), {grad.back(), input.back()}); // (C1)
}

LogicalResult ColumnSumOp::verify() {
  ArrayRef<int64_t> input = shapeOf(getInput());
  if (input.size() < 2) // (C1)
    return emitOpError("expects input of rank 2 or more, got ") << getInput().getType();
  return expectShape(*this, "output", getOutput(), {input.back()}); // (C1)
}

LogicalResult EmbeddingGradOp::verify() {
  SmallVector<int64_t> shape(shapeOf(getIndices()));
  ArrayRef<int64_t> output = shapeOf(getOutput());
  if (output.size() != 2) // (C1)
    return emitOpError("expects output of rank 2, got ") << getOutput().getType();
  shape.push_back(output[1]);
  return expectShape(*this, "grad", getGrad(), shape); // (C1)
}

LogicalResult GatherRowsGradOp::verify() {
  ArrayRef<int64_t> input = shapeOf(getInput()), rows = shapeOf(getRows());
  if (input.size() != 3 || rows.size() != 1) // (C1)
    return emitOpError("expects input of rank 3 and rows of rank 1, got ") << getInput().getType() << " and " << getRows().getType();
  return expectShape(*this, "grad", getGrad(), {rows[0], input[2]}); // (C1)
}

template <typename OpT> static LogicalResult verifyNormGrad(OpT op) {
  ArrayRef<int64_t> input = shapeOf(op.getInput());
  if (input.empty())
    return op.emitOpError("expects input of rank 1 or more, got ") << op.getInput().getType();
  if (op.getEps().convertToDouble() <= 0) // (C1)
    return op.emitOpError("expects a positive eps");
  return expectShape(op, "gain", op.getGain(), {input.back()}); // (C1)
}

LogicalResult LayerNormGradOp::verify() { return verifyNormGrad(*this); }

LogicalResult RmsNormGradOp::verify() { return verifyNormGrad(*this); }

LogicalResult L2NormalizeGradOp::verify() {
  if (getEps().convertToDouble() <= 0) // (C1)
    return emitOpError("expects a positive eps");
  return success();
}

LogicalResult AttentionGradOp::verify() {
  ArrayRef<int64_t> query = shapeOf(getQuery()), key = shapeOf(getKey());
  const int64_t heads = getHeads(), kvHeads = getKvHeads();
  if (query.size() != 3 || key.size() != 3 || heads < 1 || kvHeads < 1 || heads % kvHeads != 0 || query[2] % heads != 0 || // (C1)
      key[2] != query[2] / heads * kvHeads)
    return emitOpError("expects query of shape [B, T, ") << heads << " * D] and key of shape [B, S, " << kvHeads << " * D], got "
                                                         << getQuery().getType() << " and " << getKey().getType();
  if (getWindow() && !getCausal())
    return emitOpError("expects a window to come with causal");
  if (getMask() && failed(expectShape(*this, "mask", getMask(), key.drop_back()))) // (C1)
    return failure();
  if (getSlopes() && failed(expectShape(*this, "slopes", getSlopes(), {heads}))) // (C1)
    return failure();
  return verifyDropout(*this, getSeed(), getRate(), getSite()); // (C2)
}

LogicalResult PoolGradOp::verify() {
  ArrayRef<int64_t> input = shapeOf(getInput());
  if (input.size() != 3 || (!getMask() && getKind() != PoolKind::cls)) // (C1)
    return emitOpError("expects input of shape [B, T, H], and a mask but for cls, got ") << getInput().getType();
  if (getMask() && failed(expectShape(*this, "mask", getMask(), input.drop_back()))) // (C1)
    return failure();
  return expectShape(*this, "grad", getGrad(), {input[0], input[2]}); // (C1)
}
