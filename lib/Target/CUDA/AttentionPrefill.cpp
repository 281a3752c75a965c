// Several tokens of each sequence. A warp has 16 tokens; the four of a block share tiles of 64 keys, which they round to bf16 on the way to
// shared memory; codes are numbers that bf16 holds. Scores and probabilities stay in registers: the sums of the first product lie as the
// factors of the second one have to.
#include "Attention.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

namespace {

constexpr int64_t warps = 4, threads = warps * GpuEmitter::warpThreads, warpRows = 16, blockRows = warps * warpRows;
constexpr int64_t tileKeys = 64, columns = tileKeys / 8; // of scores, 8 keys each
/// 16 bytes behind each row of a tile in shared memory let the lanes of a warp read from all banks at once.
constexpr int64_t padding = 16, valueStride = tileKeys * 2 + padding;

/// Sizes, and places in shared memory.
struct PrefillShape {
  explicit PrefillShape(const GpuAttention &attention)
      : headSize(attention.headSize), depth(static_cast<int64_t>(llvm::alignTo(headSize, 16))), keyStride(depth * 2 + padding),
        pieceWords(attention.values.rowBytes() % 16 == 0 ? 4 : 2), hasScales(attention.keys.hasCodes || attention.values.hasCodes) {}

  int64_t headSize, depth, keyStride;
  int64_t pieceWords; // of a row of values, that a lane loads at once
  bool hasScales;
  int64_t outputColumns() const { return llvm::divideCeil(headSize, 8); }
  int64_t valuesOffset() const { return tileKeys * keyStride; } // behind the keys [tileKeys][depth]; values [depth][tileKeys]
  int64_t flagsOffset() const { return valuesOffset() + depth * valueStride; } // what the mask shows [tileKeys], i32
  int64_t queriesOffset() const { return flagsOffset() + tileKeys * 4; }       // factors of queries, 16 bytes a thread for each 16 elements
  int64_t scalesOffset() const { return queriesOffset() + (keepsQueries() ? 0 : depth / 16 * threads * 16); } // [2][tileKeys]
  int64_t sharedBytes() const { return scalesOffset() + (hasScales ? 2 * tileKeys * 4 : 0); }
  /// Whether registers hold the queries; else shared memory does.
  bool keepsQueries() const { return headSize <= 128; }
};

class Prefill : AttentionBody, PrefillShape {
public:
  Prefill(const GpuAttention &attention, GpuBody &body) : AttentionBody(attention, body), PrefillShape(attention) {}
  void emit();

private:
  /// Of the two rows of a thread: largest scores, sums of this thread, and outputs by 8 columns, 4 each.
  struct State {
    Value largest[2], sums[2];
    Emitter::Values outputs;
    Emitter::Values list() const;
    explicit State(ValueRange list);
  };

  void findRows();
  void loadQueries();
  Emitter::Values queriesOf(int64_t part);
  Value loadPair(Value row, int64_t column);
  void loadTile(Value tile);
  void loadKeys(Value tile);
  void loadKeyWords(Value from, Value to, int64_t elements);
  void loadValues(Value tile);
  void loadScales(Value tile);
  /// Scales of the two keys of column `column` that this thread has scores of; `which` 0 of keys, 1 of values.
  Value scalesOf(int64_t which, int64_t column) {
    return e.load(e.vec(2), e.at(e.shared(scalesOffset() + (which * tileKeys + column * 8) * 4), e.mul(t, 8)), 8);
  }
  /// Runs `then` where `unit` of `size` elements is in the depth of the tiles, which `whole` says of all.
  void inDepth(bool whole, Value unit, int64_t size, llvm::function_ref<void()> then) {
    whole ? then() : e.ifThen(e.lt(unit, depth / size), then);
  }
  Emitter::Values scores();
  /// Multiplies scales, adds slopes and hides keys.
  Emitter::Values adjust(Value tile, Emitter::Values scores);
  State addTile(Value tile, const State &before);
  void store(const State &state);

  Value lane, warp, g, t; // g: row of a fragment, t: its pair of columns
  Value b, h, keys, values, slope;
  Value tokens[2], row[2];      // of this thread; behind the last token it repeats it
  Value rowBegin[2], rowEnd[2]; // keys that its rows see, without regard to the mask
  Value begin, end;             // no row of the block sees others
  llvm::SmallVector<Emitter::Values> queries;
};

} // namespace

