// Attention by multiply-adds of f16, for processors with AVX512_FP16: of keys and values that lie in pairs of bf16.
//
// Scores stay f16 through the softmax, in units that the scales of queries and keys give; probabilities below 2^-15 of the largest are 0.
// Sums over 64 keys are f16, those of their parts too, and each step goes on in f32.
#include "Attention.h"
#include "Halves.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

static constexpr int64_t lineBytes = 64;
/// Keys of a block of values: those that words hold 16 apart.
static constexpr int64_t blockKeys = 32, distance = 16;
/// The first bf16 that is no finite number, as i16.
static constexpr int64_t notFinite = 0x7f80;

HalvesOfHead::HalvesOfHead(AttentionKernel &kernel) : kernel(kernel), e(kernel.context.e) {
  constexpr int64_t mostBytes = 256 * 1024, bytesOfSlot = 4;
  const int64_t size = kernel.headSize();
  slots = std::max(mostBytes / (bytesOfSlot * size) / blockKeys, int64_t(1)) * blockKeys;
  keys = e.stack(slots * size * 2);
  values = e.stack(slots * size * 2);
  factors = e.stack(2 * 4);
  taken = e.stack(8);
  e.store(e.constant(-1), taken);
}

void HalvesOfHead::take(Value b, Value head, Value end) {
  Value which = e.add(e.mul(b, kernel.keys.heads), head);
  e.ifThen(e.ne(e.load(e.i64(), taken), which), [&] {
    takeKeys(kernel.keys.head(e, kernel.keys.sequence(e, b), head), end);
    takeValues(kernel.values.head(e, kernel.values.sequence(e, b), head), end);
    e.store(which, taken);
  });
}

/// Absolute values as bits, 0 for what is not finite.
static Value sizeOf(Emitter &e, Value bits) {
  Value size = e.bitAnd(bits, e.constantOf(bits.getType(), 0x7fff));
  return e.select(e.lt(size, notFinite), size, e.zero(bits.getType()));
}

Value HalvesOfHead::numbersOf(Value bits, Value least) {
  Value size = e.bitAnd(bits, e.constantOf(bits.getType(), 0x7fff));
  return e.select(e.lt(size, notFinite), Halves::ofBf16(e, bits, least), e.constantOf(bits.getType(), Halves::notANumber));
}

Value HalvesOfHead::scale(Value sizes, int64_t factor) {
  Value largest = e.reduceMax(Halves::largerOfPairs(e, sizes)), down = Halves::down(e, e.shiftRight(largest, Halves::fractionOfBf16));
  e.store(Halves::back(e, down), e.at(factors, factor * 4));
  return e.bitcast(e.splat(Halves::twice(e, e.shiftLeft(down, Halves::fractionOfBf16))), sizes.getType());
}

void HalvesOfHead::takeKeys(Value from, Value end) {
  const int64_t lanes = e.getLevel().lanes, lines = kernel.headSize() / 2;
  mlir::Type words = e.vec(lanes, e.i32()), halves = e.vec(2 * lanes, e.i16());
  Value zero = e.constant(0), blocks = e.ceilDiv(end, kernel.keys.layout.slots);
  Value sizes = e.forRange(zero, blocks, 1, ValueRange{e.zero(halves)}, [&](Value block, ValueRange before) {
    Value below = e.laneMask(e.sub(end, e.mul(block, kernel.keys.layout.slots)), lanes);
    Value isKey = e.bitcast(e.select(below, e.constantOf(words, -1), e.zero(words)), halves);
    Value line = e.at(from, e.mul(block, lines * lineBytes));
    return e.forRange(zero, e.constant(lines), 1, before, [&](Value i, ValueRange most) {
      Value bits = e.bitAnd(e.load(halves, e.at(line, e.mul(i, lineBytes))), isKey);
      return Emitter::Values{e.max(sizeOf(e, bits), most[0])};
    });
  })[0];
  Value least = scale(sizes, 0);
  e.forRange(zero, e.mul(blocks, lines * lineBytes), lineBytes,
             [&](Value place) { e.store(numbersOf(e.load(halves, e.at(from, place)), least), e.at(keys, place)); });
}

