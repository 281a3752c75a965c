// One token of each sequence. The warps of a block work alone until the end: a step of a warp is 32 keys, whose scores end up one in each
// lane.
#include "Attention.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

namespace {

constexpr int64_t threads = 256, warps = threads / GpuEmitter::warpThreads, stepKeys = 32;
/// Loads of 16 bytes that a thread has in flight at least.
constexpr int64_t loadsAtOnce = 8;
/// Query heads whose sums leave registers for more of a narrow cache at once.
constexpr int64_t someHeads = 4;

/// How the work is cut, known at compile time.
struct DecodeShape {
  explicit DecodeShape(const GpuAttention &attention)
      : headSize(attention.headSize), chunks(llvm::divideCeil(attention.group(), 8)), heads(llvm::divideCeil(attention.group(), chunks)),
        headStride(static_cast<int64_t>(llvm::PowerOf2Ceil(heads))), pairs(attention.kvHeads() * chunks),
        wordElements(GpuCacheView::wordElements(attention.keys)), pieceWords(wordsOfPiece(attention.values)),
        pieceElements(pieceWords * GpuCacheView::wordElements(attention.values)), pieces(llvm::divideCeil(headSize, pieceElements)),
        rowLanes(std::min<int64_t>(GpuEmitter::warpThreads, static_cast<int64_t>(llvm::PowerOf2Ceil(pieces)))),
        rowsAtOnce(GpuEmitter::warpThreads / rowLanes), lines(llvm::divideCeil(pieces, GpuEmitter::warpThreads)),
        keysAtOnce(attention.keys.elementBytes < 4 && heads > someHeads ? loadsAtOnce / 2 : loadsAtOnce) {}

  int64_t headSize;
  int64_t chunks, heads;                                 // of the query heads of a key head; heads of a chunk, the last one may have fewer
  int64_t headStride;                                    // of queries in shared memory
  int64_t pairs;                                         // of key head and chunk
  int64_t wordElements;                                  // elements of a key in 4 bytes
  int64_t pieceWords, pieceElements, pieces;             // of a row of values, that a lane loads at once
  int64_t rowLanes;                                      // lanes that have a row of values, a piece each
  int64_t rowsAtOnce;                                    // rows of values that a warp loads at once
  int64_t lines;                                         // pieces of a row that a lane has
  int64_t keysAtOnce;                                    // loads of keys of a block of 16 slots
  int64_t loadDepth() const { return 8 * wordElements; } // elements of a load of keys
  int64_t depth() const { return static_cast<int64_t>(llvm::alignTo(headSize, loadDepth())); }
  int64_t quads() const { return lines * pieceElements / 4; } // 4 outputs of a head that a lane has
  /// The element of the head whose query stands at place `i` of `depth()`: lanes that read side by side get neighbours.
  Emitter::Value elementAt(Emitter &e, Emitter::Value i) const {
    if (wordElements == 1)
      return i;
    Emitter::Value inLoad = e.rem(i, loadDepth());
    return e.add(e.sub(i, inLoad), e.add(e.mul(e.rem(inLoad, 8), wordElements), e.div(inLoad, 8)));
  }

  // Shared memory.
  int64_t outputOffset() const { return 0; }                                 // [warps][heads][headSize]
  int64_t statesOffset() const { return warps * heads * headSize * 4; }      // [warps][heads][2]: largest score and sum
  int64_t queryOffset() const { return statesOffset() + warps * heads * 8; } // [depth][headStride], scaled
  int64_t flagOffset() const { return queryOffset() + depth() * headStride * 4; }
  int64_t bytes() const { return flagOffset() + 16; }

private:
  /// 16 bytes, but 8 where rows begin at multiples of 8, or outputs of many heads would fill the registers.
  int64_t wordsOfPiece(const ds_plan::CacheLayout &layout) const {
    return layout.rowBytes() % 16 != 0 || (layout.hasCodes && heads > someHeads) ? 2 : 4;
  }
};

class Decode : AttentionBody {
public:
  Decode(const GpuAttention &attention, GpuBody &body) : AttentionBody(attention, body), shape(attention) {}
  void emit();

private:
  /// What a warp carries from step to step; of each head.
  struct State {
    Emitter::Values largest, sums, outputs; // sums of this lane; outputs [heads][quads], 4 f32 each
    Emitter::Values list() const;
    State(const DecodeShape &shape, ValueRange list);
    State(const DecodeShape &shape, GpuEmitter &e);
  };

