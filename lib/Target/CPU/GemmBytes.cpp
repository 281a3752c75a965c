// Products of rows rounded to 8 bits with a panel of codes, after DeepSpeed's ZeroQuant (W8A8): by dot products of bytes (vpdpbusd), or
// where a level has none by sums of two products, of bytes in 16 bits (pmaddubsw) or of words in 32 (pmaddwd).
//
// sum_k w[k] x[k] of a group is scale * s * sum (code + c) q - scale * s * c * sum q, where x = s q and c makes the codes unsigned.
#include "Gemm.h"
#include "KernelRegion.h"
#include "PanelReader.h"
#include <numeric>

using namespace mlir;
using namespace ds;

/// The depth of one pass, of segments of `segment` k: a part of a panel and the rows of a block lie in the first-level cache.
static int64_t bytesPass(int64_t segment) {
  constexpr int64_t most = 384;
  return std::max<int64_t>((most + segment / 2) / segment, 1) * segment;
}

/// Sums of so many products of codes of 8 bits are below 2^22, which `magic` asks for.
static constexpr int64_t mostOfSegment = 256;
static_assert(mostOfSegment * 128 * 127 < 1 << 22);

int64_t ds::bytesSegmentOf(int64_t group, int64_t depth) {
  // Where columns have one scale each, that of a row of activations would be wrong by more than theirs.
  constexpr int64_t ofColumns = 128;
  if (group == depth)
    return ofColumns;
  int64_t segment = group;
  for (int64_t parts = 2; segment > mostOfSegment || group % segment != 0; ++parts)
    segment = group / parts / PanelReader::step * PanelReader::step;
  return segment;
}

/// By minus this sums of codes are multiplied, so that dot products with codes of 8 bits, of which each has as much added, start there.
static constexpr int32_t roundedZero = 128;

/// A float of 1.5 * 2^23 plus an integer below 2^22 holds that in its low bits: there sums of one digit start, and are floats at the end.
static constexpr int32_t magicBits = 0x4B400000;
static constexpr double magic = 12582912.0;
static bool startsAtMagic(const CpuLevel &level, int64_t digits) { return digits == 1 && level.byteDots != Dots::pairwise; }

RoundedRows::RoundedRows(int64_t depth, int64_t segment, bool words)
    : segment(segment), codeBytes(words ? 2 : 1), scales(llvm::alignTo(depth * codeBytes, 64)),
      sums(scales + static_cast<int64_t>(llvm::divideCeil(depth, segment)) * 4), bytes((llvm::divideCeil(2 * sums - scales, 64) | 1) * 64) {
}

/// i32 in the order of words.
static Value evenWordsFirst(Emitter &e, Value codes) {
  SmallVector<int64_t> order;
  for (int64_t k = 0; k < e.lanesOf(codes); k += 4)
    order.append({k, k + 2, k + 1, k + 3});
  return e.toI16(e.shuffle(codes, codes, order));
}

