// MLIR's kernels to LLVM's dialect, and LLVM IR to machine code.
#ifndef DS_TARGET_CPU_MACHINECODE_H
#define DS_TARGET_CPU_MACHINECODE_H

#include "ds/Target/CPU/Level.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/Error.h"
#include "llvm/Target/TargetMachine.h"
#include <memory>
#include <string>

namespace ds {

/// Lowers scf, vector, arith and cf to the LLVM dialect.
mlir::LogicalResult lowerToLLVM(mlir::ModuleOp module);

/// The machine of a level. Fails when LLVM was built without x86.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>> targetMachineFor(const CpuLevel &level);

/// Sets the target of `module` and optimises it; no call to a library comes out of it.
void optimize(llvm::Module &module, llvm::TargetMachine &machine, const CpuLevel &level);

/// Sets the target of `module` and runs LLVM's pipeline for speed, without what kernels do themselves: vectors, interleaving, unrolling. No
/// call to a library comes out of it.
void runOptimizations(llvm::Module &module, llvm::TargetMachine &machine);

/// The assembly or the object of `module`.
std::string emitMachineCode(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type);

} // namespace ds
#endif // DS_TARGET_CPU_MACHINECODE_H
