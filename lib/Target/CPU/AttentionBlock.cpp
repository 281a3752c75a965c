#include "Attention.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

static constexpr double log2OfE = 1.4426950408889634;

AttentionBlock::AttentionBlock(AttentionKernel &kernel, int64_t rows, std::optional<ds_plan::CacheLayout> converted)
    : kernel(kernel), e(kernel.context.e), count(rows), lanes(kernel.context.level.lanes), headSize(kernel.headSize()),
      paddedSize(llvm::alignTo(headSize, lanes)), layout(converted.value_or(kernel.keys.layout)),
      hasDots(layout.hasPairs && kernel.context.level.bf16Dots != Dots::none), multipliedBytes(hasDots ? 2 : 4),
      together(layout.hasPairs ? 2 : 1) {
  // As many of a step as registers hold with their sums, a query and what LLVM wants.
  const int64_t lines = hasDots ? 1 : together, whole = 16 / lanes;
  for (tileVectors = 8; tileVectors > whole && (rows + lines) * tileVectors + 2 > kernel.context.level.registers;)
    tileVectors /= 2;
  queryArray = e.stack(rows * paddedSize * 4);
  scoreArray = e.stack(rows * stepKeys * 4);
  sumArray = e.stack(rows * lanes * 4);
  outputArray = e.stack(rows * paddedSize * 4);
  for (Value *array : {&reference, &shrink, &slopeArray, &beginArray, &endArray})
    *array = e.stack(lanes * 4);
}

void AttentionBlock::begin(llvm::ArrayRef<AttentionRow> rows) {
  Value zero = e.zero(e.vec());
  // Scores in units of log 2, so that probabilities are powers of two.
  double scale = kernel.op.getScale().convertToDouble() * log2OfE;
  for (auto [r, row] : llvm::enumerate(rows)) {
    e.store(zero, e.at(sumArray, r * lanes * 4));
    for (int64_t d = 0; d < headSize; d += lanes) {
      mlir::Type element = kernel.query->element();
      Value query = e.loadRow(element, e.element(row.query, element, e.constant(d)), headSize - d, lanes);
      query = e.mul(query, e.splat(e.constantF32(scale)));
      e.store(hasDots ? e.toBf16(query) : query, e.at(queryArray, (r * paddedSize + d) * multipliedBytes));
      e.store(zero, e.at(outputArray, (r * paddedSize + d) * 4));
    }
    if (row.slope)
      e.store(e.mul(row.slope, e.constantF32(log2OfE)), e.at(slopeArray, r * 4));
    e.store(e.toI32(row.begin), e.at(beginArray, r * 4));
    e.store(e.toI32(row.end), e.at(endArray, r * 4));
  }
}

AttentionBlock::Factors AttentionBlock::shared(Value place) {
  if (hasDots)
    return {e.splat(e.load(e.i32(), place))};
  Factors numbers;
  for (int64_t i = 0; i < together; ++i)
    numbers.push_back(e.splat(e.load(e.f32(), e.at(place, i * 4))));
  return numbers;
}

AttentionBlock::Factors AttentionBlock::pairsAt(Value place) {
  Value pairs = e.load(e.vec(lanes, e.i32()), place);
  if (hasDots)
    return {pairs};
  return {e.lowOfPairs(pairs), e.highOfPairs(pairs)};
}

Value AttentionBlock::add(Value sum, const Factors &numbers, const Factors &lines) {
  if (hasDots)
    return e.dotOfPairs(numbers[0], lines[0], sum);
  for (auto [number, line] : llvm::zip_equal(numbers, lines))
    sum = e.fma(number, line, sum);
  return sum;
}

void AttentionBlock::ask(Value place, Value ahead, int64_t inLine) {
  // A Zen 4 is faster if it fetches every other line of f32 by itself; of bf16 it is not.
  const int64_t asked = kernel.context.level.addsBeside && layout.elementBytes == 4 ? 128 : 64;
  if (ahead && inLine % asked == 0)
    e.prefetch(e.at(place, ahead), /*locality=*/2);
}

