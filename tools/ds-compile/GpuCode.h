// The code of a package for GPUs: cubins, PTX, code for emulation, and the table of launches.
#ifndef TOOLS_DS_COMPILE_GPUCODE_H
#define TOOLS_DS_COMPILE_GPUCODE_H

#include "Driver.h"
#include "ds/Target/CUDA/CodeGen.h"
#include "ds/Target/CUDA/Tuning.h"
#include "ds/Target/Package/PackageWriter.h"

namespace ds {

/// Compiles `planned` for `archs`. PTX of compute_80 is always there as well, machine code where a ptxas is found (else PTX of that machine
/// stands in its place, and `notes` says so), code for the CPU with `emulation`. `libraryRows`: as emitGpuKernels has it. `part`: what the
/// device has of its own beside the CPU; `tuning`: how products are cut, and what was chosen. Errors: BadData for a kernel that CUDA cannot
/// compute, Internal.
Result<std::vector<PackageFile>> compileForGpu(mlir::ModuleOp planned, llvm::ArrayRef<GpuArch> archs, int64_t libraryRows, bool emulation,
                                               const std::optional<GpuPart> &part, Tuning &tuning, std::vector<std::string> &notes);

/// Whether what `--emit=sass` runs is there and `archs` begin with a machine. Errors: Unavailable, naming what is missing, and Usage.
Result<void> checkSass(llvm::ArrayRef<GpuArch> archs);

/// The text of `--emit=gpu` (MLIR), `--emit=ptx` and `--emit=sass` (machine code, both of the first machine). Errors: as
/// those of compileForGpu.
Result<std::string> emitGpuText(mlir::ModuleOp planned, llvm::ArrayRef<GpuArch> archs, int64_t libraryRows, const std::string &emit,
                                Tuning &tuning);

} // namespace ds
#endif // TOOLS_DS_COMPILE_GPUCODE_H
