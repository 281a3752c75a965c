// Gradients are summed, and optimizers run over all parameters that are trained.
#include "TrainingState.h"
#include "ds/Analysis/TrainedParameters.h"

using namespace mlir;
using namespace ds;
using namespace ds::reference;

TensorPtr TrainingState::lookup(const Part &part, ParameterOp parameter) const {
  if (TensorPtr held = part.lookup(parameter.getSymNameAttr()))
    return held;
  RankedTensorType type = parameter.getTensorType();
  return std::make_shared<Tensor>(Tensor::zeros(type.getElementType(), type.getShape().vec()));
}

LogicalResult TrainingState::accumulate(AccumulateGradientOp op, Inputs<AccumulateGradientOp> in, TensorPtr gradient) {
  if (in.getGates() && in.getGates()->values[*op.getGate()] == 0)
    return success();
  TensorPtr &held = gradients[op.getParameterAttr().getAttr()];
  if (!held) {
    held = std::move(gradient);
    return success();
  }
  Tensor sum = *held;
  for (int64_t i = 0; i < sum.elements(); ++i)
    sum.values[i] += gradient->values[i];
  held = std::make_shared<Tensor>(std::move(sum));
  return success();
}

FailureOr<SmallVector<ParameterOp>> TrainingState::parametersOf(Operation *op, int64_t count) const {
  SmallVector<ParameterOp> parameters = trainedParameters(module);
  if (static_cast<int64_t>(parameters.size()) != count)
    return op->emitOpError("expects a result for each of ") << parameters.size() << " parameters that are trained, got " << count;
  return parameters;
}

Evaluated TrainingState::norms(GradientNormsOp op) const {
  RankedTensorType type = op.getOutput().getType();
  FailureOr<SmallVector<ParameterOp>> parameters = parametersOf(op, type.getShape().back());
  if (failed(parameters))
    return failure();
  Tensor output = Tensor::zeros(type.getElementType(), type.getShape().vec());
  for (auto [index, parameter] : llvm::enumerate(*parameters)) {
    TensorPtr gradient = lookup(gradients, parameter);
    for (double value : gradient->values)
      output.values[index] += value * value;
  }
  return output;
}

Evaluated TrainingState::update(OptimizerUpdateOp op, Inputs<OptimizerUpdateOp> in, Fetch fetch) {
  RankedTensorType type = op.getCoefficients().getType();
  const int64_t count = type.getShape().back();
  FailureOr<SmallVector<ParameterOp>> parameters = parametersOf(op, count);
  if (failed(parameters))
    return failure();
  const std::vector<double> &controls = in.getControls()->values, &h = in.getHyper()->values;
  const OptimizerHyper hyper{h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]};
  Tensor coefficients{type.getElementType(), type.getShape().vec(), std::vector<double>(count, 1)};
  for (auto [index, parameter] : llvm::enumerate(*parameters)) {
    const double *control = controls.data() + index;
    if (control[4 * count] == 0)
      continue;
    FailureOr<TensorPtr> before = fetch(parameter);
    if (failed(before))
      return failure();
    Tensor value = **before, first = *lookup(moment1, parameter), second = *lookup(moment2, parameter);
    coefficients.values[index] = updateParameter(op.getKind(), {control[0], control[count], control[2 * count], control[3 * count]}, hyper,
                                                 *lookup(gradients, parameter), value, first, second);
    for (double &element : value.values)
      element = roundToType(element, value.elementType);
    StringAttr name = parameter.getSymNameAttr();
    this->parameters[name] = std::make_shared<Tensor>(std::move(value));
    moment1[name] = std::make_shared<Tensor>(std::move(first));
    moment2[name] = std::make_shared<Tensor>(std::move(second));
    gradients.erase(name);
  }
  return coefficients;
}
