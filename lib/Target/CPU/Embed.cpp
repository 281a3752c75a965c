// Rows of a table by index. A table that is also the matrix of a linear layer lies in panels.
#include "EmbeddingRow.h"
#include "KernelRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

/// Columns of one tile: enough to pay for its start, few enough to share one row among threads.
static constexpr int64_t tileColumns = 64;

/// In panels neighbours of a row stand apart.
static void copyFromPanels(Emitter &e, const KernelOperand &table, Value index, Value begin, Value end, Value to) {
  EmbeddingRow row(e, table, index);
  e.forRange(begin, end, 1, [&](Value column) { e.store(row.load(column), e.element(to, e.f32(), column)); });
}

static void copyFromRows(Emitter &e, const KernelOperand &table, Value index, Value begin, Value end, Value to) {
  int64_t lanes = e.getLevel().lanes;
  Value from = e.element(table.pointer, table.element(), e.mul(index, table.width()));
  Value whole = e.add(begin, e.mul(e.div(e.sub(end, begin), lanes), lanes));
  e.forRange(begin, whole, lanes, [&](Value column) {
    e.store(e.loadF32(table.element(), e.element(from, table.element(), column), lanes), e.element(to, e.f32(), column));
  });
  e.forRange(whole, end, 1, [&](Value column) {
    e.store(e.loadF32(table.element(), e.element(from, table.element(), column), 0), e.element(to, e.f32(), column));
  });
}

llvm::Error ds::buildEmbed(KernelContext &context) {
  Emitter &e = context.e;
  if (!llvm::hasNItems(context.kernel.getBody().front(), 2))
    return buildRow(context);
  auto op = onlyOp<EmbeddingOp>(context);
  const KernelOperand *indices = op ? operandOf(context, op.getIndices()) : nullptr;
  const KernelOperand *table = op ? operandOf(context, op.getTable()) : nullptr;
  if (!isI32Rows(indices) || !table || table->kind != KernelOperand::Kind::weight || !isF32Rows(&context.outs[0]))
    return context.error("expects one embedding of i32 indices from a weight into f32 rows");
  int64_t width = context.outs[0].width();
  if (!EmbeddingRow::canRead(*table, width))
    return context.error("expects a table of " + llvm::Twine(width) + " columns, in rows or panels");
  int64_t pieces = llvm::divideCeil(width, tileColumns);
  context.forTiles(e.mul(context.rows, pieces), [&](Value tile) {
    Value row = e.div(tile, pieces), begin = e.mul(e.rem(tile, pieces), tileColumns);
    Value end = e.min(e.add(begin, tileColumns), width);
    Value to = e.element(context.outs[0].pointer, e.f32(), e.mul(row, width));
    (isInPanels(table->layout) ? copyFromPanels : copyFromRows)(e, *table, loadIndex(e, *indices, row), begin, end, to);
  });
  return llvm::Error::success();
}
