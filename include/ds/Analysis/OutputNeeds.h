// Which launches of a program are for one of its outputs alone.
#ifndef DS_ANALYSIS_OUTPUTNEEDS_H
#define DS_ANALYSIS_OUTPUTNEEDS_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallPtrSet.h"

namespace ds {

/// Launches that write buffers which serve one output alone, with that output: a step that is not asked for it need not run them. Those
/// that write an output themselves are not among them, nor those with a gate, nor what a `ds_plan.switch` reads. None of a program with a
/// single output are.
llvm::DenseMap<mlir::Operation *, ds_plan::OutputOp> launchesForOneOutput(ds_plan::ProgramOp program);

/// Launches that do not run in a step which is not asked for `hidden`, of a program with other outputs.
llvm::SmallPtrSet<mlir::Operation *, 8> launchesLeftOut(ds_plan::ProgramOp program);

} // namespace ds
#endif // DS_ANALYSIS_OUTPUTNEEDS_H
