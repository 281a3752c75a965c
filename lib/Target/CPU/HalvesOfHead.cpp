// Keys and values of one head as f16: of pairs of bf16, or of a cache of f32, bf16 or codes.
#include "Attention.h"
#include "Halves.h"

using namespace ds;
using mlir::Value;
using mlir::ValueRange;

static constexpr int64_t lineBytes = 64;
/// The first bf16 that is no finite number, as i16.
static constexpr int64_t notFinite = 0x7f80;

HalvesOfHead::HalvesOfHead(AttentionKernel &kernel) : ConvertedHead(kernel) { factors = e.stack(2 * 4); }

bool HalvesOfHead::serves(const AttentionKernel &kernel) {
  return kernel.context.level.multipliesF16 && !kernel.slopes && mayConvert(kernel);
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

void HalvesOfHead::takePairedKeys(Value from, Value end) {
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

void HalvesOfHead::takePairedValues(Value from, Value end) {
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

/// The larger of `most` and the absolute values that are finite.
static Value largerFinite(Emitter &e, Value numbers, Value most) {
  Value size = e.abs(numbers);
  return e.max(e.select(e.lt(size, e.infinity(size.getType())), size, e.zero(size.getType())), most);
}

Value HalvesOfHead::scaleOfCached(Value largest, int64_t factor) {
  const Halves::Scale scale = Halves::ofRow(e, e.reduceMax(largest));
  e.store(scale.back, e.at(factors, factor * 4));
  return e.splat(scale.up);
}

Value HalvesOfHead::bitsOfHalf(Value numbers) { return e.bitsOf(e.getBuilder().getF16Type(), numbers); }

void HalvesOfHead::takeKeys(Value from, Value end) {
  const ds_plan::CacheLayout &layout = kernel.keys.layout;
  if (layout.hasPairs)
    return takePairedKeys(from, end);
  const int64_t lanes = e.getLevel().lanes, size = kernel.headSize();
  Value zero = e.constant(0), blocks = e.ceilDiv(end, layout.slots);
  auto blockAt = [&](Value block) { return e.at(from, e.mul(block, layout.blockBytes())); };
  Value largest = e.forRange(zero, blocks, 1, ValueRange{e.zero(e.vec())}, [&](Value block, ValueRange before) {
    Value place = blockAt(block), scales = scalesOfKeys(place), below = e.laneMask(e.sub(end, e.mul(block, layout.slots)), lanes);
    return e.forRange(zero, e.constant(size), 1, before, [&](Value d, ValueRange most) {
      return Emitter::Values{largerFinite(e, e.select(below, keysOfBlock(place, d, scales), e.zero(e.vec())), most[0])};
    });
  })[0];
  Value up = scaleOfCached(largest, 0);
  e.forRange(zero, blocks, 1, [&](Value block) {
    Value place = blockAt(block), scales = scalesOfKeys(place), to = e.at(keys, e.mul(block, layoutOf(size).blockBytes()));
    e.forRange(zero, e.constant(size), 2, [&](Value d) {
      auto scaled = [&](Value d) { return bitsOfHalf(e.mul(keysOfBlock(place, d, scales), up)); };
      storePairs(scaled(d), scaled(e.add(d, 1)), e.at(to, e.mul(d, lineBytes / 2)));
    });
  });
}

void HalvesOfHead::takeValues(Value from, Value end) {
  if (kernel.keys.layout.hasPairs)
    return takePairedValues(from, end);
  const int64_t lanes = e.getLevel().lanes, size = kernel.headSize();
  Value zero = e.constant(0);
  Value largest = e.forRange(zero, end, 1, ValueRange{e.zero(e.vec())}, [&](Value slot, ValueRange before) {
    Slot row = slotAt(from, slot);
    return e.forRange(zero, e.constant(size), lanes, before,
                      [&](Value d, ValueRange most) { return Emitter::Values{largerFinite(e, valuesOfSlot(row, d), most[0])}; });
  })[0];
  Value up = scaleOfCached(largest, 1), last = e.sub(end, 1);
  e.forRange(zero, end, blockKeys, [&](Value block) {
    e.forRange(block, e.add(block, distance), 1, [&](Value key) {
      // What lies behind the end is 0, whatever stands there.
      Value farKey = e.add(key, distance), isNear = e.lt(key, end), isFar = e.lt(farKey, end);
      Slot near = slotAt(from, e.min(key, last)), far = slotAt(from, e.min(farKey, last));
      Value row = e.at(values, e.mul(e.sub(key, e.div(block, 2)), size * 4));
      e.forRange(zero, e.constant(size), lanes, [&](Value d) {
        auto scaled = [&](const Slot &slot, Value isThere) {
          return bitsOfHalf(e.select(isThere, e.mul(valuesOfSlot(slot, d), up), e.zero(e.vec())));
        };
        storePairs(scaled(near, isNear), scaled(far, isFar), e.at(row, e.mul(d, 4)));
      });
    });
  });
}
