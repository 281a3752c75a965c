// The softmax of one step of an attention block.
#include "Attention.h"
#include "ds/Target/CPU/Elementwise.h"
#include "ds/Target/CPU/VectorMath.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

void AttentionBlock::forPartlySeen(const AttentionKeys &keys, const Step &step, llvm::function_ref<void(Value)> body) {
  Value zero = e.constant(0), units = e.ceilDiv(step.blocks, unitKeys / 16);
  // All rows see the keys of units between `head` and `tail`, unless the mask has holes.
  Value head = e.min(e.ceilDiv(e.max(e.sub(keys.commonBegin, step.first), zero), unitKeys), units);
  Value tail = e.max(e.min(e.div(e.max(e.sub(keys.commonEnd, step.first), zero), unitKeys), units), head);
  if (keys.holes)
    tail = e.select(keys.holes, head, tail);
  Value gap = e.sub(tail, head);
  e.forRange(zero, e.sub(units, gap), 1, [&](Value i) { body(e.mul(e.select(e.lt(i, head), i, e.add(i, gap)), unitKeys)); });
}

void AttentionBlock::hideKeys(const AttentionKeys &keys, const Step &step) {
  Value zero = e.constant(0), lowest = e.infinity(e.vec(), /*negative=*/true);
  mlir::VectorType integers = e.vec(lanes, e.i32());
  forPartlySeen(keys, step, [&](Value block) {
    for (int64_t lane = 0; lane < 16; lane += lanes) {
      Value place = e.add(block, lane), key = e.add(step.first, place), index = e.add(e.iota(lanes, e.i32()), e.toI32(key)), open;
      if (keys.mask) {
        Value inside = e.laneMask(e.sub(kernel.context.tokens, key), lanes);
        open = e.ne(e.maskedLoad(integers, e.element(keys.mask, e.i32(), key), inside), 0);
      }
      e.forRange(zero, e.constant(count), 1, [&](Value row) {
        Value rowBegin = e.splat(e.load(e.i32(), e.element(beginArray, e.i32(), row)));
        Value rowEnd = e.splat(e.load(e.i32(), e.element(endArray, e.i32(), row)));
        Value seen = e.bitAnd(e.ge(index, rowBegin), e.lt(index, rowEnd)), score = scoreAt(row, place);
        if (open)
          seen = e.bitAnd(seen, open);
        e.store(e.select(seen, e.load(e.vec(), score), lowest), score);
      });
    }
  });
}

Value AttentionBlock::largestScores(const Step &step) {
  Emitter::Values lowest(count, e.infinity(e.vec(), /*negative=*/true));
  Emitter::Values most = e.forRange(e.constant(0), e.mul(step.blocks, 16), lanes, ValueRange(lowest), [&](Value key, ValueRange carried) {
    Emitter::Values next;
    Value index;
    if (kernel.slopes)
      index = e.toF32(e.add(e.iota(lanes, e.i32()), e.toI32(e.add(step.first, key))));
    for (int64_t r = 0; r < count; ++r) {
      Value place = scoreAt(r, key), score = e.load(e.vec(), place);
      if (kernel.slopes) {
        score = e.fma(e.splat(e.load(e.f32(), e.at(slopeArray, r * 4))), index, score);
        e.store(score, place);
      }
      next.push_back(e.max(score, carried[r]));
    }
    return next;
  });
  return e.reduceEach(most, [&](Value a, Value b) { return e.max(a, b); });
}

Value AttentionBlock::softmax(Value maxima, const AttentionKeys &keys, const Step &step) {
  hideKeys(keys, step);
  Value lowest = e.infinity(e.vec(), /*negative=*/true);
  Value now = e.max(maxima, largestScores(step));
  // A row that has seen no key yet is compared with 0.
  Value against = e.select(e.eq(now, lowest), e.zero(e.vec()), now);
  e.store(against, reference);
  e.store(emitExp2NonPositive(e, e.sub(maxima, against)), shrink);
  // A few rows at once hide the latency of each other's powers.
  std::optional<DropoutOfWeights> dropout;
  if (kernel.seed)
    dropout.emplace(e, kernel.op, emitDropoutKey(e, kernel.seed->pointer), keys.head);
  const int64_t rowsAtOnce = count % 4 == 0 ? 4 : count % 3 == 0 ? 3 : count % 2 == 0 ? 2 : 1;
  e.forRange(e.constant(0), e.constant(count), rowsAtOnce, [&](Value row) {
    Emitter::Values references, sums;
    for (int64_t i = 0; i < rowsAtOnce; ++i) {
      Value r = e.add(row, i), sum = e.load(e.vec(), f32At(sumArray, e.mul(r, lanes)));
      references.push_back(e.splat(e.load(e.f32(), f32At(reference, r))));
      sums.push_back(e.mul(sum, e.splat(e.load(e.f32(), f32At(shrink, r)))));
    }
    Value start = scoreAt(row, e.constant(0)), values = e.at(keys.values, e.mul(step.first, layout.slotBytes()));
    sums = e.forRange(e.constant(0), e.mul(step.blocks, 16), lanes, ValueRange(sums), [&](Value key, ValueRange carried) {
      Emitter::Values next;
      Value line = f32At(start, key);
      Emitter::Values stays;
      if (dropout) // blocks are of groups of four
        stays = dropout->ofKeys(e.add(keys.firstToken, row), e.add(step.first, key));
      Value scales; // of values that are codes
      if (layout.hasCodes) {
        Value block = e.mul(e.shiftRight(key, 4), layout.blockBytes()), inBlock = e.mul(e.bitAnd(key, e.constant(15)), 4);
        scales = e.load(e.vec(), e.at(values, e.add(block, inBlock)));
      }
      for (int64_t i = 0; i < rowsAtOnce; ++i) {
        Value place = e.at(line, i * stepKeys * 4);
        Value power = emitExp2NonPositive(e, e.sub(e.load(e.vec(), place), references[i]));
        next.push_back(e.add(carried[i], power)); // the sum is that of all weights, before scales
        if (dropout)
          power = e.select(stays[i], power, e.zero(e.vec()));
        if (hasDots) // over scores that were read before
          e.store(e.toBf16(power), e.at(f32At(start, e.constant(i * stepKeys)), e.mul(key, 2)));
        else
          e.store(scales ? e.mul(power, scales) : power, place);
      }
      return next;
    });
    for (int64_t i = 0; i < rowsAtOnce; ++i)
      e.store(sums[i], f32At(sumArray, e.mul(e.add(row, i), lanes)));
  });
  return now;
}

Value AttentionBlock::rowSums() {
  Emitter::Values sums;
  for (int64_t r = 0; r < count; ++r)
    sums.push_back(e.load(e.vec(), e.at(sumArray, r * lanes * 4)));
  return e.reduceEach(sums, [&](Value a, Value b) { return e.add(a, b); });
}
