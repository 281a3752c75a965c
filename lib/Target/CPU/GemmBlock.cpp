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
    const int64_t unroll = std::max<int64_t>(chains, size() <= 16 ? 4 : 2);
    SmallVector<Value> sums(initial);
    sums.resize(chains * size(), e.zero(e.vec()));
    Value whole = e.mul(e.div(depth, unroll), unroll);
    auto at = [&](Value k) { return std::pair(e.at(rows, e.mul(k, 4)), e.at(panel, e.mul(k, lineBytes()))); };
    sums = e.forRange(e.constant(0), whole, unroll, sums, [&](Value k, ValueRange carried) {
      SmallVector<Value> next(carried);
      auto [rowsAtK, panelAtK] = at(k);
      if (ahead)
        for (int64_t line = 0; line < unroll * block.aheadLines / 2; ++line)
          e.prefetch(e.at(ahead, e.add(e.mul(k, block.aheadLines * 32), line * 64)), /*locality=*/block.aheadLines < 4 ? 2 : 3);
      for (int64_t step = 0; step < unroll; ++step)
        emitStep(rowsAtK, panelAtK, step, MutableArrayRef(next).slice(step % chains * size(), size()));
      return next;
    });
    for (int64_t half = chains / 2; half > 0; half /= 2)
      for (int64_t i = 0; i < half * size(); ++i)
        sums[i] = e.add(sums[i], sums[half * size() + i]);
    sums.truncate(size());
    return e.forRange(whole, depth, 1, sums, [&](Value k, ValueRange carried) {
      SmallVector<Value> next(carried);
      auto [rowsAtK, panelAtK] = at(k);
      emitStep(rowsAtK, panelAtK, 0, next);
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
                     "_" + std::to_string(block.rows) + "_" + std::to_string(block.rowBytes) + "_" + std::to_string(block.aheadLines);
  e.call(name, {rows, panel, sums, sumBytes, depth, accumulate, ahead},
         [&](ValueRange a) { BlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5], a[6]); });
}
