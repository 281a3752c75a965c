#include "Attention.h"
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

static constexpr double log2OfE = 1.4426950408889634;

llvm::Expected<GpuAttention> GpuAttention::get(GpuKernel &kernel) {
  auto op = onlyOp<AttentionOp>(kernel);
  const KernelOperand *query = op ? operandOf(kernel, op.getQuery()) : nullptr;
  if (!isF32Rows(query) || !isF32Rows(&kernel.outs[0]))
    return kernel.error("expects one attention over f32 rows");
  if (op.getSeed())
    return kernel.error("expects attention without dropout");
  const KernelOperand *mask = operandOf(kernel, op.getMask()), *past = operandOf(kernel, op.getPast());
  if ((op.getMask() && !isI32Rows(mask)) || (op.getPast() && !isI32Rows(past)))
    return kernel.error("expects mask and past as i32 operands");
  const KernelOperand *slopes = operandOf(kernel, op.getSlopes());
  if (op.getSlopes() && (!slopes || slopes->kind != KernelOperand::Kind::weight || !slopes->element().isF32()))
    return kernel.error("expects slopes as an f32 weight");
  const KernelOperand *partials = kernel.aux.empty() ? nullptr : &kernel.aux.back();
  if (partials && (!isF32Rows(partials) || partials->rows != ds_plan::Rows::batch))
    return kernel.error("expects scratch memory as f32 rows of the batch");
  const KernelOperand *keys = operandOf(kernel, op.getKey()), *values = operandOf(kernel, op.getValue());
  int64_t kvHeads = op.getKvHeads();
  if (llvm::Error error = GpuCacheView::check(kernel, keys, ds_plan::CacheKind::keys, kvHeads))
    return std::move(error);
  if (llvm::Error error = GpuCacheView::check(kernel, values, ds_plan::CacheKind::values, kvHeads))
    return std::move(error);
  if (mask && keys->kind == KernelOperand::Kind::cache)
    return kernel.error("a mask covers the tokens of a step, so it cannot come with a cache");
  GpuAttention attention{op, keys->width() / kvHeads, 1, GpuCacheView::layoutOf(*keys, kvHeads), GpuCacheView::layoutOf(*values, kvHeads)};
  if (values->width() != keys->width() || query->width() != attention.heads() * attention.headSize)
    return kernel.error("expects queries, keys and values of one head size");
  if (attention.headSize % 4 != 0 || attention.headSize > 256)
    return kernel.error("expects a head size that is a multiple of 4 and at most 256, got " + llvm::Twine(attention.headSize));
  if (partials)
    attention.splits = std::max<int64_t>(1, partials->width() / (attention.heads() * attention.partialSize()));
  return attention;
}

float GpuAttention::scale() const { return static_cast<float>(AttentionOp(op).getScale().convertToDouble() * log2OfE); }

AttentionBody::AttentionBody(GpuAttention attention, GpuBody &body)
    : e(body.e), attention(attention), body(body), queryRows(*operandOf(body, attention.op.getQuery())), outputRows(body.outs[0]),
      mask(operandOf(body, attention.op.getMask())), past(operandOf(body, attention.op.getPast())),
      slopes(operandOf(body, attention.op.getSlopes())),
      keyCache(body, operandOf(body, attention.op.getKey()), ds_plan::CacheKind::keys, attention.kvHeads()),
      valueCache(body, operandOf(body, attention.op.getValue()), ds_plan::CacheKind::values, attention.kvHeads()) {}

Value AttentionBody::headOf(const KernelOperand &rows, Value b, Value token, Value h) {
  return elementOfRow(e, rows, e.add(e.mul(b, body.tokens), token), e.mul(h, attention.headSize));
}

Value AttentionBody::isShown(Value b, Value slot) {
  return e.ne(e.load(e.i32(), e.element(mask->pointer, e.i32(), e.add(e.mul(b, body.tokens), slot))), 0);
}

Value AttentionBody::slopeOf(Value h) { return e.mul(e.load(e.f32(), e.element(slopes->pointer, e.f32(), h)), e.constantF32(log2OfE)); }

Value AttentionBody::codeOf(Value word, int64_t which) {
  // Below an exponent of 23 a byte without a sign is 2^23 + byte.
  Value bytes = e.bitcast(e.bitXor(word, e.constantI32(static_cast<int32_t>(0x80808080))), e.vec(4, e.i8()));
  Value exponent = e.bitcast(e.constantI32(0x4b000000), e.vec(4, e.i8()));
  return e.sub(e.bitcast(e.shuffle(bytes, exponent, {which, 4, 5, 7}), e.f32()), e.constantF32(0x1p23f + 128));
}

Value AttentionBody::slotsOf(Value words, int64_t which) {
  if (attention.keys.elementBytes == 4)
    return e.bitcast(words, e.vec(4));
  if (attention.keys.elementBytes == 2)
    return which ? e.highOfPairs(words) : e.lowOfPairs(words);
  Value slots = e.zero(e.vec(4));
  for (int64_t i = 0; i < 4; ++i)
    slots = e.insert(codeOf(e.extract(words, i), which), slots, i);
  return slots;
}

Emitter::Values AttentionBody::elementsOf(Value words) {
  const int64_t count = Emitter::lanesOf(words);
  if (attention.values.elementBytes == 4)
    return {e.bitcast(words, e.vec(4))};
  Emitter::Values elements;
  if (attention.values.elementBytes == 2) {
    Value low = e.lowOfPairs(words), high = e.highOfPairs(words);
    for (int64_t i = 0; i < count; i += 2)
      elements.push_back(e.shuffle(low, high, {i, count + i, i + 1, count + i + 1}));
    return elements;
  }
  for (int64_t i = 0; i < count; ++i) {
    Value four = e.zero(e.vec(4));
    for (int64_t k = 0; k < 4; ++k)
      four = e.insert(codeOf(e.extract(words, i), k), four, k);
    elements.push_back(four);
  }
  return elements;
}

Value AttentionBody::reference(Value largest) {
  return e.select(e.eq(largest, e.infinity(e.f32(), /*negative=*/true)), e.constantF32(0), largest);
}

Value AttentionBody::inverse(Value sum) {
  Value zero = e.constantF32(0);
  return e.select(e.eq(sum, zero), zero, e.div(e.constantF32(1), sum));
}

llvm::Error ds::buildGpuAttention(GpuKernel &kernel) {
  llvm::Expected<GpuAttention> attention = GpuAttention::get(kernel);
  if (!attention)
    return attention.takeError();
  addAttentionDecode(kernel, *attention);
  addAttentionPrefill(kernel, *attention);
  return llvm::Error::success();
}
