// How long a plan takes: each launch by the cost model of dsrt/machine.h.
#ifndef DS_ANALYSIS_COSTMODEL_H
#define DS_ANALYSIS_COSTMODEL_H

#include "ds/Analysis/LaunchCost.h"
#include "mlir/IR/BuiltinOps.h"

namespace ds {

/// The machine that the file `path` of ds-bench --calibrate describes, the built-in one without a path. Emits an error on `module` where it
/// cannot be read.
mlir::FailureOr<dsrt::MachineDescription> machineOf(mlir::ModuleOp module, const std::string &path);

/// The step that is predicted.
struct CostStep {
  int64_t batch = 1, tokens = 128; // B; T, 1 in programs for one token a sequence
  int64_t past = 0;                // tokens in the cache of each sequence, in programs that have one
  int threads = 1;
};

/// The step as `program` can take it.
CostStep stepOf(ds_plan::ProgramOp program, const CostStep &wanted);
/// The sizes of a step of `launches` in which the last token of each sequence is selected.
dsrt::StepSizes sizesOf(const CostStep &step, const std::vector<dsrt::LaunchFacts> &launches);

struct LaunchCost {
  ds_plan::LaunchOp launch;
  dsrt::LaunchWork work;
  dsrt::Prediction prediction, roofline;
  bool isLeftOut = false; // it serves hidden rows alone, for which a step is not asked
};

struct ProgramCost {
  CostStep step; // as the program takes it: bounded by its sizes
  std::vector<LaunchCost> launches;
  int64_t barriers = 0;
  double ns = 0; // barriers, and launches but those left out
};

/// Predicts each launch of `program` (phase `planned`, or `partitioned` launches without places).
ProgramCost costOf(ds_plan::ProgramOp program, const mlir::SymbolTable &symbols, const CostStep &step,
                   const dsrt::MachineDescription &machine, llvm::StringRef level = {});

/// A table of the kernels of each program, the longest first, and of the programs. Lines end with a newline.
std::string costReport(mlir::ModuleOp planned, const CostStep &step, const dsrt::MachineDescription &machine, llvm::StringRef level = {});

/// The same of every launch as JSON, with what was counted.
std::string costJson(mlir::ModuleOp planned, const CostStep &step, const dsrt::MachineDescription &machine, llvm::StringRef level = {});

} // namespace ds
#endif // DS_ANALYSIS_COSTMODEL_H
