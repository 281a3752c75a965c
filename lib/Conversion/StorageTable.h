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

/// Where parameters lie.
enum class WeightPlaces {
  panels, // in the weights file, matrices in panels for the CPU
  sums,   // the same, those of f32 with sums of pairs (PanelSums.h)
  halves, // the same, those of bf16 as f16 (PanelHalves.h)
  tiles,  // in the weights file, matrices in tiles for tensor cores
  state,  // in the state that training keeps, matrices as rows; the weights file begins with the first values of its parameters
};

/// Gives each (parameter, layout) and each rope table one storage, in order of first use.
class StorageTable {
public:
  /// `matrixType` is the element type of matrices and tables; `module` gets the storages, `symbols` are its names.
  StorageTable(mlir::ModuleOp module, mlir::SymbolTable &symbols, mlir::Type matrixType, WeightPlaces placing);

  /// The storage of `parameter` for an operand of `role` (matrix, table or vector).
  ds_plan::StorageOp weight(ParameterOp parameter, OperandRole role);

  /// The gradient of `parameter` in the state.
  ds_plan::StorageOp gradient(ParameterOp parameter);
  /// A whole part of the state.
  ds_plan::StorageOp part(ds_plan::State state);
  /// Offset and length of a parameter within its part of the state, in f32; the length is a multiple of 32.
  std::pair<int64_t, int64_t> segment(ParameterOp parameter) const;

  /// The table of `rope` for positions below `positions`.
  ds_plan::StorageOp rope(RopeOp rope, int64_t positions);

private:
  ds_plan::StorageOp create(llvm::StringRef name, ds_plan::Layout layout, mlir::FlatSymbolRefAttr parameter, mlir::DictionaryAttr rope,
                            ds_plan::StateAttr state, int64_t place, mlir::MemRefType type, mlir::Location loc);
  /// At the next place of the weights file.
  ds_plan::StorageOp inFile(llvm::StringRef name, ds_plan::Layout layout, mlir::FlatSymbolRefAttr parameter, mlir::DictionaryAttr rope,
                            mlir::MemRefType type, mlir::Location loc);
  /// Of a parameter, or with null a whole part of the state.
  ds_plan::StorageOp inState(ParameterOp parameter, ds_plan::State state);

  mlir::SymbolTable &symbols;
  mlir::OpBuilder builder;
  mlir::Type matrixType;
  WeightPlaces placing;
  llvm::MapVector<mlir::StringAttr, int64_t> stateOffsets; // of parameters, in bytes within a part
  int64_t partBytes = 0;
  llvm::DenseMap<std::pair<mlir::Attribute, int>, ds_plan::StorageOp> stateStorages;
  llvm::DenseMap<mlir::StringAttr, bool> linearWeights; // parameters that a linear reads; in narrow panels
  llvm::DenseMap<std::pair<mlir::Attribute, int>, ds_plan::StorageOp> weights;
  llvm::MapVector<mlir::DictionaryAttr, ds_plan::StorageOp> ropes;
  int64_t offset = 0; // in the weights file
};

} // namespace ds
#endif // DS_LIB_CONVERSION_STORAGETABLE_H
