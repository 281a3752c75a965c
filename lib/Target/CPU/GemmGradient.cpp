// Gradients of weights: products of rows with themselves over all tokens, added to what the state holds.
//
// output[n, k] += sum over m of grad[m, n] * input[m, k]: a register block has values of `grad` where other products have rows, and columns
// of `input` as its panel. Parts of both are packed to the stack; sums stay there until all rows are in. Each sum is taken in the order of
// the rows, so no number of threads changes a result.
#include "Gemm.h"
#include "KernelRegion.h"

using namespace mlir;
using namespace ds;

/// Rows of one pass: a panel's part of them stays in the first-level cache.
static constexpr int64_t depthBlock = 128;
/// The most rows of the gradient that share a packed panel, and panels that share packed rows.
static constexpr int64_t mostSlabRows = 192, mostPanels = 8;

namespace {
class GradientKernel {
public:
  GradientKernel(KernelContext &context, const KernelOperand &input, const KernelOperand &grad)
      : c(context), e(context.e), input(input), grad(grad), sink(context.outs[0]), rows(grad.width()), columns(input.width()),
        width(linearPanelOf(columns, /*isNarrow=*/false)), height(gemmBlockHeights(c.level, {width}, 0).front()),
        slabRows(llvm::alignTo(llvm::divideCeil(rows, llvm::divideCeil(rows, mostSlabRows)), height)),
        // Blocks that are written side by side must not meet in one set of the cache.
        pairs(c.level.bf16Dots != Dots::none && input.element().isBF16() && grad.element().isBF16()),
        blockBytes(depthBlock * height * (pairs ? 2 : 4) + 64), tileRowBytes((std::min(mostPanels, panels()) * width * 4 / 64 | 1) * 64) {}

  void emit() {
    tile = e.stack(slabRows * tileRowBytes);
    packedGrad = e.stack(slabRows / height * blockBytes);
    packedInput = e.stack(depthBlock * width * 4);
    auto [begin, end] = c.tilesOfThread(e.constant(llvm::divideCeil(rows, slabRows) * panels()));
    Value firstTile = begin, endTile = end;
    auto share = [&] {
      e.forRange(e.div(firstTile, panels()), e.ceilDiv(endTile, panels()), 1, [&](Value slab) {
        Value tiles = e.mul(slab, panels()), endPanel = e.min(e.sub(endTile, tiles), panels());
        e.forRange(e.max(e.sub(firstTile, tiles), 0), endPanel, mostPanels,
                   [&](Value panel) { emitTile(e.mul(slab, slabRows), panel, e.min(e.sub(endPanel, panel), mostPanels)); });
      });
    };
    e.ifThen(e.gt(c.rows, 0), share);
  }

private:
  int64_t panels() const { return llvm::divideCeil(columns, width); }

  /// Panels [panel, panel + count) of the gradient's rows from `firstRow` on.
  void emitTile(Value firstRow, Value panel, Value count) {
    Value slab = e.min(e.sub(e.constant(rows), firstRow), slabRows), blocks = e.ceilDiv(slab, height);
    const PackedMatrix matrix{columns, depthBlock, /*transposed=*/true, width, input.element(), Type(), pairs};
    const int64_t inputBytes = elementBytes(input);
    GemmBlock block{e.f32(), width, height, /*rowBytes=*/4, 0, 0, /*touches=*/true};
    block.stepBytes = height * 4;
    if (pairs) {
      block.element = e.getBuilder().getBF16Type();
      block.dots = true;
    }
    block.aheadRows = 1;
    block.aheadRowBytes = columns * inputBytes;
    e.forRange(e.constant(0), c.rows, depthBlock, [&](Value m) {
      Value depth = e.min(e.sub(c.rows, m), depthBlock);
      Value ends = e.ge(e.add(m, 2 * depthBlock), c.rows);
      packGrad(firstRow, slab, m, depth);
      e.forRange(e.constant(0), count, 1, [&](Value p) {
        emitPackedPanel(e, matrix, input.pointer, e.add(panel, p), m, depth, packedInput);
        // The blocks ask for what is packed next, each for as many rows as it has groups of 16, and in the end for what they are added to.
        Value isLast = e.eq(e.add(p, 1), count), nextPanel = e.select(isLast, panel, e.add(e.add(panel, p), 1));
        Value nextRow = e.add(m, e.select(isLast, e.constant(depthBlock), e.constant(0)));
        Value next = e.at(input.pointer, e.mul(e.add(e.mul(nextRow, columns), e.mul(nextPanel, width)), inputBytes));
        e.forRange(e.constant(0), blocks, 1, [&](Value b) {
          Value sums = e.at(tile, e.add(e.mul(b, height * tileRowBytes), e.mul(p, width * 4)));
          Value ahead = e.at(next, e.mul(b, depthBlock / linearGroup * columns * inputBytes));
          Value added = e.at(sink.pointer, e.add(e.mul(e.add(firstRow, e.mul(b, height)), columns * 4), e.mul(e.add(panel, p), width * 4)));
          Value blockDepth = pairs ? e.roundUp(depth, 2) : depth;
          emitGemmBlock(e, block, e.at(packedGrad, e.mul(b, blockBytes)), packedInput, sums, e.constant(tileRowBytes), blockDepth,
                        e.ne(m, 0), ahead, e.select(ends, added, packedInput), e.select(ends, e.constant(columns * 4), e.constant(0)));
        });
      });
    });
    e.forRange(e.constant(0), count, 1, [&](Value p) { addTile(firstRow, slab, e.add(panel, p), e.at(tile, e.mul(p, width * 4))); });
  }

