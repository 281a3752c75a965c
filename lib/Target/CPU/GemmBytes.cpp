// Products of rows rounded to 8 bits with a panel of codes, by dot products of bytes (vpdpbusd), after DeepSpeed's ZeroQuant (W8A8).
//
// sum_k w[k] x[k] of a group is scale * s * sum (code + c) q - scale * s * c * sum q, where x = s q and c makes the codes unsigned.
#include "Gemm.h"
#include "KernelRegion.h"
#include "PanelReader.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace ds;

RoundedRows::RoundedRows(int64_t depth, int64_t segment)
    : segment(segment), scales(llvm::alignTo(depth, 64)), sums(scales + static_cast<int64_t>(llvm::divideCeil(depth, segment)) * 4),
      bytes((llvm::divideCeil(2 * sums - scales, 64) | 1) * 64) {}

// Several digits: x = s (256 h + l), h of all digits but the last; each a row of its own, the highest first.
void GemmKernel::roundRowsToBytes(const Slab &slab, int64_t digits) {
  const int64_t lanes = c.level.lanes, depth = region.depth, bytes = roundedRows->bytes;
  const auto most = static_cast<double>(127 << 8 * (digits - 1));
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value to = e.at(rounded, e.mul(r, digits * bytes));
    std::function<Value(Value)> from = rowToRound(slab, r);
    auto load = [&](Value k) { return e.load(e.vec(lanes), from(k)); };
    Value none = e.zero(e.vec());
    auto placeOf = [&](Value segment, int64_t where) { return e.at(to, e.add(e.mul(segment, 4), where)); };
    Value wrong = e.forRange(e.constant(0), e.constant(depth), roundedRows->segment, ValueRange{none}, [&](Value first, ValueRange sum) {
      Value end = e.min(e.add(first, roundedRows->segment), depth), segment = e.div(first, roundedRows->segment);
      SmallVector<Value> found = e.forRange(first, end, lanes, ValueRange{none, sum[0]}, [&](Value k, ValueRange before) {
        Value x = load(k);
        return SmallVector<Value>{e.max(before[0], e.abs(x)), e.fma(x, none, before[1])};
      });
      Value largest = e.reduceMaxSplat(found[0]);
      // Less than what most / largest can say is nothing.
      Value inverse = e.select(e.gt(largest, e.constantOf(e.vec(), 1e-30)), e.div(e.constantOf(e.vec(), most), largest), none);
      Value scale = e.extract(e.mul(largest, e.constantOf(e.vec(), 1 / most)), 0);
      for (int64_t digit = 0; digit < digits; ++digit) {
        const auto unit = static_cast<float>(1 << 8 * (digits - 1 - digit));
        e.store(e.mul(scale, e.constantF32(unit)), placeOf(segment, digit * bytes + roundedRows->scales));
      }
      SmallVector<Value> zeros(digits, e.zero(e.vec(lanes, e.i32())));
      SmallVector<Value> codes = e.forRange(first, end, lanes, zeros, [&](Value k, ValueRange before) {
        Value inRange = e.min(e.max(e.mul(load(k), inverse), e.constantOf(e.vec(), -most)), e.constantOf(e.vec(), most)); // of a NaN too
        Value left = e.toI32(e.roundEven(inRange));
        SmallVector<Value> sums(before);
        for (int64_t digit = digits - 1; digit >= 0; --digit) {
          Value high = digit ? e.shiftRightSigned(e.add(left, 128), 8) : Value();
          Value code = digit ? e.sub(left, e.shiftLeft(high, 8)) : left;
          e.store(e.toI8(code), e.at(e.at(to, digit * bytes), k), 1);
          sums[digit] = e.add(sums[digit], code);
          left = high;
        }
        return sums;
      });
      for (int64_t digit = 0; digit < digits; ++digit)
        e.store(e.reduceAdd(codes[digit]), placeOf(segment, digit * bytes + roundedRows->sums));
      return SmallVector<Value>{found[1]};
    })[0];
    // 0, or NaN where the row has one or an infinity: a scale that is NaN makes all sums of the row NaN.
    Value scale = placeOf(e.constant(0), roundedRows->scales);
    e.store(e.add(e.load(e.f32(), scale), e.extract(e.reduceAddSplat(wrong), 0)), scale);
  });
}

namespace {
/// The code of one block.
class BytesBlockEmitter {
public:
  BytesBlockEmitter(Emitter &e, const BytesBlock &block)
      : e(e), block(block), codes(block.codes), lanes(e.getLevel().lanes), rowsOfBytes(block.height * block.digits),
        vectors(codes.width / lanes) {
    while (rowsOfBytes * vectors > e.getLevel().gemmSums || codes.width / lanes % vectors != 0)
      --vectors;
  }

