#include "Attention.h"

using namespace ds;
using mlir::Value;

/// Emits tokens `[first, first + rows of the block)` of head `h` of sequence `b`; rows behind the last token repeat it.
static void emitTokens(AttentionKernel &kernel, AttentionBlock &block, Value b, Value h, Value first, Value limit,
                       AttentionKernel::MaskOf mask, const ConvertedHead *converted) {
  KernelContext &context = kernel.context;
  Emitter &e = context.e;
  AttentionOp op = kernel.op;
  Value past = kernel.pastOf(b), kvHead = e.div(h, kernel.group()), zero = e.constant(0);
  Value slope = kernel.slopes ? e.load(e.f32(), e.element(kernel.slopes->pointer, e.f32(), h)) : Value();
  llvm::SmallVector<AttentionRow> rows;
  for (int64_t i = 0; i < block.rows(); ++i) {
    Value token = e.min(e.add(first, i), e.sub(context.tokens, 1)), row = e.add(e.mul(b, context.tokens), token);
    Value behind = e.add(e.add(past, token), 1); // its own place, plus 1
    Value end = op.getCausal() ? e.min(behind, limit) : limit;
    Value begin = op.getWindow() ? e.max(e.sub(behind, int64_t(*op.getWindow())), zero) : zero;
    rows.push_back({kernel.headOf(*kernel.query, row, h), kernel.headOf(context.outs[0], row, h), begin, end, slope, Value()});
  }
  AttentionKeys keys;
  keys.keys = converted ? converted->keys : kernel.keys.head(e, kernel.keys.sequence(e, b), kvHead);
  keys.values = converted ? converted->values : kernel.values.head(e, kernel.values.sequence(e, b), kvHead);
  keys.begin = rows.front().begin, keys.end = rows.back().end;
  keys.commonBegin = rows.back().begin, keys.commonEnd = rows.front().end;
  if (kernel.mask)
    keys.mask = e.element(kernel.mask->pointer, e.i32(), e.mul(b, context.tokens)), keys.holes = mask.holes;
  // Of the next tokens, or behind the last one of the next head.
  Value behindBlock = e.add(first, block.rows()), isLast = e.ge(behindBlock, context.tokens);
  Value next = e.select(isLast, e.constant(0), behindBlock), nextHead = e.select(isLast, e.add(h, 1), h);
  keys.nextQueries = kernel.headOf(*kernel.query, e.add(e.mul(b, context.tokens), next), nextHead);
  if (kernel.seed)
    keys.firstToken = first, keys.head = e.add(e.mul(b, kernel.heads()), h);
  block.emit(rows, keys);
}

namespace {
/// Blocks of queries that one kernel has: `few` for where few are left. Those of 16 bits share a head.
struct Blocks {
  AttentionBlock &whole, &few;
  ConvertedHead *head = nullptr;
};
} // namespace

/// Emits the tokens of all heads in `plain` blocks, or in `converted` ones, unless null, where 16 bits are worth it.
static void emitBlocks(AttentionKernel &kernel, const Blocks &plain, const Blocks *converted) {
  KernelContext &context = kernel.context;
  Emitter &e = context.e;
  Value blocks = e.ceilDiv(context.tokens, plain.whole.rows());
  context.forTiles(e.mul(e.mul(context.batch, kernel.heads()), blocks), [&](Value tile) {
    Value pair = e.div(tile, blocks), b = e.div(pair, kernel.heads()), h = e.rem(pair, kernel.heads());
    Value first = e.mul(e.rem(tile, blocks), plain.whole.rows()), left = e.sub(context.tokens, first);
    AttentionKernel::MaskOf mask = kernel.maskOf(b);
    Value limit = e.min(e.add(kernel.pastOf(b), context.tokens), kernel.keys.capacity);
    if (kernel.mask)
      limit = e.min(limit, mask.end);
    auto emit = [&](const Blocks &those) {
      if (those.head)
        those.head->take(b, e.div(h, kernel.group()), limit);
      auto emitFrom = [&](AttentionBlock &block, Value token) { emitTokens(kernel, block, b, h, token, limit, mask, those.head); };
      e.ifElse(
          e.le(left, 2 * those.few.rows()),
          [&] { e.forRange(first, context.tokens, those.few.rows(), [&](Value token) { emitFrom(those.few, token); }); },
          [&] { emitFrom(those.whole, first); });
    };
    if (converted)
      e.ifElse(converted->head->isWorthIt(limit), [&] { emit(*converted); }, [&] { emit(plain); });
    else
      emit(plain);
  });
}

void ds::emitAttentionPrefill(AttentionKernel &kernel) {
  KernelContext &context = kernel.context;
  // Register blocks are 12 rows by 2 vectors of 32 registers, 6 by 2 of 16; without multiply-add a product needs a register too.
  // Dropout takes rows by four.
  int64_t wholeRows = context.level.registers >= 32 ? 12 : kernel.seed ? 4 : context.level.fma ? 6 : 3;
  int64_t fewRows = kernel.seed ? 4 : wholeRows / 3;
  AttentionBlock whole(kernel, wholeRows), few(kernel, fewRows);
  auto emitConverted = [&](ConvertedHead &head, AttentionBlock &wholeOfHead, AttentionBlock &fewOfHead) {
    const Blocks converted{wholeOfHead, fewOfHead, &head};
    emitBlocks(kernel, {whole, few}, &converted);
  };
  if (HalvesOfHead::serves(kernel)) {
    HalvesOfHead head(kernel);
    HalvesBlock wholeHalves(kernel, head, wholeRows), fewHalves(kernel, head, fewRows);
    return emitConverted(head, wholeHalves, fewHalves);
  }
  if (PairsOfHead::serves(kernel)) {
    PairsOfHead head(kernel);
    const ds_plan::CacheLayout layout = ConvertedHead::layoutOf(kernel.headSize());
    AttentionBlock wholePairs(kernel, wholeRows, layout), fewPairs(kernel, fewRows, layout);
    return emitConverted(head, wholePairs, fewPairs);
  }
  emitBlocks(kernel, {whole, few}, nullptr);
}
