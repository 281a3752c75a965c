// Products of rows rounded to 8 bits with a panel of codes, by dot products of bytes (vpdpbusd), after DeepSpeed's ZeroQuant (W8A8).
//
// sum_k w[k] x[k] of a group is scale * s * sum (code + c) q - scale * s * c * sum q, where x = s q and c makes the codes unsigned.
#include "Gemm.h"
#include "KernelRegion.h"
#include "PanelReader.h"

using namespace mlir;
using namespace ds;

/// The depth of one pass: a part of a panel and the rows of a block lie in the first-level cache.
static constexpr int64_t bytesPass = 384;

/// By minus this sums of codes are multiplied, so that dot products with codes of 8 bits, of which each has as much added, start there.
static constexpr int32_t roundedZero = 128;

RoundedRows::RoundedRows(int64_t depth, int64_t segment)
    : segment(segment), scales(llvm::alignTo(depth, 64)), sums(scales + static_cast<int64_t>(llvm::divideCeil(depth, segment)) * 4),
      bytes((llvm::divideCeil(2 * sums - scales, 64) | 1) * 64) {}

// Several digits: x = s (256 h + l), h of all digits but the last; each a row of its own, the highest first.
void GemmKernel::roundRowsToBytes(const Slab &slab, int64_t digits) {
  const int64_t lanes = c.level.lanes, depth = region.depth, segment = roundedRows->segment, bytes = roundedRows->bytes;
  const auto most = static_cast<float>(127 << 8 * (digits - 1));
  // A sum with 1.5 * 2^23 is rounded to an integer that stands in its low bits; also of a NaN these are defined.
  constexpr int32_t magicBits = 0x4B400000;
  Type integers = e.vec(lanes, e.i32());
  auto nearest = [&](Value x) {
    if (digits == 1)
      return e.bitcast(e.add(x, e.constantOf(e.vec(), 12582912.0)), integers);
    return e.toI32(e.roundEven(e.min(e.max(x, e.constantOf(e.vec(), -most)), e.constantOf(e.vec(), most))));
  };
  auto roundSegment = [&](Value to, llvm::function_ref<Value(Value)> from, Value first, int64_t count) {
    SmallVector<Value> values;
    Value found = e.zero(integers); // the largest, as bits: of a NaN and an infinity these are larger than of all numbers
    for (int64_t k = 0; k < count; k += lanes) {
      values.push_back(e.load(e.vec(), from(e.add(first, k))));
      found = e.max(found, e.bitAnd(e.bitcast(values.back(), integers), e.constantOf(integers, 0x7fffffff)));
    }
    Value largest = e.bitcast(e.reduceMax(found), e.f32()), none = e.constantF32(0);
    // Less than what most / largest can say is nothing.
    Value inverse = e.splat(e.select(e.gt(largest, e.constantF32(1e-30F)), e.div(e.constantF32(most), largest), none));
    // A scale that is NaN, as behind an infinity, makes all sums of the row NaN.
    Value scale = e.fma(largest, none, e.mul(largest, e.constantF32(1 / most)));
    Value index = e.mul(e.div(first, segment), 4);
    for (int64_t digit = 0; digit < digits; ++digit) {
      const auto unit = static_cast<float>(1 << 8 * (digits - 1 - digit));
      e.store(e.mul(scale, e.constantF32(unit)), e.at(to, e.add(index, digit * bytes + roundedRows->scales)));
    }
    SmallVector<Value> sums(digits, e.zero(integers));
    for (auto [i, value] : llvm::enumerate(values)) {
      Value left = nearest(e.mul(value, inverse)), place = e.at(to, e.add(first, static_cast<int64_t>(i) * lanes));
      for (int64_t digit = digits - 1; digit >= 0; --digit) {
        Value high = digit ? e.shiftRightSigned(e.add(left, 128), 8) : Value();
        Value code = digit ? e.sub(left, e.shiftLeft(high, 8)) : left;
        e.store(e.toI8(code), e.at(place, digit * bytes), 1);
        sums[digit] = e.add(sums[digit], code);
        left = high;
      }
    }
    const auto added = static_cast<uint32_t>(digits == 1 ? count : 0) * static_cast<uint32_t>(magicBits);
    for (int64_t digit = 0; digit < digits; ++digit) {
      Value sum = e.sub(e.reduceAdd(sums[digit]), e.constantI32(static_cast<int32_t>(added)));
      e.store(e.mul(sum, e.constantI32(-roundedZero)), e.at(to, e.add(index, digit * bytes + roundedRows->sums)));
    }
  };
  const int64_t whole = depth / segment * segment;
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value to = e.at(rounded, e.mul(r, digits * bytes));
    std::function<Value(Value)> from = rowToRound(slab, r);
    e.forRange(e.constant(0), e.constant(whole), segment, [&](Value first) { roundSegment(to, from, first, segment); });
    if (whole < depth)
      roundSegment(to, from, e.constant(whole), depth - whole);
  });
}

