// Rows added to the gradient of a table, each where its index says. Threads share columns by cache lines and each walks all rows: no two
// add to one place, and rows of one index are added in their order.
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

/// f32 of a cache line.
static constexpr int64_t line = 16;

llvm::Error ds::buildEmbedGradient(KernelContext &context) {
  Emitter &e = context.e;
  mlir::Block &body = context.kernel.getBody().front();
  auto op = mlir::dyn_cast<EmbeddingGradOp>(body.front());
  auto accumulate = mlir::dyn_cast_if_present<ds_plan::AccumulateOp>(op ? op->getNextNode() : nullptr);
  if (!llvm::hasNItems(body, 3) || !accumulate || accumulate.getGradient() != op.getOutput() || context.outs.size() != 1 ||
      body.getTerminator()->getOperand(0) != accumulate.getOutput())
    return context.error("expects one gradient of an embedding, which is accumulated");
  const KernelOperand *indices = operandOf(context, op.getIndices()), *grad = operandOf(context, op.getGrad());
  const KernelOperand &table = context.outs[0];
  const int64_t width = table.width(), lanes = context.level.lanes, whole = width / lanes * lanes;
  if (!isI32Rows(indices) || !isF32Rows(grad) || grad->width() != width)
    return context.error("expects i32 indices and f32 rows of " + llvm::Twine(width) + " values");
  if (table.kind != KernelOperand::Kind::weight || table.layout != ds_plan::Layout::rows || !table.element().isF32() || !table.inState)
    return context.error("expects a table of f32 rows in the state");

  auto [firstLine, lastLine] = context.tilesOfThread(e.constant(llvm::divideCeil(width, line)));
  Value first = e.mul(firstLine, line), last = e.min(e.mul(lastLine, line), whole);
  Value hasTail = e.bitAnd(e.lt(firstLine, lastLine), e.ge(e.mul(lastLine, line), width));
  e.ifThen(e.lt(firstLine, lastLine), [&] {
    e.forRange(e.constant(0), context.rows, 1, [&](Value row) {
      Value from = e.element(grad->pointer, e.f32(), e.mul(row, width));
      Value to = e.element(table.pointer, e.f32(), e.mul(loadIndex(e, *indices, row), width));
      auto addLanes = [&](Value column, int64_t count) {
        Value at = e.element(to, e.f32(), column);
        e.storeFirst(e.add(e.loadFirst(at, count, lanes), e.loadFirst(e.element(from, e.f32(), column), count, lanes)), at, count);
      };
      e.forRange(first, last, lanes, [&](Value column) { addLanes(column, lanes); });
      if (whole < width)
        e.ifThen(hasTail, [&] { addLanes(e.constant(whole), width - whole); });
    });
  });
  return llvm::Error::success();
}