// Several digits: x = s (256 h + l), or of words s (4096 h + l), h of all digits but the last; each a row of its own, the highest first.
void GemmKernel::roundRowsToBytes(const Slab &slab, int64_t digits) {
  const int64_t lanes = c.level.lanes, depth = region.depth, segment = roundedRows->segment, bytes = roundedRows->bytes,
                digitBits = roundedRows->digitBits();
  const auto most = static_cast<float>(digits == 1 ? 127 : 127 << (RoundedRows::bitsOfF32 - 8));
  Type integers = e.vec(lanes, e.i32());
  auto nearest = [&](Value x) {
    if (digits == 1) // also of a NaN the low bits are defined
      return e.bitcast(e.add(x, e.constantOf(e.vec(), magic)), integers);
    return e.toI32(e.roundEven(e.min(e.max(x, e.constantOf(e.vec(), -most)), e.constantOf(e.vec(), most))));
  };
  // `n` segments of `count` k side by side, so that what is one number of each is done at once.
  auto roundSegments = [&](Value to, llvm::function_ref<Value(Value)> from, Value first, int64_t count, int64_t n) {
    SmallVector<int64_t> lanesOfN(n);
    std::iota(lanesOfN.begin(), lanesOfN.end(), 0);
    auto each = [&](ValueRange vectors, llvm::function_ref<Value(Value, Value)> combine) {
      Value all = e.reduceEach(Emitter::Values(vectors), combine);
      return n == 1 ? e.extract(all, 0) : e.shuffle(all, all, lanesOfN);
    };
    auto type = [&](Type element) { return n == 1 ? element : Type(e.vec(n, element)); };
    auto number = [&](float value) { return e.constantOf(type(e.f32()), value); };
    SmallVector<Value> values;
    Emitter::Values found; // the largest, as bits: of a NaN and an infinity these are larger than of all numbers
    for (int64_t s = 0; s < n; ++s) {
      found.push_back(e.zero(integers));
      for (int64_t k = 0; k < count; k += lanes) {
        values.push_back(e.load(e.vec(), from(e.add(first, s * count + k))));
        found.back() = e.max(found.back(), e.bitAnd(e.bitcast(values.back(), integers), e.constantOf(integers, 0x7fffffff)));
      }
    }
    Value largest = e.bitcast(each(found, [&](Value a, Value b) { return e.max(a, b); }), type(e.f32()));
    // Less than what most / largest can say is nothing.
    Value inverse = e.select(e.gt(largest, number(1e-30F)), e.div(number(most), largest), number(0));
    // A scale that is NaN, as behind an infinity, makes all sums of the row NaN.
    Value scale = e.fma(largest, number(0), e.mul(largest, number(1 / most)));
    Value index = e.mul(e.div(first, segment), 4);
    for (int64_t digit = 0; digit < digits; ++digit) {
      const auto unit = static_cast<float>(1 << digitBits * (digits - 1 - digit));
      e.store(e.mul(scale, number(unit)), e.at(to, e.add(index, digit * bytes + roundedRows->scales)));
    }
    SmallVector<Emitter::Values> sums(digits, Emitter::Values(n, e.zero(integers)));
    // Bytes of four vectors at once, which may be of two segments.
    const bool packs = digits == 1 && !roundedRows->hasWords() && e.packsBytes() && n * count % (4 * lanes) == 0;
    Emitter::Values four;
    // For bytes from k `k` on: 1 for those of [begin, begin + count), 0 for others.
    auto onesOf = [&](int64_t k, int64_t begin, int64_t count) {
      SmallVector<int32_t> ones;
      for (int64_t lane = 0; lane < lanes; ++lane)
        ones.push_back(k + 4 * lane >= begin && k + 4 * lane < begin + count ? 0x01010101 : 0);
      return e.constantVector(ones);
    };
    for (auto [i, value] : llvm::enumerate(values)) {
      const int64_t inSegments = static_cast<int64_t>(i) * lanes, s = inSegments / count;
      Value scaled = e.mul(value, e.splat(n == 1 ? inverse : e.extract(inverse, s), lanes));
      if (packs) {
        four.push_back(scaled);
        if (four.size() < 4)
          continue;
        Value bytes = e.toNearestI8(four);
        four.clear();
        const int64_t firstOfFour = inSegments - 3 * lanes;
        e.store(bytes, e.at(to, e.add(first, firstOfFour)), 1);
        for (int64_t part = firstOfFour / count; part <= s; ++part)
          sums[0][part] = e.dotOfBytes(onesOf(firstOfFour, part * count, count), e.bitcast(bytes, integers), sums[0][part]);
        continue;
      }
      Value left = nearest(scaled), place = e.at(to, e.mul(e.add(first, inSegments), roundedRows->codeBytes));
      for (int64_t digit = digits - 1; digit >= 0; --digit) {
        Value high = digit ? e.shiftRightSigned(e.add(left, 1 << (digitBits - 1)), digitBits) : Value();
        Value code = digit ? e.sub(left, e.shiftLeft(high, digitBits)) : left;
        e.store(roundedRows->hasWords() ? evenWordsFirst(e, code) : e.toI8(code), e.at(place, digit * bytes), 1);
        sums[digit][s] = e.add(sums[digit][s], code);
        left = high;
      }
    }
    const auto added = static_cast<uint32_t>(digits == 1 && !packs ? count : 0) * static_cast<uint32_t>(magicBits);
    for (int64_t digit = 0; digit < digits; ++digit) {
      auto integer = [&](int32_t value) { return e.constantOf(type(e.i32()), value); };
      Value sum = e.sub(each(sums[digit], [&](Value a, Value b) { return e.add(a, b); }), integer(static_cast<int32_t>(added)));
      Value start = integer(startsAtMagic(c.level, digits) ? magicBits : 0);
      e.store(e.add(e.mul(sum, integer(-roundedZero)), start), e.at(to, e.add(index, digit * bytes + roundedRows->sums)));
    }
  };
  const int64_t whole = depth / segment;
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value to = e.at(rounded, e.mul(r, digits * bytes));
    std::function<Value(Value)> from = rowToRound(slab, r);
    int64_t done = 0;
    for (int64_t n : {4, 2, 1}) {
      if (n > 1 && n * segment > lanes * lanes) // more than registers hold
        continue;
      const int64_t end = whole / n * n;
      if (done < end)
        e.forRange(e.constant(done * segment), e.constant(end * segment), n * segment,
                   [&](Value first) { roundSegments(to, from, first, segment, n); });
      done = std::max(done, end);
    }
    if (whole * segment < depth)
      roundSegments(to, from, e.constant(whole * segment), depth - whole * segment, 1);
  });
}

