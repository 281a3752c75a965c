// What training changes from call to call: parameters, their gradients, the moments of an optimizer.
#ifndef DS_LIB_REFERENCE_TRAININGSTATE_H
#define DS_LIB_REFERENCE_TRAININGSTATE_H

#include "Kernels.h"
#include "mlir/IR/BuiltinOps.h"

namespace ds::reference {

/// A parameter's column of `controls` of `ds.optimizer_update`, but whether it has a gradient.
struct OptimizerControls {
  double rate, decay, correction1, correction2;
};

/// `hyper` of `ds.optimizer_update`.
struct OptimizerHyper {
  double scale, beta1, beta2, eps, minCoefficient, maxCoefficient, rest1, rest2; // rests: 1 - beta
};

/// One step for one parameter, as `ds.optimizer_update` says. Returns the coefficient of lamb, 1 for the others.
double updateParameter(OptimizerKind kind, const OptimizerControls &controls, const OptimizerHyper &hyper, const Tensor &gradient,
                       Tensor &value, Tensor &moment1, Tensor &moment2);

class TrainingState {
public:
  explicit TrainingState(mlir::ModuleOp module) : module(module) {}
  using Part = llvm::DenseMap<mlir::StringAttr, TensorPtr>;
  /// The present value of a parameter.
  using Fetch = llvm::function_ref<mlir::FailureOr<TensorPtr>(ParameterOp)>;

  /// Parameters that are no longer what the module or its files say.
  Part parameters;
  Part gradients, moment1, moment2;

  mlir::LogicalResult accumulate(AccumulateGradientOp op, Inputs<AccumulateGradientOp> in, TensorPtr gradient);
  Evaluated norms(GradientNormsOp op) const;
  Evaluated update(OptimizerUpdateOp op, Inputs<OptimizerUpdateOp> in, Fetch fetch);
  /// What `part` holds of a parameter: zeros at first.
  TensorPtr lookup(const Part &part, ParameterOp parameter) const;

private:
  mlir::FailureOr<llvm::SmallVector<ParameterOp>> parametersOf(mlir::Operation *op, int64_t count) const;

  mlir::ModuleOp module;
};

} // namespace ds::reference
#endif // DS_LIB_REFERENCE_TRAININGSTATE_H
