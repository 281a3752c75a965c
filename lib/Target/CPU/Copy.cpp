// Rows as they are, from one place to another.
#include "ds/Target/CPU/Kernel.h"

using namespace mlir;
using namespace ds;

llvm::Error ds::buildCopy(KernelContext &c) {
  if (c.ins.size() != 1 || c.outs.size() != 1 || c.ins[0].kind == KernelOperand::Kind::cache || c.outs[0].kind != KernelOperand::Kind::rows)
    return c.error("copy expects rows, to rows");
  const KernelOperand &in = c.ins[0], &out = c.outs[0];
  if (in.element() != out.element() || !in.element().isF32() || in.width() != out.width())
    return c.error("copy expects f32 rows of one width");
  Emitter &e = c.e;
  const int64_t lanes = c.level.lanes;
  // Rows are dense, so the threads share one run of values; pieces are a cache line.
  constexpr int64_t piece = 16;
  Value values = e.mul(c.rows, in.width());
  Value pieces = e.div(values, piece);
  c.forTiles(pieces, [&](Value tile) {
    Value byte = e.mul(tile, piece * 4);
    for (int64_t i = 0; i < piece; i += lanes)
      e.store(e.load(e.vec(), e.at(in.pointer, e.add(byte, i * 4))), e.at(out.pointer, e.add(byte, i * 4)));
  });
  e.ifThen(e.eq(c.thread, e.sub(c.threads, 1)), [&] {
    e.forRange(e.mul(pieces, piece), values, 1,
               [&](Value i) { e.store(e.load(e.f32(), e.element(in.pointer, e.f32(), i)), e.element(out.pointer, e.f32(), i)); });
  });
  return llvm::Error::success();
}
