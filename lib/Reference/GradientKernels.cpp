// Gradients of linears, tables, norms, element-wise ops and pools.
#include "Kernels.h"
#include <algorithm>
#include <cmath>
#include <numbers>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

/// The shape of `tensor` with its last size replaced.
static std::vector<int64_t> withLast(const Tensor &tensor, int64_t last) {
  std::vector<int64_t> shape = tensor.shape;
  shape.back() = last;
  return shape;
}

Evaluated ds::reference::evaluate(LinearWeightGradOp op, Inputs<LinearWeightGradOp> in) {
  const Tensor &input = *in.getInput(), &grad = *in.getGrad();
  int64_t depth = input.shape.back(), columns = grad.shape.back(), rows = input.rows();
  if (failed(expectShape(op, "grad", grad, withLast(input, columns))))
    return failure();
  // Sums over the rows read both factors along the rows.
  Tensor turnedInput = transposed({input.elementType, {rows, depth}, input.values});
  Tensor turnedGrad = transposed({grad.elementType, {rows, columns}, grad.values});
  Tensor output = Tensor::zeros(input.elementType, {columns, depth});
  multiply(op.getContext(), turnedGrad.values.data(), columns, turnedInput.values.data(), depth, rows, output.values.data());
  return output;
}

Evaluated ds::reference::evaluate(ColumnSumOp, Inputs<ColumnSumOp> in) {
  const Tensor &input = *in.getInput();
  int64_t columns = input.shape.back();
  Tensor output = Tensor::zeros(input.elementType, {columns});
  for (int64_t i = 0; i < input.elements(); ++i)
    output.values[i % columns] += input.values[i];
  return output;
}

/// Adds row `r` of `grad` to row `rows[r]` of `output`, both of `width`.
static LogicalResult scatterAdd(Operation *op, StringRef name, const Tensor &rows, const Tensor &grad, int64_t width, Tensor &output) {
  const int64_t count = output.rows();
  for (int64_t r = 0; r < rows.elements(); ++r) {
    auto row = static_cast<int64_t>(rows.values[r]);
    if (row < 0 || row >= count)
      return op->emitOpError("expects ") << name << " of 0 to " << count - 1 << ", got " << row << " at element " << r;
    for (int64_t j = 0; j < width; ++j)
      output.values[row * width + j] += grad.values[r * width + j];
  }
  return success();
}

Evaluated ds::reference::evaluate(EmbeddingGradOp op, Inputs<EmbeddingGradOp> in) {
  const Tensor &indices = *in.getIndices(), &grad = *in.getGrad();
  RankedTensorType type = op.getOutput().getType();
  if (!type.hasStaticShape())
    return op.emitOpError("expects a static table, got ") << type;
  std::vector<int64_t> shape = indices.shape;
  shape.push_back(type.getDimSize(1));
  Tensor output = Tensor::zeros(grad.elementType, type.getShape().vec());
  if (failed(expectShape(op, "grad", grad, shape)) || failed(scatterAdd(op, "indices", indices, grad, type.getDimSize(1), output)))
    return failure();
  return output;
}

Evaluated ds::reference::evaluate(GatherRowsGradOp op, Inputs<GatherRowsGradOp> in) {
  const Tensor &input = *in.getInput(), &rows = *in.getRows(), &grad = *in.getGrad();
  Tensor output = Tensor::zeros(input.elementType, input.shape);
  if (failed(expectShape(op, "grad", grad, {rows.elements(), input.shape[2]})) ||
      failed(scatterAdd(op, "rows", rows, grad, input.shape[2], output)))
    return failure();
  return output;
}

/// `output = (d - center * mean(d) - n * mean(d * n)) * r` with `d = grad * gain`, and `n = (input - center * mean) * r`.
template <typename OpT> static EvaluatedAll normGradient(OpT op, Inputs<OpT> in, bool isCentered) {
  const Tensor &input = *in.getInput(), &gain = *in.getGain(), &grad = *in.getGrad();
  const int64_t width = input.shape.back();
  if (failed(expectShape(op, "gain", gain, {width})) || failed(expectShape(op, "grad", grad, input.shape)))
    return failure();
  const double eps = op.getEps().convertToDouble();
  Tensor output = Tensor::zeros(input.elementType, input.shape), normalized = output;
  for (int64_t first = 0; first < input.elements(); first += width) {
    const double *x = input.values.data() + first, *dy = grad.values.data() + first;
    double *dx = output.values.data() + first, *n = normalized.values.data() + first;
    double mean = 0, square = 0, sum = 0, product = 0;
    for (int64_t j = 0; j < width && isCentered; ++j)
      mean += x[j] / width;
    for (int64_t j = 0; j < width; ++j)
      square += (x[j] - mean) * (x[j] - mean) / width;
    const double inverse = 1 / std::sqrt(square + eps);
    for (int64_t j = 0; j < width; ++j) {
      n[j] = (x[j] - mean) * inverse;
      sum += isCentered ? dy[j] * gain.values[j] / width : 0;
      product += dy[j] * gain.values[j] * n[j] / width;
    }
    for (int64_t j = 0; j < width; ++j)
      dx[j] = (dy[j] * gain.values[j] - sum - n[j] * product) * inverse;
  }
  return std::vector<Tensor>{std::move(output), std::move(normalized)};
}

EvaluatedAll ds::reference::evaluate(LayerNormGradOp op, Inputs<LayerNormGradOp> in) { return normGradient(op, in, /*isCentered=*/true); }

EvaluatedAll ds::reference::evaluate(RmsNormGradOp op, Inputs<RmsNormGradOp> in) { return normGradient(op, in, /*isCentered=*/false); }