void AttentionBlock::scoreTile(Value keys, Value ahead, Value first, int64_t vectors) {
  constexpr int64_t unroll = 4;
  // Adds element `d + offset` of the head, or those of a pair, to all sums.
  auto addElement = [&](Value d, int64_t offset, ValueRange sums) {
    Emitter::Values next(sums);
    llvm::SmallVector<Factors> lines;
    Value line = e.at(keys, e.mul(d, 16 * layout.elementBytes));
    for (int64_t v = 0; v < vectors; ++v) {
      int64_t block = v * lanes / 16 * layout.blockBytes() + layout.scaleBytes(), inBlock = offset * 16 + v * lanes % 16 * together;
      Value place = e.at(line, block + inBlock * layout.elementBytes);
      ask(place, ahead, inBlock * layout.elementBytes);
      lines.push_back(layout.hasPairs ? pairsAt(place) : Factors{kernel.keys.load(e, place, lanes)});
    }
    for (int64_t r = 0; r < count; ++r) {
      Factors query = shared(e.at(queryAt(r, d), offset * multipliedBytes));
      for (int64_t v = 0; v < vectors; ++v)
        next[r * vectors + v] = add(next[r * vectors + v], query, lines[v]);
    }
    return next;
  };
  int64_t whole = headSize / unroll * unroll;
  Emitter::Values zeros(count * vectors, e.zero(e.vec()));
  Emitter::Values sums = e.forRange(e.constant(0), e.constant(whole), unroll, ValueRange(zeros), [&](Value d, ValueRange carried) {
    Emitter::Values next(carried);
    for (int64_t i = 0; i < unroll; i += together)
      next = addElement(d, i, next);
    return next;
  });
  for (int64_t d = whole; d < headSize; ++d)
    sums = addElement(e.constant(d), 0, sums);
  Emitter::Values scales;
  for (int64_t v = 0; v < vectors && layout.hasCodes; ++v)
    scales.push_back(e.load(e.vec(), e.at(keys, v * lanes / 16 * layout.blockBytes() + v * lanes % 16 * 4)));
  for (int64_t r = 0; r < count; ++r)
    for (int64_t v = 0; v < vectors; ++v) {
      Value sum = sums[r * vectors + v];
      e.store(layout.hasCodes ? e.mul(sum, scales[v]) : sum, e.at(scoreAt(r, first), v * lanes * 4));
    }
}

void AttentionBlock::scores(const AttentionKeys &keys, const Step &step) {
  int64_t tileBlocks = tileVectors * lanes / 16;
  Value start = e.at(keys.keys, e.mul(step.first, layout.slotBytes()));
  auto tiles = [&](Value begin, Value end, int64_t blocks) {
    e.forRange(begin, end, blocks, [&](Value block) {
      scoreTile(e.at(start, e.mul(block, layout.blockBytes())), keys.aheadKeys, e.mul(block, 16), blocks * 16 / lanes);
    });
  };
  Value whole = e.mul(e.div(step.blocks, tileBlocks), tileBlocks);
  tiles(e.constant(0), whole, tileBlocks);
  if (tileBlocks > 1)
    tiles(whole, step.blocks, 1);
}

void AttentionBlock::weighValues(const AttentionKeys &keys, Value begin, Value end, const Step &step) {
  int64_t most = std::max<int64_t>(1, (kernel.context.level.registers >= 32 ? 24 : 12) / count);
  if (layout.hasPairs) { // whole ones: probabilities of keys that no row sees are 0
    begin = e.mul(e.div(begin, 2), 2);
    end = e.roundUp(end, 2);
  }
  Value start = e.at(keys.values, e.mul(step.first, layout.slotBytes()));
  for (int64_t d = 0; d < paddedSize;) {
    int64_t vectors = std::min({most, (paddedSize - d) / lanes, int64_t(4)});
    // Few sums would wait for each other: then keys take turns.
    int64_t turns = count * vectors >= 8 ? 1 : count * vectors >= 4 ? 2 : 4;
    auto addKey = [&](Value key, int64_t offset, int64_t turn, Emitter::Values &sums) {
      llvm::SmallVector<Factors> lines;
      Value slot = layout.hasCodes ? e.add(key, offset) : key, line = e.at(start, e.mul(slot, layout.rowBytes()));
      if (layout.hasCodes) // behind the scales of its block, and of those before
        line = e.at(line, e.mul(e.add(e.shiftRight(slot, 4), 1), layout.scaleBytes()));
      const int64_t row = layout.hasCodes ? 0 : offset * layout.rowBytes();
      for (int64_t v = 0; v < vectors; ++v) {
        Value place = e.at(line, row + (d + v * lanes) * layout.elementBytes * together);
        ask(place, keys.aheadValues, (d + v * lanes) * layout.elementBytes * together);
        lines.push_back(layout.hasPairs ? pairsAt(place) : Factors{kernel.values.load(e, place, headSize - d - v * lanes)});
      }
      for (int64_t r = 0; r < count; ++r) {
        Factors weights = shared(e.at(weightAt(r, key), offset * multipliedBytes));
        for (int64_t v = 0; v < vectors; ++v) {
          Value &sum = sums[(turn * count + r) * vectors + v];
          sum = add(sum, weights, lines[v]);
        }
      }
    };
    Emitter::Values sums(turns * count * vectors, e.zero(e.vec()));
    const int64_t unroll = std::max<int64_t>(turns, 2) * together;
    Value whole = e.add(begin, e.mul(e.div(e.sub(end, begin), unroll), unroll));
    sums = e.forRange(begin, whole, unroll, ValueRange(sums), [&](Value key, ValueRange carried) {
      Emitter::Values next(carried);
      for (int64_t i = 0; i < unroll; i += together)
        addKey(key, i, i / together % turns, next);
      return next;
    });
    sums = e.forRange(whole, end, together, ValueRange(sums), [&](Value key, ValueRange carried) {
      Emitter::Values next(carried);
      addKey(key, 0, 0, next);
      return next;
    });
    for (int64_t i = 0; i < count * vectors; ++i) {
      Value sum = sums[i], place = e.at(outputArray, (i / vectors * paddedSize + d + i % vectors * lanes) * 4);
      for (int64_t turn = 1; turn < turns; ++turn)
        sum = e.add(sum, sums[turn * count * vectors + i]);
      Value shrunk = e.splat(e.load(e.f32(), e.at(shrink, i / vectors * 4)));
      e.store(e.fma(e.load(e.vec(), place), shrunk, sum), place);
    }
    d += vectors * lanes;
  }
}

