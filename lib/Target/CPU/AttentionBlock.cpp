#include "Attention.h"
#include "VectorMath.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

AttentionBlock::AttentionBlock(AttentionKernel &kernel, int64_t rows)
    : kernel(kernel), e(kernel.context.e), count(rows), lanes(kernel.context.level.lanes), headSize(kernel.headSize()),
      paddedSize(llvm::alignTo(headSize, lanes)), paddedRows(llvm::alignTo(rows, lanes)) {
  bool manyRegisters = kernel.context.level.registers >= 32;
  // About 24 sums of 32 registers, 12 of 16; a tile is a multiple of 16 keys.
  if (manyRegisters)
    tileVectors = rows <= 3 ? 8 : 4;
  else
    tileVectors = std::max<int64_t>(rows <= 3 ? 4 : 2, 16 / lanes);
  stepKeys = std::max<int64_t>(64, tileVectors * lanes);
  scoreArray = e.stack(rows * stepKeys * 4);
  sumArray = e.stack(rows * lanes * 4);
  outputArray = e.stack(rows * paddedSize * 4);
  oldMaxima = e.stack(paddedRows * 4);
  newMaxima = e.stack(paddedRows * 4);
  shrink = e.stack(paddedRows * 4);
  slopeArray = e.stack(paddedRows * 4);
  beginArray = e.stack(paddedRows * 4);
  endArray = e.stack(paddedRows * 4);
}

void AttentionBlock::begin(llvm::ArrayRef<AttentionRow> rows) {
  Value zero = e.zero(e.vec());
  for (int64_t i = 0; i < count * lanes; i += lanes)
    e.store(zero, e.at(sumArray, i * 4));
  e.forRange(e.constant(0), e.constant(count * paddedSize), lanes, [&](Value i) { e.store(zero, f32At(outputArray, i)); });
  for (int64_t i = 0; i < paddedRows; i += lanes) {
    e.store(e.infinity(e.vec(), /*negative=*/true), e.at(oldMaxima, i * 4));
    e.store(zero, e.at(newMaxima, i * 4));
  }
  for (auto [i, row] : llvm::enumerate(rows)) {
    if (row.slope)
      e.store(row.slope, e.at(slopeArray, i * 4));
    e.store(e.toI32(row.begin), e.at(beginArray, i * 4));
    e.store(e.toI32(row.end), e.at(endArray, i * 4));
  }
}

void AttentionBlock::scores(llvm::ArrayRef<AttentionRow> rows, Value keys, Value first, int64_t vectors) {
  constexpr int64_t unroll = 4;
  Value scale = e.splat(e.constantF32(kernel.op.getScale().convertToDouble()));
  // Adds element `d + offset` of the head to all sums.
  auto addElement = [&](Value d, int64_t offset, ValueRange sums) {
    Emitter::Values next(sums), lines;
    for (int64_t v = 0; v < vectors; ++v) {
      int64_t key = v * lanes;
      lines.push_back(e.load(e.vec(), e.element(keys, e.f32(), e.add(e.mul(d, 16), (key / 16 * headSize + offset) * 16 + key % 16))));
    }
    for (int64_t r = 0; r < count; ++r) {
      Value q = e.splat(e.load(e.f32(), e.element(rows[r].query, e.f32(), e.add(d, offset))));
      for (int64_t v = 0; v < vectors; ++v)
        next[r * vectors + v] = e.fma(q, lines[v], next[r * vectors + v]);
    }
    return next;
  };
  int64_t whole = headSize / unroll * unroll;
  Emitter::Values zeros(count * vectors, e.zero(e.vec()));
  Emitter::Values sums = e.forRange(e.constant(0), e.constant(whole), unroll, ValueRange(zeros), [&](Value d, ValueRange carried) {
    Emitter::Values next(carried);
    for (int64_t i = 0; i < unroll; ++i)
      next = addElement(d, i, next);
    return next;
  });
  for (int64_t d = whole; d < headSize; ++d)
    sums = addElement(e.constant(d), 0, sums);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t v = 0; v < vectors; ++v)
      e.store(e.mul(sums[r * vectors + v], scale), f32At(scoreArray, e.add(first, r * stepKeys + v * lanes)));
}

Value AttentionBlock::sloped(Value score, Value row, Value key) {
  if (!kernel.slopes)
    return score;
  Value place = e.toF32(e.add(e.iota(lanes, e.i32()), e.toI32(key)));
  return e.fma(e.splat(e.load(e.f32(), f32At(slopeArray, row))), place, score);
}

