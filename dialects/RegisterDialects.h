// Every dialect that a tool may meet in a file.
#ifndef DIALECTS_REGISTERDIALECTS_H
#define DIALECTS_REGISTERDIALECTS_H

#include "dialects/DS/DSDialect.h"
#include "dialects/DSCheck/DSCheckDialect.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace ds {

/// Ours, and those of MLIR that lowering goes through.
inline void registerDialects(mlir::DialectRegistry &registry) {
  registry.insert<DSDialect, ds_check::DSCheckDialect, ds_plan::DSPlanDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect,
                  mlir::LLVM::LLVMDialect, mlir::math::MathDialect, mlir::memref::MemRefDialect, mlir::scf::SCFDialect,
                  mlir::vector::VectorDialect>();
}

} // namespace ds
#endif // DIALECTS_REGISTERDIALECTS_H
