// What the files of the conversion to the plan share.
#ifndef DS_LIB_CONVERSION_CONVERTDSTOPLAN_H
#define DS_LIB_CONVERSION_CONVERTDSTOPLAN_H

#include "CacheTable.h"
#include "KernelTable.h"
#include "StorageTable.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ds {

/// On a `ds_plan.store_cache` of a function that is being converted: the cache it appends to.
inline constexpr llvm::StringLiteral cacheAttrName = "ds_plan.cache";

/// On an op of a function that is being converted: the number of the fusion it stands in.
inline constexpr llvm::StringLiteral fusionAttrName = "ds_plan.fusion";

/// On a `ds_plan.accumulate` of a function that is being converted: the parameter whose gradient it adds to, and the gate of its layer.
inline constexpr llvm::StringLiteral gradientAttrName = "ds_plan.gradient";
inline constexpr llvm::StringLiteral gateAttrName = "ds_plan.gate";

/// Puts the bodies of fusions in their place, each op with the number of its fusion.
void flattenFusions(mlir::ModuleOp module);

/// Makes constants of floats parameters with a value, equal ones one.
mlir::LogicalResult moveConstants(mlir::ModuleOp module);

/// Flattens layers and makes every write of keys and values a `ds_plan.store_cache`: appends to a cache, and stores of this step where
/// attention reads no cache.
mlir::LogicalResult prepareFunction(mlir::func::FuncOp function, const CacheTable &caches);

/// Makes every accumulation of a gradient a `ds_plan.accumulate` in the kernel of the op before it, and joins column sums of one value.
void prepareGradients(mlir::func::FuncOp function);

/// Gives launches of `program` the gate of the layer that alone needs them (`ds_plan.launch ... gate`).
void gateLaunches(ds_plan::ProgramOp program);

/// Bounds of the programs.
struct PlanBounds {
  int64_t maxBatch, maxRows, maxPositions;
  /// Added to every position.
  int64_t positionOffset;
};

/// Makes the program of one prepared function.
class ProgramBuilder {
public:
  ProgramBuilder(const KernelRegistry &registry, const PlanBounds &bounds, const CacheTable &caches, StorageTable &storages,
                 KernelTable &kernels, llvm::SmallVector<ParameterOp> trained)
      : registry(registry), bounds(bounds), caches(caches), storages(storages), kernels(kernels), trained(std::move(trained)) {}

  /// Emits the program of `function` before `before`. Fails with a diagnostic at what has no place in a plan.
  mlir::LogicalResult build(mlir::func::FuncOp function, mlir::Operation *before);

private:
  mlir::LogicalResult declareInputs(mlir::func::FuncOp function);
  mlir::LogicalResult declareOutputs(mlir::func::FuncOp function);
  mlir::LogicalResult emit(const KernelRegion &region);
  /// The ops of a function that one launch each computes, in order.
  static llvm::SmallVector<llvm::SmallVector<mlir::Operation *>> regionsOf(mlir::func::FuncOp function);
  mlir::FailureOr<mlir::Value> placeOfOperand(mlir::OpOperand &operand);
  mlir::FailureOr<mlir::Value> placeOfResult(mlir::Value result, bool isOnly);
  /// Scratch memory in which threads that share a long cache leave partial results, null for a short one.
  mlir::Value partialResultsOf(AttentionOp attention);
  /// What an op of family `multi_tensor` works on: parts of the state and scratch memory.
  mlir::LogicalResult addStateOperands(mlir::Operation *op, llvm::SmallVectorImpl<mlir::Value> &aux);
  /// A place for the result of a layer that may be off.
  mlir::LogicalResult emitSwitch(SwitchOp op);
  mlir::LogicalResult emitBarrier(OptimizationBarrierOp op);
  mlir::Value weight(ds_plan::StorageOp storage, mlir::Location loc);
  mlir::Value cache(mlir::FlatSymbolRefAttr name, mlir::Location loc);
  ds_plan::Rows rowsOfResult(mlir::Operation *op);

  const KernelRegistry &registry;
  const PlanBounds &bounds;
  const CacheTable &caches;
  StorageTable &storages;
  KernelTable &kernels;
  llvm::SmallVector<ParameterOp> trained; // in the order of their controls

  // Of the program at work:
  mlir::OpBuilder *builder = nullptr;
  mlir::func::FuncOp source;
  int64_t ropePositions = 0;
  llvm::DenseMap<mlir::Value, mlir::Value> places;        // tensor -> memref
  llvm::DenseMap<mlir::Value, ds_plan::Rows> rows;        // tensor -> rows, of results inside a region too
  llvm::DenseMap<mlir::Operation *, mlir::Value> weights; // storage -> memref
  llvm::DenseMap<mlir::Attribute, mlir::Value> cacheValues;
  llvm::SmallVector<mlir::Value> outputs; // memref of each result
};

} // namespace ds
#endif // DS_LIB_CONVERSION_CONVERTDSTOPLAN_H
