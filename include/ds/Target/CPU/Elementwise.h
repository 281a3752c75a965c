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

/// Which weights stay in an attention with a seed.
class DropoutOfWeights {
public:
  /// `key` as of `emitDropoutKey`; `head` counts the heads of all sequences, an i64.
  template <typename OpT>
  DropoutOfWeights(Emitter &e, OpT op, mlir::Value key, mlir::Value head)
      : DropoutOfWeights(e, dropoutThreshold(*op.getRate()), *op.getSite(), key, head) {}

  /// Of key `key` and as many tokens as a vector has lanes, from `token` on, a multiple of 4: i1s.
  mlir::Value ofTokens(mlir::Value token, mlir::Value key);
  /// Of four tokens from `token` on, a multiple of 4, and keys from `key` on: a vector of keys for each token.
  Emitter::Values ofKeys(mlir::Value token, mlir::Value key);

private:
  DropoutOfWeights(Emitter &e, uint32_t threshold, uint64_t site, mlir::Value key, mlir::Value head);

  Emitter &e;
  uint32_t threshold;
  mlir::Value seedKey, high;
};

} // namespace ds
#endif // DS_TARGET_CPU_ELEMENTWISE_H
