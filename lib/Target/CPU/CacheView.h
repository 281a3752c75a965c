// Keys or values of all sequences, whether they lie in cache blocks or in a packed buffer.
#ifndef LIB_TARGET_CPU_CACHEVIEW_H
#define LIB_TARGET_CPU_CACHEVIEW_H

#include "ds/Target/CPU/Kernel.h"

namespace ds {

/// One head of one sequence is `capacity * headSize` f32: keys `[capacity / 16][headSize][16]`, values `[capacity][headSize]`.
struct CacheView {
  const KernelOperand *operand;
  ds_plan::CacheKind kind;
  int64_t heads, headSize;
  mlir::Value capacity; // slots of a sequence, a multiple of 16: the context, or T rounded up

  /// Fails when `operand` is no f32 cache of this kind, nor a packed buffer.
  static llvm::Expected<CacheView> get(KernelContext &context, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads);

  /// First byte of sequence `b`.
  mlir::Value sequence(Emitter &e, mlir::Value b) const;
  /// First byte of a head, in a sequence.
  mlir::Value head(Emitter &e, mlir::Value sequence, mlir::Value head) const {
    return e.at(sequence, e.mul(e.mul(head, capacity), headSize * 4));
  }
};

} // namespace ds
#endif // LIB_TARGET_CPU_CACHEVIEW_H
