// Products of bf16 by multiply-adds of f16, for processors with AVX512_FP16: twice as many in a cycle as of f32, where dot products of bf16
// are half as many.
//
// Rows are multiplied by powers of two in each pass, and so are columns, unless they lie as `panel_halves` (Halves.h). Sums of f16 stay
// short, those of 32 products are added to others, and each pass goes on in f32: by the way errors add up they lose half as much as rows
// that are rounded to bf16.
#include "Gemm.h"
#include "Halves.h"
#include "dialects/DSPlan/PanelHalves.h"

using namespace mlir;
using namespace ds;

/// k of a pass, and pairs of k whose products are added up before they join others.
static constexpr int64_t halvesPass = 384, halvesChunk = 32, halvesUnroll = 2;
static constexpr int64_t bytesOfPair = 4;

Value GemmKernel::usesHalves() { return e.ge(c.rows, linearFewRows - 2); }

void GemmKernel::reserveForHalves() {
  scaled = e.stack(slabRows * halfBytes());
  rowFactors = e.stack(llvm::divideCeil(region.depth, halvesPass) * factorBytes());
  if (hasPanelHalves)
    return;
  scaledPanel = e.stack(halvesPass / 2 * linearWidePanel * bytesOfPair);
  columnFactors = e.stack(linearWidePanel * 4);
}

void GemmKernel::scaleRowsToHalves(const Slab &slab) {
  const int64_t lanes = c.level.lanes;
  Type half = e.getBuilder().getF16Type();
  Value all = e.constant(region.depth);
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    std::function<Value(Value)> from = rowToRound(slab, r);
    auto at = [&](Value k) { return loadOfRow(from, k); };
    Value to = e.at(scaled, e.mul(r, halfBytes()));
    e.forRange(e.constant(0), all, halvesPass, [&](Value k) {
      Value end = e.min(e.add(k, halvesPass), all);
      Value sizes = e.forRange(k, end, lanes, ValueRange{e.zero(e.vec())},
                               [&](Value i, ValueRange before) { return SmallVector<Value>{e.max(e.abs(at(i)), before[0])}; })[0];
      const Halves::Scale scale = Halves::ofRow(e, e.reduceMax(sizes));
      e.forRange(k, end, lanes, [&](Value i) { e.store(e.bitsOf(half, e.mul(at(i), scale.up)), e.at(to, e.mul(i, 2))); });
      e.store(scale.back, e.at(rowFactors, e.add(e.mul(e.div(k, halvesPass), factorBytes()), e.mul(r, 4))));
    });
  });
}

/// Gives `steps` pairs of k of a panel of bf16 as f16 in the same places of `to`, and the powers that take the scale of columns back to
/// `factors`. A column with a value that is not finite is NaN.
static void emitHalvesOfPanel(Emitter &e, int64_t width, int64_t parts, Value panel, Value to, Value steps, Value factors, Value ahead) {
  std::string name = "gemm_halves_panel_" + std::to_string(width) + "_" + std::to_string(parts);
  e.call(name, {panel, to, steps, factors, ahead}, [&](ValueRange a) {
    const int64_t lanes = e.getLevel().lanes, lineBytes = width * bytesOfPair, aheadBytes = llvm::divideCeil(lanes * bytesOfPair, parts);
    Type words = e.vec(lanes, e.i32()), halves = e.vec(2 * lanes, e.i16());
    Value sizeBits = e.constantOf(halves, 0x7fff);
    e.forRange(e.constant(0), e.constant(width), lanes, [&](Value column) {
      Value from = e.at(a[0], e.mul(column, bytesOfPair)), sink = e.at(a[1], e.mul(column, bytesOfPair));
      Value asked = e.at(a[4], e.mul(e.div(column, lanes), e.mul(a[2], aheadBytes)));
      auto load = [&](Value step) { return e.load(halves, e.at(from, e.mul(step, lineBytes))); };
      Value sizes = e.forRange(e.constant(0), a[2], 1, ValueRange{e.zero(halves)}, [&](Value step, ValueRange before) {
        return SmallVector<Value>{e.max(e.bitAnd(load(step), sizeBits), before[0])};
      })[0];
      Value exponent = e.shiftRight(Halves::largerOfPairs(e, sizes), Halves::fractionOfBf16), down = Halves::down(e, exponent);
      e.store(Halves::back(e, down), e.at(a[3], e.mul(column, 4)));
      auto inBoth = [&](Value word) { return e.bitcast(Halves::twice(e, word), halves); };
      Value least = inBoth(e.shiftLeft(down, Halves::fractionOfBf16));
      Value isNumber = e.lt(exponent, Halves::infinite);
      Value notANumber = inBoth(e.select(isNumber, e.zero(words), e.constantOf(words, Halves::notANumber)));
      e.forRange(e.constant(0), a[2], 1, [&](Value step) {
        e.prefetch(e.at(asked, e.mul(step, aheadBytes)), /*locality=*/2);
        e.store(e.bitOr(Halves::ofBf16(e, load(step), least), notANumber), e.at(sink, e.mul(step, lineBytes)));
      });
    });
  });
}