Emitter::Values Prefill::State::list() const {
  Emitter::Values all{largest[0], largest[1], sums[0], sums[1]};
  all.append(outputs);
  return all;
}
Prefill::State::State(ValueRange list) : largest{list[0], list[1]}, sums{list[2], list[3]}, outputs(list.drop_front(4)) {}

void Prefill::findRows() {
  // Blocks with many keys first.
  Value first = e.mul(e.sub(e.sub(e.gridSize(0), e.block(0)), 1), blockRows), lastToken = e.sub(body.tokens, 1);
  Value past = pastOf(b), zero = e.index(0), limit = e.min(e.add(past, body.tokens), keyCache.capacity);
  auto endOf = [&](Value token) { return attention.isCausal() ? e.min(e.add(e.add(past, token), 1), limit) : limit; };
  auto beginOf = [&](Value token) {
    return attention.window() ? e.max(e.sub(e.add(e.add(past, token), 1), attention.window()), zero) : zero;
  };
  for (int64_t i = 0; i < 2; ++i) {
    row[i] = e.add(e.add(first, e.mul(warp, warpRows)), e.add(g, i * 8));
    tokens[i] = e.min(row[i], lastToken);
    rowBegin[i] = beginOf(tokens[i]), rowEnd[i] = endOf(tokens[i]);
  }
  begin = beginOf(first), end = endOf(e.min(e.add(first, blockRows - 1), lastToken));
}

/// Elements 8 column + 2 t and the next of a row of queries, scaled and rounded; zeros behind the head.
Value Prefill::loadPair(Value row, int64_t column) {
  if (column * 8 >= headSize)
    return e.index(0);
  Value place = e.add(e.mul(t, 2), column * 8);
  bool isWhole = column * 8 + 8 <= headSize;
  Value pair = e.load(e.vec(2), e.element(row, e.f32(), isWhole ? place : e.min(place, headSize - 2)), 8);
  pair = e.mul(pair, e.splat(e.constantF32(attention.scale()), 2));
  Value packed = e.pack(MmaType::bf16, e.extract(pair, 0), e.extract(pair, 1));
  return isWhole ? packed : e.select(e.lt(place, headSize), packed, e.index(0));
}

void Prefill::loadQueries() {
  Value rows[2] = {headOf(queryRows, b, tokens[0], h), headOf(queryRows, b, tokens[1], h)};
  for (int64_t part = 0; part < depth / 16; ++part) {
    Emitter::Values factors;
    for (int64_t column = 2 * part; column < 2 * part + 2; ++column)
      for (Value row : rows)
        factors.push_back(loadPair(row, column));
    if (keepsQueries()) {
      queries.push_back(factors);
      continue;
    }
    Value four = e.zero(e.vec(4, e.i32()));
    for (int64_t i = 0; i < 4; ++i)
      four = e.insert(factors[i], four, i);
    e.store(four, e.at(e.shared(queriesOffset() + part * threads * 16), e.mul(e.thread(), 16)), 16);
  }
}

Emitter::Values Prefill::queriesOf(int64_t part) {
  if (keepsQueries())
    return queries[part];
  Value four = e.load(e.vec(4, e.i32()), e.at(e.shared(queriesOffset() + part * threads * 16), e.mul(e.thread(), 16)), 16);
  return {e.extract(four, 0), e.extract(four, 1), e.extract(four, 2), e.extract(four, 3)};
}

/// A warp has 16 keys of the tile; its lanes 4 i + q load the slots from 4 q of pairs of elements, those that are i modulo 8.
void Prefill::loadKeys(Value tile) {
  Value quad = t, pair = g, block = e.add(e.shiftRight(tile, 4), warp);
  block = e.min(block, e.shiftRight(e.sub(end, 1), 4)); // what lies behind is not seen
  Value from = e.at(keys, e.add(e.mul(block, keyCache.layout.blockBytes()), e.add(e.mul(quad, 16), keyCache.layout.scaleBytes())));
  Value to = e.at(e.shared(), e.mul(e.add(e.mul(warp, 16), e.mul(quad, 4)), keyStride));
  if (const int64_t elements = GpuCacheView::wordElements(attention.keys); elements > 1)
    return loadKeyWords(from, to, elements);
  to = e.at(to, e.mul(pair, 4));
  Emitter::Values lines[2];
  for (int64_t i = 0; i < depth / 16; ++i) {
    Value which = e.add(pair, i * 8);
    if (i * 16 + 16 > headSize)
      which = e.min(which, headSize / 2 - 1);
    for (int64_t j = 0; j < 2; ++j)
      lines[j].push_back(e.bitcast(e.loadStream(e.at(from, e.add(e.mul(which, 128), j * 64))), e.vec(4)));
  }
  for (int64_t i = 0; i < depth / 16; ++i)
    for (int64_t slot = 0; slot < 4; ++slot) {
      Value packed = e.pack(MmaType::bf16, e.extract(lines[0][i], slot), e.extract(lines[1][i], slot));
      if (i * 16 + 16 > headSize)
        packed = e.select(e.lt(e.add(pair, i * 8), headSize / 2), packed, e.index(0));
      e.store(packed, e.at(to, slot * keyStride + i * 32));
    }
}

