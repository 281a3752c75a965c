// The kernels of a module; equal ones are one.
#ifndef DS_LIB_CONVERSION_KERNELTABLE_H
#define DS_LIB_CONVERSION_KERNELTABLE_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Conversion/KernelRegistry.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

namespace ds {

/// Makes kernels and finds equal ones again. Kernels stand at the end of the module.
class KernelTable {
public:
  KernelTable(mlir::ModuleOp module, mlir::SymbolTable &symbols);

  /// The kernel that computes `region` from `ins` and returns `outs`.
  ds_plan::KernelOp get(const KernelRegistry &registry, const KernelRegion &region, mlir::ValueRange ins, mlir::ValueRange outs);

  /// The kernel that returns its argument.
  ds_plan::KernelOp copy(mlir::RankedTensorType type);

private:
  /// `fresh`, or an earlier kernel that is equal but for the name; then `fresh` is erased.
  ds_plan::KernelOp share(ds_plan::KernelOp fresh);
  ds_plan::KernelOp start(llvm::StringRef name, llvm::StringRef family, mlir::TypeRange arguments);

  mlir::SymbolTable &symbols;
  mlir::OpBuilder builder;
  llvm::StringMap<llvm::SmallVector<ds_plan::KernelOp>> kernels; // by the name without a number
};

} // namespace ds
#endif // DS_LIB_CONVERSION_KERNELTABLE_H
