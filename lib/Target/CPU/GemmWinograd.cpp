// Products of f32 with fewer multiplications, for processors that add beside multiplying (Winograd 1968, A new algorithm for inner
// product).
//
// x0 y0 + x1 y1 = (x0 + y1) (x1 + y0) - x0 x1 - y0 y1, where the last two products belong to a row and to a column: two additions and a
// multiply-add stand for two multiply-adds. Of 16 k five pairs go that way and six k as ever, which takes 11 cycles for 16 where a vector
// is added and another multiplied in each. Sums grow with the squares of x and y and not with their product alone, so rows and columns are
// multiplied by powers of two that bring both near 1; what a sum loses is then relative to the lengths of its row and its column.
#include "Gemm.h"
#include "PanelReader.h"
#include "dialects/DSPlan/PanelSums.h"

using namespace mlir;
using namespace ds;
using ds_plan::PanelSums;

static_assert(PanelSums::group == linearGroup && PanelSums::pairs * PanelSums::pairStep + 1 == linearGroup);

namespace {
/// Powers of two, and what takes them back.
struct Scales {
  Value up, down;
};

/// A block of rows of a panel of `width` columns.
struct WinogradBlock {
  int64_t height, width;
  int64_t lineBytes, stripeBytes; // of the panel, from one k and from one vector of columns to the next
  int64_t factorBytes;            // from the powers of two of the rows to those that take them back, and to the sums of their pairs
  int64_t aheadLines;             // of weights that are read ahead for every 16 k, by each stripe
};

/// What it multiplies in one pass.
struct WinogradStep {
  Value rows, panel;    // scaled; rows are [groups][height][16]
  Value sums, sumBytes; // where they go, and bytes from one row to the next
  Value groups;         // of 16 k
  Value accumulate;     // i1
  Value rowFactors, powers, columnSums, ahead;
};
} // namespace

static constexpr int64_t rowFactorKinds = 3;
/// Bits of f32.
static constexpr int64_t bias = 127, fraction = 23;

/// 1 over powers of two.
static Value inverse(Emitter &e, Value powers) {
  Type integers = e.integersLike(powers);
  return e.bitcast(e.sub(e.constantOf(integers, static_cast<double>(2 * bias << fraction)), e.bitcast(powers, integers)), powers.getType());
}

/// About 1 over the root of `meanSquare`, f32 or a vector of them. What overflowed may come from finite values: it is taken far down.
static Scales balance(Emitter &e, Value meanSquare) {
  Type integers = e.integersLike(meanSquare);
  constexpr int64_t infinite = 255, farDown = bias - 100;
  auto number = [&](int64_t value) { return e.constantOf(integers, static_cast<double>(value)); };
  Value exponent = e.bitAnd(e.shiftRight(e.bitcast(meanSquare, integers), fraction), number(infinite));
  Value field = e.sub(number(bias), e.shiftRightSigned(e.sub(exponent, number(bias)), 1));
  field = e.select(e.eq(exponent, number(infinite)), number(farDown), field);
  Value up = e.bitcast(e.shiftLeft(field, fraction), meanSquare.getType());
  return {up, inverse(e, up)};
}

Value GemmKernel::usesWinograd() {
  // Few rows go by plain blocks unless they nearly fill a block of 16.
  return e.ge(c.rows, hasPanelSums ? linearFewRows - 3 : linearFewRows + 1);
}

void GemmKernel::reserveForWinograd() {
  scaled = e.stack(llvm::alignTo(slabRows, linearGroup) * winogradRowBytes());
  rowFactors = e.stack(PanelSums(region.depth).passes() * rowFactorKinds * factorBytes());
  if (hasPanelSums)
    return;
  scaledPanel = e.stack(PanelSums::pass * linearWidePanel * 4);
  columnFactors = e.stack(2 * linearWidePanel * 4);
}

