// Keys or values of all sequences, whether they lie in cache blocks or in a packed buffer.
#ifndef LIB_TARGET_CUDA_CACHEVIEW_H
#define LIB_TARGET_CUDA_CACHEVIEW_H

#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/CacheLayout.h"
#include "ds/Target/CUDA/Kernel.h"

namespace ds {

/// Whether a write to a cache, or what attention reads, is codes.
inline bool isOfCodes(mlir::Value cache) {
  return mlir::isa<QuantizedType>(mlir::cast<mlir::ShapedType>(cache.getType()).getElementType());
}

/// One head of one sequence is `capacity / 16` blocks of `layout`, of f32, bf16 or codes; keys in words of 4 bytes, as it says of GPUs.
/// Offsets in a head are i32 and in bytes.
struct GpuCacheView {
  const KernelOperand *operand;
  ds_plan::CacheKind kind;
  int64_t heads, headSize;
  ds_plan::CacheLayout layout;
  mlir::Value capacity; // i32, slots of a sequence, a multiple of 16: the context, or T rounded up

  /// `operand` has passed `check`.
  GpuCacheView(GpuBody &body, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads);
  /// Fails when `operand` is no cache of this kind, of f32, bf16 or codes, nor a packed buffer of f32.
  static llvm::Error check(const GpuKernel &kernel, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads);
  /// How heads of `operand` lie.
  static ds_plan::CacheLayout layoutOf(const KernelOperand &operand, int64_t heads);

  bool hasCodes() const { return layout.hasCodes; }
  /// Elements in 4 bytes.
  static int64_t wordElements(const ds_plan::CacheLayout &layout) { return 4 / layout.elementBytes; }

  /// First byte of head `head` of sequence `b`, both i32.
  mlir::Value head(GpuEmitter &e, mlir::Value b, mlir::Value head) const;
  /// Offset of the first element of values of a slot.
  mlir::Value row(GpuEmitter &e, mlir::Value slot) const;
  /// The scale of the codes of a slot.
  mlir::Value scale(GpuEmitter &e, mlir::Value head, mlir::Value slot) const;

  /// Stores some f32, 4 or one, from element `d` of a slot on, a multiple of their number, rounded where the cache is of bf16. Of no codes.
  void store(GpuEmitter &e, mlir::Value head, mlir::Value slot, mlir::Value d, mlir::Value values) const;
  /// The threads of a warp store the codes of a slot and their scale (`ds.cache_append`); `valueAt` gives an element of the head, f32.
  void storeCodes(GpuEmitter &e, mlir::Value head, mlir::Value slot, llvm::function_ref<mlir::Value(mlir::Value d)> valueAt) const;

private:
  /// Address of element `d` of the head at slot `slot`, from its first byte on.
  mlir::Value element(GpuEmitter &e, mlir::Value head, mlir::Value slot, mlir::Value d) const;
};

} // namespace ds
#endif // LIB_TARGET_CUDA_CACHEVIEW_H