void AttentionBlock::finish(llvm::ArrayRef<AttentionRow> rows) {
  Value sums = rowSums(), zero = e.zero(e.vec());
  // What earlier sums shrink by is not needed any more.
  const double factor = kernel.seed ? dropoutFactor(*kernel.op.getRate()) : 1;
  e.store(e.select(e.eq(sums, zero), zero, e.div(e.constantOf(e.vec(), factor), sums)), shrink);
  // Of rows that stand there twice, the first is stored last.
  for (int64_t r = static_cast<int64_t>(rows.size()) - 1; r >= 0; --r) {
    Value scale = e.splat(e.load(e.f32(), e.at(shrink, r * 4)));
    for (int64_t d = 0; d < headSize; d += lanes) {
      Value output = e.mul(e.load(e.vec(), e.at(outputArray, (r * paddedSize + d) * 4)), scale);
      e.storeFirst(output, e.at(rows[r].output, d * 4), headSize - d);
    }
  }
}

void AttentionBlock::finishPartially(llvm::ArrayRef<AttentionRow> rows, Value maxima) {
  e.store(maxima, reference);
  e.store(rowSums(), shrink);
  for (auto [r, row] : llvm::enumerate(rows)) {
    e.store(e.load(e.f32(), e.at(shrink, r * 4)), row.partial);
    e.store(e.load(e.f32(), e.at(reference, r * 4)), e.at(row.partial, 4));
    for (int64_t d = 0; d < headSize; d += lanes)
      e.store(e.load(e.vec(), e.at(outputArray, (int64_t(r) * paddedSize + d) * 4)), e.at(row.partial, 64 + d * 4));
  }
}

void AttentionBlock::emit(llvm::ArrayRef<AttentionRow> rows, const AttentionKeys &keys) {
  begin(rows);
  if (keys.nextQueries) {
    // A few lines in each page: hardware does not see them coming.
    const int64_t elementBytes = kernel.query->element().getIntOrFloatBitWidth() / 8, rowBytes = kernel.query->width() * elementBytes;
    e.forRange(e.constant(0), e.constant(count), 1, [&](Value r) {
      for (int64_t byte = 0; byte < headSize * elementBytes; byte += 64)
        e.prefetch(e.at(keys.nextQueries, e.add(e.mul(r, rowBytes), byte)), /*locality=*/2);
    });
  }
  Value firstStep = e.mul(e.div(keys.begin, unitKeys), unitKeys), zero = e.constant(0), lowest = e.infinity(e.vec(), /*negative=*/true);
  auto addStep = [&](Value first, ValueRange maxima) {
    Step step{first, e.min(e.ceilDiv(e.sub(keys.end, first), 16), stepKeys / 16)};
    scores(keys, step);
    Value next = softmax(maxima[0], keys, step);
    weighValues(keys, e.max(e.sub(keys.begin, first), zero), e.min(e.sub(keys.end, first), stepKeys), step);
    return Emitter::Values{next};
  };
  Value maxima = e.forRange(firstStep, keys.end, e.constant(stepKeys), ValueRange(lowest), addStep)[0];
  if (keys.isPartial)
    e.ifElse(keys.isPartial, [&] { finishPartially(rows, maxima); }, [&] { finish(rows); });
  else
    finish(rows);
}