namespace {
/// How a block fills the registers.
struct BytesShape {
  int64_t vectors; // side by side
  int64_t words;   // of 4 k whose codes are there at once, in bytes
  bool keepsSums;  // f32 sums are there as well as dot products, else in memory
};

/// Dot products and sums of a block. On processors of Intel two dot products begin in each cycle and take five: 12 that go on at once keep
/// both units busy for 89 % of the time, 14 for 97 %.
int64_t sumsOfBlock(const CpuLevel &level) { return level.isOfIntel ? 28 : level.gemmSums; }

/// That of a block of `height` rows of `digits`.
BytesShape shapeOf(const CpuLevel &level, const ds_plan::PanelCodes &codes, const RoundedRows &layout, int64_t height, int64_t digits) {
  const int64_t all = codes.width / level.lanes, rows = height * digits;
  auto widest = [&](llvm::function_ref<bool(int64_t)> fits) {
    int64_t vectors = all;
    while (vectors > 1 && (all % vectors != 0 || !fits(vectors)))
      --vectors;
    return vectors;
  };
  if (level.byteDots != Dots::pairwise)
    return {widest([&](int64_t vectors) { return (rows + height) * vectors <= sumsOfBlock(level); }), 1, true};
  // Beside dot products and codes there are a product, activations and a mask or ones.
  auto fits = [&](int64_t vectors, int64_t held) { return (rows + held) * vectors + 3 <= level.registers; };
  if (layout.hasWords())
    return {widest([&](int64_t vectors) { return fits(vectors, 2); }), 1, false};
  const auto most = static_cast<uint64_t>(std::min<int64_t>(wordsOfSum(codes.type.getBits()), 4));
  auto words = static_cast<int64_t>(llvm::bit_floor(most));
  const int64_t vectors = widest([&](int64_t vectors) { return fits(vectors, std::min<int64_t>(words, 2)); });
  while (words > 1 && !fits(vectors, words))
    words /= 2;
  return {vectors, words, false};
}

/// The code of one block.
class BytesBlockEmitter {
public:
  BytesBlockEmitter(Emitter &e, const BytesBlock &block)
      : e(e), block(block), codes(block.codes), lanes(e.getLevel().lanes), rowsOfBytes(block.height * block.digits),
        shape(shapeOf(e.getLevel(), codes, block.layout, block.height, block.digits)), vectors(shape.vectors),
        isMinus(e.getLevel().byteDots == Dots::pairwise), hasMagic(startsAtMagic(e.getLevel(), block.digits)),
        // Of scales of f32 the product with the magic number is not exact.
        endsAtMagic(hasMagic && codes.half && codes.zeroCode() == roundedZero) {}

  void emit(Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end, Value ahead, Value touched, Value touchedBytes) {
    e.forRange(e.constant(0), e.constant(codes.width), vectors * lanes, [&](Value column) {
      PanelReader reader(e, codes, panel, column, vectors);
      const int64_t segment = block.layout.segment, count = block.height * vectors;
      Value to = e.at(sums, e.mul(column, 4));
      auto place = [&](int64_t i) { return e.at(e.at(to, e.mul(sumBytes, i / vectors)), i % vectors * lanes * 4); };
      SmallVector<Value> all = emitSumsBefore(e, e.ne(begin, 0), count, place);
      auto storeAll = [&](ValueRange values) {
        for (int64_t i = 0; i < count; ++i)
          e.store(values[i], place(i));
      };
      if (!shape.keepsSums)
        storeAll(all);
      all = e.forRange(e.ceilDiv(begin, segment), e.ceilDiv(end, segment), 1, shape.keepsSums ? all : SmallVector<Value>(),
                       [&](Value s, ValueRange carried) {
                         Value k = e.mul(s, segment), g = e.div(k, codes.group), first = e.mul(g, codes.group), from = e.sub(k, first);
                         reader.enterGroup(g);
                         auto before = [&](int64_t i) { return shape.keepsSums ? carried[i] : e.load(e.vec(), place(i)); };
                         auto ask = [&](Value k) { askFor(ahead, touched, touchedBytes, e.sub(e.add(first, k), begin)); };
                         SmallVector<Value> sums =
                             emitSegment(reader, rows, s, first, from, e.min(e.add(from, segment), e.sub(end, first)), ask, before);
                         if (shape.keepsSums)
                           return sums;
                         storeAll(sums);
                         return SmallVector<Value>();
                       });
      if (shape.keepsSums)
        storeAll(all);
    });
  }

private:
  using ValueAt = llvm::function_ref<Value(int64_t)>;