Value HalvesOfHead::wordBelow(Value key, Value end) {
  auto below = [&](Value key, int32_t bits) { return e.select(e.lt(key, end), e.constantI32(bits), e.constantI32(0)); };
  return e.splat(e.bitOr(below(key, 0xffff), below(e.add(key, 1), -0x10000)));
}

void HalvesOfHead::takeValues(Value from, Value end) {
  const int64_t lanes = e.getLevel().lanes, rowBytes = kernel.headSize() * 4;
  mlir::Type words = e.vec(lanes, e.i32()), halves = e.vec(2 * lanes, e.i16());
  Value zero = e.constant(0), known = e.roundUp(end, kernel.values.layout.slots);
  // Two pairs of neighbours, 16 apart, are two pairs of what is 16 apart. What lies behind the end is 0, whatever stands there.
  using Body = llvm::function_ref<Emitter::Values(Value key, Value place, Value near, Value far, ValueRange)>;
  auto forPairs = [&](ValueRange initial, Body body) {
    return e.forRange(zero, end, blockKeys, initial, [&](Value block, ValueRange before) {
      return e.forRange(block, e.add(block, distance), 2, before, [&](Value key, ValueRange before) {
        Value farKey = e.add(key, distance), isNear = wordBelow(key, end), isFar = wordBelow(farKey, end);
        Value near = e.at(from, e.mul(e.div(key, 2), rowBytes));
        Value far = e.at(from, e.mul(e.div(e.select(e.lt(farKey, known), farKey, key), 2), rowBytes));
        return e.forRange(zero, e.constant(rowBytes), lineBytes, before, [&](Value place, ValueRange before) {
          auto load = [&](Value line, Value isKey) { return e.bitcast(e.bitAnd(e.load(words, e.at(line, place)), isKey), halves); };
          return body(key, place, load(near, isNear), load(far, isFar), before);
        });
      });
    });
  };
  Value sizes = forPairs(ValueRange{e.zero(halves)}, [&](Value, Value, Value near, Value far, ValueRange most) {
    return Emitter::Values{e.max(e.max(sizeOf(e, near), sizeOf(e, far)), most[0])};
  })[0];
  Value least = scale(sizes, 1);
  forPairs({}, [&](Value key, Value place, Value near, Value far, ValueRange) {
    near = e.bitcast(numbersOf(near, least), words), far = e.bitcast(numbersOf(far, least), words);
    // Row `p` of a block has keys p and p + 16.
    Value row = e.sub(key, e.mul(e.div(key, blockKeys), distance));
    Value to = e.at(values, e.add(e.mul(row, rowBytes), place));
    auto low = [&](Value word) { return e.bitAnd(word, e.constantOf(words, 0xffff)); };
    auto high = [&](Value word) { return e.bitAnd(word, e.constantOf(words, -0x10000)); };
    e.store(e.bitOr(low(near), e.shiftLeft(far, 16)), to);
    e.store(e.bitOr(e.shiftRight(near, 16), high(far)), e.at(to, rowBytes));
    return Emitter::Values{};
  });
}

HalvesBlock::HalvesBlock(AttentionKernel &kernel, const HalvesOfHead &head, int64_t rows)
    : AttentionBlock(kernel, rows), head(head), half(e.getBuilder().getF16Type()), halves(e.vec(2 * lanes, half)) {
  unitKeys = blockKeys;
  tileVectors = rows > 6 ? 2 : 4; // 24 sums, or as many as steps are whole
  halfQueries = e.stack(rows * paddedSize * 2);
  for (Value *array : {&powers, &units, &halfUnits, &halfMax})
    *array = e.stack(lanes * 4);
}

