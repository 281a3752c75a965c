#include "runtime/lib/CallerStack.h"
#include <cstdlib>
#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

using namespace dsrt;

namespace {
constexpr int64_t guardBytes = 4096;

/// A job on its way to another stack.
struct Switch {
  void (*job)(void *, int32_t);
  void *context;
  ucontext_t caller, callee;
};

thread_local Switch *entered = nullptr; // makecontext passes no pointers

struct StackBounds {
  uintptr_t low = 0, high = 0;

  StackBounds() {
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
      return;
    void *address = nullptr;
    size_t bytes = 0;
    if (pthread_attr_getstack(&attributes, &address, &bytes) == 0) {
      low = reinterpret_cast<uintptr_t>(address);
      high = low + bytes;
    }
    pthread_attr_destroy(&attributes);
  }
};
} // namespace

static void enter() { entered->job(entered->context, 0); }

/// Whether this thread runs on its own stack and has less of it left than kernels may need.
static bool isShort() {
  static thread_local const StackBounds bounds;
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  return here >= bounds.low && here < bounds.high && static_cast<int64_t>(here - bounds.low) < kernelStackBytes;
}

void CallerStack::run(void (*job)(void *, int32_t), void *context) {
  if (!isShort())
    return job(context, 0);
  if (!stack.data()) {
    if (!Mapping::anonymous(kernelStackBytes + guardBytes, /*huge=*/false, stack).ok())
      abort(); // as where any small allocation is refused: kernels would write beyond the stack
    mprotect(stack.data(), guardBytes, PROT_NONE);
  }
  Switch to{job, context, {}, {}};
  getcontext(&to.callee);
  to.callee.uc_stack.ss_sp = stack.data();
  to.callee.uc_stack.ss_size = stack.size();
  to.callee.uc_link = &to.caller;
  makecontext(&to.callee, enter, 0);
  entered = &to;
  swapcontext(&to.caller, &to.callee);
}
