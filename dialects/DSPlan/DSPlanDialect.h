// The `ds_plan` dialect: programs, buffers, kernels and launches.
#ifndef DIALECTS_DSPLAN_DSPLANDIALECT_H
#define DIALECTS_DSPLAN_DSPLANDIALECT_H

#include "dialects/DS/DSDialect.h"

#include "dialects/DSPlan/DSPlanDialect.h.inc"
#include "dialects/DSPlan/DSPlanEnums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/DSPlan/DSPlanAttributes.h.inc"
#define GET_OP_CLASSES
#include "dialects/DSPlan/DSPlanOps.h.inc"

namespace ds_plan {
/// True for a weight whose rows lie in panels, side by side.
inline bool isInPanels(Layout layout) {
  return layout == Layout::panels || layout == Layout::panel_pairs || layout == Layout::panel_codes || layout == Layout::panel_sums ||
         layout == Layout::panel_halves;
}
/// True for a weight in blocks of 8 rows, for tensor cores.
inline bool isInTiles(Layout layout) { return layout == Layout::tiles || layout == Layout::tile_codes; }
/// The rows of a buffer or an input; none of other places.
std::optional<Rows> rowsOf(mlir::Value place);
/// Columns of a panel, of a type in panels.
inline int64_t panelWidth(mlir::MemRefType type) { return type.getDimSize(2); }
} // namespace ds_plan

#endif // DIALECTS_DSPLAN_DSPLANDIALECT_H