void HalvesBlock::begin(llvm::ArrayRef<AttentionRow> rows) {
  AttentionBlock::begin(rows);
  auto queryAt = [&](int64_t row, int64_t d) { return e.load(e.vec(), e.at(queryArray, (row * paddedSize + d) * 4)); };
  Emitter::Values sizes(count, e.zero(e.vec()));
  for (int64_t row = 0; row < count; ++row)
    for (int64_t d = 0; d < headSize; d += lanes)
      sizes[row] = e.max(e.abs(queryAt(row, d)), sizes[row]);
  const Halves::Scale scale = Halves::ofRow(e, e.reduceEach(sizes, [&](Value a, Value b) { return e.max(a, b); }));
  e.store(scale.up, powers);
  for (int64_t row = 0; row < count; ++row) {
    Value up = e.splat(e.load(e.f32(), e.at(powers, row * 4)));
    for (int64_t d = 0; d < headSize; d += lanes)
      e.store(e.bitsOf(half, e.mul(queryAt(row, d), up)), e.at(halfQueries, (row * paddedSize + d) * 2));
  }
  e.store(e.mul(scale.back, e.splat(e.load(e.f32(), head.factors))), units);
  // Outside of what f16 holds, scores differ either by less than counts or by more than rounding leaves. Nor is a unit 0, as of queries and
  // keys that all are: it would meet the infinity of a row that has seen no key.
  Value known = e.max(e.min(e.load(e.vec(), units), e.constantOf(e.vec(), 0x1p15)), e.constantOf(e.vec(), 0x1p-24));
  e.store(known, units);
  e.store(e.bitsOf(half, known), halfUnits);
}

void HalvesBlock::scoreTile(Value keys, Value first, int64_t vectors) {
  constexpr int64_t unroll = 2; // pairs of elements
  Emitter::Values zeros(count * vectors, e.zero(halves));
  Emitter::Values sums = e.forRange(e.constant(0), e.constant(headSize), 2 * unroll, ValueRange(zeros), [&](Value d, ValueRange before) {
    Emitter::Values next(before), lines;
    Value line = e.at(keys, e.mul(d, lineBytes / 2)), queries = e.at(halfQueries, e.mul(d, 2));
    for (int64_t i = 0; i < unroll; ++i) {
      lines.clear();
      for (int64_t v = 0; v < vectors; ++v)
        lines.push_back(e.load(halves, e.at(line, v * layout.blockBytes() + i * lineBytes)));
      for (int64_t r = 0; r < count; ++r) {
        Value query = e.bitcast(e.splat(e.load(e.i32(), e.at(queries, (r * paddedSize + 2 * i) * 2))), halves);
        for (int64_t v = 0; v < vectors; ++v)
          next[r * vectors + v] = e.fma(query, lines[v], next[r * vectors + v]);
      }
    }
    return next;
  });
  // Both sums of each key, and keys 16 apart in one word.
  mlir::Type words = e.vec(lanes, e.i32());
  for (int64_t r = 0; r < count; ++r)
    for (int64_t v = 0; v < vectors; v += 2) {
      Value near = e.bitcast(sums[r * vectors + v], words), far = e.bitcast(sums[r * vectors + v + 1], words);
      Value own = e.bitOr(e.bitAnd(near, e.constantOf(words, 0xffff)), e.bitAnd(far, e.constantOf(words, -0x10000)));
      Value other = e.bitOr(e.shiftRight(near, 16), e.shiftLeft(far, 16));
      e.store(e.add(e.bitcast(own, halves), e.bitcast(other, halves)), e.at(halvesAt(r, first), v * lanes * 2));
    }
}

void HalvesBlock::scores(const AttentionKeys &keys, const Step &step) {
  Value start = e.at(keys.keys, e.mul(step.first, layout.slotBytes())), all = e.roundUp(step.blocks, 2);
  auto tiles = [&](Value begin, Value end, int64_t blocks) {
    e.forRange(begin, end, blocks,
               [&](Value block) { scoreTile(e.at(start, e.mul(block, layout.blockBytes())), e.mul(block, 16), blocks); });
  };
  Value whole = e.mul(e.div(all, tileVectors), tileVectors);
  tiles(e.constant(0), whole, tileVectors);
  if (tileVectors > 2)
    tiles(whole, all, 2);
}