namespace {
/// A block of rows of a panel of `width` columns, `rowBytes` apart.
struct HalvesBlock {
  int64_t height, width, rowBytes;
  int64_t aheadLines; // of weights that are read ahead for every `halvesUnroll` pairs of k
};

/// What it multiplies in one pass.
struct HalvesStep {
  Value rows, panel;    // scaled
  Value sums, sumBytes; // where they go, and bytes from one row to the next
  Value steps;          // pairs of k
  Value accumulate;     // i1
  Value rowFactors, columnFactors, ahead;
};
} // namespace

/// sums (+)= rows * panel, of one stripe of columns after the other.
static void emitHalvesStripes(Emitter &e, const HalvesBlock &block, const HalvesStep &s) {
  const int64_t lanes = e.getLevel().lanes, lineBytes = block.width * bytesOfPair;
  const int64_t vectors = gemmBlockVectors(block.width / lanes, e.getLevel().gemmSums / block.height), size = block.height * vectors;
  const int64_t stripes = block.width / (vectors * lanes);
  Type pairs = e.vec(2 * lanes, e.getBuilder().getF16Type());
  enum { rows, panel, ahead, pointers };
  auto step = [&](Value rowsAt, Value panelAt, int64_t offset, ValueRange before) {
    SmallVector<Value> weights, sums;
    for (int64_t v = 0; v < vectors; ++v)
      weights.push_back(e.load(pairs, e.at(panelAt, offset * lineBytes + v * lanes * bytesOfPair)));
    for (int64_t r = 0; r < block.height; ++r) {
      Value pair = e.load(e.i32(), e.at(rowsAt, r * block.rowBytes + offset * bytesOfPair)), value = e.bitcast(e.splat(pair, lanes), pairs);
      for (int64_t v = 0; v < vectors; ++v)
        sums.push_back(e.fma(value, weights[v], before[r * vectors + v]));
    }
    return sums;
  };
  const SmallVector<Value> zeros(size, e.zero(pairs));
  e.forRange(e.constant(0), e.constant(stripes), 1, [&](Value stripe) {
    Value whole = e.div(s.steps, halvesChunk);
    SmallVector<Value> carried{s.rows, e.at(s.panel, e.mul(stripe, vectors * lanes * bytesOfPair)),
                               e.at(s.ahead, e.mul(e.mul(stripe, whole), block.aheadLines * halvesChunk / halvesUnroll * 64))};
    llvm::append_range(carried, zeros);
    carried = e.forRange(e.constant(0), whole, 1, carried, [&](Value, ValueRange before) {
      SmallVector<Value> next(before.take_front(pointers));
      llvm::append_range(next, zeros);
      next = e.forRange(e.constant(0), e.constant(halvesChunk), halvesUnroll, next, [&](Value, ValueRange at) {
        SmallVector<Value> sums(at.drop_front(pointers));
        for (int64_t i = 0; i < halvesUnroll; ++i)
          sums = step(at[rows], at[panel], i, sums);
        for (int64_t line = 0; line < block.aheadLines; ++line)
          e.prefetch(e.at(at[ahead], line * 64), /*locality=*/2);
        SmallVector<Value> next{e.opaque(e.at(at[rows], halvesUnroll * bytesOfPair)), e.opaque(e.at(at[panel], halvesUnroll * lineBytes)),
                                block.aheadLines ? e.opaque(e.at(at[ahead], block.aheadLines * 64)) : at[ahead]};
        llvm::append_range(next, sums);
        return next;
      });
      for (int64_t i = pointers; i < pointers + size; ++i)
        next[i] = e.add(before[i], next[i]);
      return next;
    });
    SmallVector<Value> rest = e.forRange(e.mul(whole, halvesChunk), s.steps, 1, zeros, [&](Value at, ValueRange before) {
      Value offset = e.sub(at, e.mul(whole, halvesChunk));
      return step(e.at(carried[rows], e.mul(offset, bytesOfPair)), e.at(carried[panel], e.mul(offset, lineBytes)), 0, before);
    });
    auto store = [&](bool goesOn) {
      Value column = e.mul(stripe, vectors * lanes * 4);
      for (int64_t r = 0; r < block.height; ++r)
        for (int64_t v = 0; v < vectors; ++v) {
          const int64_t i = r * vectors + v;
          Value both = e.add(carried[pointers + i], rest[i]), sum = e.add(Halves::low(e, both), Halves::high(e, both));
          sum = e.mul(sum, e.load(e.vec(), e.at(e.at(s.columnFactors, column), v * lanes * 4)));
          Value factor = e.splat(e.load(e.f32(), e.at(s.rowFactors, r * 4)), lanes);
          Value place = e.at(e.at(s.sums, e.add(e.mul(s.sumBytes, r), column)), v * lanes * 4);
          e.store(goesOn ? e.fma(sum, factor, e.load(e.vec(), place)) : e.mul(sum, factor), place);
        }
    };
    e.ifElse(s.accumulate, [&] { store(true); }, [&] { store(false); });
  });
}

