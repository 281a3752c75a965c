#include "CacheView.h"

using namespace ds;
using mlir::Value;

static bool isCache(const KernelOperand &operand) { return operand.kind == KernelOperand::Kind::cache; }

llvm::Error GpuCacheView::check(const GpuKernel &kernel, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads) {
  const bool isBf16 = operand && operand->element().isBF16(), isCodes = operand && operand->element().isInteger(8);
  const bool isNarrow = operand && isCache(*operand) && (isBf16 || isCodes);
  if (!operand || !(operand->element().isF32() || isNarrow) || operand->width() % heads != 0)
    return kernel.error("expects keys and values to be f32 operands of " + llvm::Twine(heads) + " heads, or bf16 or codes in a cache");
  if (isCache(*operand) ? operand->cacheKind != kind || operand->kvHeads != heads || operand->type.getDimSize(0) % 16 != 0
                        : operand->kind != KernelOperand::Kind::rows || operand->rows != ds_plan::Rows::packed)
    return kernel.error("expects " + ds_plan::stringifyCacheKind(kind) + " in a cache of that kind or in packed rows");
  if (const int64_t headSize = operand->width() / heads; isNarrow && headSize % 4 != 0)
    return kernel.error("expects a head size that is a multiple of 4 in a cache of " + llvm::Twine(isCodes ? "codes" : "bf16") + ", got " +
                        llvm::Twine(headSize));
  return llvm::Error::success();
}

ds_plan::CacheLayout GpuCacheView::layoutOf(const KernelOperand &operand, int64_t heads) {
  return ds_plan::CacheLayout(operand.width() / heads, operand.element().getIntOrFloatBitWidth() / 8);
}

GpuCacheView::GpuCacheView(GpuBody &body, const KernelOperand *operand, ds_plan::CacheKind kind, int64_t heads)
    : operand(operand), kind(kind), heads(heads), headSize(operand->width() / heads), layout(layoutOf(*operand, heads)),
      capacity(isCache(*operand) ? body.e.index(operand->type.getDimSize(0)) : body.e.roundUp(body.tokens, 16)) {}

Value GpuCacheView::head(GpuEmitter &e, Value b, Value head) const {
  Value inSequence = e.mul(e.toI64(e.mul(head, capacity)), layout.slotBytes());
  if (isCache(*operand))
    return e.at(e.at(e.load(e.ptr(), e.element(operand->pointer, e.ptr(), b)), operand->cacheOffset), inSequence);
  return e.at(e.at(operand->pointer, e.mul(e.toI64(e.mul(b, capacity)), operand->width() * 4)), inSequence);
}

Value GpuCacheView::row(GpuEmitter &e, Value slot) const {
  if (!hasCodes())
    return e.mul(slot, layout.rowBytes());
  Value inBlock = e.add(e.mul(e.bitAnd(slot, e.index(15)), layout.rowBytes()), layout.scaleBytes());
  return e.add(e.mul(e.shiftRight(slot, 4), layout.blockBytes()), inBlock);
}

Value GpuCacheView::scale(GpuEmitter &e, Value head, Value slot) const {
  return e.at(head, e.add(e.mul(e.shiftRight(slot, 4), layout.blockBytes()), e.mul(e.bitAnd(slot, e.index(15)), 4)));
}

Value GpuCacheView::element(GpuEmitter &e, Value head, Value slot, Value d) const {
  if (kind == ds_plan::CacheKind::values)
    return e.at(head, e.add(row(e, slot), e.mul(d, layout.elementBytes)));
  const int64_t inWord = wordElements(layout);
  Value block = e.add(e.mul(e.shiftRight(slot, 4), layout.blockBytes()), layout.scaleBytes());
  Value word = e.add(e.mul(e.div(d, inWord), 64), e.mul(e.bitAnd(slot, e.index(15)), 4));
  return e.at(head, e.add(e.add(block, word), e.mul(e.bitAnd(d, e.index(inWord - 1)), layout.elementBytes)));
}

void GpuCacheView::store(GpuEmitter &e, Value head, Value slot, Value d, Value values) const {
  const int64_t lanes = Emitter::lanesOf(values), inWord = wordElements(layout);
  const bool isRow = kind == ds_plan::CacheKind::values;
  if (lanes == 1)
    return e.store(inWord == 1 ? values : e.truncate(e.pack(MmaType::bf16, values, values), e.i16()), element(e, head, slot, d));
  if (inWord == 1 && isRow)
    return e.store(values, element(e, head, slot, d), static_cast<unsigned>(lanes * 4));
  for (int64_t i = 0; i < lanes; i += inWord) {
    Value word = inWord == 1 ? e.extract(values, i) : e.pack(MmaType::bf16, e.extract(values, i), e.extract(values, i + 1));
    e.store(word, element(e, head, slot, e.add(d, i)));
  }
}

/// As the CPU rounds them (StoreCache.cpp there), bit for bit. A lane has 4 elements, which are one word of keys and of values.
void GpuCacheView::storeCodes(GpuEmitter &e, Value head, Value slot, llvm::function_ref<Value(Value)> valueAt) const {
  constexpr int64_t lanes = 4, stride = lanes * GpuEmitter::warpThreads;
  Emitter::Values first, values;
  // As integers magnitudes have the order of floats, and what is not finite is greater than all that is.
  Value largest = e.index(0);
  for (int64_t i = 0; i < headSize; i += stride) {
    first.push_back(e.add(e.mul(e.lane(), lanes), i));
    // Lanes behind the head repeat its end.
    Value from = i + stride > headSize ? e.min(first.back(), headSize - lanes) : first.back();
    for (int64_t k = 0; k < lanes; ++k) {
      values.push_back(valueAt(e.add(from, k)));
      largest = e.max(e.bitAnd(e.bitcast(values.back(), e.i32()), e.index(0x7fffffff)), largest);
    }
  }
  Value bits = e.warpMax(largest), zero = e.constantF32(0), one = e.constantF32(1);
  Value scale = e.div(e.bitcast(bits, e.f32()), e.constantF32(127));
  Value isFinite = e.lt(bits, 0x7f800000), isNormal = e.ge(scale, e.constantF32(0x1p-126f));
  Value stored = e.select(isFinite, e.select(isNormal, scale, zero), e.bitcast(e.index(0x7fc00000), e.f32()));
  Value inverse = e.select(e.bitAnd(isFinite, isNormal), e.div(one, scale), zero);
  e.ifThen(e.eq(e.lane(), 0), [&] { e.store(stored, this->scale(e, head, slot)); });
  for (size_t i = 0; i < first.size(); ++i) {
    Value word;
    for (int64_t k = 0; k < lanes; ++k) {
      // `min` gives its second operand for a NaN, so that none is converted.
      Value rounded = e.roundEven(e.min(e.mul(values[i * lanes + k], inverse), e.constantF32(127)));
      Value byte = e.shiftLeft(e.bitAnd(e.toI32(rounded), e.index(255)), 8 * k);
      word = word ? e.bitOr(word, byte) : byte;
    }
    auto write = [&] { e.store(word, element(e, head, slot, first[i])); };
    if (static_cast<int64_t>(i + 1) * stride <= headSize)
      write();
    else
      e.ifThen(e.lt(first[i], headSize), write);
  }
}
