// Register-blocked products over panels, after Goto and van de Geijn 2008 (Anatomy of high-performance matrix multiplication).
#include "Gemm.h"

using namespace mlir;
using namespace ds;

int64_t ds::gemmBlockVectors(int64_t vectors, int64_t most) {
  while (vectors % most != 0)
    --most;
  return most;
}

int64_t ds::gemmStripeVectors(const CpuLevel &level, int64_t vectors, int64_t rows) {
  return gemmBlockVectors(vectors, std::max<int64_t>(1, level.gemmSums / rows));
}

SmallVector<int64_t> ds::gemmBlockHeights(const CpuLevel &level, ArrayRef<int64_t> panels, int64_t groupRows) {
  int64_t most = groupRows ? groupRows : level.gemmSums;
  for (int64_t panel : panels)
    most = std::min(most, level.gemmSums / gemmBlockVectors(panel / level.lanes, level.gemmVectors));
  SmallVector<int64_t> heights{most};
  for (int64_t height : {8, 4, 2, 1})
    if (height < most)
      heights.push_back(height);
  return heights;
}

SmallVector<Value> ds::emitSumsBefore(Emitter &e, Value accumulate, int64_t count, llvm::function_ref<Value(int64_t)> place) {
  return e.ifElse(
      accumulate, SmallVector<Type>(count, e.vec()),
      [&] {
        SmallVector<Value> before;
        for (int64_t i = 0; i < count; ++i)
          before.push_back(e.load(e.vec(), place(i)));
        return before;
      },
      [&] { return SmallVector<Value>(count, e.zero(e.vec())); });
}

namespace {
/// The code of one block.
class BlockEmitter {
public:
  BlockEmitter(Emitter &e, const GemmBlock &block)
      : e(e), block(block), lanes(e.getLevel().lanes), vectors(gemmStripeVectors(e.getLevel(), block.panel / lanes, block.rows)) {}

  void emit(Value rows, Value panel, Value sums, Value sumBytes, Value depth, Value accumulate, Value ahead, Value touched,
            Value touchedBytes) {
    // One stripe of columns after the other, where the panel is wider than the block. Each reads a part ahead.
    e.forRange(e.constant(0), e.constant(stripes()), 1, [&](Value stripe) {
      Value column = e.mul(stripe, vectors * lanes), to = e.at(sums, e.mul(column, 4));
      auto place = [&](int64_t r, int64_t v) { return e.at(e.at(to, e.mul(sumBytes, r)), v * lanes * 4); };
      SmallVector<Value> all = emitSumsBefore(e, accumulate, size(), [&](int64_t i) { return place(i / vectors, i % vectors); });
      Value part = e.mul(stripe, e.mul(depth, block.aheadBytes / stripes()));
      all =
          emitDepth(rows, e.at(panel, e.mul(column, elementBytes() * depthOfStep())), depth, all, e.at(ahead, part), touched, touchedBytes);
      for (int64_t i = 0; i < size(); ++i)
        e.store(all[i], place(i / vectors, i % vectors));
    });
  }

private:
  int64_t size() const { return block.rows * vectors; }
  int64_t stripes() const { return block.panel / (vectors * lanes); }
  int64_t elementBytes() const { return block.element.getIntOrFloatBitWidth() / 8; }
  int64_t lineBytes() const { return block.panel * elementBytes(); } // of one k
  bool inPairs() const { return block.element.isBF16(); }
  int64_t depthOfStep() const { return inPairs() ? 2 : 1; }

  /// Where a loop over the depth stands: the next k of the rows, of the panel, and what to read ahead of both.
  struct Place {
    Value rows, panel, rowsAhead, ahead;
  };
  static constexpr int64_t pointers = 5;

  /// sums += rows[0 .. rows, k + step] * weights
  void multiplyAdd(Value rowsAtK, int64_t step, ArrayRef<Value> weights, MutableArrayRef<Value> sums) {
    for (int64_t r = 0; r < block.rows; ++r) {
      Value value = e.splat(e.load(e.f32(), e.at(rowsAtK, r * block.rowBytes + step * block.stepBytes)), lanes);
      for (int64_t v = 0; v < vectors; ++v)
        sums[r * vectors + v] = e.fma(value, weights[v], sums[r * vectors + v]);
    }
  }

  /// The same of pairs of k.
  void dotProducts(Value rowsAtK, int64_t step, ArrayRef<Value> pairs, MutableArrayRef<Value> sums) {
    for (int64_t r = 0; r < block.rows; ++r) {
      Value value = e.splat(e.load(e.i32(), e.at(rowsAtK, r * block.rowBytes + step * block.stepBytes / 2)), lanes);
      for (int64_t v = 0; v < vectors; ++v)
        sums[r * vectors + v] = e.dotOfPairs(pairs[v], value, sums[r * vectors + v]);
    }
  }

