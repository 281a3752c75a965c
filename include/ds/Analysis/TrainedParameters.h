// Which parameters of a module an optimizer works on.
#ifndef DS_ANALYSIS_TRAINEDPARAMETERS_H
#define DS_ANALYSIS_TRAINEDPARAMETERS_H

#include "dialects/DS/DSDialect.h"
#include "mlir/IR/BuiltinOps.h"

namespace ds {

/// The parameters that some `ds.accumulate_gradient` of `module` adds to, in the order of the module: the N of `ds.gradient_norms` and
/// `ds.optimizer_update`.
llvm::SmallVector<ParameterOp> trainedParameters(mlir::ModuleOp module);

} // namespace ds
#endif // DS_ANALYSIS_TRAINEDPARAMETERS_H
