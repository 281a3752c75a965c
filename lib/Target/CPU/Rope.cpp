// Rotary positions. The angles' cosines and sines are a table of the package.
#include "Rope.h"
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

/// Pairs `(i, i + rotary / 2)`.
static void rotateHalves(Emitter &e, Value from, Value to, Value angles, int64_t rotary, bool inverse) {
  int64_t lanes = e.getLevel().lanes, half = rotary / 2;
  for (int64_t i = 0; i < half; i += lanes) {
    int64_t count = half - i;
    Value cosine = e.loadFirst(e.at(angles, i * 4), count, lanes), sine = e.loadFirst(e.at(angles, (half + i) * 4), count, lanes);
    sine = inverse ? e.neg(sine) : sine;
    Value a = e.loadFirst(e.at(from, i * 4), count, lanes), b = e.loadFirst(e.at(from, (half + i) * 4), count, lanes);
    e.storeFirst(e.fma(a, cosine, e.neg(e.mul(b, sine))), e.at(to, i * 4), count);
    e.storeFirst(e.fma(b, cosine, e.mul(a, sine)), e.at(to, (half + i) * 4), count);
  }
}

/// Pairs `(2 i, 2 i + 1)`.
static void rotateNeighbours(Emitter &e, Value from, Value to, Value angles, int64_t rotary, bool inverse) {
  int64_t lanes = e.getLevel().lanes, half = rotary / 2;
  llvm::SmallVector<int64_t> interleave, swap;
  for (int64_t i = 0; i < lanes / 2; ++i) {
    interleave.append({i, lanes / 2 + i});
    swap.append({2 * i + 1, 2 * i});
  }
  for (int64_t i = 0; i < rotary; i += lanes) {
    int64_t pairs = half - i / 2, count = rotary - i;
    Value cosine = e.loadFirst(e.at(angles, i / 2 * 4), pairs, lanes / 2);
    Value sine = e.loadFirst(e.at(angles, (half + i / 2) * 4), pairs, lanes / 2);
    Value x = e.loadFirst(e.at(from, i * 4), count, lanes), first = inverse ? sine : e.neg(sine), second = inverse ? e.neg(sine) : sine;
    Value turned = e.mul(e.shuffle(x, x, swap), e.shuffle(first, second, interleave));
    e.storeFirst(e.fma(x, e.shuffle(cosine, cosine, interleave), turned), e.at(to, i * 4), count);
  }
}

void ds::emitRotation(Emitter &e, RopeOp op, Value from, Value to, Value angles) {
  if (op.getStyle() == RopeStyle::half)
    rotateHalves(e, from, to, angles, op.getRotary(), op.getInverse());
  else
    rotateNeighbours(e, from, to, angles, op.getRotary(), op.getInverse());
}

llvm::Error ds::buildRope(KernelContext &context) {
  Emitter &e = context.e;
  auto op = onlyOp<RopeOp>(context);
  const KernelOperand *input = op ? operandOf(context, op.getInput()) : nullptr;
  const KernelOperand *positions = op ? operandOf(context, op.getPositions()) : nullptr;
  if (!isF32Rows(input) || !isI32Rows(positions) || !isF32Rows(&context.outs[0]))
    return context.error("expects one rope of f32 rows, by i32 positions");
  int64_t rotary = op.getRotary(), heads = op.getHeads(), width = input->width(), headSize = width / heads;
  if (context.aux.size() != 1 || context.aux[0].layout != ds_plan::Layout::rope || context.aux[0].width() != rotary / 2)
    return context.error("expects a table of " + llvm::Twine(rotary / 2) + " angles as aux");
  context.forTiles(e.mul(context.rows, heads), [&](Value tile) {
    Value row = e.div(tile, heads), start = e.mul(tile, headSize);
    Value from = e.element(input->pointer, e.f32(), start), to = e.element(context.outs[0].pointer, e.f32(), start);
    Value angles = e.element(context.aux[0].pointer, e.f32(), e.mul(loadIndex(e, *positions, row), rotary));
    emitRotation(e, op, from, to, angles);
    copyValues(e, e.at(from, rotary * 4), e.at(to, rotary * 4), headSize - rotary);
  });
  return llvm::Error::success();
}
