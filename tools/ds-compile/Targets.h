// What a package is made for: levels of the CPU, GPUs, or both.
#ifndef TOOLS_DS_COMPILE_TARGETS_H
#define TOOLS_DS_COMPILE_TARGETS_H

#include "Driver.h"
#include "ds/Target/CPU/Level.h"
#include "ds/Target/CUDA/CodeGen.h"

namespace ds {

struct Targets {
  bool cpu = false;
  std::vector<CpuLevel> levels; // of the CPU
  std::vector<GpuArch> archs;   // of CUDA; none: not for GPUs
  int64_t libraryRows = 0;      // as emitGpuKernels has it
  bool isMixed() const { return cpu && !archs.empty(); }
};

/// Reads `--target`, a list of `cpu`, `cuda`, `cuda:ARCH` and, behind one of CUDA, `ARCH`, and `--target-cpu`, `--no-wgmma` and
/// `--cublaslt`. Errors: Usage.
Result<Targets> readTargets(const CompileOptions &options);

} // namespace ds
#endif // TOOLS_DS_COMPILE_TARGETS_H
