// How builders find their way in the region of a kernel. A context is that of a CPU kernel, or the kernel or body of a GPU stage.
#ifndef LIB_TARGET_CPU_KERNELREGION_H
#define LIB_TARGET_CPU_KERNELREGION_H

#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/Kernel.h"

namespace ds {

/// The operation of a region that holds just one, of this kind, and returns its result; null otherwise.
template <typename Op, typename Context> Op onlyOp(Context &context) {
  mlir::Block &body = context.kernel.getBody().front();
  if (!llvm::hasNItems(body, 2) || context.outs.size() != 1)
    return {};
  auto op = mlir::dyn_cast<Op>(&body.front());
  return op && body.getTerminator()->getOperand(0) == op->getResult(0) ? op : Op();
}

/// The operand that a value of the region stands for, null when it is computed in the region or absent.
template <typename Context> const KernelOperand *operandOf(Context &context, mlir::Value value) {
  auto argument = mlir::dyn_cast_if_present<mlir::BlockArgument>(value);
  return argument ? &context.ins[argument.getArgNumber()] : nullptr;
}

/// True for f32 rows of any width.
inline bool isF32Rows(const KernelOperand *operand) {
  return operand && operand->kind == KernelOperand::Kind::rows && operand->element().isF32();
}
/// True for rows of f32, or of bf16 or f16 that hold what was rounded to them.
inline bool isFloatRows(const KernelOperand *operand) {
  return isF32Rows(operand) || (operand && operand->kind == KernelOperand::Kind::rows && !operand->grouped &&
                                (operand->element().isBF16() || operand->element().isF16()));
}
/// Bytes of one value.
inline int64_t elementBytes(const KernelOperand &operand) { return operand.element().getIntOrFloatBitWidth() / 8; }
/// True for one i32 a row.
inline bool isI32Rows(const KernelOperand *operand) {
  return operand && operand->kind == KernelOperand::Kind::rows && operand->element().isInteger(32) && operand->width() == 1;
}

/// Element `index` of an i32 operand, as i64.
inline mlir::Value loadIndex(Emitter &e, const KernelOperand &operand, mlir::Value index) {
  return e.toI64(e.load(e.i32(), e.element(operand.pointer, e.i32(), index)));
}

/// The number that `scale` multiplies by; `controls` is the operand that its `scales` stand for.
inline mlir::Value loadControl(Emitter &e, ScaleOp scale, const KernelOperand &controls) {
  return e.load(e.f32(), e.element(controls.pointer, e.f32(), e.constant(scale.getIndex())));
}
/// True for the control of a step that has number `index`.
inline bool isControl(const KernelOperand &operand, int64_t index) {
  return isF32Rows(&operand) && operand.rows == ds_plan::Rows::single && index < operand.width();
}
/// True for the seed of `ds.dropout`.
inline bool isSeed(const KernelOperand &operand) {
  return operand.kind == KernelOperand::Kind::rows && operand.element().isInteger(32) && operand.rows == ds_plan::Rows::single &&
         operand.width() == 2;
}
/// Whether `operand` can be what `use` reads, one value for all elements: a control or a seed. Nothing where `use` reads elements.
inline std::optional<bool> canBeControl(const KernelOperand &operand, mlir::OpOperand &use) {
  if (auto scale = mlir::dyn_cast<ScaleOp>(use.getOwner()); scale && &use == &scale.getScalesMutable())
    return isControl(operand, scale.getIndex());
  if (auto dropout = mlir::dyn_cast<DropoutOp>(use.getOwner()); dropout && &use == &dropout.getSeedMutable())
    return isSeed(operand);
  return std::nullopt;
}

/// Copies `count` f32.
inline void copyValues(Emitter &e, mlir::Value from, mlir::Value to, int64_t count) {
  int64_t lanes = e.getLevel().lanes, whole = count / lanes * lanes;
  e.forRange(e.constant(0), e.constant(whole), lanes,
             [&](mlir::Value i) { e.store(e.load(e.vec(), e.element(from, e.f32(), i)), e.element(to, e.f32(), i)); });
  if (whole < count)
    e.storeFirst(e.loadFirst(e.at(from, whole * 4), count - whole, lanes), e.at(to, whole * 4), count - whole);
}

} // namespace ds
#endif // LIB_TARGET_CPU_KERNELREGION_H
