// A stack of its own for each thread of a block, and the switch between two of them.
#ifndef DSRT_LIB_EMULATORFIBER_H
#define DSRT_LIB_EMULATORFIBER_H

#include "dsrt/emulate.h"
#include "runtime/lib/Memory.h"

namespace dsrt {

/// Where a computation goes on: its stack pointer, and what a sanitizer keeps of its stack.
struct FiberContext {
  void *stackPointer = nullptr;
  void *fakeStack = nullptr;
  const void *stackLow = nullptr;
  size_t stackBytes = 0;
};

/// The stacks of the threads of a block, side by side: what a kernel uses is known when it is compiled, the runtime's calls need little.
class FiberStacks {
public:
  static constexpr int64_t stackBytes = DS_EMULATE_STACK_BYTES + (32 << 10);

  /// Makes sure that there are `count`. Fails with out of memory. Stacks in use must be none.
  Status reserve(int32_t count);
  /// `context` begins with `entry(argument)`, which must not return.
  void start(int32_t stack, void (*entry)(void *), void *argument, FiberContext &context) const;
  bool holds(int32_t stack, uint64_t address) const {
    return address - reinterpret_cast<uint64_t>(memory.data() + stack * stackBytes) < static_cast<uint64_t>(stackBytes);
  }

private:
  Mapping memory;
  int32_t count = 0;
};

/// Keeps the caller in `from` and goes on with `to`.
void switchFiber(FiberContext &from, FiberContext &to);
/// Goes on with `to` for good: the caller, `from`, is not continued.
[[noreturn]] void leaveFiber(FiberContext &from, FiberContext &to);
/// The first call of a fiber's entry.
void enterFiber();

} // namespace dsrt
#endif // DSRT_LIB_EMULATORFIBER_H
