// The operations of the model level, one file a family.
#ifndef DIALECTS_DS_DSOPS_TD
#define DIALECTS_DS_DSOPS_TD

include "dialects/DS/DSDialect.td"
include "dialects/DS/DifferentiableOpInterface.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

include "dialects/DS/StructureOps.td"
include "dialects/DS/LinearOps.td"
include "dialects/DS/NormOps.td"
include "dialects/DS/ActivationOps.td"
include "dialects/DS/AttentionOps.td"
include "dialects/DS/PoolOps.td"
include "dialects/DS/GradientOps.td"
include "dialects/DS/TrainingOps.td"

#endif // DIALECTS_DS_DSOPS_TD
