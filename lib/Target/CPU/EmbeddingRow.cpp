#include "EmbeddingRow.h"
#include "PanelReader.h"
#include "dialects/DSPlan/PanelHalves.h"
#include "dialects/DSPlan/PanelSums.h"

using namespace ds;
using mlir::Value;

EmbeddingRow::EmbeddingRow(Emitter &e, const KernelOperand &table, Value index)
    : e(e), table(table), together(table.layout == ds_plan::Layout::panels || table.layout == ds_plan::Layout::panel_sums          ? 1
                                   : table.layout == ds_plan::Layout::panel_pairs || table.layout == ds_plan::Layout::panel_halves ? 2
                                                                                                                                   : 0) {
  Value first;
  if (table.codes) {
    start = e.at(table.pointer, e.mul(e.div(index, table.codes->width), table.codes->bytes()));
    column = e.rem(index, table.codes->width);
    return;
  }
  if (together) {
    width = ds_plan::panelWidth(table.type);
    first = e.add(e.mul(e.div(index, width), table.type.getDimSize(1) * width * together), e.mul(e.rem(index, width), together));
  } else {
    first = e.mul(index, table.width());
  }
  start = e.element(table.pointer, table.element(), first);
  if (table.layout == ds_plan::Layout::panel_sums) {
    power = e.load(e.f32(), e.at(start, ds_plan::PanelSums::powers * width * 4));
    start = e.at(start, ds_plan::PanelSums::values * width * 4);
  }
  if (table.layout == ds_plan::Layout::panel_halves) { // a column's pair of k is as wide as its power
    power = e.load(e.f32(), e.at(start, ds_plan::PanelHalves::powers * width * 4));
    start = e.at(start, ds_plan::PanelHalves::values * width * 4);
  }
}

Value EmbeddingRow::at(Value column) {
  if (together == 1)
    column = e.mul(column, width);
  else if (together)
    column = e.add(e.mul(e.div(column, together), width * together), e.rem(column, together));
  return e.element(start, table.element(), column);
}

Value EmbeddingRow::load(Value k) {
  if (table.codes)
    return emitPanelValue(e, *table.codes, start, column, k);
  Value value = e.loadF32(table.element(), at(k), 0);
  return power ? e.mul(value, power) : value;
}

bool EmbeddingRow::canRead(const KernelOperand &table, int64_t width) {
  if (table.codes)
    return table.codes->depth == width;
  if (table.kind != KernelOperand::Kind::weight || !mlir::isa<mlir::FloatType>(table.element()))
    return false;
  switch (table.layout) {
  case ds_plan::Layout::rows:
    return table.width() == width;
  case ds_plan::Layout::panels:
    return table.type.getDimSize(1) == width;
  case ds_plan::Layout::panel_sums:
    return table.type.getDimSize(1) == ds_plan::PanelSums(width).lines();
  case ds_plan::Layout::panel_halves:
    return table.type.getDimSize(1) == ds_plan::PanelHalves(width).lines();
  case ds_plan::Layout::panel_pairs:
    return table.type.getDimSize(1) == static_cast<int64_t>(llvm::divideCeil(width, 2));
  default:
    return false;
  }
}

Value EmbeddingRow::load(const RowSpan &span) {
  int64_t lanes = e.getLevel().lanes;
  if (table.codes && table.codes->width == 1 && table.codes->bits() == 8 && span.count >= lanes)
    return emitValuesOfRow(e, *table.codes, start, span.index);
  if (!together && !table.codes && span.count >= lanes)
    return e.loadF32(table.element(), at(span.index), lanes);
  // One by one: nothing behind the last column may be read.
  Value all = e.zero(e.vec());
  for (int64_t lane = 0; lane < std::min(span.count, lanes); ++lane)
    all = e.insert(load(e.add(span.index, lane)), all, lane);
  return all;
}
