// The storages of a module: weights by layout, and rope tables, at offsets of the weights file.
#ifndef DS_LIB_CONVERSION_STORAGETABLE_H
#define DS_LIB_CONVERSION_STORAGETABLE_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Conversion/KernelRegistry.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

namespace ds {

/// Gives each (parameter, layout) and each rope table one storage, in order of first use.
class StorageTable {
public:
  /// `matrixType` is the element type of matrices and tables; `module` gets the storages, `symbols` are its names. `inTiles` says that
  /// matrices lie in tiles for tensor cores, not in panels.
  StorageTable(mlir::ModuleOp module, mlir::SymbolTable &symbols, mlir::Type matrixType, bool inTiles);

  /// The storage of `parameter` for an operand of `role` (matrix, table or vector).
  ds_plan::StorageOp weight(ParameterOp parameter, OperandRole role);

  /// The table of `rope` for positions below `positions`.
  ds_plan::StorageOp rope(RopeOp rope, int64_t positions);

private:
  ds_plan::StorageOp create(llvm::StringRef name, ds_plan::Layout layout, mlir::FlatSymbolRefAttr parameter, mlir::DictionaryAttr rope,
                            mlir::MemRefType type, mlir::Location loc);

  mlir::SymbolTable &symbols;
  mlir::OpBuilder builder;
  mlir::Type matrixType;
  bool inTiles;
  llvm::DenseMap<mlir::StringAttr, bool> linearWeights; // parameters that a linear reads; with heads beside it
  llvm::DenseMap<std::pair<mlir::Attribute, int>, ds_plan::StorageOp> weights;
  llvm::MapVector<mlir::DictionaryAttr, ds_plan::StorageOp> ropes;
  int64_t offset = 0;
};

} // namespace ds
#endif // DS_LIB_CONVERSION_STORAGETABLE_H
