// Room for kernels on the calling thread: how large its stack is, is the user's choice.
#ifndef DSRT_LIB_CALLERSTACK_H
#define DSRT_LIB_CALLERSTACK_H

#include "runtime/lib/Memory.h"

namespace dsrt {

/// Kernels keep slabs of rows on the stack, 2.3 MB of hidden width 16384, and 3.1 MB at `x86-64-v4-fp16`.
inline constexpr int64_t kernelStackBytes = int64_t(4) << 20;

class CallerStack {
public:
  /// Runs `job(context, 0)` on the calling thread: on its own stack where `kernelStackBytes` of it are left, or where it is none that the
  /// system knows; else on one that this object keeps from then on.
  void run(void (*job)(void *context, int32_t worker), void *context);

private:
  Mapping stack;
};

} // namespace dsrt
#endif // DSRT_LIB_CALLERSTACK_H
