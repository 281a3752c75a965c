// Keys or values of all sequences, whether they lie in cache blocks or in a packed buffer.
#ifndef LIB_TARGET_CPU_CACHEVIEW_H
#define LIB_TARGET_CPU_CACHEVIEW_H

#include "dialects/DSPlan/CacheLayout.h"
#include "ds/Target/CPU/Kernel.h"

namespace ds {

/// One head of one sequence is `capacity / 16` blocks of `layout`, of f32, bf16 or codes.
struct CacheView {
  const KernelOperand *operand;
  ds_plan::CacheKind kind;
  int64_t heads, headSize;
  mlir::Value capacity; // slots of a sequence, a multiple of 16: the context, or T rounded up
  ds_plan::CacheLayout layout;

  bool hasCodes() const { return layout.hasCodes; }
  mlir::Type element() const { return operand->element(); }

  /// Fails when `operand` is no cache of this kind, of f32, bf16 or codes, nor a packed buffer of f32 or of bf16 in pairs.
  static llvm::Expected<CacheView> get(KernelContext &context, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads);

  /// A vector from `place` on as f32, `count` of whose numbers are of the head; codes are without their scales.
  mlir::Value load(Emitter &e, mlir::Value place, int64_t count) const;
  /// First byte of sequence `b`.
  mlir::Value sequence(Emitter &e, mlir::Value b) const;
  /// First byte of a head, in a sequence.
  mlir::Value head(Emitter &e, mlir::Value sequence, mlir::Value head) const {
    return e.at(sequence, e.mul(e.mul(head, capacity), layout.slotBytes()));
  }
};

} // namespace ds
#endif // LIB_TARGET_CPU_CACHEVIEW_H
