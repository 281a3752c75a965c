// The loss, controls, and one step of an optimizer for one parameter.
// Source: Kingma and Ba 2014, arXiv:1412.6980; Loshchilov and Hutter 2017, arXiv:1711.05101; You et al. 2019, arXiv:1904.00962.
#include "Dropout.h"
#include "Kernels.h"
#include "TrainingState.h"
#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

/// The logarithm of the sum of the exponentials of a row.
static double logSum(const double *x, int64_t n) {
  double largest = *std::max_element(x, x + n), sum = 0;
  for (int64_t j = 0; j < n; ++j)
    sum += std::exp(x[j] - largest);
  return largest + std::log(sum);
}

/// Calls `row(r, label)` for each row whose label counts.
template <typename OpT, typename Row> static LogicalResult forLabels(OpT op, const Tensor &logits, const Tensor &labels, Row row) {
  if (failed(expectShape(op, "labels", labels, {logits.shape[0]})))
    return failure();
  for (int64_t r = 0; r < logits.shape[0]; ++r) {
    auto label = static_cast<int64_t>(labels.values[r]);
    if (label >= logits.shape[1])
      return op.emitOpError("expects labels less than ") << logits.shape[1] << ", got " << label << " at element " << r;
    if (label >= 0)
      row(r, label);
  }
  return success();
}

Evaluated ds::reference::evaluate(CrossEntropyOp op, Inputs<CrossEntropyOp> in) {
  const Tensor &logits = *in.getLogits();
  const int64_t rows = logits.shape[0], width = logits.shape[1];
  const double smoothing = op.getSmoothing().convertToDouble();
  Tensor output = Tensor::zeros(logits.elementType, {rows, 1});
  const auto row = [&](int64_t r, int64_t label) {
    const double *x = logits.values.data() + r * width, total = logSum(x, width);
    output.values[r] = (1 - smoothing) * (total - x[label]);
    // Without smoothing a logit of minus infinity is no loss.
    for (int64_t v = 0; v < width && smoothing > 0; ++v)
      output.values[r] += smoothing / width * (total - x[v]);
  };
  return failed(forLabels(op, logits, *in.getLabels(), row)) ? Evaluated(failure()) : Evaluated(std::move(output));
}

Evaluated ds::reference::evaluate(CrossEntropyGradOp op, Inputs<CrossEntropyGradOp> in) {
  const Tensor &logits = *in.getLogits();
  const int64_t width = logits.shape[1];
  const double smoothing = op.getSmoothing().convertToDouble(), scale = in.getScale()->values[0];
  Tensor output = Tensor::zeros(logits.elementType, logits.shape);
  const auto row = [&](int64_t r, int64_t label) {
    const double *x = logits.values.data() + r * width, total = logSum(x, width);
    for (int64_t v = 0; v < width; ++v)
      output.values[r * width + v] = scale * (std::exp(x[v] - total) - (v == label ? 1 - smoothing : 0) - smoothing / width);
  };
  return failed(forLabels(op, logits, *in.getLabels(), row)) ? Evaluated(failure()) : Evaluated(std::move(output));
}

Evaluated ds::reference::evaluate(ScaleOp op, Inputs<ScaleOp> in) {
  Tensor output = *in.getInput();
  for (double &value : output.values)
    value *= in.getScales()->values[op.getIndex()];
  return output;
}

Evaluated ds::reference::evaluate(DropoutOp op, Inputs<DropoutOp> in) {
  const std::array<uint32_t, 2> key = dropoutKey(*in.getSeed());
  Tensor output = *in.getInput();
  const auto site = static_cast<uint32_t>(op.getSite());
  const uint32_t threshold = dropoutThreshold(op.getRate());
  std::array<uint32_t, 4> words;
  for (uint64_t i = 0; i < output.values.size(); ++i) {
    const uint64_t block = i / 4;
    if (i % 4 == 0)
      words = philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), site, 0}, key);
    output.values[i] *= words[i % 4] >= threshold ? dropoutFactor(op.getRate()) : 0;
  }
  return output;
}

Evaluated ds::reference::evaluate(OptimizationBarrierOp, Inputs<OptimizationBarrierOp> in) { return *in.getInput(); }

Evaluated ds::reference::evaluate(SwitchOp op, Inputs<SwitchOp> in) {
  if (failed(expectShape(op, "off", *in.getOff(), in.getOn()->shape)))
    return failure();
  return in.getGates()->values[op.getIndex()] != 0 ? *in.getOn() : *in.getOff();
}

static double length(const std::vector<double> &values) {
  double square = 0;
  for (double value : values)
    square += value * value;
  return std::sqrt(square);
}

/// Adds `gradient` to both moments.
static void follow(const OptimizerHyper &hyper, const std::vector<double> &gradient, Tensor &moment1, Tensor &moment2) {
  for (size_t i = 0; i < gradient.size(); ++i) {
    moment1.values[i] = hyper.beta1 * moment1.values[i] + hyper.rest1 * gradient[i];
    moment2.values[i] = hyper.beta2 * moment2.values[i] + hyper.rest2 * gradient[i] * gradient[i];
  }
}

double ds::reference::updateParameter(OptimizerKind kind, const OptimizerControls &controls, const OptimizerHyper &hyper,
                                      const Tensor &gradient, Tensor &value, Tensor &moment1, Tensor &moment2) {
  std::vector<double> &p = value.values, &m = moment1.values, &v = moment2.values, g = gradient.values;
  const bool decaysGradient = kind == OptimizerKind::sgd || kind == OptimizerKind::adam;
  for (size_t i = 0; i < g.size(); ++i)
    g[i] = hyper.scale * g[i] + (decaysGradient ? controls.decay * p[i] : 0);
  if (kind == OptimizerKind::sgd) {
    for (size_t i = 0; i < g.size(); ++i) {
      m[i] = hyper.beta1 * m[i] + g[i];
      p[i] -= controls.rate * m[i];
    }
    return 1;
  }
  follow(hyper, g, moment1, moment2);
  if (kind != OptimizerKind::lamb) {
    for (size_t i = 0; i < g.size(); ++i) {
      if (kind == OptimizerKind::adamw)
        p[i] *= 1 - controls.rate * controls.decay;
      p[i] -= controls.rate / controls.correction1 * m[i] / (std::sqrt(v[i]) / std::sqrt(controls.correction2) + hyper.eps);
    }
    return 1;
  }
  std::vector<double> update(g.size());
  for (size_t i = 0; i < g.size(); ++i)
    update[i] = m[i] / (std::sqrt(v[i]) + hyper.eps) + controls.decay * p[i];
  const double valueNorm = length(p), updateNorm = length(update);
  const double coefficient =
      valueNorm == 0 || updateNorm == 0 ? 1 : std::min(std::max(valueNorm / updateNorm, hyper.minCoefficient), hyper.maxCoefficient);
  for (size_t i = 0; i < g.size(); ++i)
    p[i] -= controls.rate * std::sqrt(controls.correction2) / controls.correction1 * coefficient * update[i];
  return coefficient;
}