/// The new maxima say how much smaller the sums of earlier steps become. A row that has seen no key yet has maximum 0 in their place.
void AttentionBlock::renewMaxima() {
  Value lowest = e.infinity(e.vec(), /*negative=*/true);
  for (int64_t i = 0; i < paddedRows; i += lanes) {
    Value before = e.load(e.vec(), e.at(oldMaxima, i * 4)), now = e.load(e.vec(), e.at(newMaxima, i * 4));
    Value reference = e.select(e.eq(now, lowest), e.zero(e.vec()), now);
    e.store(emitExpNonPositive(e, e.sub(before, reference)), e.at(shrink, i * 4));
    e.store(now, e.at(oldMaxima, i * 4));
    e.store(reference, e.at(newMaxima, i * 4));
  }
}

void AttentionBlock::softmaxOfWholeStep(Value step) {
  int64_t vectors = stepKeys / lanes;
  e.forRange(e.constant(0), e.constant(count), 1, [&](Value row) {
    Value most[2] = {e.infinity(e.vec(), /*negative=*/true), e.infinity(e.vec(), /*negative=*/true)};
    for (int64_t v = 0; v < vectors; ++v) {
      Value place = scoreAt(row, e.constant(v * lanes)), score = sloped(e.load(e.vec(), place), row, e.add(step, v * lanes));
      if (kernel.slopes)
        e.store(score, place);
      most[v % 2] = e.max(score, most[v % 2]);
    }
    e.store(e.max(e.load(e.f32(), f32At(oldMaxima, row)), e.reduceMax(e.max(most[0], most[1]))), f32At(newMaxima, row));
  });
  renewMaxima();
  e.forRange(e.constant(0), e.constant(count), 1, [&](Value row) {
    Value reference = e.splat(e.load(e.f32(), f32At(newMaxima, row))), shrunk = e.splat(e.load(e.f32(), f32At(shrink, row)));
    Value place = f32At(sumArray, e.mul(row, lanes));
    Value sums[2] = {e.mul(e.load(e.vec(), place), shrunk), e.zero(e.vec())};
    for (int64_t v = 0; v < vectors; ++v) {
      Value score = scoreAt(row, e.constant(v * lanes));
      Value power = emitExpNonPositive(e, e.sub(e.load(e.vec(), score), reference));
      e.store(power, score);
      sums[v % 2] = e.add(sums[v % 2], power);
    }
    e.store(e.add(sums[0], sums[1]), place);
  });
}

void AttentionBlock::partialScores(llvm::ArrayRef<AttentionRow> rows, const AttentionKeys &keys, Value step, Value blocks) {
  e.forRange(e.constant(0), blocks, 1, [&](Value block) {
    Value first = e.mul(block, 16);
    scores(rows, e.element(keys.keys, e.f32(), e.mul(e.add(step, first), headSize)), first, 16 / lanes);
  });
}

void AttentionBlock::softmaxOfPartialStep(const AttentionKeys &keys, Value step, Value blocks) {
  Value end = e.mul(blocks, 16), zero = e.constant(0), lowest = e.infinity(e.vec(), /*negative=*/true);
  mlir::VectorType integers = e.vec(lanes, e.i32());
  e.forRange(zero, e.constant(count), 1, [&](Value row) {
    Value rowBegin = e.splat(e.load(e.i32(), e.element(beginArray, e.i32(), row)));
    Value rowEnd = e.splat(e.load(e.i32(), e.element(endArray, e.i32(), row)));
    Emitter::Values most = e.forRange(zero, end, lanes, ValueRange(lowest), [&](Value v, ValueRange carried) {
      Value key = e.add(step, v), index = e.add(e.iota(lanes, e.i32()), e.toI32(key)), place = scoreAt(row, v);
      Value seen = e.bitAnd(e.ge(index, rowBegin), e.lt(index, rowEnd));
      if (keys.mask) {
        Value inside = e.laneMask(e.sub(kernel.context.tokens, key), lanes);
        seen = e.bitAnd(seen, e.ne(e.maskedLoad(integers, e.element(keys.mask, e.i32(), key), inside), 0));
      }
      Value score = e.select(seen, sloped(e.load(e.vec(), place), row, key), lowest);
      e.store(score, place);
      return Emitter::Values{e.max(score, carried[0])};
    });
    e.store(e.max(e.load(e.f32(), f32At(oldMaxima, row)), e.reduceMax(most[0])), f32At(newMaxima, row));
  });
  renewMaxima();
  e.forRange(zero, e.constant(count), 1, [&](Value row) {
    Value reference = e.splat(e.load(e.f32(), f32At(newMaxima, row))), shrunk = e.splat(e.load(e.f32(), f32At(shrink, row)));
    Value place = f32At(sumArray, e.mul(row, lanes));
    Value sum = e.mul(e.load(e.vec(), place), shrunk);
    sum = e.forRange(zero, end, lanes, ValueRange(sum), [&](Value v, ValueRange carried) {
      Value score = scoreAt(row, v);
      Value power = emitExpNonPositive(e, e.sub(e.load(e.vec(), score), reference));
      e.store(power, score);
      return Emitter::Values{e.add(carried[0], power)};
    })[0];
    e.store(sum, place);
  });
}