void GemmKernel::scaleRows(const Slab &slab) {
  const int64_t depth = region.depth, lanes = linearGroup;
  SmallVector<float> firsts(lanes, 0);
  SmallVector<int64_t> next;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    firsts[lane] = PanelSums::isFirstOfPair(lane) ? 1 : 0;
    next.push_back(std::min(lane + 1, lanes - 1));
  }
  Value isFirst = e.constantVector(firsts), all = e.constant(depth), rows = winogradRows(slab);
  e.forRange(e.constant(0), rows, 1, [&](Value r) {
    // The last row comes again where a block is not full.
    std::function<Value(Value)> from = rowToRound(slab, e.min(r, e.sub(slab.count, 1)));
    auto at = [&](Value k) { return loadOfRow(from, k); };
    auto [begin, height] = blockOfRow(winogradHeights, rows, r);
    Value within = e.sub(r, begin), groupBytes = e.mul(height, linearGroup * 4);
    Value row = e.at(scaled, e.add(e.mul(begin, winogradRowBytes()), e.mul(within, linearGroup * 4)));
    e.forRange(e.constant(0), all, PanelSums::pass, [&](Value k) {
      Value end = e.min(e.add(k, PanelSums::pass), all);
      Value squares = e.forRange(k, end, lanes, ValueRange{e.zero(e.vec())}, [&](Value i, ValueRange sum) {
        Value x = at(i);
        return SmallVector<Value>{e.fma(x, x, sum[0])};
      })[0];
      Scales scales = balance(e, e.div(e.reduceAdd(squares), e.toF32(e.toI32(e.sub(end, k)))));
      Value products = e.forRange(k, end, lanes, ValueRange{e.zero(e.vec())}, [&](Value i, ValueRange sum) {
        Value x = e.mul(at(i), scales.up);
        e.store(x, e.at(row, e.mul(e.div(i, lanes), groupBytes)));
        return SmallVector<Value>{e.fma(e.mul(x, isFirst), e.shuffle(x, x, next), sum[0])};
      })[0];
      Value factors = e.at(rowFactors, e.add(e.mul(e.div(k, PanelSums::pass), rowFactorKinds * factorBytes()), e.mul(r, 4)));
      e.store(scales.up, factors);
      e.store(scales.down, e.at(factors, factorBytes()));
      e.store(e.neg(e.reduceAdd(products)), e.at(factors, 2 * factorBytes()));
    });
  });
}

/// Gives `depth` k of a panel of f32, those of a pass, what layout `panel_sums` has of them: `to` [width / lanes][pass][lanes], and the
/// powers and sums of columns, [2][width], to `factors`. `tail` is what the depth of the whole panel leaves of 16.
static void emitScaledPanel(Emitter &e, int64_t width, int64_t tail, Value panel, Value to, Value depth, Value factors) {
  std::string name = "gemm_winograd_panel_" + std::to_string(width) + (tail ? "_tail" + std::to_string(tail) : "");
  e.call(name, {panel, to, depth, factors}, [&](ValueRange a) {
    const int64_t lanes = e.getLevel().lanes;
    e.forRange(e.constant(0), e.constant(width), lanes, [&](Value column) {
      Value from = e.at(a[0], e.mul(column, 4)), sink = e.at(a[1], e.mul(column, PanelSums::pass * 4)), whole = e.div(a[2], linearGroup);
      auto load = [&](Value group, int64_t i) {
        return e.load(e.vec(), e.at(from, e.add(e.mul(group, linearGroup * width * 4), i * width * 4)));
      };
      auto addSquares = [&](Value group, int64_t count, ValueRange before) {
        SmallVector<Value> sums(before);
        for (int64_t i = 0; i < count; ++i) {
          Value y = load(group, i), &sum = sums[i % sums.size()];
          sum = e.fma(y, y, sum);
        }
        return sums;
      };
      // Sums over the whole groups, then over the one that is left.
      auto overGroups = [&](int64_t sums, llvm::function_ref<SmallVector<Value>(Value, int64_t, ValueRange)> body) {
        SmallVector<Value> all = e.forRange(e.constant(0), whole, 1, SmallVector<Value>(sums, e.zero(e.vec())),
                                            [&](Value group, ValueRange before) { return body(group, linearGroup, before); });
        if (!tail)
          return all;
        return e.ifElse(
            e.ne(e.rem(a[2], linearGroup), 0), SmallVector<Type>(sums, e.vec()), [&] { return body(whole, tail, all); },
            [&] { return all; });
      };
      SmallVector<Value> squares = overGroups(4, addSquares);
      Value square = e.add(e.add(squares[0], squares[1]), e.add(squares[2], squares[3]));
      Scales scales = balance(e, e.div(square, e.splat(e.toF32(e.toI32(a[2])), lanes)));
      Value products = overGroups(1, [&](Value group, int64_t count, ValueRange before) {
        SmallVector<Value> y(linearGroup, e.zero(e.vec()));
        Value sum = before[0];
        for (int64_t i = 0; i < linearGroup; ++i) {
          if (i < count)
            y[i] = e.mul(load(group, i), scales.up);
          e.store(y[i], e.at(sink, e.add(e.mul(group, linearGroup * lanes * 4), i * lanes * 4)));
          if (i && PanelSums::isFirstOfPair(i - 1))
            sum = e.fma(y[i - 1], y[i], sum);
        }
        return SmallVector<Value>{sum};
      })[0];
      Value place = e.at(a[3], e.mul(column, 4));
      e.store(scales.down, place);
      e.store(e.neg(e.mul(products, scales.down)), e.at(place, width * 4));
    });
  });
}

