// The functions of a planned module: one for each program, one for each kernel and kind of operands.
#ifndef DS_LIB_TARGET_CPU_PROGRAM_H
#define DS_LIB_TARGET_CPU_PROGRAM_H

#include "ds/Target/CPU/Level.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/Support/Error.h"

namespace ds {

/// Emits `planned` for `level`, in arith, scf, vector and llvm ops. Fails when a buffer has no offset or a kernel cannot be built.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> emitCpuModule(mlir::ModuleOp planned, const CpuLevel &level);

} // namespace ds
#endif // DS_LIB_TARGET_CPU_PROGRAM_H