void AttentionBlock::weighValues(const AttentionKeys &keys, Value begin, Value end, Value step) {
  int64_t most = std::max<int64_t>(1, (kernel.context.level.registers >= 32 ? 24 : 12) / count);
  Value start = e.element(keys.values, e.f32(), e.mul(step, headSize));
  for (int64_t d = 0; d < paddedSize;) {
    int64_t vectors = std::min({most, (paddedSize - d) / lanes, int64_t(4)});
    // Few sums would wait for each other: then keys take turns.
    int64_t turns = count * vectors >= 8 ? 1 : count * vectors >= 4 ? 2 : 4;
    auto addKey = [&](Value key, int64_t turn, Emitter::Values &sums) {
      Emitter::Values lines;
      for (int64_t v = 0; v < vectors; ++v)
        lines.push_back(
            e.loadFirst(e.element(start, e.f32(), e.add(e.mul(key, headSize), d + v * lanes)), headSize - d - v * lanes, lanes));
      for (int64_t r = 0; r < count; ++r) {
        Value p = e.splat(e.load(e.f32(), scoreAt(e.constant(r), key)));
        for (int64_t v = 0; v < vectors; ++v) {
          Value &sum = sums[(turn * count + r) * vectors + v];
          sum = e.fma(p, lines[v], sum);
        }
      }
    };
    Emitter::Values sums(turns * count * vectors, e.zero(e.vec()));
    for (int64_t r = 0; r < count; ++r) {
      Value shrunk = e.splat(e.load(e.f32(), e.at(shrink, r * 4)));
      for (int64_t v = 0; v < vectors; ++v)
        sums[r * vectors + v] = e.mul(e.load(e.vec(), e.at(outputArray, (r * paddedSize + d + v * lanes) * 4)), shrunk);
    }
    Value whole = e.add(begin, e.mul(e.div(e.sub(end, begin), turns), turns));
    sums = e.forRange(begin, whole, turns, ValueRange(sums), [&](Value key, ValueRange carried) {
      Emitter::Values next(carried);
      for (int64_t turn = 0; turn < turns; ++turn)
        addKey(e.add(key, turn), turn, next);
      return next;
    });
    if (turns > 1)
      sums = e.forRange(whole, end, 1, ValueRange(sums), [&](Value key, ValueRange carried) {
        Emitter::Values next(carried);
        addKey(key, 0, next);
        return next;
      });
    for (int64_t i = 0; i < count * vectors; ++i) {
      Value sum = sums[i];
      for (int64_t turn = 1; turn < turns; ++turn)
        sum = e.add(sum, sums[turn * count * vectors + i]);
      e.store(sum, e.at(outputArray, (i / vectors * paddedSize + d + i % vectors * lanes) * 4));
    }
    d += vectors * lanes;
  }
}

void AttentionBlock::finish(llvm::ArrayRef<AttentionRow> rows) {
  for (auto [r, row] : llvm::enumerate(rows)) {
    Value sum = e.reduceAdd(e.load(e.vec(), e.at(sumArray, int64_t(r) * lanes * 4)));
    Value one = e.constantF32(1), scale = e.splat(e.select(e.eq(sum, e.constantF32(0)), e.constantF32(0), e.div(one, sum)));
    for (int64_t d = 0; d < headSize; d += lanes) {
      Value output = e.mul(e.load(e.vec(), e.at(outputArray, (int64_t(r) * paddedSize + d) * 4)), scale);
      e.storeFirst(output, e.at(row.output, d * 4), headSize - d);
    }
  }
}

void AttentionBlock::emit(llvm::ArrayRef<AttentionRow> rows, const AttentionKeys &keys) {
  begin(rows);
  Value firstStep = e.mul(e.div(keys.begin, 16), 16);
  e.forRange(firstStep, keys.end, stepKeys, [&](Value step) {
    Value stepEnd = e.add(step, stepKeys), blocks = e.min(e.ceilDiv(e.sub(keys.end, step), 16), stepKeys / 16);
    Value whole = e.bitAnd(e.ge(step, keys.commonBegin), e.le(stepEnd, keys.commonEnd));
    if (keys.holes)
      whole = e.bitAnd(whole, e.eq(keys.holes, e.constantBool(false)));
    e.ifElse(
        whole,
        [&] {
          int64_t tile = tileVectors * lanes;
          e.forRange(e.constant(0), e.constant(stepKeys), tile, [&](Value first) {
            scores(rows, e.element(keys.keys, e.f32(), e.mul(e.add(step, first), headSize)), first, tileVectors);
          });
          softmaxOfWholeStep(step);
        },
        [&] {
          partialScores(rows, keys, step, blocks);
          softmaxOfPartialStep(keys, step, blocks);
        });
    Value zero = e.constant(0);
    weighValues(keys, e.max(e.sub(keys.begin, step), zero), e.min(e.sub(keys.end, step), stepKeys), step);
  });
  finish(rows);
}
