// Norms and softmax.
#include "Kernels.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

/// Calls `row(in, out, n)` for each vector of the last axis.
template <typename Row> static Tensor mapRows(const Tensor &input, Row row) {
  Tensor output{input.elementType, input.shape, std::vector<double>(input.values.size())};
  int64_t width = input.shape.back();
  for (int64_t first = 0; first < input.elements(); first += width)
    row(input.values.data() + first, output.values.data() + first, width);
  return output;
}

Evaluated ds::reference::evaluate(LayerNormOp op, Inputs<LayerNormOp> in) {
  int64_t last = in.getInput()->shape.back();
  if (failed(expectShape(op, "gain", *in.getGain(), {last})) || (in.getBias() && failed(expectShape(op, "bias", *in.getBias(), {last}))))
    return failure();
  const double *gain = in.getGain()->values.data(), *bias = in.getBias() ? in.getBias()->values.data() : nullptr;
  double eps = op.getEps().convertToDouble();
  return mapRows(*in.getInput(), [=](const double *x, double *y, int64_t n) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < n; ++j)
      mean += x[j] / n;
    for (int64_t j = 0; j < n; ++j)
      variance += (x[j] - mean) * (x[j] - mean) / n;
    for (int64_t j = 0; j < n; ++j)
      y[j] = gain[j] * (x[j] - mean) / std::sqrt(variance + eps) + (bias ? bias[j] : 0);
  });
}

Evaluated ds::reference::evaluate(RmsNormOp op, Inputs<RmsNormOp> in) {
  if (failed(expectShape(op, "gain", *in.getGain(), {in.getInput()->shape.back()})))
    return failure();
  const double *gain = in.getGain()->values.data();
  double eps = op.getEps().convertToDouble();
  return mapRows(*in.getInput(), [=](const double *x, double *y, int64_t n) {
    double square = 0;
    for (int64_t j = 0; j < n; ++j)
      square += x[j] * x[j] / n;
    for (int64_t j = 0; j < n; ++j)
      y[j] = gain[j] * x[j] / std::sqrt(square + eps);
  });
}

Evaluated ds::reference::evaluate(L2NormalizeOp op, Inputs<L2NormalizeOp> in) {
  double eps = op.getEps().convertToDouble();
  return mapRows(*in.getInput(), [=](const double *x, double *y, int64_t n) {
    double square = 0;
    for (int64_t j = 0; j < n; ++j)
      square += x[j] * x[j];
    // Not std::max: a NaN length must stay one.
    double length = std::sqrt(square) < eps ? eps : std::sqrt(square);
    for (int64_t j = 0; j < n; ++j)
      y[j] = x[j] / length;
  });
}

Evaluated ds::reference::evaluate(SoftmaxOp, Inputs<SoftmaxOp> in) {
  return mapRows(*in.getInput(), [](const double *x, double *y, int64_t n) {
    double largest = *std::max_element(x, x + n), sum = 0;
    for (int64_t j = 0; j < n; ++j)
      sum += y[j] = std::exp(x[j] - largest);
    for (int64_t j = 0; j < n; ++j)
      y[j] /= sum;
  });
}
