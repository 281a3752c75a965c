#include "CacheView.h"

using namespace ds;
using mlir::Value;

static bool isCache(const KernelOperand &operand) { return operand.kind == KernelOperand::Kind::cache; }

llvm::Error GpuCacheView::check(const GpuKernel &kernel, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads) {
  if (!operand || !operand->element().isF32() || operand->width() % heads != 0)
    return kernel.error("expects keys and values to be f32 operands of " + llvm::Twine(heads) + " heads");
  if (isCache(*operand) ? operand->cacheKind != kind || operand->kvHeads != heads || operand->type.getDimSize(0) % 16 != 0
                        : operand->kind != KernelOperand::Kind::rows || operand->rows != ds_plan::Rows::packed)
    return kernel.error("expects " + ds_plan::stringifyCacheKind(kind) + " in a cache of that kind or in packed rows");
  return llvm::Error::success();
}

GpuCacheView::GpuCacheView(GpuBody &body, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads)
    : operand(operand), kind(kind), heads(heads), headSize(operand->width() / heads),
      capacity(isCache(*operand) ? body.e.index(operand->type.getDimSize(0)) : body.e.roundUp(body.tokens, 16)) {}

Value GpuCacheView::head(GpuEmitter &e, Value b, Value head) const {
  Value inSequence = e.mul(e.toI64(e.mul(head, capacity)), headSize * 4);
  if (isCache(*operand))
    return e.at(e.at(e.load(e.ptr(), e.element(operand->pointer, e.ptr(), b)), operand->cacheOffset), inSequence);
  return e.at(e.at(operand->pointer, e.mul(e.toI64(e.mul(b, capacity)), operand->width() * 4)), inSequence);
}

Value GpuCacheView::element(GpuEmitter &e, Value head, Value slot, Value d) const {
  Value index = kind == ds_plan::CacheKind::values
                    ? e.add(e.mul(slot, headSize), d)
                    : e.add(e.mul(e.add(e.mul(e.shiftRight(slot, 4), headSize), d), 16), e.bitAnd(slot, e.index(15)));
  return e.element(head, e.f32(), index);
}
