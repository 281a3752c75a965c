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

#endif // DIALECTS_DSPLAN_DSPLANDIALECT_H
