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
/// The accumulators of one block: `height` rows of `vectors` vectors.
struct BlockShape {
  int64_t height, vectors, lanes;
  int64_t size() const { return height * vectors; }
};
} // namespace

/// One step of the depth: accumulators += input[row .. row + height, k] * panel[k, column ..].
static void emitStep(Emitter &e, const GemmOperands &gemm, BlockShape shape, Value inputAtK, Value weightAtK, int64_t step,
                     MutableArrayRef<Value> sums) {
  const int64_t elementBytes = gemm.element.getIntOrFloatBitWidth() / 8;
  SmallVector<Value> weights;
  for (int64_t v = 0; v < shape.vectors; ++v)
    weights.push_back(e.loadF32(gemm.element, e.at(weightAtK, (step * panelColumns + v * shape.lanes) * elementBytes), shape.lanes));
  for (int64_t r = 0; r < shape.height; ++r) {
    Value value = e.splat(e.load(e.f32(), e.at(inputAtK, (r * gemm.depth + step) * 4)), shape.lanes);
    for (int64_t v = 0; v < shape.vectors; ++v) {
      Value &sum = sums[r * shape.vectors + v];
      sum = e.fma(value, weights[v], sum);
    }
  }
}

/// The sums over the depth of one block; `weight` points at its first column.
static SmallVector<Value> emitDepth(Emitter &e, const GemmOperands &gemm, BlockShape shape, Value input, Value weight,
                                    ArrayRef<Value> initial, bool stream) {
  const int64_t rowBytes = panelColumns * gemm.element.getIntOrFloatBitWidth() / 8;
  // Few accumulators wait for each other, so several steps of the depth have their own.
  int64_t chains = 1;
  while (chains * shape.size() < 8 && chains < 8)
    chains *= 2;
  const int64_t unroll = std::max<int64_t>(chains, shape.size() <= 8 ? 4 : 1);
  SmallVector<Value> sums(initial);
  for (int64_t i = shape.size(); i < chains * shape.size(); ++i)
    sums.push_back(e.zero(e.vec(shape.lanes)));
  const int64_t main = gemm.depth / unroll * unroll;
  auto chainOf = [&](MutableArrayRef<Value> all, int64_t step) { return all.slice(step % chains * shape.size(), shape.size()); };
  if (main > 0)
    sums = e.forRange(e.constant(0), e.constant(main), unroll, sums, [&](Value k, ValueRange carried) {
      SmallVector<Value> next(carried);
      Value inputAtK = e.at(input, e.mul(k, 4)), weightAtK = e.at(weight, e.mul(k, rowBytes));
      constexpr int64_t aheadBytes = 4096;
      for (int64_t step = 0; step < unroll; ++step) {
        if (stream)
          for (int64_t line = 0; line < rowBytes; line += 64)
            e.prefetch(e.at(weightAtK, aheadBytes + step * rowBytes + line));
        emitStep(e, gemm, shape, inputAtK, weightAtK, step, chainOf(next, step));
      }
      return next;
    });
  Value inputAtK = e.at(input, main * 4), weightAtK = e.at(weight, main * rowBytes);
  for (int64_t step = 0; step < gemm.depth - main; ++step)
    emitStep(e, gemm, shape, inputAtK, weightAtK, step, chainOf(sums, step));
  for (int64_t half = chains / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half * shape.size(); ++i)
      sums[i] = e.add(sums[i], sums[half * shape.size() + i]);
  sums.truncate(shape.size());
  return sums;
}

/// Stores the block; `count(v)` values of vector `v` lie before the end of the row.
static void emitStores(Emitter &e, BlockShape shape, ArrayRef<Value> sums, Value output, int64_t rowBytes,
                       llvm::function_ref<int64_t(int64_t)> count) {
  for (int64_t r = 0; r < shape.height; ++r)
    for (int64_t v = 0; v < shape.vectors; ++v)
      if (count(v) > 0)
        e.storeFirst(sums[r * shape.vectors + v], e.at(output, r * rowBytes + v * shape.lanes * 4), count(v));
}

