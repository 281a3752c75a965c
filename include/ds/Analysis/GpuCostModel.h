// How long a plan for CUDA takes: each launch by the cost model of dsrt/gpu_machine.h.
#ifndef DS_ANALYSIS_GPUCOSTMODEL_H
#define DS_ANALYSIS_GPUCOSTMODEL_H

#include "ds/Analysis/CostModel.h"
#include "dsrt/gpu_machine.h"

namespace ds {

struct GpuLaunchCost {
  ds_plan::LaunchOp launch;
  dsrt::GpuLaunchFacts facts;
  dsrt::GpuPrediction prediction;
  bool isLeftOut = false; // as in LaunchCost
};

struct GpuProgramCost {
  CostStep step; // as the program takes it; without threads
  std::vector<GpuLaunchCost> launches;
  double ns = 0, floorNs = 0;
};

/// Predicts each launch of `program` (phase `planned`, of target cuda).
GpuProgramCost gpuCostOf(ds_plan::ProgramOp program, const mlir::SymbolTable &symbols, const CostStep &step,
                         const dsrt::GpuMachine &machine);

/// A table of the kernels of each program, the longest first: launches, bytes, FLOP, the memory floor and the predicted time of one, and
/// the sums of the program. Lines end with a newline.
std::string gpuCostReport(mlir::ModuleOp planned, const CostStep &step, const dsrt::GpuMachine &machine);

/// The same of every launch as JSON, with what was counted.
std::string gpuCostJson(mlir::ModuleOp planned, const CostStep &step, const dsrt::GpuMachine &machine);

} // namespace ds
#endif // DS_ANALYSIS_GPUCOSTMODEL_H
