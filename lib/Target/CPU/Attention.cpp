#include "Attention.h"
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

llvm::Expected<AttentionKernel> AttentionKernel::get(KernelContext &context) {
  auto op = onlyOp<AttentionOp>(context);
  const KernelOperand *query = op ? operandOf(context, op.getQuery()) : nullptr;
  if (!isFloatRows(query) || !isF32Rows(&context.outs[0]))
    return context.error("expects one attention over f32 rows");
  const KernelOperand *mask = operandOf(context, op.getMask()), *past = operandOf(context, op.getPast());
  const KernelOperand *slopes = operandOf(context, op.getSlopes()), *seed = operandOf(context, op.getSeed());
  if ((op.getMask() && !isI32Rows(mask)) || (op.getPast() && !isI32Rows(past)))
    return context.error("expects mask and past as i32 operands");
  if (op.getSlopes() && (!slopes || slopes->kind != KernelOperand::Kind::weight || !slopes->element().isF32()))
    return context.error("expects slopes as an f32 weight");
  if (op.getSeed() && (!seed || !isSeed(*seed)))
    return context.error("expects the seed of dropout as two i32");
  const KernelOperand *scratch = context.aux.empty() ? nullptr : &context.aux.back();
  if (scratch && (!isF32Rows(scratch) || scratch->rows != ds_plan::Rows::batch))
    return context.error("expects scratch memory as f32 rows of the batch");
  int64_t kvHeads = op.getKvHeads();
  llvm::Expected<CacheView> keys = CacheView::get(context, operandOf(context, op.getKey()), ds_plan::CacheKind::keys, kvHeads);
  if (!keys)
    return keys.takeError();
  llvm::Expected<CacheView> values = CacheView::get(context, operandOf(context, op.getValue()), ds_plan::CacheKind::values, kvHeads);
  if (!values)
    return values.takeError();
  if (mask && keys->operand->kind == KernelOperand::Kind::cache)
    return context.error("a mask covers the tokens of a step, so it cannot come with a cache");
  if (values->element() != keys->element())
    return context.error("expects keys and values both of f32, of bf16 or of codes");
  if (values->headSize != keys->headSize || query->width() != int64_t(op.getHeads()) * keys->headSize)
    return context.error("expects queries, keys and values of one head size");
  return AttentionKernel{context, op, query, mask, past, slopes, seed, scratch, *keys, *values, Value()};
}

Value AttentionKernel::pastOf(Value b) { return past ? loadIndex(context.e, *past, b) : context.e.constant(0); }

Value AttentionKernel::headOf(const KernelOperand &rows, Value row, Value h) {
  Emitter &e = context.e;
  return e.element(rows.pointer, rows.element(), e.add(e.mul(row, rows.width()), e.mul(h, headSize())));
}

/// Finds the last token that is seen, and whether one before it is not.
void AttentionKernel::scanMask(Value b) {
  Emitter &e = context.e;
  int64_t lanes = context.level.lanes;
  mlir::VectorType type = e.vec(lanes, e.i32());
  Value start = e.element(mask->pointer, e.i32(), e.mul(b, context.tokens));
  Emitter::Values none = {e.zero(type), e.zero(type)};
  Emitter::Values found = e.forRange(e.constant(0), context.tokens, lanes, none, [&](Value t, mlir::ValueRange carried) {
    Value flags = e.maskedLoad(type, e.element(start, e.i32(), t), e.laneMask(e.sub(context.tokens, t), lanes));
    Value seen = e.ne(flags, 0), behind = e.add(e.iota(lanes, e.i32()), e.toI32(e.add(t, 1)));
    return Emitter::Values{e.select(seen, behind, carried[0]), e.add(carried[1], e.select(seen, e.constantOf(type, 1), e.zero(type)))};
  });
  Value end = e.toI64(e.reduceMax(found[0])), seen = e.toI64(e.reduceAdd(found[1]));
  e.store(b, maskState);
  e.store(end, e.at(maskState, 8));
  e.store(e.sub(end, seen), e.at(maskState, 16));
}

AttentionKernel::MaskOf AttentionKernel::maskOf(Value b) {
  Emitter &e = context.e;
  if (!mask)
    return {};
  e.ifThen(e.ne(e.load(e.i64(), maskState), b), [&] { scanMask(b); });
  return {e.load(e.i64(), e.at(maskState, 8)), e.ne(e.load(e.i64(), e.at(maskState, 16)), 0)};
}

llvm::Error ds::buildAttention(KernelContext &context) {
  llvm::Expected<AttentionKernel> kernel = AttentionKernel::get(context);
  if (!kernel)
    return kernel.takeError();
  Emitter &e = context.e;
  if (kernel->mask) {
    kernel->maskState = e.stack(24);
    e.store(e.constant(-1), kernel->maskState);
  }
  // Steps of one token are those of decoding, which drops nothing.
  if (kernel->seed)
    emitAttentionPrefill(*kernel);
  else
    e.ifElse(e.eq(context.tokens, 1), [&] { emitAttentionDecode(*kernel); }, [&] { emitAttentionPrefill(*kernel); });
  return llvm::Error::success();
}