  /// sums += rows[0 .. rows, k + step] * panel[k + step, ...]. Of bf16, `step` is even; unless `last`, the k behind it follows, on the next
  /// chain of sums.
  void emitStep(Value rowsAtK, Value panelAtK, int64_t step, MutableArrayRef<Value> sums, bool last = false) {
    SmallVector<Value> weights;
    auto chain = [&](int64_t at) { return sums.slice(at % (sums.size() / size()) * size(), size()); };
    auto place = [&](int64_t v) { return e.at(panelAtK, step * lineBytes() + v * lanes * elementBytes() * depthOfStep()); };
    if (!inPairs()) {
      for (int64_t v = 0; v < vectors && block.panelAhead; ++v)
        e.prefetch(e.at(place(v), block.panelAhead * lineBytes()));
      for (int64_t v = 0; v < vectors; ++v)
        weights.push_back(e.loadF32(block.element, place(v), lanes));
      return multiplyAdd(rowsAtK, step, weights, chain(step));
    }
    SmallVector<Value> pairs;
    for (int64_t v = 0; v < vectors; ++v)
      pairs.push_back(e.load(e.vec(lanes, e.i32()), place(v)));
    if (block.dots)
      return dotProducts(rowsAtK, step, pairs, chain(step / 2));
    for (Value pair : pairs)
      weights.push_back(e.lowOfPairs(pair));
    multiplyAdd(rowsAtK, step, weights, chain(step));
    if (last)
      return;
    for (int64_t v = 0; v < vectors; ++v)
      weights[v] = e.highOfPairs(pairs[v]);
    multiplyAdd(rowsAtK, step + 1, weights, chain(step + 1));
  }

  SmallVector<Value> emitDepth(Value rows, Value panel, Value depth, ArrayRef<Value> initial, Value ahead, Value touched,
                               Value touchedBytes) {
    // Few accumulators wait for each other, so several steps of the depth have their own.
    int64_t chains = 1;
    while (chains * size() < 8 && chains < 8)
      chains *= 2;
    const bool grouped = block.groupRows > 1; // groups of a single row are the same as rows
    const int64_t unroll = std::max<int64_t>(chains, grouped || size() <= 16 ? 4 : 2) * (block.dots ? 2 : 1);
    const auto aheadBytes = static_cast<int64_t>(llvm::alignTo(unroll * block.aheadBytes / stripes(), 64));
    const bool inSteps = block.stepBytes > 4; // the rows of one k lie side by side
    const int64_t rowsAheadBytes = grouped   ? static_cast<int64_t>(llvm::alignTo(block.groupRows * unroll * 4, 64))
                                   : inSteps ? static_cast<int64_t>(llvm::alignTo(unroll * block.stepBytes / (block.dots ? 2 : 1), 64))
                                             : 0;
    const int64_t valueBytes = block.dots ? block.stepBytes / 2 : block.stepBytes;

    auto steps = [&](Value, ValueRange carried) {
      Place at{carried[0], carried[1], carried[2], carried[3]};
      SmallVector<Value> next(carried);
      for (int64_t step = 0; step < unroll; step += depthOfStep())
        emitStep(at.rows, at.panel, step, MutableArrayRef(next).drop_front(pointers));
      for (int64_t line = 0; line < aheadBytes; line += 64)
        e.prefetch(e.at(at.ahead, line), /*locality=*/block.aheadBytes < 128 || !block.aheadIsNear ? 2 : 3);
      for (int64_t line = 0; line < rowsAheadBytes; line += 64)
        e.prefetch(e.at(at.rowsAhead, line));
      next[0] = e.opaque(e.at(at.rows, unroll * valueBytes));
      next[1] = e.opaque(e.at(at.panel, unroll * lineBytes()));
      next[2] = rowsAheadBytes ? e.opaque(e.at(at.rowsAhead, rowsAheadBytes)) : at.rowsAhead;
      next[3] = e.opaque(e.at(at.ahead, aheadBytes));
      return next;
    };
    SmallVector<Value> carried{rows, panel, e.at(rows, (inSteps ? block.rows : block.groupRows) * linearGroup * 4), ahead, touched};
    llvm::append_range(carried, initial);
    carried.resize(pointers + chains * size(), e.zero(e.vec()));
    const bool byGroup = grouped || block.touches || block.aheadRows;
    const int64_t whole = byGroup ? linearGroup : unroll;
    Value count = e.div(depth, whole);
    carried = e.forRange(e.constant(0), count, 1, carried, [&](Value i, ValueRange before) {
      if (!byGroup)
        return steps(i, before);
      SmallVector<Value> next = e.forRange(e.constant(0), e.constant(linearGroup), unroll, before, steps);
      if (grouped) {
        next[0] = e.at(next[0], (block.groupRows - 1) * linearGroup * 4);
        next[2] = e.at(next[0], block.groupRows * linearGroup * 4);
      }
      for (int64_t row = 0; row < block.aheadRows; ++row) {
        for (int64_t line = 0; line < block.panel * 4; line += 64)
          e.prefetch(e.at(next[3], line), /*locality=*/2);
        next[3] = e.at(next[3], block.aheadRowBytes);
      }
      if (block.touches) {
        for (int64_t line = 0; line < block.panel * 4; line += 64)
          e.prefetch(e.at(next[4], line), /*locality=*/2);
        next[4] = e.at(next[4], touchedBytes);
      }
      return next;
    });
    SmallVector<Value> sums(ArrayRef(carried).drop_front(pointers));
    for (int64_t half = chains / 2; half > 0; half /= 2)
      for (int64_t i = 0; i < half * size(); ++i)
        sums[i] = e.add(sums[i], sums[half * size() + i]);
    sums.truncate(size());
    auto rest = [&](Value begin, Value end, int64_t step) {
      sums = e.forRange(begin, end, step, sums, [&](Value k, ValueRange before) {
        SmallVector<Value> next(before);
        emitStep(e.at(carried[0], e.mul(k, valueBytes)), e.at(carried[1], e.mul(k, lineBytes())), 0, next, /*last=*/step == 1);
        return next;
      });
    };
    Value left = e.sub(depth, e.mul(count, whole)), end = inPairs() ? e.mul(e.div(left, 2), 2) : left;
    rest(e.constant(0), end, depthOfStep());
    if (inPairs() && !block.dots)
      rest(end, left, 1);
    return sums;
  }