/// One group of k: rows are operands in memory, which costs nothing but a load.
static void emitGroup(Emitter &e, const WinogradBlock &block, Value rows, Value panel, MutableArrayRef<Value> sums) {
  const int64_t lanes = e.getLevel().lanes;
  auto weight = [&](int64_t k) { return e.load(e.vec(), e.at(panel, k * block.lineBytes)); };
  auto value = [&](int64_t r, int64_t k) { return e.splat(e.load(e.f32(), e.at(rows, (r * linearGroup + k) * 4)), lanes); };
  for (int64_t first = 0; first + 1 < linearGroup; first += PanelSums::pairStep) {
    Value y0 = weight(first), y1 = weight(first + 1), y2 = weight(first + 2);
    for (auto [index, sum] : llvm::enumerate(sums)) {
      auto r = static_cast<int64_t>(index);
      sum = e.fma(e.add(y1, value(r, first)), e.add(y0, value(r, first + 1)), sum);
      sum = e.fma(value(r, first + 2), y2, sum);
    }
  }
  Value y = weight(linearGroup - 1);
  for (auto [r, sum] : llvm::enumerate(sums))
    sum = e.fma(value(static_cast<int64_t>(r), linearGroup - 1), y, sum);
}

/// sums (+)= rows * panel, of one stripe of columns after the other.
static void emitStripes(Emitter &e, const WinogradBlock &block, const WinogradStep &s) {
  const int64_t lanes = e.getLevel().lanes, height = block.height, stripes = block.width / lanes;
  e.forRange(e.constant(0), e.constant(stripes), 1, [&](Value stripe) {
    Value column = e.mul(stripe, lanes * 4), to = e.at(s.sums, column), down = e.load(e.vec(), e.at(s.powers, column));
    auto place = [&](int64_t r) { return e.at(to, e.mul(s.sumBytes, r)); };
    auto ofRow = [&](int64_t r, int64_t which) {
      return e.splat(e.load(e.f32(), e.at(s.rowFactors, which * block.factorBytes + r * 4)), lanes);
    };
    auto begin = [&](bool goesOn) {
      SmallVector<Value> sums;
      for (int64_t r = 0; r < height; ++r)
        sums.push_back(goesOn ? e.fma(e.mul(e.load(e.vec(), place(r)), inverse(e, down)), ofRow(r, 0), ofRow(r, 2)) : ofRow(r, 2));
      return sums;
    };
    constexpr int64_t pointers = 3;
    SmallVector<Value> carried{s.rows, e.at(s.panel, e.mul(stripe, block.stripeBytes)),
                               e.at(s.ahead, e.mul(e.mul(stripe, s.groups), block.aheadLines * 64))};
    llvm::append_range(
        carried, e.ifElse(s.accumulate, SmallVector<Type>(height, e.vec()), [&] { return begin(true); }, [&] { return begin(false); }));
    carried = e.forRange(e.constant(0), s.groups, 1, carried, [&](Value, ValueRange before) {
      SmallVector<Value> next(before);
      emitGroup(e, block, before[0], before[1], MutableArrayRef(next).drop_front(pointers));
      for (int64_t line = 0; line < block.aheadLines; ++line)
        e.prefetch(e.at(before[2], line * 64), /*locality=*/2);
      next[0] = e.opaque(e.at(before[0], height * linearGroup * 4));
      next[1] = e.opaque(e.at(before[1], linearGroup * block.lineBytes));
      next[2] = block.aheadLines ? e.opaque(e.at(before[2], block.aheadLines * 64)) : before[2];
      return next;
    });
    Value columnSums = e.load(e.vec(), e.at(s.columnSums, column));
    for (int64_t r = 0; r < height; ++r)
      e.store(e.mul(e.fma(carried[pointers + r], down, columnSums), ofRow(r, 1)), place(r));
  });
}

static void emitWinogradBlock(Emitter &e, const WinogradBlock &block, const WinogradStep &s) {
  std::string name = "gemm_winograd_" + std::to_string(block.height) + "x" + std::to_string(block.width) + "_" +
                     std::to_string(block.lineBytes) + "_" + std::to_string(block.factorBytes) + "_" + std::to_string(block.aheadLines);
  e.call(name, {s.rows, s.panel, s.sums, s.sumBytes, s.groups, s.accumulate, s.rowFactors, s.powers, s.columnSums, s.ahead},
         [&](ValueRange a) { emitStripes(e, block, {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]}); });
}