  void planSplits();
  void loadQueries();
  State addStep(Value step, const State &before);
  Emitter::Values loadKeys(Value base[2], int64_t first, int64_t count);
  /// Scores of the slot of this lane, of each head, from those of the eight slots of which it has a part.
  Value sumOfLanes(llvm::ArrayRef<Value> parts);
  /// Some loads of rows of values, from number `firstLoad` of the step on.
  Emitter::Values loadValues(Value firstSlot, int64_t firstLoad);
  void leaveState(const State &state);
  /// Calls `body` for each output of the block: its head of the chunk, element, and number.
  void forOutputs(llvm::function_ref<void(Value head, Value element)> then);
  void finish();
  void combineSplits();
  Value partialOf(Value head, Value which) {
    Value h = e.add(firstHead, head), index = e.add(e.mul(e.add(e.mul(b, attention.heads()), h), attention.splits), which);
    return e.element(body.aux.back().pointer, e.f32(), e.mul(e.toI64(index), attention.partialSize()));
  }

  DecodeShape shape;
  Value lane, pair, split, b, firstHead, endHead;
  Value keys, values;         // of the key head
  Value begin, end, firstKey; // keys that are seen; the multiple of 16 where steps begin
  Value splits;               // that share the keys
  Value firstStep, lastStep;  // of this block
};

} // namespace

Emitter::Values Decode::State::list() const {
  Emitter::Values all(largest);
  all.append(sums);
  all.append(outputs);
  return all;
}
Decode::State::State(const DecodeShape &shape, ValueRange list)
    : largest(list.take_front(shape.heads)), sums(list.slice(shape.heads, shape.heads)), outputs(list.drop_front(2 * shape.heads)) {}
Decode::State::State(const DecodeShape &shape, GpuEmitter &e)
    : largest(shape.heads, e.infinity(e.f32(), /*negative=*/true)), sums(shape.heads, e.constantF32(0)),
      outputs(shape.heads * shape.quads(), e.zero(e.vec(4))) {}

void Decode::planSplits() {
  Value behind = e.add(pastOf(b), 1), zero = e.index(0);
  end = e.min(behind, keyCache.capacity);
  if (mask)
    end = e.select(isShown(b, zero), end, zero);
  begin = attention.window() ? e.max(e.sub(behind, attention.window()), zero) : zero;
  firstKey = e.bitAnd(begin, e.index(-16));
  Value count = e.max(e.sub(end, firstKey), zero), steps = e.ceilDiv(count, stepKeys);
  firstStep = zero, lastStep = steps;
  if (attention.splits == 1)
    return;
  // A processor takes a few microseconds for 64 KiB of keys and as many of values, about as long as it takes to combine; and there is no
  // use in many more blocks than processors. Of narrow caches as many keys are a share as of f32: with fewer bytes they are computed, not
  // waited for.
  constexpr int64_t shareBytes = 64 << 10, enoughBlocks = 1024;
  Value useful = e.ceilDiv(count, std::max<int64_t>(64, llvm::alignTo(shareBytes / (shape.headSize * 4), stepKeys)));
  Value possible = e.div(e.index(enoughBlocks), e.mul(body.batch, shape.pairs));
  splits = e.max(e.min(e.min(useful, possible), attention.splits), 1);
  firstStep = e.div(e.mul(steps, split), splits);
  lastStep = e.div(e.mul(steps, e.add(split, 1)), splits);
}

void Decode::loadQueries() {
  int64_t count = shape.heads * shape.depth();
  e.forRange(e.thread(), e.index(count), threads, [&](Value i) {
    Value head = e.div(i, shape.depth()), d = e.rem(i, shape.depth());
    Value h = e.min(e.add(firstHead, head), e.sub(endHead, 1));
    Value element = shape.elementAt(e, d);
    Value from = e.element(headOf(queryRows, b, e.index(0), h), e.f32(), e.min(element, shape.headSize - 1));
    Value query = e.mul(e.load(e.f32(), from), e.constantF32(attention.scale()));
    if (shape.depth() != shape.headSize)
      query = e.select(e.lt(element, shape.headSize), query, e.constantF32(0));
    e.store(query, e.element(e.shared(shape.queryOffset()), e.f32(), e.add(e.mul(d, shape.headStride), head)));
  });
}

