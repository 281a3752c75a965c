// Rope, attention and the cache.
#include "Dropout.h"
#include "Kernels.h"
#include "Visibility.h"
#include "dialects/DS/Rope.h"
#include "mlir/IR/Threading.h"
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

Evaluated ds::reference::evaluate(RopeOp op, Inputs<RopeOp> in) {
  const Tensor &input = *in.getInput(), &positions = *in.getPositions();
  if (failed(expectShape(op, "positions", positions, {input.shape[0], input.shape[1]})))
    return failure();
  int64_t heads = op.getHeads(), rotary = op.getRotary(), width = input.shape[2], headSize = width / heads;
  llvm::SmallVector<float> frequencies =
      ropeFrequencies(rotary, op.getBase().convertToDouble(), op.getScaling().value_or(RopeScalingAttr()));
  bool isHalf = op.getStyle() == RopeStyle::half;
  Tensor output = input;
  for (int64_t token = 0; token < positions.elements(); ++token) {
    for (int64_t i = 0; i < rotary / 2; ++i) {
      // The f32 product is the angle: models are trained with it.
      float angle = static_cast<float>(positions.values[token]) * frequencies[i];
      double cosine = std::cos(static_cast<double>(angle)), sine = std::sin(static_cast<double>(op.getInverse() ? -angle : angle));
      int64_t first = isHalf ? i : 2 * i, second = isHalf ? i + rotary / 2 : 2 * i + 1;
      for (int64_t h = 0; h < heads; ++h) {
        const double *x = input.values.data() + token * width + h * headSize;
        double *y = output.values.data() + token * width + h * headSize;
        y[first] = x[first] * cosine - x[second] * sine;
        y[second] = x[second] * cosine + x[first] * sine;
      }
    }
  }
  return output;
}

Evaluated ds::reference::evaluate(AttentionOp op, Inputs<AttentionOp> in) {
  const Tensor &query = *in.getQuery(), &key = *in.getKey(), &value = *in.getValue();
  int64_t batch = query.shape[0], tokens = query.shape[1], keys = key.shape[1];
  int64_t heads = op.getHeads(), kvHeads = op.getKvHeads(), headSize = query.shape[2] / heads;
  if (failed(expectShape(op, "key", key, {batch, -1, kvHeads * headSize})) || failed(expectShape(op, "value", value, key.shape)) ||
      (in.getMask() && failed(expectShape(op, "mask", *in.getMask(), {batch, -1}))) ||
      (in.getPast() && failed(expectShape(op, "past", *in.getPast(), {batch}))) ||
      (in.getSlopes() && failed(expectShape(op, "slopes", *in.getSlopes(), {heads}))))
    return failure();
  if (in.getMask() && in.getMask()->shape[1] < keys)
    return op.emitOpError("expects mask of at least ") << keys << " keys, got " << in.getMask()->shape[1];
  double scale = op.getScale().convertToDouble();
  Visibility visibility{in.getMask(), in.getPast(), tokens, op.getCausal(), std::nullopt};
  if (op.getWindow())
    visibility.window = static_cast<int64_t>(*op.getWindow());
  const DropoutOfWeights dropout(op, in.getSeed(), heads);
  Tensor output = Tensor::zeros(query.elementType, query.shape);
  parallelFor(op.getContext(), 0, batch * heads, [&](size_t part) {
    int64_t b = part / heads, h = part % heads, g = h / (heads / kvHeads);
    double slope = in.getSlopes() ? in.getSlopes()->values[h] : 0;
    std::vector<double> scores(keys);
    for (int64_t t = 0; t < tokens; ++t) {
      const double *q = query.values.data() + ((b * tokens + t) * heads + h) * headSize;
      double largest = -INFINITY, sum = 0;
      bool anySeen = false;
      for (int64_t s = 0; s < keys; ++s) {
        if (!visibility.sees(b, t, s))
          continue;
        const double *k = key.values.data() + ((b * keys + s) * kvHeads + g) * headSize;
        double dot = 0;
        for (int64_t j = 0; j < headSize; ++j)
          dot += q[j] * k[j];
        scores[s] = scale * dot + slope * s;
        largest = std::max(largest, scores[s]);
        anySeen = true;
      }
      if (!anySeen)
        continue;
      double *y = output.values.data() + ((b * tokens + t) * heads + h) * headSize;
      for (int64_t s = 0; s < keys; ++s) {
        if (!visibility.sees(b, t, s))
          continue;
        double weight = std::exp(scores[s] - largest);
        sum += weight;
        weight *= dropout.factor(b, h, t, s);
        const double *v = value.values.data() + ((b * keys + s) * kvHeads + g) * headSize;
        for (int64_t j = 0; j < headSize; ++j)
          y[j] += weight * v[j];
      }
      for (int64_t j = 0; j < headSize; ++j)
        y[j] /= sum;
    }
  });
  return output;
}

/// Rounds `count` values to the codes of a cache (`ds.cache_append`) and back.
static void roundToCodes(double *values, int64_t count) {
  double largest = 0;
  bool isFinite = true;
  for (int64_t i = 0; i < count; ++i) {
    // Beyond f32 is what a kernel has as infinity.
    isFinite &= std::isfinite(static_cast<float>(values[i]));
    largest = std::max(largest, std::fabs(values[i]));
  }
  double scale = isFinite ? static_cast<float>(largest / 127) : std::nan("");
  if (scale < 0x1p-126)
    scale = 0;
  for (int64_t i = 0; i < count; ++i)
    values[i] = scale * (scale > 0 ? std::nearbyint(values[i] / scale) : 0);
}

Evaluated ds::reference::append(CacheAppendOp op, const Tensor *before, Inputs<CacheAppendOp> in) {
  const Tensor &input = *in.getInput(), &past = *in.getPast();
  RankedTensorType type = op.getType();
  int64_t batch = input.shape[0], tokens = input.shape[1], context = type.getDimSize(1), width = type.getDimSize(2);
  if (failed(expectShape(op, "input", input, {-1, -1, width})) || failed(expectShape(op, "past", past, {batch})))
    return failure();
  if (before && before->shape[0] != batch)
    return op.emitOpError("expects a batch of ") << before->shape[0] << " sequences, as its cache has, got " << batch;
  auto codes = dyn_cast<QuantizedType>(type.getElementType());
  Tensor cache = before ? *before : Tensor::zeros(type.getElementType(), {batch, context, width});
  for (int64_t b = 0; b < batch; ++b) {
    auto first = static_cast<int64_t>(past.values[b]);
    if (first < 0)
      return op.emitOpError("expects past of at least 0, got ") << first << " at element " << b;
    for (int64_t t = 0; t < tokens && first + t < context; ++t) {
      double *row = cache.values.data() + (b * context + first + t) * width;
      for (int64_t j = 0; j < width; ++j)
        row[j] = roundToType(input.values[(b * tokens + t) * width + j], type.getElementType());
      for (int64_t j = 0; codes && j < width; j += codes.getGroup())
        roundToCodes(row + j, codes.getGroup());
    }
  }
  return cache;
}
