// Element-wise ops as vector arithmetic: what any kernel inlines in its prologue or epilogue.
#ifndef DS_TARGET_CPU_ELEMENTWISE_H
#define DS_TARGET_CPU_ELEMENTWISE_H

#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/Emitter.h"
#include "mlir/IR/Operation.h"

namespace ds {

/// The result of `op` for operands of f32, scalars or vectors of one length. `op` is element-wise (OpTrait::Elementwise); or `ds.scale`,
/// with its control (KernelRegion.h) as a scalar in the place of all of them.
mlir::Value emitElementwise(Emitter &e, mlir::Operation *op, llvm::ArrayRef<mlir::Value> operands);

/// The seed of `ds.dropout` at `seed` (two i32) as a vector, which every use of the op may share.
mlir::Value emitDropoutKey(Emitter &e, mlir::Value seed);

/// The place of a vector's first element in its tensor, counted in row-major order.
struct FlatIndex {
  mlir::Value index; // i64
  bool beginsBlock;  // it is known to be a multiple of 4, which takes half the work
};

/// The result of `op` for a full vector `x` that begins at `first`.
mlir::Value emitDropout(Emitter &e, DropoutOp op, mlir::Value x, mlir::Value key, const FlatIndex &first);

} // namespace ds
#endif // DS_TARGET_CPU_ELEMENTWISE_H