void HalvesBlock::hideKeys(const AttentionKeys &keys, const Step &step) {
  mlir::VectorType words = e.vec(lanes, e.i32()), shorts = e.vec(2 * lanes, e.i16());
  Value zero = e.constant(0), lowest = e.infinity(halves, /*negative=*/true);
  forPartlySeen(keys, step, [&](Value place) {
    Value key = e.add(step.first, place), open;
    Value lane = e.iota(lanes, e.i32()), inBlock = e.bitcast(e.bitOr(lane, e.shiftLeft(e.add(lane, distance), 16)), shorts);
    auto spread = [&](Value number) { return e.bitcast(e.splat(Halves::twice(e, number)), shorts); };
    Value index = e.add(inBlock, spread(e.toI32(key)));
    if (keys.mask) {
      auto opens = [&](int64_t offset, int32_t bits) {
        Value from = e.add(key, offset), inside = e.laneMask(e.sub(kernel.context.tokens, from), lanes);
        Value flags = e.maskedLoad(words, e.element(keys.mask, e.i32(), from), inside);
        return e.select(e.ne(flags, 0), e.constantOf(words, bits), e.zero(words));
      };
      open = e.ne(e.bitcast(e.bitOr(opens(0, 0xffff), opens(distance, -0x10000)), shorts), 0);
    }
    e.forRange(zero, e.constant(count), 1, [&](Value row) {
      Value rowBegin = spread(e.load(e.i32(), e.element(beginArray, e.i32(), row)));
      Value rowEnd = spread(e.load(e.i32(), e.element(endArray, e.i32(), row)));
      Value seen = e.bitAnd(e.ge(index, rowBegin), e.lt(index, rowEnd)), score = halvesAt(row, place);
      if (open)
        seen = e.bitAnd(seen, open);
      e.store(e.select(seen, e.load(halves, score), lowest), score);
    });
  });
}

/// f32 of the first or last lanes of f16.
static Value partOf(Emitter &e, Value numbers, int64_t first) {
  llvm::SmallVector<int64_t> lanes;
  for (int64_t lane = 0; lane < e.getLevel().lanes; ++lane)
    lanes.push_back(first + lane);
  return e.toF32(e.shuffle(numbers, numbers, lanes));
}

Value HalvesBlock::largestScores(const Step &step) {
  Emitter::Values lowest(count, e.infinity(halves, /*negative=*/true));
  Emitter::Values most =
      e.forRange(e.constant(0), e.mul(step.blocks, 16), blockKeys, ValueRange(lowest), [&](Value key, ValueRange carried) {
        Emitter::Values next;
        for (int64_t r = 0; r < count; ++r)
          next.push_back(e.max(e.load(halves, halvesAt(r, key)), carried[r]));
        return next;
      });
  for (Value &row : most)
    row = e.max(partOf(e, row, 0), partOf(e, row, lanes));
  return e.reduceEach(most, [&](Value a, Value b) { return e.max(a, b); });
}