/// Words of four slots, `count` of them, 8 apart, from word `lane / 4 + 8 * first` of a slot on; of both blocks of 16 slots.
Emitter::Values Decode::loadKeys(Value base[2], int64_t first, int64_t count) {
  Emitter::Values lines;
  const int64_t words = shape.headSize / shape.wordElements;
  for (int64_t i = first; i < first + count; ++i) {
    Value offset = e.index(i * 8 * 64);
    if (i * 8 + 8 > words) // lanes behind the head repeat its last word; their query is zero
      offset = e.mul(e.sub(e.min(e.add(e.shiftRight(lane, 2), i * 8), words - 1), e.shiftRight(lane, 2)), 64);
    for (int64_t half = 0; half < 2; ++half)
      lines.push_back(e.loadStream(e.at(base[half], offset)));
  }
  return lines;
}

Value Decode::sumOfLanes(llvm::ArrayRef<Value> parts) {
  // Each round halves the slots and doubles the elements: a lane keeps the half that its bit says and gives the other one away.
  Emitter::Values values(parts);
  for (int64_t bit = 16; bit >= 4; bit /= 2) {
    Value isUpper = e.ne(e.bitAnd(lane, e.index(bit)), 0);
    Emitter::Values next;
    for (size_t i = 0, half = values.size() / 2; i < half; ++i) {
      Value keep = e.select(isUpper, values[i + half], values[i]), give = e.select(isUpper, values[i], values[i + half]);
      next.push_back(e.add(keep, e.shuffleXor(give, bit)));
    }
    values = next;
  }
  return values.front();
}

Emitter::Values Decode::loadValues(Value firstSlot, int64_t firstLoad) {
  Emitter::Values lines;
  for (int64_t load = firstLoad; load < firstLoad + loadsAtOnce / shape.lines && load * shape.rowsAtOnce < stepKeys; ++load) {
    Value row = e.add(firstSlot, load * shape.rowsAtOnce);
    if (shape.rowsAtOnce > 1)
      row = e.add(row, e.div(lane, shape.rowLanes));
    // Of keys that are not seen the probability is zero; a value that is seen stands for theirs, which may be anything.
    row = valueCache.row(e, e.min(e.max(row, begin), e.sub(end, 1)));
    for (int64_t line = 0; line < shape.lines; ++line) {
      Value part = e.rem(lane, shape.rowLanes);
      if (line)
        part = e.add(part, line * GpuEmitter::warpThreads);
      if (shape.pieces < (line + 1) * shape.rowLanes)
        part = e.min(part, shape.pieces - 1);
      lines.push_back(loadValueWords(e.at(values, e.add(row, e.mul(part, shape.pieceWords * 4))), shape.pieceWords));
    }
  }
  return lines;
}

