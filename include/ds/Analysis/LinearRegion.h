// What one kernel around matrix products can compute: which ops may stand in it and how they depend on each other.
#ifndef DS_ANALYSIS_LINEARREGION_H
#define DS_ANALYSIS_LINEARREGION_H

#include "dialects/DS/DSDialect.h"
#include <optional>
#include <string>

namespace ds {

/// Columns of one panel of weights: the least unit of work along the columns.
inline constexpr int64_t linearPanel = 32;

/// Linears of one width whose results meet in element-wise ops, and what is computed from them.
struct LinearDomain {
  llvm::SmallVector<LinearOp, 2> linears;
  /// Turns the only linear; null when there is none.
  RopeOp rope;
  /// Writes to a cache of the linear's or the rope's result.
  llvm::SmallVector<mlir::Operation *, 1> stores;
  /// Values of the domain that are read outside the region, stores apart.
  llvm::SmallVector<mlir::Value, 2> results;
  /// N of every linear.
  int64_t columns = 0;
  /// Columns of the unit of work, a multiple of 32: whole heads where the region needs them together.
  int64_t chunk = linearPanel;
};

/// `norm`, then linears that all read its result, then element-wise ops, rope and writes to the cache.
struct LinearRegion {
  /// A layer norm or RMS norm of `input`, or null.
  mlir::Operation *norm = nullptr;
  /// The norm's result is read outside the region.
  bool normIsResult = false;
  /// [..., K] f32, computed outside.
  mlir::Value input;
  int64_t depth = 0;
  llvm::SmallVector<LinearDomain, 3> domains;

  /// Finds the structure in `ops`, which are in block order. Null where a builder could not serve them; `reason` says why, in words for a
  /// remark.
  static std::optional<LinearRegion> match(llvm::ArrayRef<mlir::Operation *> ops, std::string &reason);
};

/// True for an op that writes keys or values of this step: `ds.cache_append`, `ds_plan.store_cache`.
bool isCacheStore(mlir::Operation *op);

} // namespace ds
#endif // DS_ANALYSIS_LINEARREGION_H