namespace {
/// The code of one block.
class BytesBlockEmitter {
public:
  BytesBlockEmitter(Emitter &e, const BytesBlock &block)
      : e(e), block(block), codes(block.codes), lanes(e.getLevel().lanes), rowsOfBytes(block.height * block.digits),
        vectors(codes.width / lanes) {
    while ((rowsOfBytes + block.height) * vectors > e.getLevel().gemmSums || codes.width / lanes % vectors != 0)
      --vectors;
  }

  void emit(Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end, Value ahead) {
    e.forRange(e.constant(0), e.constant(codes.width), vectors * lanes, [&](Value column) {
      PanelReader reader(e, codes, panel, column, vectors);
      const int64_t segment = block.layout.segment, count = block.height * vectors;
      Value to = e.at(sums, e.mul(column, 4));
      auto place = [&](int64_t i) { return e.at(e.at(to, e.mul(sumBytes, i / vectors)), i % vectors * lanes * 4); };
      SmallVector<Value> all = emitSumsBefore(e, e.ne(begin, 0), count, place);
      all = e.forRange(e.ceilDiv(begin, segment), e.ceilDiv(end, segment), 1, all, [&](Value s, ValueRange before) {
        Value k = e.mul(s, segment), g = e.div(k, codes.group), first = e.mul(g, codes.group), from = e.sub(k, first);
        reader.startGroup(g);
        return emitSegment(reader, rows, s, first, from, e.min(e.add(from, segment), e.sub(end, first)),
                           e.at(ahead, e.mul(e.sub(k, begin), BytesBlock::aheadBytes)), before);
      });
      for (int64_t i = 0; i < count; ++i)
        e.store(all[i], place(i));
    });
  }

private:
  /// Adds segment `segment`, k in [from, to) of the group that begins at `first`, to `before`.
  SmallVector<Value> emitSegment(PanelReader &reader, Value rows, Value segment, Value first, Value from, Value to, Value ahead,
                                 ValueRange before) {
    auto ofRow = [&](int64_t r, int64_t where, Value index, Type type) {
      return e.load(type, e.at(rows, e.add(e.mul(index, 4), r * block.layout.bytes + where)));
    };
    SmallVector<Value> rowSums, all;
    for (int64_t r = 0; r < rowsOfBytes; ++r) {
      rowSums.push_back(ofRow(r, block.layout.sums, segment, e.i32()));
      Value start = e.constantI32(0);
      if (const int64_t zero = codes.zeroCode())
        start = zero == roundedZero ? rowSums.back() : e.shiftRightSigned(rowSums.back(), llvm::Log2_64(roundedZero / zero));
      all.append(vectors, e.splat(start, lanes));
    }
    all = e.forRange(from, to, PanelReader::step, all, [&](Value k, ValueRange carried) {
      SmallVector<Value> dots(carried);
      Value row = e.at(rows, e.add(first, k));
      if (block.asks)
        e.prefetch(e.at(ahead, e.mul(e.sub(k, from), BytesBlock::aheadBytes)), /*locality=*/2);
      reader.forUnsignedCodes(k, [&](int64_t i, ArrayRef<Value> weights) {
        for (int64_t r = 0; r < rowsOfBytes; ++r) {
          Value four = e.splat(e.load(e.i32(), e.at(row, r * block.layout.bytes + i)), lanes);
          for (int64_t v = 0; v < vectors; ++v)
            dots[r * vectors + v] = e.dotOfBytes(weights[v], four, dots[r * vectors + v]);
        }
      });
      return dots;
    });
    SmallVector<Value> sums(before);
    for (int64_t r = 0; r < rowsOfBytes; ++r) {
      Value scale = e.splat(ofRow(r, block.layout.scales, segment, e.f32()), lanes), sumOfRow;
      if (codes.type.isAsymmetric())
        sumOfRow = e.splat(e.mul(e.toF32(rowSums[r]), e.constantF32(-1.0F / roundedZero)), lanes);
      for (int64_t v = 0; v < vectors; ++v) {
        Value value = e.mul(e.toF32(all[r * vectors + v]), reader.scales()[v]), &sum = sums[r / block.digits * vectors + v];
        if (sumOfRow)
          value = e.fma(reader.offsets()[v], sumOfRow, value);
        sum = e.fma(value, scale, sum);
      }
    }
    return sums;
  }

