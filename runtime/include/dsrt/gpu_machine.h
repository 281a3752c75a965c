// What a GPU can do, and how long a launch takes on it: the cost model of plans for CUDA. C++ without LLVM, in `dsrt_machine`, as
// machine.h, whose facts and steps it shares; docs/cost-model.md has the formulas and where the numbers come from.
#ifndef DSRT_GPU_MACHINE_H
#define DSRT_GPU_MACHINE_H

#include "dsrt/machine.h"

#define DS_GPU_MACHINE_FORMAT "ds-gpu-machine"
#define DS_GPU_MACHINE_VERSION 1

namespace dsrt {

/// Rates are FLOP/s and bytes/s of the whole device, those that are reached rather than those of a data sheet.
struct GpuMachine {
  std::string name;                    // built-in ones begin with "built-in: "
  std::string arch;                    // such as "sm_90a"
  int32_t processors = 0;              // multiprocessors
  int64_t l2Size = 0;                  // bytes
  double tensorFlops = 0;              // products of bf16 or f16 with sums in f32
  double flopsF32 = 0;                 // multiply-adds without tensor cores
  double l2Bytes = 0, memoryBytes = 0; // read
  double launchNs = 0;                 // from the end of one launch of a recorded step to the begin of the next one's work
};

/// The built-in machine of a name, a100, h100 or h200, or null.
const GpuMachine *findGpuMachine(std::string_view name);
/// The built-in machine to think of for code of `arch`: the one with that architecture, else h200.
const GpuMachine &gpuMachineFor(std::string_view arch);
/// The built-in machine that a driver calls `device`, such as "NVIDIA H200", or null.
const GpuMachine *gpuMachineOfDevice(std::string_view device);

/// Reads a description from its text, and from a file. As parseMachine and readMachine.
int parseGpuMachine(std::string_view text, std::string_view place, GpuMachine &machine, std::string &error);
int readGpuMachine(const std::string &path, GpuMachine &machine, std::string &error);

/// What one launch of a step is, beside its work.
struct GpuLaunchFacts {
  LaunchWork work;
  double codes = 0; // values of its matrices that are stored as codes
  int heads = 0;    // of attention
  int batch = 1, tokens = 1;
};

/// A launch in a step of these sizes.
GpuLaunchFacts gpuLaunchOf(const LaunchFacts &facts, const StepSizes &step);

struct GpuPrediction {
  double ns = 0;                      // from the end of the launch before it to its own end
  double floorNs = 0;                 // what has to be moved, each byte once at the full rate of where it lies
  double peakNs = 0;                  // what has to be computed, at the full rates
  double computeNs = 0, memoryNs = 0; // what each would take alone
  Bound bound = Bound::launch;        // the largest part
};

GpuPrediction predict(const GpuLaunchFacts &launch, const GpuMachine &machine);

} // namespace dsrt
#endif // DSRT_GPU_MACHINE_H
