// Passes that keep a module at its level: `ds` to `ds`, or `ds_plan` to `ds_plan`.
#ifndef DS_TRANSFORMS_PASSES_H
#define DS_TRANSFORMS_PASSES_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ds {

#define GEN_PASS_DECL
#include "ds/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "ds/Transforms/Passes.h.inc"

} // namespace ds
#endif // DS_TRANSFORMS_PASSES_H
