// Which builder serves which region: from the ops of a kernel to its family and the storage of its operands.
#ifndef DS_CONVERSION_KERNELREGISTRY_H
#define DS_CONVERSION_KERNELREGISTRY_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "llvm/ADT/StringMap.h"
#include <functional>
#include <string>

namespace ds {

/// How an operand of an op is held at the plan level.
enum class OperandRole {
  rows,   // an activation or an input of integers: a buffer of rows
  matrix, // weight of a linear: layout `panels`, or `panel_pairs` of bf16
  table,  // table of an embedding: layout `rows`, or that of a matrix when a linear reads the same parameter
  vector, // gain, bias, slopes: layout `vector`
  cache,  // keys or values: a cache or a `packed` buffer
};

/// How many rows the result of an op has.
enum class ResultRows {
  ofInput,  // as many as its first operand
  selected, // R
  batch,    // B
  cache,    // it is a cache, or `packed` rows of this step
  single,   // one for the whole step
};

/// What the planner knows of one op.
struct KernelEntry {
  std::string family;
  /// Of the ops in one region the one of highest rank is its root, whose family builds the kernel.
  int rank = 0;
  ResultRows rows = ResultRows::ofInput;
  /// The role of operand `index`.
  std::function<OperandRole(mlir::Operation *op, unsigned index)> role;
  /// The readable part of a kernel's name, such as `gemm_576x1536`.
  std::function<std::string(mlir::Operation *op)> name;
};

/// The ops one kernel computes, in order. A fused region has several; `root` decides the family.
struct KernelRegion {
  llvm::SmallVector<mlir::Operation *> ops;
  mlir::Operation *root = nullptr;
};

/// The kernel families by op. Back ends with other families start from `standard()` and add or replace entries.
class KernelRegistry {
public:
  /// One entry for each op of the `ds` dialect that computes a value.
  static const KernelRegistry &standard();

  template <typename OpT> void add(KernelEntry entry) { entries[OpT::getOperationName()] = std::move(entry); }

  /// The entry of an op, or null when no builder serves it.
  const KernelEntry *lookup(mlir::Operation *op) const;

  /// The region of `ops`, which must be in block order. Fails with a diagnostic at the first op that no builder serves.
  mlir::FailureOr<KernelRegion> region(llvm::ArrayRef<mlir::Operation *> ops) const;

private:
  llvm::StringMap<KernelEntry> entries;
};

} // namespace ds
#endif // DS_CONVERSION_KERNELREGISTRY_H
