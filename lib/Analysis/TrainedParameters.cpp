// Which parameters of a module an optimizer works on.
#include "ds/Analysis/TrainedParameters.h"

using namespace mlir;
using namespace ds;

SmallVector<ParameterOp> ds::trainedParameters(ModuleOp module) {
  llvm::DenseSet<StringAttr> targets;
  module.walk([&](AccumulateGradientOp op) { targets.insert(op.getParameterAttr().getAttr()); });
  SmallVector<ParameterOp> parameters;
  for (ParameterOp parameter : module.getOps<ParameterOp>())
    if (targets.contains(parameter.getSymNameAttr()))
      parameters.push_back(parameter);
  return parameters;
}
