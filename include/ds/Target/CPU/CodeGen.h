// From a planned module to the machine code of a package.
#ifndef DS_TARGET_CPU_CODEGEN_H
#define DS_TARGET_CPU_CODEGEN_H

#include "ds/Target/CPU/Level.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <vector>

namespace ds {

/// The shared object of one level: `ds_package_abi` and `ds_program_<name>` of each program (dsrt/package.h).
struct CpuCode {
  std::string level;
  std::string bytes;
};

/// What code generation shows on its way, by the names below.
///   kernels  the emitted functions, in MLIR
///   mlir     the same in the LLVM dialect
///   llvm     optimised LLVM IR
///   asm      assembly
///   obj      the object file
struct CpuCodeOptions {
  /// Stages whose text `dump` gets.
  llvm::StringSet<> stages;
  /// Called once for each stage and level, from one thread at a time.
  std::function<void(const CpuLevel &level, llvm::StringRef stage, llvm::StringRef text)> dump;
  /// Threads to compile with; 0 means as many as the machine has. The code does not depend on it.
  unsigned threads = 0;
};

/// Whether `stage` is one of those of `CpuCodeOptions`.
bool isCpuCodeStage(llvm::StringRef stage);

/// Compiles the programs of `planned` for each of `levels`, in their order. The code depends on nothing outside it: no libc, no libm.
/// Fails when a buffer has no offset, a kernel has no builder or its builder refuses it; the first failing level says why.
llvm::Expected<std::vector<CpuCode>> compileForCpu(mlir::ModuleOp planned, llvm::ArrayRef<CpuLevel> levels,
                                                   const CpuCodeOptions &options = {});

} // namespace ds
#endif // DS_TARGET_CPU_CODEGEN_H