static void emitHalvesBlock(Emitter &e, const HalvesBlock &block, const HalvesStep &s) {
  std::string name = "gemm_halves_" + std::to_string(block.height) + "x" + std::to_string(block.width) + "_" +
                     std::to_string(block.rowBytes) + "_" + std::to_string(block.aheadLines);
  e.call(name, {s.rows, s.panel, s.sums, s.sumBytes, s.steps, s.accumulate, s.rowFactors, s.columnFactors, s.ahead},
         [&](ValueRange a) { emitHalvesStripes(e, block, {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]}); });
}

void GemmKernel::emitProductOfHalves(const KernelOperand &weight, const Slab &slab, Value panel, Value sums) {
  const int64_t width = ds_plan::panelWidth(weight.type), lineBytes = width * bytesOfPair, iterationLines = halvesUnroll * lineBytes / 64;
  Value all = e.constant(region.depth), powers = hasPanelHalves ? e.at(panel, ds_plan::PanelHalves::powers * lineBytes) : columnFactors;
  Value from = hasPanelHalves ? e.at(panel, ds_plan::PanelHalves::values * lineBytes) : panel;
  e.forRange(e.constant(0), all, halvesPass, [&](Value k) {
    Value depth = e.min(e.sub(all, k), halvesPass), steps = e.ceilDiv(depth, 2), panelAtK = e.at(from, e.mul(k, lineBytes / 2));
    // What lies a whole pass further, of this panel or the one behind it, is asked for in parts.
    Value next = e.at(panelAtK, halvesPass * lineBytes / 2), ofRows = e.at(rowFactors, e.mul(e.div(k, halvesPass), factorBytes()));
    auto block = [&](Value row, int64_t height, int64_t aheadLines, Value ahead) {
      emitHalvesBlock(e, {height, width, halfBytes(), aheadLines},
                      {e.at(scaled, e.add(e.mul(row, halfBytes()), e.mul(k, 2))), hasPanelHalves ? panelAtK : scaledPanel,
                       e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), steps, e.ne(k, 0), e.at(ofRows, e.mul(row, 4)),
                       powers, ahead});
    };
    // `parts` of what comes next, the first on the way to f16 where that is still to do, the others by blocks of rows.
    auto blocks = [&](int64_t parts) {
      const int64_t before = hasPanelHalves ? 0 : 1;
      if (!hasPanelHalves)
        emitHalvesOfPanel(e, width, parts, panelAtK, scaledPanel, steps, columnFactors, next);
      forBlocks(heights, e.constant(0), slab.count, [&](Value row, int64_t height) {
        Value part = e.add(e.rem(e.div(row, heights.front()), parts - before), before);
        block(row, height, llvm::divideCeil(iterationLines, parts), e.at(next, e.mul(part, e.mul(e.div(depth, parts), lineBytes / 2))));
      });
    };
    auto several = [&] { e.ifElse(e.le(slab.count, linearFewRows), [&] { blocks(hasPanelHalves ? 2 : 3); }, [&] { blocks(6); }); };
    if (!hasPanelHalves)
      return several();
    // One block asks for what it needs soon itself: two pages ahead SmolLM2 decodes 143 tokens a second on two threads, for 122 one ahead.
    constexpr int64_t soonBytes = 8192;
    auto one = [&] {
      forBlocks(gemmShortBlocks(heights), e.constant(0), slab.count,
                [&](Value row, int64_t height) { block(row, height, iterationLines, e.at(panelAtK, soonBytes)); });
    };
    e.ifElse(e.le(slab.count, heights.front()), one, several);
  });
}