  Emitter &e;
  const GemmBlock &block;
  int64_t lanes, vectors;
};
} // namespace

void ds::emitGemmBlock(Emitter &e, const GemmBlock &block, Value rows, Value panel, Value sums, Value sumBytes, Value depth,
                       Value accumulate, Value ahead, Value touched, Value touchedBytes) {
  std::string name = "gemm_block_" +
                     std::string(block.element.isBF16()  ? "bf16"
                                 : block.element.isF16() ? "f16"
                                                         : "f32") +
                     (block.dots ? "_dots_" : "_") + std::to_string(block.rows) + "x" + std::to_string(block.panel) + "_" +
                     (block.groupRows ? "groups" + std::to_string(block.groupRows) : std::to_string(block.rowBytes)) + "_" +
                     std::to_string(block.aheadBytes) + (block.aheadIsNear ? "" : "_far") + (block.touches ? "_touches" : "") +
                     (block.panelAhead ? "_panel" + std::to_string(block.panelAhead) : "") +
                     (block.stepBytes == 4 ? "" : "_steps" + std::to_string(block.stepBytes)) +
                     (block.aheadRows ? "_ahead" + std::to_string(block.aheadRows) + "x" + std::to_string(block.aheadRowBytes) : "");
  e.call(name, {rows, panel, sums, sumBytes, depth, accumulate, ahead, touched, touchedBytes},
         [&](ValueRange a) { BlockEmitter(e, block).emit(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]); });
}

void ds::emitWidenedPanel(Emitter &e, Type element, int64_t width, Value panel, Value to, Value depth) {
  const int64_t lanes = e.getLevel().lanes, together = element.isBF16() ? 2 : 1, vectors = width / lanes;
  e.call((element.isBF16() ? "gemm_widen_bf16_" : "gemm_widen_f16_") + std::to_string(width), {panel, to, depth}, [&](ValueRange a) {
    e.forRange(e.constant(0), e.ceilDiv(a[2], together), 1, [&](Value step) {
      Value from = e.at(a[0], e.mul(step, width * 2 * together)), sink = e.at(a[1], e.mul(step, width * 4 * together));
      for (int64_t v = 0; v < vectors; ++v) {
        Value place = e.at(from, v * lanes * 2 * together), low = e.at(sink, v * lanes * 4);
        if (together == 1) {
          e.store(e.loadF32(element, place, lanes), low);
          continue;
        }
        Value pairs = e.load(e.vec(lanes, e.i32()), place);
        e.store(e.lowOfPairs(pairs), low);
        e.store(e.highOfPairs(pairs), e.at(low, width * 4));
      }
    });
  });
}