/// The same of words of several elements: lanes 4 i + q have those that are i modulo 8.
void Prefill::loadKeyWords(Value from, Value to, int64_t elements) {
  const int64_t words = headSize / elements, count = llvm::divideCeil(depth / elements, 8);
  Emitter::Values lines, places;
  for (int64_t i = 0; i < count; ++i) {
    places.push_back(e.add(g, i * 8));
    lines.push_back(e.loadStream(e.at(from, e.mul(i * 8 + 8 > words ? e.min(places[i], words - 1) : places[i], 64))));
  }
  for (int64_t i = 0; i < count; ++i)
    inDepth((i * 8 + 8) * elements <= depth, places[i], elements, [&] {
      Emitter::Values parts; // what follows each other in bf16
      for (int64_t k = 0; k < elements; ++k)
        parts.push_back(elements == 2 ? Value() : slotsOf(lines[i], k));
      for (int64_t slot = 0; slot < 4; ++slot)
        for (int64_t k = 0; k < elements; k += 2) {
          Value packed =
              elements == 2 ? e.extract(lines[i], slot) : e.pack(MmaType::bf16, e.extract(parts[k], slot), e.extract(parts[k + 1], slot));
          if ((i * 8 + 8) > words)
            packed = e.select(e.lt(places[i], words), packed, e.index(0));
          e.store(packed, e.at(e.at(to, e.mul(places[i], elements * 2)), slot * keyStride + k * 2));
        }
    });
}

/// Lanes 4 i + q load pairs of slots, of their elements a piece at a time. Values that no row of the block sees become zeros.
void Prefill::loadValues(Value tile) {
  const int64_t elements = pieceWords * GpuCacheView::wordElements(attention.values), pieces = llvm::divideCeil(headSize, elements);
  Value quad = t, pair = e.add(e.mul(warp, 8), g), zero = e.zero(e.vec(pieceWords, e.i32())), from[2], isSeen[2];
  for (int64_t j = 0; j < 2; ++j) {
    Value slot = e.add(e.add(tile, e.mul(pair, 2)), j), place = e.min(e.max(slot, begin), e.sub(end, 1));
    isSeen[j] = e.eq(slot, place);
    if (mask)
      isSeen[j] = e.bitAnd(isSeen[j], isShown(b, place));
    from[j] = e.at(values, valueCache.row(e, place));
  }
  Value to = e.at(e.shared(valuesOffset()), e.mul(pair, 4));
  Emitter::Values lines[2], places;
  const int64_t count = llvm::divideCeil(depth / elements, 4);
  for (int64_t i = 0; i < count; ++i) {
    places.push_back(e.add(quad, i * 4));
    Value which = i * 4 + 4 > pieces ? e.min(places[i], pieces - 1) : places[i];
    for (int64_t j = 0; j < 2; ++j)
      lines[j].push_back(loadValueWords(e.at(from[j], e.mul(which, pieceWords * 4)), pieceWords));
  }
  for (int64_t i = 0; i < count; ++i)
    inDepth((i * 4 + 4) * elements <= depth, places[i], elements, [&] {
      Emitter::Values both[2];
      for (int64_t j = 0; j < 2; ++j)
        both[j] = elementsOf(e.select(isSeen[j], lines[j][i], zero));
      Value start = e.at(to, e.mul(places[i], elements * valueStride));
      for (int64_t k = 0; k < elements; ++k)
        e.store(e.pack(MmaType::bf16, e.extract(both[0][k / 4], k % 4), e.extract(both[1][k / 4], k % 4)), e.at(start, k * valueStride));
    });
}

