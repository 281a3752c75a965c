// Element-wise ops.
#include "Kernels.h"
#include <cmath>
#include <numbers>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

template <typename Function> static Tensor mapEach(const Tensor &input, Function function) {
  Tensor output{input.elementType, input.shape, std::vector<double>(input.values.size())};
  for (size_t i = 0; i < input.values.size(); ++i)
    output.values[i] = function(input.values[i]);
  return output;
}

template <typename Function> static Evaluated mapBoth(Operation *op, const Tensor &lhs, const Tensor &rhs, Function function) {
  if (failed(expectShape(op, "rhs", rhs, lhs.shape)))
    return failure();
  Tensor output{lhs.elementType, lhs.shape, std::vector<double>(lhs.values.size())};
  for (size_t i = 0; i < lhs.values.size(); ++i)
    output.values[i] = function(lhs.values[i], rhs.values[i]);
  return output;
}

/// `x / (1 + exp(-slope * x))`.
static double gated(double x, double slope) { return x / (1 + std::exp(-slope * x)); }

Evaluated ds::reference::evaluate(GeluOp op, Inputs<GeluOp> in) {
  // erfc(-x) is 1 + erf(x) without the cancellation far below zero.
  if (op.getKind() == GeluKind::erf)
    return mapEach(*in.getInput(), [](double x) { return x * std::erfc(-x / std::numbers::sqrt2) / 2; });
  return mapEach(*in.getInput(), [](double x) {
    double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    return x * (1 + std::tanh(inner)) / 2;
  });
}

Evaluated ds::reference::evaluate(SiluOp, Inputs<SiluOp> in) {
  return mapEach(*in.getInput(), [](double x) { return gated(x, 1); });
}

Evaluated ds::reference::evaluate(QuickGeluOp, Inputs<QuickGeluOp> in) {
  return mapEach(*in.getInput(), [](double x) { return gated(x, 1.702); });
}

Evaluated ds::reference::evaluate(ReluOp, Inputs<ReluOp> in) {
  return mapEach(*in.getInput(), [](double x) { return std::isnan(x) || x > 0 ? x : 0.0; });
}

Evaluated ds::reference::evaluate(TanhOp, Inputs<TanhOp> in) {
  return mapEach(*in.getInput(), [](double x) { return std::tanh(x); });
}

Evaluated ds::reference::evaluate(RoundOp op, Inputs<RoundOp> in) {
  return mapEach(*in.getInput(), [type = op.getTarget()](double x) { return roundToType(x, type); });
}

Evaluated ds::reference::evaluate(AddOp op, Inputs<AddOp> in) {
  return mapBoth(op, *in.getLhs(), *in.getRhs(), [](double x, double y) { return x + y; });
}

Evaluated ds::reference::evaluate(MulOp op, Inputs<MulOp> in) {
  return mapBoth(op, *in.getLhs(), *in.getRhs(), [](double x, double y) { return x * y; });
}
