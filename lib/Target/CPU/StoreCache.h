// Keys and values of this step go behind those of the past. Keys are transposed: 16 slots lie side by side. A cache of codes gets each
// head of a token rounded with a scale of its own (`ds.cache_append`), the same however many tokens a step has.
#ifndef LIB_TARGET_CPU_STORECACHE_H
#define LIB_TARGET_CPU_STORECACHE_H

#include "CacheView.h"

namespace ds {

/// Rows of keys or values, and the cache or packed buffer they go to.
struct CacheRows {
  KernelContext &context;
  CacheView view;
  const KernelOperand *past; // null: slots begin at 0
  mlir::Value source;        // row `firstRow`
  int64_t rowBytes;          // from one row of `source` to the next
  mlir::Value firstRow;      // i64, of the step
  mlir::Type element = {};   // of `source`, null for f32
  mlir::Value scratch = {};  // stack of `storeScratchBytes`, null without codes
};

/// Bytes of stack that rows on their way to `view` need: inverse scales of a block, and the codes of a head.
inline int64_t storeScratchBytes(const CacheView &view) { return view.hasCodes() ? 64 + view.layout.rowBytes() : 0; }

/// Where `op` writes to, of operand `cache`, which is known to fit it.
CacheView cacheViewOf(KernelContext &context, const KernelOperand &cache, ds_plan::StoreCacheOp op);

/// Stores `count` rows. `source` begins with column `firstColumn` and has `columns` of them: whole heads, or a part of one head where the
/// cache has no codes.
void storeRows(const CacheRows &rows, mlir::Value count, mlir::Value firstColumn, int64_t columns);

} // namespace ds
#endif // LIB_TARGET_CPU_STORECACHE_H
