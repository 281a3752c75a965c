// Attention by multiply-adds of f16, for processors with AVX512_FP16: of keys and values that HalvesOfHead.cpp made f16.
//
// Scores stay f16 through the softmax, in units that the scales of queries and keys give; probabilities below 2^-15 of the largest are 0.
// Sums over 64 keys are f16, those of their parts too, and each step goes on in f32.
#include "Attention.h"
#include "Halves.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

static constexpr int64_t lineBytes = 64, blockKeys = HalvesOfHead::blockKeys, distance = HalvesOfHead::distance;

HalvesBlock::HalvesBlock(AttentionKernel &kernel, const HalvesOfHead &head, int64_t rows)
    : AttentionBlock(kernel, rows), head(head), half(e.getBuilder().getF16Type()), halves(e.vec(2 * lanes, half)) {
  layout = HalvesOfHead::layoutOf(headSize);
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