  /// Adds the products of the 4 k from k `k` of `row`, one of `rowsOfBytes`, on to `dots`; or where they are pairwise, subtracts them.
  void addDots(Value row, int64_t k, ArrayRef<Value> weights, MutableArrayRef<Value> dots) {
    if (!block.layout.hasWords()) {
      for (int64_t r = 0; r < rowsOfBytes; ++r) {
        Value four = codesOf(row, r, k);
        for (int64_t v = 0; v < vectors; ++v)
          dots[r * vectors + v] = e.dotOfBytes(weights[v], four, dots[r * vectors + v]);
      }
      return;
    }
    Type words = e.vec(2 * lanes, e.i16());
    for (int64_t odd = 0; odd < 2; ++odd) {
      SmallVector<Value> halves;
      for (Value weight : weights)
        halves.push_back(odd ? e.shiftRight(e.bitcast(weight, words), 8) : e.bitAnd(weight, e.constantOf(weight.getType(), 0x00ff00ff)));
      for (int64_t r = 0; r < rowsOfBytes; ++r) {
        Value two = codesOf(row, r, k + 2 * odd);
        for (int64_t v = 0; v < vectors; ++v)
          dots[r * vectors + v] = e.minusDotOfWords(halves[v], two, dots[r * vectors + v]);
      }
    }
  }

  /// The same of several times 4 k, whose sums 16 bits hold.
  void addSumsOfBytes(Value row, ArrayRef<std::pair<int64_t, SmallVector<Value>>> weights, MutableArrayRef<Value> dots) {
    Value ones = e.constantOf(e.vec(2 * lanes, e.i16()), 1);
    for (int64_t r = 0; r < rowsOfBytes; ++r) {
      SmallVector<Value> sums(vectors);
      for (const auto &[k, ofVectors] : weights) {
        Value four = codesOf(row, r, k);
        for (int64_t v = 0; v < vectors; ++v) {
          Value pairs = e.sumsOfBytes(ofVectors[v], four);
          sums[v] = sums[v] ? e.add(sums[v], pairs) : pairs;
        }
      }
      for (int64_t v = 0; v < vectors; ++v)
        dots[r * vectors + v] = e.minusDotOfWords(sums[v], ones, dots[r * vectors + v]);
    }
  }

  /// 32 bits of row `r` from code `k` of `row` on, in all lanes.
  Value codesOf(Value row, int64_t r, int64_t k) {
    return e.splat(e.load(e.i32(), e.at(row, r * block.layout.bytes + k * block.layout.codeBytes)), lanes);
  }

  /// Asks for what is read ahead `k` behind the beginning of the pass: of rows elsewhere one line, or two of three, every 16 k.
  void askFor(Value ahead, Value touched, Value touchedBytes, Value k) {
    constexpr int64_t lineBytes = BytesBlock::lineBytes;
    Value lines = e.at(ahead, e.mul(k, block.aheadBytes()));
    for (int64_t line = 0; line < block.aheadLines; ++line)
      e.prefetch(e.at(lines, line * lineBytes), /*locality=*/2);
    if (!block.touches)
      return;
    Value step = e.shiftRight(k, llvm::Log2_64(PanelReader::step)), row = e.at(touched, e.mul(e.shiftRight(step, 1), touchedBytes));
    Value line = e.at(row, e.mul(e.bitAnd(step, e.constant(1)), lineBytes));
    for (int64_t byte = 0; byte + lineBytes < codes.width * 4; byte += lineBytes)
      e.prefetch(e.at(line, byte), /*locality=*/2);
  }

