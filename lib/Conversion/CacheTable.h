// The caches of a module in one block of bytes for each sequence.
#ifndef DS_LIB_CONVERSION_CACHETABLE_H
#define DS_LIB_CONVERSION_CACHETABLE_H

#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"

namespace ds {

/// Where a cache lies in the block of a sequence, and how.
struct CachePlace {
  CacheOp cache;
  ds_plan::CacheKind kind;
  int64_t kvHeads;
  int64_t offset;
};

/// Places every `ds.cache` that attention reads, the same for all programs.
class CacheTable {
public:
  /// Fails with a diagnostic when a cache is read as keys and as values, or with different heads.
  static mlir::FailureOr<CacheTable> create(mlir::ModuleOp module);

  const CachePlace *lookup(mlir::FlatSymbolRefAttr cache) const;
  int64_t bytesPerSequence() const { return bytes; }
  /// Slots of the shortest cache, 0 without caches.
  int64_t context() const;

private:
  llvm::MapVector<mlir::StringAttr, CachePlace> places;
  int64_t bytes = 0;
};

} // namespace ds
#endif // DS_LIB_CONVERSION_CACHETABLE_H
