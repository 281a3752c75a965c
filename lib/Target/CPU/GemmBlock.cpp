// Register-blocked products over panels, after Goto and van de Geijn 2008 (Anatomy of high-performance matrix multiplication).
#include "Gemm.h"

using namespace mlir;
using namespace ds;

SmallVector<int64_t> ds::gemmBlockHeights(const CpuLevel &level) {
  SmallVector<int64_t> heights{level.gemmRows};
  for (int64_t height : {8, 4, 2, 1})
    if (height < level.gemmRows)
      heights.push_back(height);
  return heights;
}

namespace {
/// The code of one block.
class BlockEmitter {
public:
  BlockEmitter(Emitter &e, const GemmBlock &block) : e(e), block(block), lanes(e.getLevel().lanes), vectors(linearPanel / lanes) {
    // As wide as the registers allow, so that short blocks read whole rows of the panel at once.
    while (vectors > 1 && block.rows * vectors > e.getLevel().gemmRows * e.getLevel().gemmVectors)
      vectors /= 2;
  }

  void emit(Value rows, Value panel, Value sums, Value sumBytes, Value depth, Value accumulate, Value ahead) {
    for (int64_t column = 0; column < linearPanel; column += vectors * lanes) {
      Value to = e.at(sums, column * 4);
      auto place = [&](int64_t r, int64_t v) { return e.at(e.at(to, e.mul(sumBytes, r)), v * lanes * 4); };
      SmallVector<Type> types(size(), e.vec());
      SmallVector<Value> all = e.ifElse(
          accumulate, types,
          [&] {
            SmallVector<Value> before;
            for (int64_t i = 0; i < size(); ++i)
              before.push_back(e.load(e.vec(), place(i / vectors, i % vectors)));
            return before;
          },
          [&] { return SmallVector<Value>(size(), e.zero(e.vec())); });
      all = emitDepth(rows, e.at(panel, column * elementBytes()), depth, all, column == 0 ? ahead : Value());
      for (int64_t i = 0; i < size(); ++i)
        e.store(all[i], place(i / vectors, i % vectors));
    }
  }

private:
  int64_t size() const { return block.rows * vectors; }
  int64_t elementBytes() const { return block.element.getIntOrFloatBitWidth() / 8; }
  int64_t lineBytes() const { return linearPanel * elementBytes(); } // of one k

  /// Where a loop over the depth stands: the next k of the rows, of the panel, and what to read ahead of both.
  struct Place {
    Value rows, panel, rowsAhead, ahead;
  };
  static constexpr int64_t pointers = 4;

  /// sums += rows[0 .. rows, k + step] * panel[k + step, ...]
  void emitStep(Value rowsAtK, Value panelAtK, int64_t step, MutableArrayRef<Value> sums) {
    SmallVector<Value> weights;
    for (int64_t v = 0; v < vectors; ++v)
      weights.push_back(e.loadF32(block.element, e.at(panelAtK, step * lineBytes() + v * lanes * elementBytes()), lanes));
    for (int64_t r = 0; r < block.rows; ++r) {
      Value value = e.splat(e.load(e.f32(), e.at(rowsAtK, r * block.rowBytes + step * 4)), lanes);
      for (int64_t v = 0; v < vectors; ++v)
        sums[r * vectors + v] = e.fma(value, weights[v], sums[r * vectors + v]);
    }
  }

  SmallVector<Value> emitDepth(Value rows, Value panel, Value depth, ArrayRef<Value> initial, Value ahead) {
    // Few accumulators wait for each other, so several steps of the depth have their own.
    int64_t chains = 1;
    while (chains * size() < 8 && chains < 8)
      chains *= 2;
    const bool grouped = block.grouped && block.rows > 1; // a single row is the same either way
    const int64_t unroll = std::max<int64_t>(chains, grouped || size() <= 16 ? 4 : 2);
    const int64_t aheadBytes = ahead ? unroll * block.aheadLines * 32 : 0, rowsAheadBytes = grouped ? block.rows * unroll * 4 / 64 * 64 : 0;

    auto steps = [&](Value, ValueRange carried) {
      Place at{carried[0], carried[1], carried[2], carried[3]};
      SmallVector<Value> next(carried);
      for (int64_t step = 0; step < unroll; ++step)
        emitStep(at.rows, at.panel, step, MutableArrayRef(next).slice(pointers + step % chains * size(), size()));
      for (int64_t line = 0; line < aheadBytes; line += 64)
        e.prefetch(e.at(at.ahead, line), /*locality=*/block.aheadLines < 4 ? 2 : 3);
      for (int64_t line = 0; line < rowsAheadBytes; line += 64)
        e.prefetch(e.at(at.rowsAhead, line));
      // With base plus index in every address the loop takes up to a fifth longer (Cascade Lake).
      next[0] = e.opaque(e.at(at.rows, unroll * 4));
      next[1] = e.opaque(e.at(at.panel, unroll * lineBytes()));
      next[2] = rowsAheadBytes ? e.opaque(e.at(at.rowsAhead, rowsAheadBytes)) : at.rowsAhead;
      next[3] = aheadBytes ? e.opaque(e.at(at.ahead, aheadBytes)) : at.ahead;
      return next;
    };
    SmallVector<Value> carried{rows, panel, e.at(rows, block.rows * gemmGroup * 4), ahead ? ahead : panel};
    llvm::append_range(carried, initial);
    carried.resize(pointers + chains * size(), e.zero(e.vec()));
    const int64_t whole = grouped ? gemmGroup : unroll;
    Value count = e.div(depth, whole);
    carried = e.forRange(e.constant(0), count, 1, carried, [&](Value i, ValueRange before) {
      if (!grouped)
        return steps(i, before);
      SmallVector<Value> next = e.forRange(e.constant(0), e.constant(gemmGroup), unroll, before, steps);
      next[0] = e.at(next[0], (block.rows - 1) * gemmGroup * 4);
      return next;
    });
    SmallVector<Value> sums(ArrayRef(carried).drop_front(pointers));
    for (int64_t half = chains / 2; half > 0; half /= 2)
      for (int64_t i = 0; i < half * size(); ++i)
        sums[i] = e.add(sums[i], sums[half * size() + i]);
    sums.truncate(size());
    return e.forRange(e.constant(0), e.sub(depth, e.mul(count, whole)), 1, sums, [&](Value k, ValueRange before) {
      SmallVector<Value> next(before);
      emitStep(e.at(carried[0], e.mul(k, 4)), e.at(carried[1], e.mul(k, lineBytes())), 0, next);
      return next;
    });
  }

  Emitter &e;
  const GemmBlock &block;
  int64_t lanes, vectors;
};
} // namespace

void ds::emitGemmBlock(Emitter &e, const GemmBlock &block, Value rows, Value panel, Value sums, Value sumBytes, Value depth,
                       Value accumulate, Value ahead) {
  std::string name = "gemm_block_" +
                     std::string(block.element.isBF16()  ? "bf16"
                                 : block.element.isF16() ? "f16"
                                                         : "f32") +
                     "_" + std::to_string(block.rows) + "_" + (block.grouped ? "grouped" : std::to_string(block.rowBytes)) + "_" +
                     std::to_string(block.aheadLines);
  e.call(name, {rows, panel, sums, sumBytes, depth, accumulate, ahead},
         [&](ValueRange a) { BlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5], a[6]); });
}