Value HalvesBlock::softmax(Value maxima, const AttentionKeys &keys, const Step &step) {
  hideKeys(keys, step);
  Value now = e.max(maxima, largestScores(step));
  // A row that has seen no key yet is compared with 0.
  Value against = e.select(e.eq(now, e.infinity(e.vec(), /*negative=*/true)), e.zero(e.vec()), now);
  e.store(e.bitsOf(half, against), halfMax);
  e.store(emitExp2NonPositive(e, e.mul(e.sub(maxima, against), e.load(e.vec(), units))), shrink);
  const int64_t rowsAtOnce = 4;
  e.forRange(e.constant(0), e.constant(count), rowsAtOnce, [&](Value row) {
    auto splatOf = [&](Value array, int64_t i) { return e.splat(e.load(half, e.element(array, half, e.add(row, i))), 2 * lanes); };
    Emitter::Values references, factors, sums(rowsAtOnce, e.zero(halves));
    for (int64_t i = 0; i < rowsAtOnce; ++i) {
      references.push_back(splatOf(halfMax, i));
      factors.push_back(splatOf(halfUnits, i));
    }
    Value start = halvesAt(row, e.constant(0));
    sums = e.forRange(e.constant(0), e.mul(step.blocks, 16), blockKeys, ValueRange(sums), [&](Value key, ValueRange carried) {
      Emitter::Values next;
      Value line = e.at(start, e.mul(key, 2));
      for (int64_t i = 0; i < rowsAtOnce; ++i) {
        Value place = e.at(line, i * stepKeys * 2);
        Value power = emitExp2OfHalves(e, e.mul(e.sub(e.load(halves, place), references[i]), factors[i]));
        e.store(power, place);
        next.push_back(e.add(carried[i], power));
      }
      return next;
    });
    for (int64_t i = 0; i < rowsAtOnce; ++i) {
      Value r = e.add(row, i), place = f32At(sumArray, e.mul(r, lanes));
      Value sum = e.mul(e.load(e.vec(), place), e.splat(e.load(e.f32(), f32At(shrink, r))));
      e.store(e.add(sum, e.add(Halves::low(e, sums[i]), Halves::high(e, sums[i]))), place);
    }
  });
  return now;
}

void HalvesBlock::weighValues(const AttentionKeys &keys, Value begin, Value end, const Step &step) {
  constexpr int64_t chunk = 32, unroll = 2; // words of two keys
  const int64_t rowBytes = headSize * 4;
  begin = e.mul(e.div(begin, blockKeys), distance);
  end = e.mul(e.ceilDiv(end, blockKeys), distance);
  Value start = e.at(keys.values, e.mul(e.div(step.first, 2), rowBytes)), ofValues = e.load(e.f32(), e.at(head.factors, 4));
  for (int64_t d = 0; d < headSize;) {
    const int64_t vectors = std::min({24 / count, (headSize - d) / lanes, int64_t(4)});
    const Emitter::Values zeros(count * vectors, e.zero(halves));
    Emitter::Values sums = e.forRange(begin, end, chunk, ValueRange(zeros), [&](Value first, ValueRange before) {
      Emitter::Values part =
          e.forRange(first, e.min(e.add(first, chunk), end), unroll, ValueRange(zeros), [&](Value word, ValueRange carried) {
            Emitter::Values next(carried);
            Value line = e.at(start, e.mul(word, rowBytes)), weights = e.at(scoreArray, e.mul(word, 4));
            for (int64_t i = 0; i < unroll; ++i)
              for (int64_t r = 0; r < count; ++r) {
                Value weight = e.bitcast(e.splat(e.load(e.i32(), e.at(weights, r * stepKeys * 2 + i * 4))), halves);
                for (int64_t v = 0; v < vectors; ++v) {
                  Value numbers = e.load(halves, e.at(line, i * rowBytes + (d + v * lanes) * 4));
                  next[r * vectors + v] = e.fma(weight, numbers, next[r * vectors + v]);
                }
              }
            return next;
          });
      for (auto [sum, all] : llvm::zip_equal(part, before))
        sum = e.add(sum, all);
      return part;
    });
    for (int64_t r = 0; r < count; ++r) {
      Value shrunk = e.splat(e.load(e.f32(), e.at(shrink, r * 4)));
      for (int64_t v = 0; v < vectors; ++v) {
        Value place = e.at(outputArray, (r * paddedSize + d + v * lanes) * 4), sum = sums[r * vectors + v];
        sum = e.mul(e.add(Halves::low(e, sum), Halves::high(e, sum)), ofValues);
        e.store(e.fma(e.load(e.vec(), place), shrunk, sum), place);
      }
    }
    d += vectors * lanes;
  }
}