Decode::State Decode::addStep(Value step, const State &before) {
  Value firstSlot = e.add(firstKey, e.mul(step, stepKeys));
  Value block = e.shiftRight(firstSlot, 4), lastBlock = e.shiftRight(e.sub(end, 1), 4), base[2];
  Value inBlock = e.add(e.mul(e.shiftRight(lane, 2), 64), e.mul(e.bitAnd(lane, e.index(3)), 16));
  if (keyCache.hasCodes())
    inBlock = e.add(inBlock, keyCache.layout.scaleBytes());
  for (int64_t half = 0; half < 2; ++half)
    base[half] = e.at(keys, e.add(e.mul(half ? e.min(e.add(block, 1), lastBlock) : block, keyCache.layout.blockBytes()), inBlock));

  // The slot of lane 16 h + 8 j1 + 4 j0 + q is 16 h + 4 q + 2 j1 + j0 of the step.
  Value inStep = e.bitAnd(lane, e.index(16));
  inStep = e.bitOr(inStep, e.bitOr(e.shiftLeft(e.bitAnd(lane, e.index(3)), 2), e.bitAnd(e.shiftRight(lane, 2), e.index(3))));
  Value slot = e.add(firstSlot, inStep), isSeen = e.bitAnd(e.ge(slot, begin), e.lt(slot, end)), keyScale, valueScale;
  auto scaleOf = [&](const GpuCacheView &cache, Value head) { // of one that is seen, as with values
    return e.load(e.f32(), cache.scale(e, head, e.min(e.max(slot, begin), e.sub(end, 1))));
  };
  if (keyCache.hasCodes())
    keyScale = scaleOf(keyCache, keys);
  if (valueCache.hasCodes())
    valueScale = scaleOf(valueCache, values);

  // Scores: lane 4 g + q has of the slots 4 q .. 4 q + 3 of both blocks the words that are g modulo 8.
  Emitter::Values parts(2 * shape.heads, e.zero(e.vec(4))), firstLines;
  int64_t loads = shape.depth() / shape.loadDepth();
  for (int64_t i = 0; i < loads; i += shape.keysAtOnce) {
    int64_t count = std::min(shape.keysAtOnce, loads - i), width = std::min<int64_t>(shape.headStride, 4);
    Emitter::Values lines = loadKeys(base, i, count);
    if (i + count == loads)
      firstLines = loadValues(firstSlot, 0); // underway while scores are computed
    for (int64_t k = 0; k < count * shape.wordElements; ++k) {
      const int64_t line = k / shape.wordElements, place = (i * shape.wordElements + k) * 8;
      Value slots[2] = {slotsOf(lines[2 * line], k % shape.wordElements), slotsOf(lines[2 * line + 1], k % shape.wordElements)};
      Value query = e.at(e.shared(shape.queryOffset() + place * shape.headStride * 4), e.mul(e.shiftRight(lane, 2), shape.headStride * 4));
      for (int64_t first = 0; first < shape.heads; first += width) {
        Value some = e.load(e.vec(width), e.at(query, first * 4), width * 4);
        for (int64_t head = first; head < std::min(first + width, shape.heads); ++head)
          for (int64_t half = 0; half < 2; ++half)
            parts[2 * head + half] = e.fma(e.splat(e.extract(some, head - first), 4), slots[half], parts[2 * head + half]);
      }
    }
  }

  // Softmax.
  Value lowest = e.infinity(e.f32(), /*negative=*/true);
  State after(shape, before.list());
  Emitter::Values probabilities;
  for (int64_t head = 0; head < shape.heads; ++head) {
    Emitter::Values eight;
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t j = 0; j < 4; ++j)
        eight.push_back(e.extract(parts[2 * head + half], j));
    Value score = sumOfLanes(eight);
    if (keyScale)
      score = e.mul(score, keyScale);
    if (slopes)
      score = e.fma(slopeOf(e.min(e.add(firstHead, head), e.sub(endHead, 1))), e.toF32(slot), score);
    score = e.select(isSeen, score, lowest);
    after.largest[head] = e.warpMax(larger(score, before.largest[head]));
    Value against = reference(after.largest[head]), shrink = e.exp2(e.sub(before.largest[head], against));
    probabilities.push_back(e.exp2(e.sub(score, against)));
    after.sums[head] = e.fma(before.sums[head], shrink, probabilities.back());
    if (valueScale)
      probabilities.back() = e.mul(probabilities.back(), valueScale);
    for (int64_t quad = head * shape.quads(); quad < (head + 1) * shape.quads(); ++quad)
      after.outputs[quad] = e.mul(before.outputs[quad], e.splat(shrink, 4));
  }

  // Values. The lane of slot s of the step has its bits in another order.
  auto laneOf = [](int64_t s) { return (s & 16) | (s & 3) << 2 | (s >> 2 & 3); };
  Value ownRow = e.div(lane, shape.rowLanes); // of those of one load
  Value ownLane = e.bitOr(e.bitAnd(ownRow, e.index(16)),
                          e.bitOr(e.shiftLeft(e.bitAnd(ownRow, e.index(3)), 2), e.bitAnd(e.shiftRight(ownRow, 2), e.index(3))));
  for (int64_t load = 0; load * shape.rowsAtOnce < stepKeys;) {
    Emitter::Values lines = load ? loadValues(firstSlot, load) : firstLines;
    for (size_t i = 0; i < lines.size(); i += shape.lines, ++load) {
      Value from = e.index(laneOf(load * shape.rowsAtOnce));
      if (shape.rowsAtOnce > 1)
        from = e.bitOr(ownLane, from);
      Emitter::Values quads;
      for (int64_t line = 0; line < shape.lines; ++line)
        quads.append(elementsOf(lines[i + line]));
      for (int64_t head = 0; head < shape.heads; ++head) {
        Value p = e.splat(e.shuffleIndex(probabilities[head], from), 4);
        for (int64_t quad = 0; quad < shape.quads(); ++quad) {
          Value &output = after.outputs[head * shape.quads() + quad];
          output = e.fma(p, quads[quad], output);
        }
      }
    }
  }
  return after;
}

