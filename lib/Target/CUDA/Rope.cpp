// Rotary positions. The angles' cosines and sines are a table of the package. A thread turns four pairs or two of a head, or one where
// they do not lie at multiples of 16 bytes.
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

namespace {
/// One kernel.
struct Rotation {
  RopeOp op;
  bool isHalf;
  int64_t headSize, rotary, half;
  int64_t lanes;        // values that a thread takes at once, those of a pair apart
  int64_t turns, rests; // threads of a head that turn, and that copy what is not turned

  Rotation(RopeOp op, int64_t width);
  void emit(GpuBody &body, Value row, Value item);
  /// Item `i` of the head that goes from `from` to `to`.
  void turn(GpuEmitter &e, Value from, Value to, Value angles, Value i) const;
  void turnNeighbours(GpuEmitter &e, Value from, Value to, Value angles, Value i) const;
};
} // namespace

Rotation::Rotation(RopeOp op, int64_t width)
    : op(op), isHalf(op.getStyle() == RopeStyle::half), headSize(width / int64_t(op.getHeads())), rotary(op.getRotary()), half(rotary / 2),
      lanes(headSize % 4 == 0 && (isHalf ? half : rotary) % 4 == 0 ? 4 : 1), turns(isHalf || lanes == 1 ? half / lanes : rotary / lanes),
      rests((headSize - rotary) / lanes) {}

/// Pairs `(i, i + rotary / 2)`, or one pair of neighbours.
void Rotation::turn(GpuEmitter &e, Value from, Value to, Value angles, Value i) const {
  auto at = [&](Value start, Value index) { return e.element(start, e.f32(), index); };
  Value angle = e.mul(i, lanes), first = isHalf ? angle : e.mul(i, 2), second = e.add(first, isHalf ? half : 1);
  Value cosine = loadLanes(e, at(angles, angle), lanes), sine = loadLanes(e, at(angles, e.add(angle, half)), lanes);
  Value a = loadLanes(e, at(from, first), lanes), b = loadLanes(e, at(from, second), lanes);
  storeLanes(e, e.fma(a, cosine, e.neg(e.mul(b, sine))), at(to, first));
  storeLanes(e, e.fma(b, cosine, e.mul(a, sine)), at(to, second));
}

/// Two pairs `(2 i, 2 i + 1)`.
void Rotation::turnNeighbours(GpuEmitter &e, Value from, Value to, Value angles, Value i) const {
  auto at = [&](Value start, Value index) { return e.element(start, e.f32(), index); };
  Value angle = e.mul(i, 2), first = e.mul(i, 4);
  Value cosine = loadLanes(e, at(angles, angle), 2), sine = loadLanes(e, at(angles, e.add(angle, half)), 2);
  Value x = loadLanes(e, at(from, first), 4);
  Value turned = e.mul(e.shuffle(x, x, {1, 0, 3, 2}), e.shuffle(e.neg(sine), sine, {0, 2, 1, 3}));
  storeLanes(e, e.fma(x, e.shuffle(cosine, cosine, {0, 0, 1, 1}), turned), at(to, first));
}

void Rotation::emit(GpuBody &body, Value row, Value item) {
  GpuEmitter &e = body.e;
  Value head = e.div(item, turns + rests), i = e.rem(item, turns + rests);
  Value position = loadIndex(e, *operandOf(body, op.getPositions()), row);
  Value angles = e.element(body.aux[0].pointer, e.f32(), e.mul(position, rotary));
  Value from = elementOfRow(e, *operandOf(body, op.getInput()), row, e.mul(head, headSize));
  Value to = elementOfRow(e, body.outs[0], row, e.mul(head, headSize));
  auto turnItem = [&] {
    if (!isHalf && lanes == 4)
      turnNeighbours(e, from, to, angles, i);
    else
      turn(e, from, to, angles, i);
  };
  if (!rests)
    return turnItem();
  e.ifElse(e.lt(i, turns), turnItem, [&] {
    Value column = e.add(e.mul(e.sub(i, turns), lanes), rotary);
    storeLanes(e, loadLanes(e, e.element(from, e.f32(), column), lanes), e.element(to, e.f32(), column));
  });
}

llvm::Error ds::buildGpuRope(GpuKernel &kernel) {
  auto op = onlyOp<RopeOp>(kernel);
  const KernelOperand *input = op ? operandOf(kernel, op.getInput()) : nullptr;
  const KernelOperand *positions = op ? operandOf(kernel, op.getPositions()) : nullptr;
  if (!isF32Rows(input) || !isI32Rows(positions) || !isF32Rows(&kernel.outs[0]))
    return kernel.error("expects one rope of f32 rows, by i32 positions");
  Rotation rotation(op, input->width());
  if (kernel.aux.size() != 1 || kernel.aux[0].layout != ds_plan::Layout::rope || kernel.aux[0].width() != rotation.half)
    return kernel.error("expects a table of " + llvm::Twine(rotation.half) + " angles as aux");
  const int64_t items = int64_t(op.getHeads()) * (rotation.turns + rotation.rests);
  addStageOfItems(kernel, "rope", items, [=](GpuBody &b, Value row, Value item) mutable { rotation.emit(b, row, item); });
  return llvm::Error::success();
}
