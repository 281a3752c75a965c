// What one kernel around matrix products can compute: which ops may stand in it and how they depend on each other.
#ifndef DS_ANALYSIS_LINEARREGION_H
#define DS_ANALYSIS_LINEARREGION_H

#include "dialects/DS/DSDialect.h"
#include "llvm/Support/MathExtras.h"
#include <optional>
#include <string>

namespace ds {

/// Columns of one panel of weights, the least unit of work along the columns: wide ones make the better register blocks of floats, the
/// others divide heads and make the better ones of bytes.
inline constexpr int64_t linearPanel = 32, linearWidePanel = 48;

/// The panel for a weight of `columns` outputs. It `isNarrow` where a linear that reads the same input has rope or a cache behind it, or
/// rounds that input to bytes.
inline int64_t linearPanelOf(int64_t columns, bool isNarrow) {
  const auto wide = static_cast<int64_t>(llvm::alignTo(columns, linearWidePanel));
  const auto narrow = static_cast<int64_t>(llvm::alignTo(columns, linearPanel));
  return isNarrow || wide > narrow + narrow / 50 ? linearPanel : linearWidePanel;
}

/// Linears of one width whose results meet in element-wise ops, and what is computed from them.
struct LinearDomain {
  llvm::SmallVector<LinearOp, 2> linears;
  /// Turns the only linear; null when there is none.
  RopeOp rope;
  /// Rounds what rope gives, which nothing else reads; null when there is none.
  RoundOp roundedRope;
  /// Writes to a cache of the linear's or the rope's result.
  llvm::SmallVector<mlir::Operation *, 1> stores;
  /// Values of the domain that are read outside the region, stores apart.
  llvm::SmallVector<mlir::Value, 2> results;
  /// N of every linear.
  int64_t columns = 0;
  /// Columns that have to be computed together: 1, or with rope or a cache a multiple of 32, where needed (rope, codes) whole heads.
  int64_t chunk = 1;
  bool hasHeads() const { return rope || !stores.empty(); }
  bool hasNarrowPanels() const {
    return hasHeads() || llvm::any_of(linears, [](LinearOp linear) { return linear.getActivationBits().has_value(); });
  }
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
  /// The linears are all that reads `input`.
  bool multipliesInputAlone() const;
  /// All linears may round their activations.
  bool roundsActivations() const;

  /// Finds the structure in `ops`, which are in block order. Null where a builder could not serve them; `reason` says why, in words for a
  /// remark.
  static std::optional<LinearRegion> match(llvm::ArrayRef<mlir::Operation *> ops, std::string &reason);
};

/// True where rope or a cache reads the product.
bool hasHeads(LinearOp linear);

/// True for an op that writes keys or values of this step: `ds.cache_append`, `ds_plan.store_cache`.
bool isCacheStore(mlir::Operation *op);

} // namespace ds
#endif // DS_ANALYSIS_LINEARREGION_H