void Decode::leaveState(const State &state) {
  Value part = e.rem(lane, shape.rowLanes);
  for (int64_t head = 0; head < shape.heads; ++head) {
    Value place = e.add(e.mul(e.warp(), shape.heads), head), sum = e.warpSum(state.sums[head]);
    for (int64_t quad = 0; quad < shape.quads(); ++quad) {
      Value output = state.outputs[head * shape.quads() + quad];
      for (int64_t offset = shape.rowLanes; offset < GpuEmitter::warpThreads; offset *= 2) {
        Value other = e.zero(e.vec(4));
        for (int64_t i = 0; i < 4; ++i)
          other = e.insert(e.shuffleXor(e.extract(output, i), offset), other, i);
        output = e.add(output, other);
      }
      const int64_t ofPiece = shape.pieceElements / 4;
      Value mine = e.add(e.mul(part, ofPiece), quad / ofPiece * ofPiece * GpuEmitter::warpThreads + quad % ofPiece);
      Value to = e.at(e.shared(shape.outputOffset()), e.add(e.mul(place, shape.headSize * 4), e.mul(mine, 16)));
      e.ifThen(e.bitAnd(e.lt(lane, shape.rowLanes), e.lt(mine, shape.headSize / 4)), [&] { e.store(output, to, 16); });
    }
    e.ifThen(e.eq(lane, 0), [&] {
      Value to = e.at(e.shared(shape.statesOffset()), e.mul(place, 8));
      e.store(state.largest[head], to);
      e.store(sum, e.at(to, 4));
    });
  }
}

void Decode::forOutputs(llvm::function_ref<void(Value head, Value element)> then) {
  Value count = e.mul(e.sub(e.min(e.add(firstHead, shape.heads), endHead), firstHead), shape.headSize);
  e.forRange(e.thread(), count, threads, [&](Value i) { then(e.div(i, shape.headSize), e.rem(i, shape.headSize)); });
}

void Decode::finish() {
  forOutputs([&](Value head, Value element) {
    Value states = e.at(e.shared(shape.statesOffset()), e.mul(head, 8));
    Value outputs = e.at(e.shared(shape.outputOffset()), e.mul(e.add(e.mul(head, shape.headSize), element), 4));
    Value most = e.infinity(e.f32(), /*negative=*/true), sum = e.constantF32(0), output = sum;
    Emitter::Values largest;
    for (int64_t warp = 0; warp < warps; ++warp) {
      largest.push_back(e.load(e.f32(), e.at(states, warp * shape.heads * 8)));
      most = larger(largest.back(), most);
    }
    Value against = reference(most);
    for (int64_t warp = 0; warp < warps; ++warp) {
      Value weight = e.exp2(e.sub(largest[warp], against));
      sum = e.fma(weight, e.load(e.f32(), e.at(states, warp * shape.heads * 8 + 4)), sum);
      output = e.fma(weight, e.load(e.f32(), e.at(outputs, warp * shape.heads * shape.headSize * 4)), output);
    }
    auto write = [&] {
      Value to = headOf(outputRows, b, e.index(0), e.add(firstHead, head));
      e.store(e.mul(output, inverse(sum)), e.element(to, e.f32(), element));
    };
    if (attention.splits == 1)
      return write();
    e.ifElse(e.eq(splits, 1), write, [&] {
      Value partial = partialOf(head, split);
      e.store(output, e.at(e.element(partial, e.f32(), element), 64));
      e.ifThen(e.eq(element, 0), [&] {
        e.store(sum, partial);
        e.store(most, e.at(partial, 4));
      });
    });
  });
}

