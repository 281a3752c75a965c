#include "CacheView.h"

using namespace ds;
using mlir::Value;

llvm::Expected<CacheView> CacheView::get(KernelContext &context, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads) {
  Emitter &e = context.e;
  bool isCache = operand && operand->kind == KernelOperand::Kind::cache,
       isNarrow = isCache && (operand->element().isBF16() || operand->element().isInteger(8));
  if (!operand || !(operand->element().isF32() || isNarrow) || operand->width() % heads != 0)
    return context.error("expects keys and values to be f32 operands of " + llvm::Twine(heads) + " heads, or bf16 or codes in a cache");
  if (isCache ? operand->cacheKind != kind || operand->kvHeads != heads || operand->type.getDimSize(0) % 16 != 0
              : operand->kind != KernelOperand::Kind::rows || operand->rows != ds_plan::Rows::packed)
    return context.error("expects " + ds_plan::stringifyCacheKind(kind) + " in a cache of that kind or in packed rows");
  Value capacity = isCache ? e.constant(operand->type.getDimSize(0)) : e.roundUp(context.tokens, 16);
  const int64_t headSize = operand->width() / heads;
  return CacheView{operand,  kind,     heads,
                   headSize, capacity, ds_plan::CacheLayout(headSize, operand->element().getIntOrFloatBitWidth() / 8)};
}

Value CacheView::sequence(Emitter &e, Value b) const {
  if (operand->kind == KernelOperand::Kind::cache)
    return e.at(e.load(e.ptr(), e.element(operand->pointer, e.ptr(), b)), operand->cacheOffset);
  return e.at(operand->pointer, e.mul(e.mul(b, capacity), operand->width() * 4));
}