Evaluated ds::reference::evaluate(L2NormalizeGradOp op, Inputs<L2NormalizeGradOp> in) {
  const Tensor &input = *in.getInput(), &grad = *in.getGrad();
  if (failed(expectShape(op, "grad", grad, input.shape)))
    return failure();
  const double eps = op.getEps().convertToDouble();
  const int64_t width = input.shape.back();
  Tensor output = Tensor::zeros(input.elementType, input.shape);
  for (int64_t first = 0; first < input.elements(); first += width) {
    const double *x = input.values.data() + first, *dy = grad.values.data() + first;
    double square = 0, product = 0;
    for (int64_t j = 0; j < width; ++j) {
      square += x[j] * x[j];
      product += dy[j] * x[j];
    }
    const double length = std::sqrt(square);
    // As the op divides: a NaN length is no short one.
    for (int64_t j = 0; j < width; ++j)
      output.values[first + j] = length <= eps ? dy[j] / eps : (dy[j] - x[j] * product / square) / length;
  }
  return output;
}

Evaluated ds::reference::evaluate(SoftmaxGradOp op, Inputs<SoftmaxGradOp> in) {
  const Tensor &value = *in.getValue(), &grad = *in.getGrad();
  if (failed(expectShape(op, "grad", grad, value.shape)))
    return failure();
  const int64_t width = value.shape.back();
  Tensor output = Tensor::zeros(value.elementType, value.shape);
  for (int64_t first = 0; first < value.elements(); first += width) {
    double sum = 0;
    for (int64_t i = first; i < first + width; ++i)
      sum += grad.values[i] * value.values[i];
    for (int64_t i = first; i < first + width; ++i)
      output.values[i] = value.values[i] * (grad.values[i] - sum);
  }
  return output;
}

/// `grad * derivative(x)` for each x of `input`.
template <typename Function> static Evaluated chain(Operation *op, const Tensor &input, const Tensor &grad, Function derivative) {
  if (failed(expectShape(op, "grad", grad, input.shape)))
    return failure();
  Tensor output = Tensor::zeros(input.elementType, input.shape);
  for (size_t i = 0; i < input.values.size(); ++i)
    output.values[i] = grad.values[i] * derivative(input.values[i]);
  return output;
}

Evaluated ds::reference::evaluate(GeluGradOp op, Inputs<GeluGradOp> in) {
  if (op.getKind() == GeluKind::erf)
    return chain(op, *in.getInput(), *in.getGrad(), [](double x) {
      return std::erfc(-x / std::numbers::sqrt2) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
    });
  return chain(op, *in.getInput(), *in.getGrad(), [](double x) {
    const double slope = std::sqrt(2 / std::numbers::pi), value = std::tanh(slope * (x + 0.044715 * x * x * x));
    return (1 + value) / 2 + x * (1 - value * value) / 2 * slope * (1 + 3 * 0.044715 * x * x);
  });
}

/// The derivative of `x / (1 + exp(-slope * x))`.
static double gatedDerivative(double x, double slope) {
  const double gate = 1 / (1 + std::exp(-slope * x));
  return gate * (1 + slope * x * (1 - gate));
}

Evaluated ds::reference::evaluate(SiluGradOp op, Inputs<SiluGradOp> in) {
  return chain(op, *in.getInput(), *in.getGrad(), [](double x) { return gatedDerivative(x, 1); });
}

Evaluated ds::reference::evaluate(QuickGeluGradOp op, Inputs<QuickGeluGradOp> in) {
  return chain(op, *in.getInput(), *in.getGrad(), [](double x) { return gatedDerivative(x, 1.702); });
}

Evaluated ds::reference::evaluate(ReluGradOp op, Inputs<ReluGradOp> in) {
  return chain(op, *in.getInput(), *in.getGrad(), [](double x) { return x > 0 ? 1.0 : 0.0; });
}

Evaluated ds::reference::evaluate(TanhGradOp op, Inputs<TanhGradOp> in) {
  return chain(op, *in.getValue(), *in.getGrad(), [](double y) { return 1 - y * y; });
}

Evaluated ds::reference::evaluate(PoolGradOp op, Inputs<PoolGradOp> in) {
  const Tensor &input = *in.getInput(), &grad = *in.getGrad(), *mask = in.getMask();
  const int64_t batch = input.shape[0], tokens = input.shape[1], width = input.shape[2];
  if (failed(expectShape(op, "grad", grad, {batch, width})) || (mask && failed(expectShape(op, "mask", *mask, {batch, tokens}))))
    return failure();
  if (tokens == 0 && batch > 0 && op.getKind() != PoolKind::mean)
    return op.emitOpError("expects at least one token");
  Tensor output = Tensor::zeros(input.elementType, input.shape);
  for (int64_t b = 0; b < batch; ++b) {
    const double *seen = mask ? mask->values.data() + b * tokens : nullptr;
    double count = 0;
    int64_t last = 0;
    for (int64_t t = 0; t < tokens && op.getKind() != PoolKind::cls; ++t) {
      count += seen[t] != 0;
      last = seen[t] != 0 ? t : last;
    }
    const bool isMean = op.getKind() == PoolKind::mean;
    for (int64_t t = 0; t < tokens; ++t)
      if (isMean ? seen[t] != 0 : t == last)
        for (int64_t j = 0; j < width; ++j)
          output.values[(b * tokens + t) * width + j] = grad.values[b * width + j] / (isMean ? std::max(count, 1e-9) : 1);
  }
  return output;
}