void Decode::combineSplits() {
  e.barrier(); // all of the partial result is written
  Value flag = e.shared(shape.flagOffset());
  e.ifThen(e.eq(e.thread(), 0), [&] {
    Value counter = e.element(body.counters, e.i32(), e.add(e.mul(b, shape.pairs), pair));
    e.fence();
    Value isLast = e.eq(e.atomicAdd(counter, e.index(1)), e.sub(splits, 1));
    e.ifThen(isLast, [&] { e.store(e.index(0), counter); });
    e.fence();
    e.store(e.select(isLast, e.index(1), e.index(0)), flag);
  });
  e.barrier();
  e.ifThen(e.ne(e.load(e.i32(), flag), 0), [&] {
    forOutputs([&](Value head, Value element) {
      Emitter::Values largest, sums, outputs;
      Value most = e.infinity(e.f32(), /*negative=*/true), sum = e.constantF32(0), output = sum;
      for (int64_t i = 0; i < attention.splits; ++i) {
        // Splits that are not there repeat the last one, with weight 0.
        Value partial = partialOf(head, e.min(e.index(i), e.sub(splits, 1)));
        largest.push_back(e.load(e.f32(), e.at(partial, 4)));
        sums.push_back(e.load(e.f32(), partial));
        outputs.push_back(e.load(e.f32(), e.at(e.element(partial, e.f32(), element), 64)));
        most = larger(largest.back(), most);
      }
      Value against = reference(most);
      for (int64_t i = 0; i < attention.splits; ++i) {
        Value weight = e.select(e.gt(splits, i), e.exp2(e.sub(largest[i], against)), e.constantF32(0));
        sum = e.fma(weight, sums[i], sum);
        output = e.fma(weight, outputs[i], output);
      }
      Value to = headOf(outputRows, b, e.index(0), e.add(firstHead, head));
      e.store(e.mul(output, inverse(sum)), e.element(to, e.f32(), element));
    });
  });
}

void Decode::emit() {
  lane = e.lane(), pair = e.block(0), split = e.block(1), b = e.block(2);
  Value kvHead = e.div(pair, shape.chunks), groupBegin = e.mul(kvHead, attention.group());
  firstHead = e.add(groupBegin, e.mul(e.rem(pair, shape.chunks), shape.heads));
  endHead = e.add(groupBegin, attention.group());
  keys = keyCache.head(e, b, kvHead), values = valueCache.head(e, b, kvHead);
  planSplits();
  auto work = [&] {
    loadQueries();
    e.barrier();
    Emitter::Values start = State(shape, e).list();
    Emitter::Values states = e.forRange(e.add(firstStep, e.warp()), lastStep, warps, ValueRange(start),
                                        [&](Value step, ValueRange carried) { return addStep(step, State(shape, carried)).list(); });
    leaveState(State(shape, states));
    e.barrier();
    finish();
    if (attention.splits > 1)
      e.ifThen(e.gt(splits, 1), [&] { combineSplits(); });
  };
  if (attention.splits == 1)
    work();
  else
    e.ifThen(e.lt(split, splits), work);
}

void ds::addAttentionDecode(GpuKernel &kernel, const GpuAttention &attention) {
  DecodeShape shape(attention);
  GpuShape launch;
  launch.name = "decode";
  launch.when = {{GpuSize::tokens, 1, 1}};
  launch.grid[0].constant = shape.pairs;
  launch.grid[1].constant = attention.splits;
  launch.grid[2].factors = {{GpuSize::batch, 1}};
  launch.threads = threads;
  launch.sharedBytes = shape.bytes();
  if (attention.splits > 1)
    kernel.needCounters(shape.pairs);
  kernel.stage(std::move(launch), [attention](GpuBody &body) { Decode(attention, body).emit(); });
}
