// The code of a package for GPUs: cubins, PTX, code for emulation, and the table of launches.
#ifndef TOOLS_DS_COMPILE_GPUCODE_H
#define TOOLS_DS_COMPILE_GPUCODE_H

#include "Driver.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/Package/PackageWriter.h"

namespace ds {

/// The machines of `--target`: empty for `cpu`, those behind `cuda:`, sm_90a where none is named. Errors: Usage.
Result<std::vector<GpuArch>> gpuTargets(const std::string &target);

/// Compiles `planned` for `archs`. PTX of compute_80 is always there as well, machine code where a ptxas is found (else PTX of that machine
/// stands in its place, and `notes` says so), code for the CPU with `emulation`. Errors: Internal.
Result<std::vector<PackageFile>> compileForGpu(mlir::ModuleOp planned, llvm::ArrayRef<GpuArch> archs, bool emulation,
                                               std::vector<std::string> &notes);

/// The text of `--emit=gpu` (MLIR) and `--emit=ptx` (of the first machine). Errors: Internal.
Result<std::string> emitGpuText(mlir::ModuleOp planned, llvm::ArrayRef<GpuArch> archs, const std::string &emit);

} // namespace ds
#endif // TOOLS_DS_COMPILE_GPUCODE_H
