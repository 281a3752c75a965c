#include "runtime/lib/EmulatorFiber.h"
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DSRT_ADDRESS_SANITIZER
#endif
#endif
#ifdef DSRT_ADDRESS_SANITIZER
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

using namespace dsrt;

// The registers a called function has to keep; those of vectors and the floating-point state are the caller's own.
extern "C" void dsrt_fiber_switch(void **save, void *to);
extern "C" void dsrt_fiber_start();
asm(R"(
.text
.hidden dsrt_fiber_switch
.globl dsrt_fiber_switch
.type dsrt_fiber_switch, @function
dsrt_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  retq
.size dsrt_fiber_switch, .-dsrt_fiber_switch
.hidden dsrt_fiber_start
.globl dsrt_fiber_start
.type dsrt_fiber_start, @function
dsrt_fiber_start:
  movq %r12, %rdi
  callq *%r13
  ud2
.size dsrt_fiber_start, .-dsrt_fiber_start
)");

Status FiberStacks::reserve(int32_t wanted) {
  if (wanted <= count)
    return Status();
  count = 0;
  DSRT_TRY(Mapping::anonymous(wanted * stackBytes, /*huge=*/false, memory));
  count = wanted;
  return Status();
}

void FiberStacks::start(int32_t stack, void (*entry)(void *), void *argument, FiberContext &context) const {
  uint8_t *low = memory.data() + stack * stackBytes;
  // Stacks that all begin at one multiple of a page would share a few lines of the caches.
  const int64_t color = (stack % 64) * 64;
#ifdef DSRT_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(low, stackBytes); // what a fiber had that never returned
#endif
  void **top = reinterpret_cast<void **>(low + stackBytes - color);
  *--top = nullptr; // a stack as a call leaves it: 16 divides the address of the return address plus 8
  *--top = nullptr;
  *--top = reinterpret_cast<void *>(dsrt_fiber_start);
  *--top = nullptr;                         // rbp
  *--top = nullptr;                         // rbx
  *--top = argument;                        // r12
  *--top = reinterpret_cast<void *>(entry); // r13
  *--top = nullptr;                         // r14
  *--top = nullptr;                         // r15
  context.stackPointer = top;
  context.fakeStack = nullptr;
  context.stackLow = low;
  context.stackBytes = stackBytes;
}

#ifdef DSRT_ADDRESS_SANITIZER
/// The stack of the calling thread, for contexts that were not started here.
static void findStack(FiberContext &context) {
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void *low = nullptr;
  pthread_attr_getstack(&attributes, &low, &context.stackBytes);
  context.stackLow = low;
  pthread_attr_destroy(&attributes);
}

void dsrt::switchFiber(FiberContext &from, FiberContext &to) {
  if (!from.stackLow)
    findStack(from);
  __sanitizer_start_switch_fiber(&from.fakeStack, to.stackLow, to.stackBytes);
  dsrt_fiber_switch(&from.stackPointer, to.stackPointer);
  __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
}
void dsrt::leaveFiber(FiberContext &from, FiberContext &to) {
  __sanitizer_start_switch_fiber(nullptr, to.stackLow, to.stackBytes);
  dsrt_fiber_switch(&from.stackPointer, to.stackPointer);
  abort();
}
void dsrt::enterFiber() { __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr); }
#else
void dsrt::switchFiber(FiberContext &from, FiberContext &to) { dsrt_fiber_switch(&from.stackPointer, to.stackPointer); }
void dsrt::leaveFiber(FiberContext &from, FiberContext &to) {
  dsrt_fiber_switch(&from.stackPointer, to.stackPointer);
  abort();
}
void dsrt::enterFiber() {}
#endif
