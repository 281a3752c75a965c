// Gradients of attention. Source: Dao et al. 2022, arXiv:2205.14135, appendix B.2.
#include "Dropout.h"
#include "Kernels.h"
#include "Visibility.h"
#include "mlir/IR/Threading.h"
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

static double dot(const double *x, const double *y, int64_t size) {
  double sum = 0;
  for (int64_t j = 0; j < size; ++j)
    sum += x[j] * y[j];
  return sum;
}

static void addScaled(double *y, double factor, const double *x, int64_t size) {
  for (int64_t j = 0; j < size; ++j)
    y[j] += factor * x[j];
}

EvaluatedAll ds::reference::evaluate(AttentionGradOp op, Inputs<AttentionGradOp> in) {
  const Tensor &query = *in.getQuery(), &key = *in.getKey(), &value = *in.getValue(), &grad = *in.getGrad();
  const int64_t batch = query.shape[0], tokens = query.shape[1], keys = key.shape[1];
  const int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(), headSize = query.shape[2] / heads, group = heads / kvHeads;
  if (failed(expectShape(op, "key", key, {batch, -1, kvHeads * headSize})) || failed(expectShape(op, "value", value, key.shape)) ||
      failed(expectShape(op, "grad", grad, query.shape)) ||
      (in.getMask() && failed(expectShape(op, "mask", *in.getMask(), {batch, keys}))) ||
      (in.getSlopes() && failed(expectShape(op, "slopes", *in.getSlopes(), {heads}))))
    return failure();
  const double scale = op.getScale().convertToDouble();
  Visibility visibility{in.getMask(), /*past=*/nullptr, tokens, op.getCausal(), std::nullopt};
  if (op.getWindow())
    visibility.window = static_cast<int64_t>(*op.getWindow());
  const DropoutOfWeights dropout(op, in.getSeed(), heads);
  Tensor queryGrad = Tensor::zeros(query.elementType, query.shape), keyGrad = Tensor::zeros(key.elementType, key.shape),
         valueGrad = keyGrad;
  // A part has all heads that read one key head, so that no two add to one gradient.
  parallelFor(op.getContext(), 0, batch * kvHeads, [&](size_t part) {
    const int64_t b = part / kvHeads, g = part % kvHeads;
    std::vector<double> weights(keys), weightGrads(keys);
    for (int64_t row = 0; row < group * tokens; ++row) {
      const int64_t h = g * group + row / tokens, t = row % tokens, place = ((b * tokens + t) * heads + h) * headSize;
      const double *q = query.values.data() + place, *dy = grad.values.data() + place;
      const auto keyPlace = [&](int64_t s) { return ((b * keys + s) * kvHeads + g) * headSize; };
      llvm::SmallVector<int64_t> seen;
      double largest = -INFINITY, sum = 0, mean = 0;
      for (int64_t s = 0; s < keys; ++s) {
        if (!visibility.sees(b, t, s))
          continue;
        seen.push_back(s);
        weights[s] = scale * dot(q, key.values.data() + keyPlace(s), headSize) + (in.getSlopes() ? in.getSlopes()->values[h] * s : 0);
        largest = std::max(largest, weights[s]);
      }
      for (int64_t s : seen)
        sum += weights[s] = std::exp(weights[s] - largest);
      for (int64_t s : seen) {
        weights[s] /= sum;
        weightGrads[s] = dropout.factor(b, h, t, s) * dot(dy, value.values.data() + keyPlace(s), headSize);
        mean += weights[s] * weightGrads[s];
      }
      for (int64_t s : seen) {
        const double scoreGrad = scale * weights[s] * (weightGrads[s] - mean);
        addScaled(valueGrad.values.data() + keyPlace(s), dropout.factor(b, h, t, s) * weights[s], dy, headSize);
        addScaled(queryGrad.values.data() + place, scoreGrad, key.values.data() + keyPlace(s), headSize);
        addScaled(keyGrad.values.data() + keyPlace(s), scoreGrad, q, headSize);
      }
    }
  });
  return std::vector<Tensor>{std::move(queryGrad), std::move(keyGrad), std::move(valueGrad)};
}
