// The vector-Jacobian product of each op, in ops of `ds`. Element-wise ones stay ops of their own, so that fusion finds them. What frees
// the forward op's input, the gradients of weights, comes before the gradient that goes on.
#include "dialects/DS/DSDialect.h"

using namespace mlir;
using namespace ds;

using Gradients = SmallVector<Value>;

Gradients EmbeddingOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  if (!wanted[1])
    return {Value(), Value()};
  return {Value(), EmbeddingGradOp::create(builder, getLoc(), getTable().getType(), getIndices(), outputGradients[0])};
}

Gradients LinearOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  Value grad = outputGradients[0];
  Gradients result(getNumOperands());
  if (wanted[1]) { // of a transposed weight [K, N] the roles of the two are exchanged
    Value rows = getTransposed() ? getInput() : grad, columns = getTransposed() ? grad : getInput();
    result[1] = LinearWeightGradOp::create(builder, getLoc(), getWeight().getType(), columns, rows);
  }
  if (getBias() && wanted[2])
    result[2] = ColumnSumOp::create(builder, getLoc(), getBias().getType(), grad);
  if (wanted[0])
    result[0] = LinearOp::create(builder, getLoc(), grad, getWeight(), /*bias=*/Value(), /*activation_bits=*/IntegerAttr(),
                                 getTransposed() ? UnitAttr() : builder.getUnitAttr(), getRoundedAttr());
  return result;
}

Gradients GatherRowsOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  if (!wanted[0])
    return {Value(), Value()};
  return {GatherRowsGradOp::create(builder, getLoc(), getInput().getType(), getInput(), getRows(), outputGradients[0]), Value()};
}

/// Of a norm's input and gain, by `GradOp`; the latter's is the column sum of `grad * normalized`.
template <typename GradOp, typename NormOp>
static void addNormGradients(NormOp op, OpBuilder &builder, Value grad, ArrayRef<bool> wanted, Gradients &result) {
  if (!wanted[0] && !wanted[1])
    return;
  Type rows = op.getInput().getType();
  auto norm = GradOp::create(builder, op.getLoc(), rows, rows, op.getInput(), op.getGain(), grad, op.getEpsAttr());
  if (wanted[1]) {
    Value product = MulOp::create(builder, op.getLoc(), grad.getType(), grad, norm.getNormalized());
    result[1] = ColumnSumOp::create(builder, op.getLoc(), op.getGain().getType(), product);
  }
  if (wanted[0])
    result[0] = norm.getOutput();
}

Gradients LayerNormOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  Gradients result(getNumOperands());
  if (getBias() && wanted[2])
    result[2] = ColumnSumOp::create(builder, getLoc(), getBias().getType(), outputGradients[0]);
  addNormGradients<LayerNormGradOp>(*this, builder, outputGradients[0], wanted, result);
  return result;
}

Gradients RmsNormOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  Gradients result(getNumOperands());
  addNormGradients<RmsNormGradOp>(*this, builder, outputGradients[0], wanted, result);
  return result;
}

Gradients L2NormalizeOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {L2NormalizeGradOp::create(builder, getLoc(), getInput().getType(), getInput(), outputGradients[0], getEpsAttr())};
}

Gradients SoftmaxOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {SoftmaxGradOp::create(builder, getLoc(), getOutput().getType(), getOutput(), outputGradients[0])};
}

Gradients GeluOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {GeluGradOp::create(builder, getLoc(), getInput().getType(), getInput(), outputGradients[0], getKindAttr())};
}

Gradients SiluOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {SiluGradOp::create(builder, getLoc(), getInput().getType(), getInput(), outputGradients[0])};
}

Gradients QuickGeluOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {QuickGeluGradOp::create(builder, getLoc(), getInput().getType(), getInput(), outputGradients[0])};
}

Gradients ReluOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {ReluGradOp::create(builder, getLoc(), getInput().getType(), getInput(), outputGradients[0])};
}

Gradients TanhOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  return {TanhGradOp::create(builder, getLoc(), getOutput().getType(), getOutput(), outputGradients[0])};
}

Gradients AddOp::gradients(OpBuilder &, ValueRange outputGradients, ArrayRef<bool> wanted) {
  Gradients result(2);
  for (int operand : {0, 1})
    if (wanted[operand])
      result[operand] = outputGradients[0];
  return result;
}

Gradients MulOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  Gradients result(2);
  for (int operand : {0, 1})
    if (wanted[operand])
      result[operand] = MulOp::create(builder, getLoc(), getOutput().getType(), outputGradients[0], getOperand(1 - operand));
  return result;
}

Gradients RopeOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  if (!wanted[0])
    return {Value(), Value()};
  return {RopeOp::create(builder, getLoc(), getInput().getType(), outputGradients[0], getPositions(), getStyleAttr(), getHeadsAttr(),
                         getRotaryAttr(), getBaseAttr(), getScalingAttr(), getInverse() ? UnitAttr() : builder.getUnitAttr()),
          Value()};
}

/// None with `past`: keys and values of other steps are in the cache.
Gradients AttentionOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool>) {
  Gradients result(getNumOperands());
  if (getPast())
    return result;
  auto attention =
      AttentionGradOp::create(builder, getLoc(), getQuery().getType(), getKey().getType(), getValue().getType(), getQuery(), getKey(),
                              getValue(), outputGradients[0], getMask(), getSlopes(), getSeed(), getRateAttr(), getSiteAttr(),
                              getHeadsAttr(), getKvHeadsAttr(), getScaleAttr(), getCausalAttr(), getWindowAttr());
  result[0] = attention.getQueryGrad(), result[1] = attention.getKeyGrad(), result[2] = attention.getValueGrad();
  return result;
}

Gradients PoolOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  Gradients result(getNumOperands());
  if (wanted[0])
    result[0] = PoolGradOp::create(builder, getLoc(), getInput().getType(), getInput(), outputGradients[0], getMask(), getKindAttr());
  return result;
}

/// The gradient of every row's loss is one control of the step, [1], and not a tensor of the rows.
Gradients CrossEntropyOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  if (!wanted[0])
    return {Value(), Value()};
  return {CrossEntropyGradOp::create(builder, getLoc(), getLogits().getType(), getLogits(), getLabels(), outputGradients[0],
                                     getSmoothingAttr()),
          Value()};
}

Gradients ScaleOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  if (!wanted[0])
    return {Value(), Value()};
  return {ScaleOp::create(builder, getLoc(), getInput().getType(), outputGradients[0], getScales(), getIndexAttr()), Value()};
}

Gradients OptimizationBarrierOp::gradients(OpBuilder &, ValueRange outputGradients, ArrayRef<bool>) {
  return {outputGradients[0], Value()};
}

Gradients DropoutOp::gradients(OpBuilder &builder, ValueRange outputGradients, ArrayRef<bool> wanted) {
  if (!wanted[0])
    return {Value(), Value()};
  return {DropoutOp::create(builder, getLoc(), getInput().getType(), outputGradients[0], getSeed(), getRateAttr(), getSiteAttr()), Value()};
}
