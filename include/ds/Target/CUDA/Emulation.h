// Kernels of the GPU as code of the processor, so that what they compute can be tested where there is no GPU.
#ifndef DS_TARGET_CUDA_EMULATION_H
#define DS_TARGET_CUDA_EMULATION_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/Support/Error.h"
#include <string>

namespace ds {

/// Compiles the functions of the `gpu.module` of `module`, which stays as it is, to a shared object for x86-64-v3 as dsrt/emulate.h
/// describes it. Fails when an op is not one that `GpuEmitter` makes. May be called by several threads at once, each with its module.
llvm::Expected<std::string> compileForEmulation(mlir::ModuleOp module);

} // namespace ds
#endif // DS_TARGET_CUDA_EMULATION_H