  void emit(Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end) {
    e.forRange(e.constant(0), e.constant(codes.width), vectors * lanes, [&](Value column) {
      PanelReader reader(e, codes, panel, column, vectors);
      Value sumsOfColumns = e.at(sums, e.mul(column, 4));
      e.ifThen(e.eq(begin, 0), [&] {
        for (int64_t r = 0; r < block.height; ++r)
          for (int64_t v = 0; v < vectors; ++v)
            e.store(e.zero(e.vec()), placeOfSum(sumsOfColumns, sumBytes, r, v));
      });
      e.forRange(e.div(begin, codes.group), e.ceilDiv(end, codes.group), 1, [&](Value g) {
        Value first = e.mul(g, codes.group);
        reader.startGroup(g);
        emitSegment(reader, rows, sumsOfColumns, sumBytes, first, e.max(e.sub(begin, first), 0), e.min(e.sub(end, first), codes.group));
      });
    });
  }

private:
  Value placeOfSum(Value sums, Value sumBytes, int64_t r, int64_t v) { return e.at(e.at(sums, e.mul(sumBytes, r)), v * lanes * 4); }

  /// k in [from, to) of the group that begins at `first`, within one pass.
  void emitSegment(PanelReader &reader, Value rows, Value sums, Value sumBytes, Value first, Value from, Value to) {
    Value k0 = e.add(first, from), segment = e.div(k0, block.layout.segment);
    auto ofRow = [&](int64_t r, int64_t where, Value index, Type type) {
      return e.load(type, e.at(rows, e.add(e.mul(index, 4), r * block.layout.bytes + where)));
    };
    SmallVector<Value> rowSums, all;
    for (int64_t r = 0; r < rowsOfBytes; ++r) {
      rowSums.push_back(ofRow(r, block.layout.sums, segment, e.i32()));
      Value start = codes.type.isAsymmetric() ? e.constantI32(0) : e.mul(rowSums.back(), -codes.zeroCode());
      all.append(vectors, e.splat(start, lanes));
    }
    all = e.forRange(from, to, PanelReader::step, all, [&](Value k, ValueRange before) {
      SmallVector<Value> dots(before);
      Value row = e.at(rows, e.add(first, k));
      reader.forUnsignedCodes(k, [&](int64_t i, ArrayRef<Value> weights) {
        for (int64_t r = 0; r < rowsOfBytes; ++r) {
          Value four = e.splat(e.load(e.i32(), e.at(row, r * block.layout.bytes + i)), lanes);
          for (int64_t v = 0; v < vectors; ++v)
            dots[r * vectors + v] = e.dotOfBytes(weights[v], four, dots[r * vectors + v]);
        }
      });
      return dots;
    });
    for (int64_t row = 0; row < block.height; ++row) {
      SmallVector<Value> values(vectors);
      for (int64_t r = row * block.digits; r < (row + 1) * block.digits; ++r) {
        Value scale = e.splat(ofRow(r, block.layout.scales, segment, e.f32()), lanes);
        Value sumOfRow = codes.type.isAsymmetric() ? e.splat(e.toF32(rowSums[r]), lanes) : Value();
        for (int64_t v = 0; v < vectors; ++v) {
          Value value = e.mul(e.toF32(all[r * vectors + v]), reader.scales()[v]);
          if (sumOfRow)
            value = e.fma(reader.offsets()[v], sumOfRow, value);
          if (!values[v]) {
            // Volatile: LLVM would carry the sums of a group to the next in registers, of which there are none left.
            auto before = cast<LLVM::LoadOp>(e.load(e.vec(), placeOfSum(sums, sumBytes, row, v)).getDefiningOp());
            before.setVolatile_(true);
            values[v] = before;
          }
          values[v] = e.fma(value, scale, values[v]);
        }
      }
      for (int64_t v = 0; v < vectors; ++v)
        e.store(values[v], placeOfSum(sums, sumBytes, row, v));
    }
  }

  Emitter &e;
  const BytesBlock &block;
  const ds_plan::PanelCodes &codes;
  int64_t lanes, rowsOfBytes, vectors;
};
} // namespace

void ds::emitBytesBlock(Emitter &e, const BytesBlock &block, Value rows, Value panel, Value sums, Value sumBytes, Value begin, Value end) {
  std::string name;
  llvm::raw_string_ostream(name) << "gemm_bytes_" << block.codes.type << "_" << block.codes.depth << "_" << block.height << "x"
                                 << block.codes.width << "_" << block.layout.bytes << "_" << block.layout.segment << "_" << block.digits;
  e.call(name, {rows, panel, sums, sumBytes, begin, end},
         [&](ValueRange a) { BytesBlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5]); });
}

void GemmKernel::emitProductOfBytes(const KernelOperand &weight, const Slab &slab, Value panel, Value sums, int64_t digits) {
  // A single block reads a panel from its beginning to its end, which hardware notices: asking ahead only delayed it.
  const bool streams = digits > 1 && weight.codes->group <= roundedRows->segment;
  Value all = e.constant(region.depth), most = streams ? all : e.constant(linearBytesPass);
  ArrayRef<int64_t> blocks = ArrayRef(heights).drop_while([&](int64_t height) { return digits > 1 && height > mostRowsOfDigits; });
  e.forRange(e.constant(0), all, most, [&](Value k) {
    forBlocks(blocks, e.constant(0), slab.count, [&](Value row, int64_t height) {
      emitBytesBlock(e, {*weight.codes, *roundedRows, height, digits}, e.at(rounded, e.mul(row, digits * roundedBytes)), panel,
                     e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), k, e.min(e.add(k, most), all));
    });
  });
}
