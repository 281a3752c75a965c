#include "CacheView.h"

using namespace ds;
using mlir::Value;

llvm::Expected<CacheView> CacheView::get(KernelContext &context, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads) {
  Emitter &e = context.e;
  const bool isCache = operand && operand->kind == KernelOperand::Kind::cache;
  const bool isBf16 = operand && operand->element().isBF16(), isNarrow = isBf16 || (isCache && operand->element().isInteger(8));
  if (!operand || !(operand->element().isF32() || isNarrow) || operand->width() % heads != 0)
    return context.error("expects keys and values of " + llvm::Twine(heads) + " heads in f32 or bf16, or codes in a cache");
  if (isCache ? operand->cacheKind != kind || operand->kvHeads != heads || operand->type.getDimSize(0) % 16 != 0
              : operand->kind != KernelOperand::Kind::rows || operand->rows != ds_plan::Rows::packed)
    return context.error("expects " + ds_plan::stringifyCacheKind(kind) + " in a cache of that kind or in packed rows");
  Value capacity = isCache ? e.constant(operand->type.getDimSize(0)) : e.roundUp(context.tokens, 16);
  const int64_t headSize = operand->width() / heads;
  if (isBf16 && !isCache && headSize % ds_plan::CacheLayout::pairedHead != 0)
    return context.error("expects packed bf16 of heads of a multiple of " + llvm::Twine(ds_plan::CacheLayout::pairedHead) + ", got " +
                         llvm::Twine(headSize));
  const ds_plan::CacheLayout layout(headSize, operand->element().getIntOrFloatBitWidth() / 8, /*hasPairs=*/isBf16 && !isCache);
  return CacheView{operand, kind, heads, headSize, capacity, layout};
}

Value CacheView::load(Emitter &e, Value place, int64_t count) const {
  const int64_t lanes = e.getLevel().lanes;
  if (!layout.hasCodes)
    return e.loadRow(element(), place, count, lanes);
  // Rows of codes are padded to whole vectors.
  return e.toF32(e.toI32(e.load(e.vec(lanes, e.i8()), place)));
}

Value CacheView::sequence(Emitter &e, Value b) const {
  if (operand->kind == KernelOperand::Kind::cache)
    return e.at(e.load(e.ptr(), e.element(operand->pointer, e.ptr(), b)), operand->cacheOffset);
  return e.at(operand->pointer, e.mul(e.mul(b, capacity), operand->width() * layout.elementBytes));
}
