#include "Attention.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

namespace {
/// The share of a thread. A pair is a key head of a sequence, a chunk what one block takes of its query heads.
class Decode {
public:
  explicit Decode(AttentionKernel &kernel)
      : kernel(kernel), context(kernel.context), e(context.e), group(kernel.group()), kvHeads(kernel.op.getKvHeads()),
        blockRows(std::min<int64_t>(group, context.level.fma ? 6 : 3)), chunks(llvm::divideCeil(group, blockRows)),
        block(kernel, blockRows) {}
  void emit();

private:
  /// Decides whether the cache is shared out, and to how many pieces.
  void planPieces();
  /// Query heads `[begin, end)` of one pair with the pieces of this thread, which comes to `nextPair` behind it.
  void emitChunk(Value pair, Value nextPair, Value begin, Value end);
  void combine();
  void combineHead(Value pair, Value head, Value count);
  /// The worker that has piece `piece`, as all of them are numbered through the pairs.
  Value ownerOf(Value piece) { return e.div(e.sub(e.mul(e.add(piece, 1), workers), 1), allPieces); }
  Value partialOf(Value pair, Value head, Value slot) {
    int64_t size = kernel.partialSize(), slots = kernel.partials();
    Value b = e.div(pair, kvHeads), index = e.add(e.mul(e.add(e.mul(b, kernel.heads()), head), slots), slot);
    return e.element(kernel.scratch->pointer, e.f32(), e.mul(index, size));
  }

  AttentionKernel &kernel;
  KernelContext &context;
  Emitter &e;
  int64_t group, kvHeads, blockRows, chunks;
  AttentionBlock block;
  Value pairs;
  // With pieces; null without scratch.
  Value split;                 // i1
  Value pieces, allPieces;     // of one pair, 1 when not split; of all pairs
  Value workers;               // threads that have pieces
  Value firstPiece, lastPiece; // of this thread
};
} // namespace

void Decode::planPieces() {
  // A thread reads 16 keys of a head in about the time of a tenth of a barrier, so short contexts are not worth one.
  constexpr int64_t shortContext = 256;
  Value zero = e.constant(0), one = e.constant(1);
  Value longest = e.forRange(zero, context.batch, 1, ValueRange(zero),
                             [&](Value b, ValueRange carried) { return Emitter::Values{e.max(carried[0], kernel.pastOf(b))}; })[0];
  if (kernel.op.getWindow())
    longest = e.min(longest, int64_t(*kernel.op.getWindow()));
  split = e.bitAnd(e.gt(longest, shortContext), e.ne(e.rem(pairs, context.threads), 0));
  split = e.bitAnd(split, e.lt(pairs, e.mul(context.threads, 8)));
  pieces = e.select(split, e.min(context.threads, kernel.partials()), one);
  allPieces = e.mul(pairs, pieces);
  workers = e.min(context.threads, allPieces);
  Value worker = e.min(context.thread, workers);
  firstPiece = e.select(split, e.div(e.mul(allPieces, worker), workers), zero);
  lastPiece = e.div(e.mul(allPieces, e.min(e.add(worker, 1), workers)), workers);
  lastPiece = e.select(split, lastPiece, allPieces);
}

void Decode::emit() {
  int64_t heads = kernel.heads();
  pairs = e.mul(context.batch, kvHeads);
  // Without pieces threads share the query heads evenly, numbered through all sequences.
  auto [firstHead, endHead] = context.tilesOfThread(e.mul(context.batch, heads));
  auto chunkOf = [&](Value head) { return e.add(e.mul(e.div(head, group), chunks), e.div(e.rem(head, group), blockRows)); };
  Value firstChunk = chunkOf(firstHead), zero = e.constant(0);
  Value endChunk = e.select(e.lt(firstHead, endHead), e.add(chunkOf(e.sub(endHead, 1)), 1), zero);
  if (kernel.partials() > 1) {
    planPieces();
    Value endPair = e.div(e.sub(e.add(lastPiece, pieces), 1), pieces);
    firstChunk = e.select(split, e.mul(e.div(firstPiece, pieces), chunks), firstChunk);
    endChunk = e.select(split, e.select(e.lt(firstPiece, lastPiece), e.mul(endPair, chunks), zero), endChunk);
    firstHead = e.select(split, zero, firstHead);
    endHead = e.select(split, e.mul(context.batch, heads), endHead);
  }
  e.forRange(firstChunk, endChunk, 1, [&](Value chunk) {
    Value pair = e.div(chunk, chunks), groupBegin = e.mul(pair, group);
    Value chunkBegin = e.add(groupBegin, e.mul(e.rem(chunk, chunks), blockRows));
    Value chunkEnd = e.min(e.add(chunkBegin, blockRows), e.add(groupBegin, group));
    emitChunk(pair, e.div(e.min(e.add(chunk, 1), e.sub(endChunk, 1)), chunks), e.max(chunkBegin, firstHead), e.min(chunkEnd, endHead));
  });
  if (split)
    e.ifThen(split, [&] {
      context.meet();
      combine();
    });
}

