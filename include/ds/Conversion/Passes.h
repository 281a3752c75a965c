// Passes from one level to the next.
#ifndef DS_CONVERSION_PASSES_H
#define DS_CONVERSION_PASSES_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace ds {

#define GEN_PASS_DECL
#include "ds/Conversion/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "ds/Conversion/Passes.h.inc"

} // namespace ds
#endif // DS_CONVERSION_PASSES_H
