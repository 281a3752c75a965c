// Work on several threads.
#ifndef DS_LIB_TARGET_PACKAGE_FOREACH_H
#define DS_LIB_TARGET_PACKAGE_FOREACH_H

#include "ds/Import/Result.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace ds {

/// Runs `body(index)` for [0, count) on `threads` threads and returns the first failure.
Result<void> forEach(size_t count, unsigned threads, llvm::function_ref<Result<void>(size_t)> body);

} // namespace ds
#endif // DS_LIB_TARGET_PACKAGE_FOREACH_H
