#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

Value ds::loadLanes(GpuEmitter &e, Value pointer, int64_t lanes) {
  return lanes == 1 ? e.load(e.f32(), pointer) : e.load(e.vec(lanes), pointer, static_cast<unsigned>(lanes * 4));
}

void ds::storeLanes(GpuEmitter &e, Value value, Value pointer) {
  e.store(value, pointer, static_cast<unsigned>(Emitter::lanesOf(value) * 4));
}

Value ds::elementOfRow(GpuEmitter &e, const KernelOperand &operand, Value row, Value column) {
  Value start = e.element(operand.pointer, e.f32(), e.mul(e.toI64(row), operand.width()));
  return e.element(start, e.f32(), column);
}

void ds::addStageOfItems(GpuKernel &kernel, std::string name, int64_t items, std::function<void(GpuBody &, Value, Value)> body) {
  GpuShape shape;
  shape.name = std::move(name);
  shape.threads = std::clamp<int64_t>(llvm::alignTo(items, GpuEmitter::warpThreads), GpuEmitter::warpThreads, 256);
  const int64_t threads = shape.threads, pieces = llvm::divideCeil(items, threads);
  shape.grid[0].factors = {{GpuSize::rows, 1}};
  shape.grid[1].constant = pieces;
  kernel.stage(shape, [=](GpuBody &b) {
    GpuEmitter &e = b.e;
    Value row = e.block(), item = pieces == 1 ? e.thread() : e.add(e.mul(e.block(1), threads), e.thread());
    if (pieces * threads == items)
      body(b, row, item);
    else
      e.ifThen(e.lt(item, items), [&] { body(b, row, item); });
  });
}

void ds::addStageOfElements(GpuKernel &kernel, std::string name, int64_t width, std::function<void(GpuBody &, Value, int64_t)> body) {
  constexpr int64_t lanes = 4;
  GpuShape shape;
  shape.name = std::move(name);
  const int64_t elements = shape.threads * lanes; // of a block
  // More blocks than the elements need where `elements` and `width` do not divide each other, at most twice as many.
  if (width <= elements)
    shape.grid[0].factors = {{GpuSize::rows, elements / width}};
  else
    shape.grid[0] = {static_cast<int64_t>(llvm::divideCeil(width, elements)), {{GpuSize::rows, 1}}};
  kernel.stage(shape, [=](GpuBody &b) {
    GpuEmitter &e = b.e;
    Value first = e.add(e.mul(e.toI64(e.block()), elements), e.toI64(e.mul(e.thread(), lanes)));
    Value count = e.mul(e.toI64(b.rows), width), isWhole = e.le(e.add(first, lanes), count);
    if (width % lanes == 0)
      e.ifThen(isWhole, [&] { body(b, first, lanes); });
    else
      e.ifElse(isWhole, [&] { body(b, first, lanes); }, [&] { e.forRange(first, count, 1, [&](Value i) { body(b, i, 1); }); });
  });
}
