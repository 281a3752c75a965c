#include "Attention.h"

using namespace ds;
using mlir::Value;

void ds::emitAttentionDecode(AttentionKernel &kernel) {
  KernelContext &context = kernel.context;
  Emitter &e = context.e;
  AttentionOp op = kernel.op;
  int64_t heads = kernel.heads(), group = kernel.group();
  int64_t blockRows = std::min<int64_t>(group, context.level.fma ? 6 : 3), chunks = llvm::divideCeil(group, blockRows);
  AttentionBlock block(kernel, blockRows);
  // Threads share the query heads evenly; a chunk is what a thread has of the heads of one key head.
  auto [first, last] = context.tilesOfThread(e.mul(context.batch, heads));
  auto chunkOf = [&](Value head) { return e.add(e.mul(e.div(head, group), chunks), e.div(e.rem(head, group), blockRows)); };
  Value firstHead = first, endHead = last;
  Value endChunk = e.select(e.lt(firstHead, endHead), e.add(chunkOf(e.sub(endHead, 1)), 1), e.constant(0));
  e.forRange(chunkOf(firstHead), endChunk, 1, [&](Value chunk) {
    Value pair = e.div(chunk, chunks), groupBegin = e.mul(pair, group); // heads are numbered through all sequences
    Value chunkBegin = e.add(groupBegin, e.mul(e.rem(chunk, chunks), blockRows));
    Value chunkEnd = e.min(e.add(chunkBegin, blockRows), e.add(groupBegin, group));
    Value begin = e.max(chunkBegin, firstHead), end = e.min(chunkEnd, endHead);
    Value b = e.div(pair, op.getKvHeads()), kvHead = e.rem(pair, op.getKvHeads()), zero = e.constant(0);
    Value behind = e.add(kernel.pastOf(b), 1);
    AttentionKernel::MaskOf mask = kernel.maskOf(b);
    AttentionKeys keys;
    keys.keys = kernel.keys.head(e, kernel.keys.sequence(e, b), kvHead);
    keys.values = kernel.values.head(e, kernel.values.sequence(e, b), kvHead);
    keys.end = e.min(behind, kernel.keys.capacity);
    if (kernel.mask) {
      keys.end = e.min(keys.end, mask.end);
      keys.mask = e.element(kernel.mask->pointer, e.i32(), b), keys.holes = mask.holes;
    }
    keys.begin = op.getWindow() ? e.max(e.sub(behind, int64_t(*op.getWindow())), zero) : zero;
    keys.commonBegin = keys.begin, keys.commonEnd = keys.end;
    llvm::SmallVector<AttentionRow> rows;
    for (int64_t i = 0; i < blockRows; ++i) {
      Value h = e.rem(e.min(e.add(begin, i), e.sub(end, 1)), heads);
      Value slope = kernel.slopes ? e.load(e.f32(), e.element(kernel.slopes->pointer, e.f32(), h)) : Value();
      rows.push_back({kernel.headOf(*kernel.query, b, h), kernel.headOf(context.outs[0], b, h), keys.begin, keys.end, slope});
    }
    block.emit(rows, keys);
  });
}