/// Of keys that no row of the block sees those of the nearest that one does.
void Prefill::loadScales(Value tile) {
  e.ifThen(e.lt(e.thread(), tileKeys), [&] {
    Value slot = e.min(e.max(e.add(tile, e.thread()), begin), e.sub(end, 1));
    Value to = e.element(e.shared(scalesOffset()), e.f32(), e.thread());
    e.store(keyCache.hasCodes() ? e.load(e.f32(), keyCache.scale(e, keys, slot)) : e.constantF32(1), to);
    e.store(valueCache.hasCodes() ? e.load(e.f32(), valueCache.scale(e, values, slot)) : e.constantF32(1), e.at(to, tileKeys * 4));
  });
}

void Prefill::loadTile(Value tile) {
  if (mask)
    e.ifThen(e.lt(e.thread(), tileKeys), [&] {
      Value slot = e.add(tile, e.thread()), place = e.min(slot, e.sub(body.tokens, 1));
      Value shown = e.select(isShown(b, place), e.index(1), e.index(0));
      e.store(shown, e.element(e.shared(flagsOffset()), e.i32(), e.thread()));
    });
  if (hasScales)
    loadScales(tile);
  loadKeys(tile);
  loadValues(tile);
}

Emitter::Values Prefill::scores() {
  Emitter::Values sums(4 * columns, e.constantF32(0));
  Value start = e.at(e.shared(), e.add(e.mul(g, keyStride), e.mul(t, 4)));
  for (int64_t part = 0; part < depth / 16; ++part) {
    Emitter::Values factors = queriesOf(part);
    for (int64_t column = 0; column < columns; ++column) {
      Value place = e.at(start, column * 8 * keyStride + part * 32);
      Value pair[2] = {e.load(e.i32(), place), e.load(e.i32(), e.at(place, 16))};
      llvm::copy(e.mma(MmaType::bf16, factors, pair, ValueRange(sums).slice(4 * column, 4)), sums.begin() + 4 * column);
    }
  }
  return sums;
}

Emitter::Values Prefill::adjust(Value tile, Emitter::Values scores) {
  Value first = e.add(tile, e.mul(t, 2)), lowest = e.infinity(e.f32(), /*negative=*/true);
  for (int64_t column = 0; hasScales && column < columns; ++column) {
    Value scales = scalesOf(0, column);
    for (int64_t i = 0; i < 4; ++i)
      scores[4 * column + i] = e.mul(scores[4 * column + i], e.extract(scales, i % 2));
  }
  if (slopes)
    for (int64_t i = 0; i < 4 * columns; ++i)
      scores[i] = e.fma(slope, e.toF32(e.add(first, i / 4 * 8 + i % 2)), scores[i]);
  auto hide = [&] {
    Emitter::Values shown = scores;
    for (int64_t column = 0; column < columns; ++column) {
      Value flags;
      if (mask)
        flags = e.load(e.vec(2, e.i32()), e.at(e.shared(flagsOffset() + column * 32), e.mul(t, 8)), 8);
      for (int64_t i = 0; i < 4; ++i) {
        Value slot = e.add(first, column * 8 + i % 2), isSeen = e.lt(slot, rowEnd[i / 2]);
        if (attention.window())
          isSeen = e.bitAnd(isSeen, e.ge(slot, rowBegin[i / 2]));
        if (flags)
          isSeen = e.bitAnd(isSeen, e.ne(e.extract(flags, i % 2), 0));
        shown[4 * column + i] = e.select(isSeen, scores[4 * column + i], lowest);
      }
    }
    return shown;
  };
  if (mask)
    return hide();
  Value seesAll = e.le(e.add(tile, tileKeys), rowEnd[0]);
  if (attention.window())
    seesAll = e.bitAnd(seesAll, e.ge(tile, rowBegin[1]));
  return e.ifElse(seesAll, ValueRange(scores).getTypes(), [&] { return scores; }, hide);
}