  Emitter &e;
  const BytesBlock &block;
  const ds_plan::PanelCodes &codes;
  int64_t lanes, rowsOfBytes, vectors;
};
} // namespace

void ds::emitBytesBlock(Emitter &e, const BytesBlock &block, Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end,
                        Value ahead) {
  std::string name;
  llvm::raw_string_ostream(name) << "gemm_bytes_" << block.codes.type << "_" << block.codes.depth << "_" << block.height << "x"
                                 << block.codes.width << "_" << block.layout.bytes << "_" << block.layout.segment << "_" << block.digits
                                 << (block.asks ? "_asks" : "");
  e.call(name, {rows, panel, sums, sumBytes, begin, end, ahead},
         [&](ValueRange a) { BytesBlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5], a[6]); });
}

void GemmKernel::emitProductOfBytes(const KernelOperand &weight, const Slab &slab, Value panel, Value sums, int64_t digits) {
  // A single block reads a panel from its beginning to its end, which hardware notices: asking ahead only delayed it. Of many each asks for
  // a part of what the next pass reads.
  const bool streams = digits > 1;
  Value all = e.constant(region.depth), most = streams ? all : e.constant(bytesPass);
  // Dot products of a segment and the sums they are added to fill the registers.
  const int64_t vectors = weight.codes->width / c.level.lanes, tallest = digits > 1 ? mostRowsOfDigits : c.level.gemmSums / 2 / vectors;
  SmallVector<int64_t> blocks{tallest};
  for (int64_t height : {4, 2, 1})
    if (height < tallest)
      blocks.push_back(height);
  e.forRange(e.constant(0), all, most, [&](Value k) {
    Value end = e.min(e.add(k, most), all), depth = e.sub(end, k);
    Value next = e.at(panel, e.div(e.mul(end, weight.codes->bytes()), region.depth));
    forBlocks(blocks, e.constant(0), slab.count, [&](Value row, int64_t height) {
      const bool asks = !streams && height == blocks.front();
      Value ahead = asks ? e.at(next, e.mul(e.mul(e.div(row, height), depth), BytesBlock::aheadBytes)) : next;
      emitBytesBlock(e, {*weight.codes, *roundedRows, height, digits, asks}, e.at(rounded, e.mul(row, digits * roundedBytes)), panel,
                     e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), k, end, ahead);
    });
  });
}