  /// Adds segment `segment`, k in [from, to) of the group that begins at `first`, to `before`.
  SmallVector<Value> emitSegment(PanelReader &reader, Value rows, Value segment, Value first, Value from, Value to,
                                 llvm::function_ref<void(Value k)> ask, ValueAt before) {
    auto ofRow = [&](int64_t r, int64_t where, Value index, Type type) {
      return e.load(type, e.at(rows, e.add(e.mul(index, 4), r * block.layout.bytes + where)));
    };
    SmallVector<Value> rowSums, all;
    for (int64_t r = 0; r < rowsOfBytes; ++r) {
      rowSums.push_back(ofRow(r, block.layout.sums, segment, e.i32()));
      if (hasMagic && !endsAtMagic)
        rowSums.back() = e.sub(rowSums.back(), magicBits);
      Value start = e.constantI32(0);
      if (const int64_t zero = codes.zeroCode())
        start = zero == roundedZero ? rowSums.back() : e.shiftRightSigned(rowSums.back(), llvm::Log2_64(roundedZero / zero));
      all.append(vectors, e.splat(isMinus ? e.neg(start) : start, lanes));
    }
    all = e.forRange(from, to, PanelReader::step, all, [&](Value k, ValueRange carried) {
      SmallVector<Value> dots(carried);
      Value row = e.at(rows, e.mul(e.add(first, k), block.layout.codeBytes));
      ask(k);
      SmallVector<std::pair<int64_t, SmallVector<Value>>> several;
      reader.forUnsignedCodes(k, block.panelAheadBytes, [&](int64_t i, ArrayRef<Value> weights) {
        if (block.layout.hasWords() || !isMinus)
          return addDots(row, i, weights, dots);
        several.emplace_back(i, SmallVector<Value>(weights));
        if (static_cast<int64_t>(several.size()) < shape.words)
          return;
        addSumsOfBytes(row, several, dots);
        several.clear();
      });
      return dots;
    });
    reader.loadScales();
    SmallVector<Value> sums, magics;
    for (int64_t i = 0; i < block.height * vectors; ++i)
      sums.push_back(before(i));
    for (int64_t v = 0; v < vectors && endsAtMagic; ++v)
      magics.push_back(e.mul(reader.scales()[v], e.constantF32(-magic)));
    for (int64_t r = 0; r < rowsOfBytes; ++r) {
      Value scale = e.splat(ofRow(r, block.layout.scales, segment, e.f32()), lanes), sumOfRow;
      if (isMinus)
        scale = e.neg(scale);
      if (codes.type.isAsymmetric())
        sumOfRow = e.splat(e.mul(e.toF32(rowSums[r]), e.constantF32((isMinus ? 1.0F : -1.0F) / roundedZero)), lanes);
      for (int64_t v = 0; v < vectors; ++v) {
        Value dot = all[r * vectors + v], ofColumn = reader.scales()[v], &sum = sums[r / block.digits * vectors + v];
        Value value = endsAtMagic ? e.fma(e.bitcast(dot, e.vec()), ofColumn, magics[v]) : e.mul(e.toF32(dot), ofColumn);
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
  int64_t lanes, rowsOfBytes;
  BytesShape shape;
  int64_t vectors;
  bool isMinus;     // what is added up are dot products times -1
  bool hasMagic;    // what rows have in place of 0 starts at the magic number
  bool endsAtMagic; // and so does the dot product, which is a float then
};
} // namespace

/// The most rows of a block of one digit.
static int64_t tallestBlock(const CpuLevel &level, const ds_plan::PanelCodes &codes) {
  if (level.byteDots == Dots::pairwise)
    return level.registers / 4 - (level.registers > 16 ? 2 : 0);
  // Dot products of a segment and the sums they are added to fill the registers.
  return sumsOfBlock(level) / 2 / (codes.width / level.lanes);
}

void ds::emitBytesBlock(Emitter &e, const BytesBlock &block, Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end,
                        Value ahead, Value touched, Value touchedBytes) {
  std::string name;
  llvm::raw_string_ostream(name) << "gemm_bytes_" << block.codes.type << "_" << block.codes.depth << "_" << block.height << "x"
                                 << block.codes.width << "_" << block.layout.bytes << "_" << block.layout.segment << "_" << block.digits
                                 << (block.layout.hasWords() ? "_words" : "")
                                 << (block.aheadLines ? "_asks" + std::to_string(block.aheadLines) : "")
                                 << (block.panelAheadBytes ? "_streams" : "") << (block.touches ? "_touches" : "");
  e.call(name, {rows, panel, sums, sumBytes, begin, end, ahead, touched, touchedBytes},
         [&](ValueRange a) { BytesBlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]); });
}

void GemmKernel::emitProductOfBytes(const KernelOperand &weight, const Slab &slab, Value panel, Value sums, int64_t digits,
                                    const Touched *touched) {
  // A single block reads a panel from its beginning to its end. A Zen 4 notices that and is only delayed by asking (115 tokens a second of
  // SmolLM2 for 166), an Emerald Rapids reads twice as fast. Of several blocks each asks for a part of what the next pass reads, of few
  // for half of it, so that memory, from where their weights come, does not rest.
  constexpr int64_t page = 4096, rowsOfDigits = 2;
  const ds_plan::PanelCodes &codes = *weight.codes;
  const int64_t tallest = digits > 1 ? rowsOfDigits : tallestBlock(c.level, codes);
  auto partOf = [&](int64_t blocks) { // of 16 k of a panel, in lines
    return llvm::divideCeil(codes.bytes() * PanelReader::step, region.depth * blocks * BytesBlock::lineBytes);
  };
  SmallVector<int64_t> blocks{4, 2, 1};
  llvm::erase_if(blocks, [&](int64_t height) { return height > tallest; });
  Value all = e.constant(region.depth);
  auto passes = [&](Value most, int64_t panelAheadBytes, int64_t lines, bool onlyTall) {
    e.forRange(e.constant(0), all, most, [&](Value k) {
      Value end = e.min(e.add(k, most), all), depth = e.sub(end, k);
      Value next = e.at(panel, e.div(e.mul(end, codes.bytes()), region.depth));
      auto emitBlock = [&](Value row, int64_t height) {
        const bool isTall = height >= tallest - 1;
        BytesBlock block{codes, *roundedRows, height, digits, isTall || !onlyTall ? lines : 0, panelAheadBytes};
        Value part = e.div(row, onlyTall ? height : tallest > blocks.front() ? tallest - 1 : tallest);
        Value ahead = lines ? e.at(next, e.mul(e.mul(part, depth), block.aheadBytes())) : next;
        TouchedRows elsewhere{panel, e.constant(0)};
        block.touches = touched && lines && onlyTall && isTall;
        if (block.touches)
          elsewhere = touchedRows(*touched, e.add(slab.first, row), end);
        emitBytesBlock(e, block, e.at(rounded, e.mul(row, digits * roundedBytes)), panel, e.at(sums, e.mul(row, tileRowBytes)),
                       e.constant(tileRowBytes), k, end, ahead, elsewhere.first, elsewhere.bytes);
      };
      Value first = e.constant(0);
      if (tallest > blocks.front()) {
        // A short block takes about as long as the tallest: of those as many as leave whole blocks of one row less, where rows are enough.
        Value lacking = e.rem(e.sub(e.constant(tallest), e.rem(slab.count, tallest)), tallest);
        Value rest = e.mul(lacking, tallest - 1), most = e.sub(slab.count, e.min(rest, slab.count));
        first = forBlocks({tallest}, first, most, emitBlock);
        first = forBlocks({tallest - 1}, first, slab.count, emitBlock);
      }
      forBlocks(blocks, first, slab.count, emitBlock);
    });
  };
  auto oneBlock = [&] { passes(all, c.level.isOfIntel ? page : 0, 0, /*onlyTall=*/false); };
  if (digits > 1 && mostRowsOfDigits() <= tallest)
    return oneBlock();
  Value most = e.constant(bytesPass(roundedRows->segment));
  auto few = [&] { passes(most, 0, partOf(2), /*onlyTall=*/false); };
  auto several = [&] { passes(most, 0, partOf(8), /*onlyTall=*/false); };
  auto many = [&] { passes(most, 0, 1, /*onlyTall=*/true); };
  e.ifElse(e.le(slab.count, tallest), oneBlock, [&] {
    // Up to ten blocks wait for memory still: of three only, 24 rows were slower than 16 on a Zen 4. More were not tried on Intel's.
    const int64_t mostOfFew = digits > 1 ? 4 : c.level.isOfIntel ? 3 : 10;
    e.ifElse(e.le(slab.count, mostOfFew * tallest), few, [&] { digits > 1 ? several() : many(); });
  });
}