Prefill::State Prefill::addTile(Value tile, const State &before) {
  e.barrier(); // the tile before is used up
  loadTile(tile);
  e.barrier();
  Emitter::Values values = adjust(tile, scores());
  State after = before;
  Value shrink[2];
  for (int64_t r = 0; r < 2; ++r) {
    Value most = before.largest[r];
    for (int64_t i = 0; i < 2 * columns; ++i)
      most = larger(values[i / 2 * 4 + 2 * r + i % 2], most);
    after.largest[r] = e.warpMax(most, 4);
    Value against = reference(after.largest[r]);
    shrink[r] = e.exp2(e.sub(before.largest[r], against));
    after.sums[r] = e.mul(before.sums[r], shrink[r]);
    for (int64_t i = 0; i < 2 * columns; ++i) {
      Value &value = values[i / 2 * 4 + 2 * r + i % 2];
      value = e.exp2(e.sub(value, against));
      after.sums[r] = e.add(after.sums[r], value);
    }
  }
  for (int64_t i = 0; i < 4 * outputColumns(); ++i)
    after.outputs[i] = e.mul(after.outputs[i], shrink[i % 4 / 2]);
  for (int64_t column = 0; hasScales && column < columns; ++column) {
    Value scales = scalesOf(1, column);
    for (int64_t i = 0; i < 4; ++i)
      values[4 * column + i] = e.mul(values[4 * column + i], e.extract(scales, i % 2));
  }
  Value start = e.at(e.shared(valuesOffset()), e.add(e.mul(g, valueStride), e.mul(t, 4)));
  for (int64_t part = 0; part < tileKeys / 16; ++part) {
    Emitter::Values factors;
    for (int64_t i = 8 * part; i < 8 * part + 8; i += 2)
      factors.push_back(e.pack(MmaType::bf16, values[i], values[i + 1]));
    for (int64_t column = 0; column < outputColumns(); ++column) {
      Value place = e.at(start, column * 8 * valueStride + part * 32);
      Value pair[2] = {e.load(e.i32(), place), e.load(e.i32(), e.at(place, 16))};
      llvm::copy(e.mma(MmaType::bf16, factors, pair, ValueRange(after.outputs).slice(4 * column, 4)), after.outputs.begin() + 4 * column);
    }
  }
  return after;
}

void Prefill::store(const State &state) {
  for (int64_t r = 0; r < 2; ++r) {
    Value scale = inverse(e.warpSum(state.sums[r], 4)), to = headOf(outputRows, b, tokens[r], h);
    e.ifThen(e.lt(row[r], body.tokens), [&] {
      for (int64_t column = 0; column < outputColumns(); ++column) {
        Value place = e.add(e.mul(t, 2), column * 8), pair = e.zero(e.vec(2));
        for (int64_t i = 0; i < 2; ++i)
          pair = e.insert(e.mul(state.outputs[4 * column + 2 * r + i], scale), pair, i);
        auto write = [&] { e.store(pair, e.element(to, e.f32(), place), 8); };
        if (column * 8 + 8 <= headSize)
          write();
        else
          e.ifThen(e.lt(place, headSize), write);
      }
    });
  }
}

void Prefill::emit() {
  lane = e.lane(), warp = e.warp(), g = e.shiftRight(lane, 2), t = e.bitAnd(lane, e.index(3));
  h = e.block(1), b = e.block(2);
  Value kvHead = e.div(h, attention.group());
  keys = keyCache.head(e, b, kvHead), values = valueCache.head(e, b, kvHead);
  if (slopes)
    slope = slopeOf(h);
  findRows();
  loadQueries();
  Emitter::Values start(4 + 4 * outputColumns(), e.constantF32(0));
  start[0] = start[1] = e.infinity(e.f32(), /*negative=*/true);
  Value firstTile = e.bitAnd(begin, e.index(-tileKeys));
  Emitter::Values state = e.forRange(firstTile, end, tileKeys, ValueRange(start),
                                     [&](Value tile, ValueRange carried) { return addTile(tile, State(carried)).list(); });
  store(State(state));
}

void ds::addAttentionPrefill(GpuKernel &kernel, const GpuAttention &attention) {
  GpuShape launch;
  launch.name = "prefill";
  launch.when = {{GpuSize::tokens, 2, INT32_MAX}};
  launch.grid[0].factors = {{GpuSize::tokens, blockRows}};
  launch.grid[1].constant = attention.heads();
  launch.grid[2].factors = {{GpuSize::batch, 1}};
  launch.threads = threads;
  launch.sharedBytes = PrefillShape(attention).sharedBytes();
  launch.blocksPerProcessor = attention.headSize <= 64 ? 3 : 2;
  kernel.stage(std::move(launch), [attention](GpuBody &body) { Prefill(attention, body).emit(); });
}