void ds::emitGemmBlock(KernelContext &c, const GemmOperands &gemm, Value row, Value panel, int64_t height, bool stream) {
  Emitter &e = c.e;
  const int64_t lanes = c.level.lanes, elementBytes = gemm.element.getIntOrFloatBitWidth() / 8;
  // As wide as the registers allow, so that short blocks read whole rows of the panel at once.
  int64_t vectors = panelColumns / lanes;
  while (vectors > 1 && height * vectors > c.level.gemmRows * c.level.gemmVectors)
    vectors /= 2;
  const BlockShape shape{height, vectors, lanes};
  const int64_t width = vectors * lanes;
  Value input = e.at(gemm.input, e.mul(row, gemm.depth * 4));
  Value panelWeight = e.at(gemm.weight, e.mul(panel, gemm.depth * panelColumns * elementBytes));
  Value panelOutput = e.at(gemm.output, e.add(e.mul(row, gemm.columns * 4), e.mul(panel, panelColumns * 4)));
  auto emitColumns = [&](int64_t column) {
    SmallVector<Value> initial;
    for (int64_t v = 0; v < vectors; ++v) {
      Value at = gemm.bias ? e.at(gemm.bias, e.add(e.mul(panel, panelColumns * 4), (column + v * lanes) * 4)) : Value();
      initial.push_back(gemm.bias ? e.load(e.vec(lanes), at) : e.zero(e.vec(lanes)));
    }
    SmallVector<Value> start;
    for (int64_t r = 0; r < height; ++r)
      start.append(initial);
    Value output = e.at(panelOutput, column * 4);
    SmallVector<Value> sums = emitDepth(e, gemm, shape, input, e.at(panelWeight, column * elementBytes), start, stream);
    auto whole = [&] { emitStores(e, shape, sums, output, gemm.columns * 4, [&](int64_t) { return lanes; }); };
    const int64_t tail = gemm.columns % panelColumns;
    if (tail == 0 || tail >= column + width)
      return whole();
    e.ifElse(
        e.eq(panel, gemm.panels() - 1),
        [&] { emitStores(e, shape, sums, output, gemm.columns * 4, [&](int64_t v) { return tail - column - v * lanes; }); }, whole);
  };
  for (int64_t column = 0; column < panelColumns; column += width)
    emitColumns(column);
}

/// Many rows: tiles are a block of rows times a panel, and the rows of one panel follow each other, so a panel stays in the cache.
static void emitTiledGemm(KernelContext &c, const GemmOperands &gemm) {
  Emitter &e = c.e;
  const int64_t height = c.level.gemmRows;
  Value blocks = e.ceilDiv(c.rows, height);
  c.forTiles(e.mul(blocks, gemm.panels()), [&](Value tile) {
    Value panel = e.div(tile, blocks), row = e.mul(e.rem(tile, blocks), height);
    Value left = e.sub(c.rows, row);
    e.ifElse(
        e.ge(left, height), [&] { emitGemmBlock(c, gemm, row, panel, height, /*stream=*/false); },
        [&] {
          Value next = row;
          const SmallVector<int64_t> heights = gemmBlockHeights(c.level);
          for (int64_t shorter : ArrayRef(heights).drop_front()) {
            Value count = e.div(e.sub(c.rows, next), shorter);
            next = e.forRange(e.constant(0), count, 1, next, [&](Value, ValueRange at) {
              emitGemmBlock(c, gemm, at[0], panel, shorter, /*stream=*/false);
              return SmallVector<Value>{e.add(at[0], shorter)};
            })[0];
          }
        });
  });
}

llvm::Error ds::buildGemm(KernelContext &c) {
  auto ops = c.kernel.getBody().front().without_terminator();
  auto linear = ops.begin() != ops.end() ? dyn_cast<LinearOp>(*ops.begin()) : LinearOp();
  if (!linear || std::next(ops.begin()) != ops.end() || c.outs.size() != 1)
    return c.error("gemm expects one ds.linear");
  auto operand = [&](Value value) -> const KernelOperand * {
    auto argument = dyn_cast_or_null<BlockArgument>(value);
    return argument ? &c.ins[argument.getArgNumber()] : nullptr;
  };
  const KernelOperand *input = operand(linear.getInput()), *weight = operand(linear.getWeight()), *bias = operand(linear.getBias());
  if (!input->element().isF32() || !c.outs[0].element().isF32())
    return c.error("gemm expects f32 rows");
  if (weight->kind != KernelOperand::Kind::weight || weight->layout != ds_plan::Layout::panels || !isa<FloatType>(weight->element()))
    return c.error("gemm expects a weight of floats in panels");
  if (bias && (bias->kind != KernelOperand::Kind::weight || bias->layout != ds_plan::Layout::vector))
    return c.error("gemm expects a bias in the layout of a vector");
  GemmOperands gemm{input->pointer,    weight->pointer, bias ? bias->pointer : Value(), c.outs[0].pointer, weight->element(),
                    c.outs[0].width(), input->width()};
  if (weight->type.getShape() != ArrayRef<int64_t>{gemm.panels(), gemm.depth, panelColumns})
    return c.error("gemm expects panels of the shape of the product");
  Emitter &e = c.e;
  e.ifElse(e.le(c.rows, skinnyRows), [&] { emitSkinnyGemm(c, gemm); }, [&] { emitTiledGemm(c, gemm); });
  return llvm::Error::success();
}
