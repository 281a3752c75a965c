// Keys and values of one head of a cache on their way to 16 bits, and as pairs of bf16.
#include "Attention.h"

using namespace ds;
using mlir::Value;

ConvertedHead::ConvertedHead(AttentionKernel &kernel) : kernel(kernel), e(kernel.context.e) {
  // Half of a second-level cache of 2 MB, and of a small thread's stack.
  constexpr int64_t mostBytes = 1024 * 1024, bytesOfSlot = 4, multiple = 32;
  const int64_t size = kernel.headSize();
  slots = std::max(mostBytes / (bytesOfSlot * size) / multiple, int64_t(1)) * multiple;
  keys = e.stack(slots * size * 2);
  values = e.stack(slots * size * 2);
  taken = e.stack(8);
  e.store(e.constant(-1), taken);
}

bool ConvertedHead::mayConvert(const AttentionKernel &kernel) {
  const ds_plan::CacheLayout &layout = kernel.keys.layout;
  AttentionOp op = kernel.op;
  // A window would have all of a cache converted for the part that it sees.
  const bool mayRound = layout.hasPairs || (op.getRounded() && !op.getWindow());
  return mayRound && layout.headSize % ds_plan::CacheLayout::pairedHead == 0 && layout.headSize < 512 && !kernel.seed;
}

Value ConvertedHead::isWorthIt(Value end) {
  constexpr int64_t fewestQueries = 24; // of a head of keys, with all that share it
  Value fits = e.le(end, slots);
  if (kernel.keys.layout.hasPairs)
    return fits;
  return e.bitAnd(fits, e.ge(e.mul(kernel.context.tokens, kernel.group()), fewestQueries));
}

void ConvertedHead::take(Value b, Value head, Value end) {
  Value which = e.add(e.mul(b, kernel.keys.heads), head);
  e.ifThen(e.ne(e.load(e.i64(), taken), which), [&] {
    takeKeys(kernel.keys.head(e, kernel.keys.sequence(e, b), head), end);
    takeValues(kernel.values.head(e, kernel.values.sequence(e, b), head), end);
    e.store(which, taken);
  });
}

Value ConvertedHead::scalesOfKeys(Value block) { return kernel.keys.layout.hasCodes ? e.load(e.vec(), block) : Value(); }

Value ConvertedHead::keysOfBlock(Value block, Value d, Value scales) {
  const ds_plan::CacheLayout &layout = kernel.keys.layout;
  const int64_t lanes = e.getLevel().lanes;
  Value numbers = kernel.keys.load(e, e.at(block, e.add(e.mul(d, lanes * layout.elementBytes), layout.scaleBytes())), lanes);
  return scales ? e.mul(numbers, scales) : numbers;
}

ConvertedHead::Slot ConvertedHead::slotAt(Value from, Value slot) {
  const ds_plan::CacheLayout &layout = kernel.values.layout;
  Value place = e.at(from, e.mul(slot, layout.rowBytes()));
  if (!layout.hasCodes)
    return {place, Value()};
  Value block = e.div(slot, layout.slots);
  Value scale = e.element(e.at(from, e.mul(block, layout.blockBytes())), e.f32(), e.rem(slot, layout.slots));
  return {e.at(place, e.mul(e.add(block, 1), layout.scaleBytes())), e.splat(e.load(e.f32(), scale))};
}

Value ConvertedHead::valuesOfSlot(const Slot &slot, Value d) {
  Value numbers = kernel.values.load(e, e.at(slot.place, e.mul(d, kernel.values.layout.elementBytes)), e.getLevel().lanes);
  return slot.scale ? e.mul(numbers, slot.scale) : numbers;
}

void ConvertedHead::storePairs(Value low, Value high, Value to) {
  llvm::SmallVector<int64_t> order;
  for (int64_t lane = 0; lane < e.getLevel().lanes; ++lane)
    order.append({lane, e.getLevel().lanes + lane});
  e.store(e.shuffle(low, high, order), to);
}

bool PairsOfHead::serves(const AttentionKernel &kernel) {
  const CpuLevel &level = kernel.context.level;
  return level.bf16Dots != Dots::none && !level.multipliesF16 && !kernel.keys.layout.hasPairs && mayConvert(kernel);
}

void PairsOfHead::takeKeys(Value from, Value end) {
  const ds_plan::CacheLayout &layout = kernel.keys.layout;
  const ds_plan::CacheLayout pairs = layoutOf(kernel.headSize());
  e.forRange(e.constant(0), e.ceilDiv(end, layout.slots), 1, [&](Value block) {
    Value place = e.at(from, e.mul(block, layout.blockBytes())), scales = scalesOfKeys(place);
    Value to = e.at(keys, e.mul(block, pairs.blockBytes()));
    e.forRange(e.constant(0), e.constant(kernel.headSize()), 2, [&](Value d) {
      auto bitsAt = [&](Value d) { return e.toBf16(keysOfBlock(place, d, scales)); };
      storePairs(bitsAt(d), bitsAt(e.add(d, 1)), e.at(to, e.mul(d, layout.slots * pairs.elementBytes)));
    });
  });
}

void PairsOfHead::takeValues(Value from, Value end) {
  const int64_t lanes = e.getLevel().lanes, size = kernel.headSize();
  Value last = e.sub(end, 1);
  e.forRange(e.constant(0), end, 2, [&](Value key) {
    // What lies behind the end is 0, whatever stands there.
    Value other = e.add(key, 1), isThere = e.lt(other, end);
    Slot low = slotAt(from, key), high = slotAt(from, e.min(other, last));
    Value row = e.at(values, e.mul(key, size * 2));
    e.forRange(e.constant(0), e.constant(size), lanes, [&](Value d) {
      Value above = e.select(isThere, valuesOfSlot(high, d), e.zero(e.vec()));
      storePairs(e.toBf16(valuesOfSlot(low, d)), e.toBf16(above), e.at(row, e.mul(d, 4)));
    });
  });
}