  /// `depth` rows of `grad` from `m` on, block by block of `height` columns: [block][depth][height], zeros behind the last column; or
  /// [block][depth / 2][height][2] of bf16, zeros behind an odd last row as well.
  void packGrad(Value firstRow, Value slab, Value m, Value depth) {
    const int64_t bytes = elementBytes(grad);
    Value from = e.element(grad.pointer, grad.element(), e.add(e.mul(m, rows), firstRow)), whole = e.div(slab, height);
    e.forRange(e.constant(0), depth, pairs ? 2 : 1, [&](Value i) {
      Value row = e.at(from, e.mul(i, rows * bytes)), to = e.at(packedGrad, e.mul(i, pairs ? height * 2 : height * 4));
      second = pairs ? e.lt(e.add(i, 1), depth) : Value();
      e.forRange(e.constant(0), whole, 1,
                 [&](Value b) { copyPiece(e.at(row, e.mul(b, height * bytes)), e.at(to, e.mul(b, blockBytes)), height); });
      if (const int64_t tail = rows % height)
        e.ifThen(e.lt(e.mul(whole, height), slab), [&] {
          Value last = e.at(to, e.mul(whole, blockBytes));
          copyPiece(e.at(row, e.mul(whole, height * bytes)), last, tail);
          for (int64_t behind = tail; behind < height; ++behind)
            e.store(e.constantF32(0), e.at(last, behind * 4));
        });
    });
  }

  void copyPiece(Value from, Value to, int64_t count) {
    const int64_t bytes = elementBytes(grad);
    for (int64_t lanes = c.level.lanes, done = 0; done < count; lanes /= 2)
      for (; done + lanes <= count; done += lanes) {
        Value place = e.at(from, done * bytes), values = e.loadRow(grad.element(), place, lanes, lanes);
        if (pairs) {
          Value next = e.loadRow(grad.element(), e.select(second, e.at(place, rows * bytes), place), lanes, lanes);
          values = emitPair(e, values, e.select(second, next, e.zero(e.vec(lanes))));
        }
        e.store(values, e.at(to, done * 4), 4);
      }
  }

  void addTile(Value firstRow, Value slab, Value panel, Value sums) {
    auto add = [&](int64_t count) {
      e.forRange(e.constant(0), slab, 1, [&](Value r) {
        Value to = e.at(sink.pointer, e.add(e.mul(e.add(firstRow, r), columns * 4), e.mul(panel, width * 4)));
        Value from = e.at(sums, e.mul(r, tileRowBytes));
        for (int64_t column = 0; column < count; column += c.level.lanes) {
          Value place = e.at(to, column * 4), sum = e.load(e.vec(), e.at(from, column * 4));
          e.storeFirst(e.add(e.loadFirst(place, count - column, c.level.lanes), sum), place, count - column);
        }
      });
    };
    const int64_t tail = columns % width;
    if (tail == 0)
      return add(width);
    e.ifElse(e.lt(panel, panels() - 1), [&] { add(width); }, [&] { add(tail); });
  }

  KernelContext &c;
  Emitter &e;
  const KernelOperand &input, &grad, &sink;
  int64_t rows, columns; // of the gradient
  int64_t width, height; // of a register block
  int64_t slabRows;
  bool pairs;                          // of rows, as bf16
  Value second;                        // whether a pair has its second row, i1
  int64_t blockBytes;                  // from one block of packed rows of `grad` to the next
  int64_t tileRowBytes;                // of the sums
  Value tile, packedGrad, packedInput; // on the stack
};
} // namespace

llvm::Error ds::buildGemmGradient(KernelContext &context) {
  Block &body = context.kernel.getBody().front();
  auto product = dyn_cast<LinearWeightGradOp>(body.front());
  auto sum = product ? dyn_cast<ds_plan::AccumulateOp>(product->getNextNode()) : ds_plan::AccumulateOp();
  if (!sum || !llvm::hasNItems(body, 3) || sum.getGradient() != product.getOutput() ||
      body.getTerminator()->getOperands() != sum->getResults())
    return context.error("gemm_gradient expects ds.linear_weight_grad, added to a gradient");
  const KernelOperand *input = operandOf(context, product.getInput()), *grad = operandOf(context, product.getGrad());
  if (!isFloatRows(input) || !isFloatRows(grad) || input->rows != grad->rows)
    return context.error("gemm_gradient expects rows of floats, as many of both");
  const KernelOperand &sink = context.outs[0];
  if (sink.kind != KernelOperand::Kind::weight || !sink.inState || sink.layout != ds_plan::Layout::rows || !sink.element().isF32() ||
      sink.type.getShape() != ArrayRef({grad->width(), input->width()}))
    return context.error("gemm_gradient expects a gradient in rows of the shape of the weight");
  GradientKernel(context, *input, *grad).emit();
  return llvm::Error::success();
}
