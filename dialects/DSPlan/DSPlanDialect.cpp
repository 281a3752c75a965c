#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ds_plan;

#include "dialects/DSPlan/DSPlanDialect.cpp.inc"
#include "dialects/DSPlan/DSPlanEnums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/DSPlan/DSPlanAttributes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/DSPlan/DSPlanOps.cpp.inc"

void DSPlanDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/DSPlan/DSPlanAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/DSPlan/DSPlanOps.cpp.inc"
      >();
}
