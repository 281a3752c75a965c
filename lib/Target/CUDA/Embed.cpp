// Rows of a table by index. A table that is also the matrix of a linear layer lies in tiles.
#include "RowRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

llvm::Error ds::buildGpuEmbed(GpuKernel &kernel) {
  if (!llvm::hasNItems(kernel.kernel.getBody().front(), 2))
    return buildGpuRow(kernel);
  auto op = onlyOp<EmbeddingOp>(kernel);
  const KernelOperand *indices = op ? operandOf(kernel, op.getIndices()) : nullptr;
  const KernelOperand *table = op ? operandOf(kernel, op.getTable()) : nullptr;
  if (!isI32Rows(indices) || !table || table->kind != KernelOperand::Kind::weight || !isF32Rows(&kernel.outs[0]))
    return kernel.error("expects one embedding of i32 indices from a weight into f32 rows");
  const int64_t width = kernel.outs[0].width(), lanes = lanesOfRow(width);
  if (!canReadTable(*table, width))
    return kernel.error("expects a table of " + llvm::Twine(width) + " columns, in rows or tiles");
  addStageOfItems(kernel, "embed", width / lanes, [=](GpuBody &b, Value row, Value item) mutable {
    GpuEmitter &e = b.e;
    Value column = e.mul(item, lanes), index = loadIndex(e, *operandOf(b, op.getIndices()), row);
    storeLanes(e, loadTable(e, *operandOf(b, op.getTable()), index, column, lanes), elementOfRow(e, b.outs[0], row, column));
  });
  return llvm::Error::success();
}
