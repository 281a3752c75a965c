#include "EmbeddingRow.h"
#include "ds/Analysis/LinearRegion.h"

using namespace ds;
using mlir::Value;

EmbeddingRow::EmbeddingRow(Emitter &e, const KernelOperand &table, Value index)
    : e(e), table(table), stride(table.layout == ds_plan::Layout::panels ? linearPanel : 1) {
  int64_t width = stride == 1 ? table.width() : table.type.getDimSize(1);
  Value first = e.mul(index, width);
  if (stride != 1)
    first = e.add(e.mul(e.div(index, stride), width * stride), e.rem(index, stride));
  start = e.element(table.pointer, table.element(), first);
}

bool EmbeddingRow::canRead(const KernelOperand &table, int64_t width) {
  if (table.kind != KernelOperand::Kind::weight || !mlir::isa<mlir::FloatType>(table.element()))
    return false;
  return table.layout == ds_plan::Layout::rows ? table.width() == width
                                               : table.layout == ds_plan::Layout::panels && table.type.getDimSize(1) == width;
}

Value EmbeddingRow::load(const RowSpan &span) {
  int64_t lanes = e.getLevel().lanes;
  if (stride == 1 && span.count >= lanes)
    return e.loadF32(table.element(), at(span.index), lanes);
  // One by one: nothing behind the last column may be read.
  Value all = e.zero(e.vec());
  for (int64_t lane = 0; lane < std::min(span.count, lanes); ++lane)
    all = e.insert(e.loadF32(table.element(), at(e.add(span.index, lane)), 0), all, lane);
  return all;
}