void GemmKernel::emitWinogradProduct(const KernelOperand &weight, const Slab &slab, Value panel, Value sums) {
  const int64_t width = ds_plan::panelWidth(weight.type), lineBytes = width * weight.element().getIntOrFloatBitWidth() / 8;
  const int64_t depth = region.depth, lanes = c.level.lanes;
  const bool isScaled = weight.layout == ds_plan::Layout::panel_sums;
  const PanelSums lines(depth);
  Value from = isScaled ? e.at(panel, PanelSums::values * lineBytes) : panel;
  Value all = e.constant(depth), powers = isScaled ? e.at(panel, PanelSums::powers * lineBytes) : columnFactors;
  e.forRange(e.constant(0), all, PanelSums::pass, [&](Value k) {
    Value passDepth = e.min(e.sub(all, k), PanelSums::pass), panelAtK = e.at(from, e.mul(k, lineBytes));
    Value number = e.div(k, PanelSums::pass), groups = e.ceilDiv(passDepth, linearGroup), columnSums;
    // What stands a whole pass ahead, in this panel or in the one behind it: a short pass asks for as many lines as it reads.
    Value next = e.at(panelAtK, PanelSums::pass * lineBytes), scaledAtK = panelAtK;
    if (isScaled) {
      columnSums = e.at(panel, e.add(e.mul(number, lineBytes), lines.sums() * lineBytes));
    } else {
      scaledAtK = scaledPanel;
      columnSums = e.at(columnFactors, width * 4);
      Value plain = isNarrowMatrix(weight) ? widened : panelAtK;
      if (weight.codes)
        emitWidenedCodes(e, *weight.codes, panel, widened, k, e.add(k, passDepth));
      else if (isNarrowMatrix(weight))
        emitWidenedPanel(e, weight.element(), width, panelAtK, widened, passDepth);
      emitScaledPanel(e, width, depth % linearGroup, plain, scaledPanel, passDepth, columnFactors);
    }
    Value ofRows = e.at(rowFactors, e.mul(number, rowFactorKinds * factorBytes()));
    auto blocks = [&](int64_t linesOfGroup) {
      // Each block asks for a part of what comes next.
      const int64_t aheadLines = weight.codes ? 0 : llvm::divideCeil(linesOfGroup, width / lanes);
      forBlocks(winogradHeights, e.constant(0), winogradRows(slab), [&](Value row, int64_t height) {
        const WinogradBlock block{
            height, width, isScaled ? lineBytes : lanes * 4, isScaled ? lanes * 4 : PanelSums::pass * lanes * 4, factorBytes(), aheadLines};
        Value part = e.mul(e.mul(e.div(row, linearGroup), groups), aheadLines * width / lanes * 64);
        emitWinogradBlock(e, block,
                          {e.at(scaled, e.add(e.mul(row, winogradRowBytes()), e.mul(e.mul(k, height), 4))), scaledAtK,
                           e.at(sums, e.mul(row, tileRowBytes)), e.constant(tileRowBytes), groups, e.ne(k, 0), e.at(ofRows, e.mul(row, 4)),
                           powers, columnSums, e.at(next, part)});
      });
    };
    const int64_t everyLine = linearGroup * lineBytes / 64;
    auto ofManyRows = [&] {
      e.ifElse(e.le(slab.count, 6 * linearFewRows), [&] { blocks(everyLine / 2); }, [&] { blocks(llvm::divideCeil(everyLine, 6)); });
    };
    if (hasPanelSums)
      e.ifElse(e.le(slab.count, linearFewRows), [&] { blocks(everyLine); }, ofManyRows);
    else
      ofManyRows();
  });
}

void GemmKernel::takePowersBack(const Slab &slab, Value powers, int64_t width, Value sums) {
  const int64_t lanes = c.level.lanes;
  e.call("gemm_powers_back_" + std::to_string(width), {slab.count, powers, sums, e.constant(tileRowBytes)}, [&](ValueRange a) {
    e.forRange(e.constant(0), e.constant(width), lanes, [&](Value column) {
      Value power = e.load(e.vec(), e.at(a[1], e.mul(column, 4)));
      e.forRange(e.constant(0), a[0], 1, [&](Value r) {
        Value place = e.at(a[2], e.add(e.mul(r, a[3]), e.mul(column, 4)));
        e.store(e.mul(e.load(e.vec(), place), power), place);
      });
    });
  });
}
