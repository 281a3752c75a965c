// Element-wise ops as vector arithmetic: what any kernel inlines in its prologue or epilogue.
#ifndef DS_TARGET_CPU_ELEMENTWISE_H
#define DS_TARGET_CPU_ELEMENTWISE_H

#include "ds/Target/CPU/Emitter.h"
#include "mlir/IR/Operation.h"

namespace ds {

/// The result of `op` for operands of f32, scalars or vectors of one length. `op` is element-wise (OpTrait::Elementwise); or `ds.scale`,
/// with its control (KernelRegion.h) as a scalar in the place of all of them.
mlir::Value emitElementwise(Emitter &e, mlir::Operation *op, llvm::ArrayRef<mlir::Value> operands);

} // namespace ds
#endif // DS_TARGET_CPU_ELEMENTWISE_H
