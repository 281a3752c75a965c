// Keys or values of all sequences, whether they lie in cache blocks or in a packed buffer.
#ifndef LIB_TARGET_CUDA_CACHEVIEW_H
#define LIB_TARGET_CUDA_CACHEVIEW_H

#include "ds/Target/CUDA/Kernel.h"

namespace ds {

/// One head of one sequence is `capacity * headSize` f32: keys `[capacity / 16][headSize][16]`, values `[capacity][headSize]`. Offsets in
/// a head are i32.
struct GpuCacheView {
  const KernelOperand *operand;
  ds_plan::CacheKind kind;
  int64_t heads, headSize;
  mlir::Value capacity; // i32, slots of a sequence, a multiple of 16: the context, or T rounded up

  /// `operand` has passed `check`.
  GpuCacheView(GpuBody &body, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads);
  /// Fails when `operand` is no f32 cache of this kind, nor a packed buffer.
  static llvm::Error check(const GpuKernel &kernel, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads);

  /// First byte of head `head` of sequence `b`, both i32.
  mlir::Value head(GpuEmitter &e, mlir::Value b, mlir::Value head) const;
  /// Element `d` of the head at slot `slot`, from its first byte on.
  mlir::Value element(GpuEmitter &e, mlir::Value head, mlir::Value slot, mlir::Value d) const;
};

} // namespace ds
#endif // LIB_TARGET_CUDA_CACHEVIEW_H