void Decode::emitChunk(Value pair, Value nextPair, Value begin, Value end) {
  AttentionOp op = kernel.op;
  Value b = e.div(pair, kvHeads), kvHead = e.rem(pair, kvHeads), zero = e.constant(0);
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
  // The caches of heads lie far apart, and a processor asks for what follows within a page alone: those of the next pair are asked for,
  // where its keys are as many.
  Value nextB = e.div(nextPair, kvHeads), nextHead = e.rem(nextPair, kvHeads);
  Value asks = e.ge(kernel.pastOf(nextB), kernel.pastOf(b));
  if (split)
    asks = e.bitAnd(asks, e.eq(pieces, 1));
  auto ahead = [&](const CacheView &view, Value head) {
    Value next = view.head(e, view.sequence(e, nextB), nextHead);
    return e.select(asks, e.distance(head, next), zero);
  };
  keys.aheadKeys = ahead(kernel.keys, keys.keys);
  keys.aheadValues = ahead(kernel.values, keys.values);
  keys.begin = op.getWindow() ? e.max(e.sub(behind, int64_t(*op.getWindow())), zero) : zero;
  Value slot;
  if (split) {
    Value own = e.mul(pair, pieces), first = e.max(e.sub(firstPiece, own), zero), last = e.min(e.sub(lastPiece, own), pieces);
    keys.isPartial = e.lt(e.sub(last, first), pieces);
    // Pieces are whole blocks of 16 keys.
    Value start = e.div(keys.begin, 16), blocks = e.sub(e.ceilDiv(keys.end, 16), start);
    auto keyOf = [&](Value piece) { return e.mul(e.add(start, e.div(e.mul(blocks, piece), pieces)), 16); };
    Value pieceEnd = e.min(keys.end, keyOf(last));
    keys.begin = e.max(keys.begin, keyOf(first));
    keys.end = pieceEnd;
    slot = e.sub(context.thread, ownerOf(own));
  }
  keys.commonBegin = keys.begin, keys.commonEnd = keys.end;
  llvm::SmallVector<AttentionRow> rows;
  for (int64_t i = 0; i < blockRows; ++i) {
    Value h = e.rem(e.min(e.add(begin, i), e.sub(end, 1)), kernel.heads());
    AttentionRow row;
    row.query = kernel.headOf(*kernel.query, b, h), row.output = kernel.headOf(context.outs[0], b, h);
    row.begin = keys.begin, row.end = keys.end;
    row.slope = kernel.slopes ? e.load(e.f32(), e.element(kernel.slopes->pointer, e.f32(), h)) : Value();
    row.partial = split ? partialOf(pair, h, e.select(keys.isPartial, slot, zero)) : Value();
    rows.push_back(row);
  }
  block.emit(rows, keys);
}

/// The worker with the first piece of a pair combines it, if others have pieces of it too. Only its last pair can be one.
void Decode::combine() {
  e.ifThen(e.lt(firstPiece, lastPiece), [&] {
    Value pair = e.div(e.sub(lastPiece, 1), pieces), own = e.mul(pair, pieces), end = e.add(own, pieces);
    e.ifThen(e.bitAnd(e.ge(own, firstPiece), e.gt(end, lastPiece)), [&] {
      Value count = e.add(e.sub(ownerOf(e.sub(end, 1)), context.thread), 1);
      Value groupBegin = e.mul(e.rem(pair, kvHeads), group);
      e.forRange(groupBegin, e.add(groupBegin, group), 1, [&](Value head) { combineHead(pair, head, count); });
    });
  });
}

void Decode::combineHead(Value pair, Value head, Value count) {
  int64_t lanes = context.level.lanes, headSize = kernel.headSize(), vectors = llvm::divideCeil(headSize, lanes);
  Value zero = e.constant(0), zeroF32 = e.constantF32(0), lowest = e.infinity(e.f32(), /*negative=*/true);
  auto maximumOf = [&](Value slot) { return e.load(e.f32(), e.at(partialOf(pair, head, slot), 4)); };
  Value most = e.forRange(zero, count, 1, ValueRange(lowest),
                          [&](Value slot, ValueRange carried) { return Emitter::Values{e.max(maximumOf(slot), carried[0])}; })[0];
  Value against = e.select(e.eq(most, lowest), zeroF32, most);
  Emitter::Values sums(vectors, e.zero(e.vec()));
  sums.push_back(zeroF32);
  sums = e.forRange(zero, count, 1, ValueRange(sums), [&](Value slot, ValueRange carried) {
    Value partial = partialOf(pair, head, slot), weight = emitExp2NonPositive(e, e.sub(maximumOf(slot), against));
    Emitter::Values next;
    for (int64_t v = 0; v < vectors; ++v)
      next.push_back(e.fma(e.splat(weight), e.load(e.vec(), e.at(partial, 64 + v * lanes * 4)), carried[v]));
    next.push_back(e.fma(weight, e.load(e.f32(), partial), carried[vectors]));
    return next;
  });
  Value sum = sums.back(), scale = e.splat(e.select(e.eq(sum, zeroF32), zeroF32, e.div(e.constantF32(1), sum)));
  Value output = kernel.headOf(context.outs[0], e.div(pair, kvHeads), head);
  for (int64_t v = 0; v < vectors; ++v)
    e.storeFirst(e.mul(sums[v], scale), e.at(output, v * lanes * 4), headSize - v * lanes);
}

void ds::emitAttentionDecode(AttentionKernel &kernel) { Decode(kernel).emit(); }
