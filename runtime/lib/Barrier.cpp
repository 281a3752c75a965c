#include "runtime/lib/Barrier.h"
#include <climits>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace dsrt;

static void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

uint32_t WaitWord::waitWhile(uint32_t old, uint32_t spinRounds) {
  for (uint32_t round = 0; round < spinRounds; ++round) {
    if (uint32_t value = load(); value != old)
      return value;
    relax();
  }
  // Sequentially consistent with set(): either the setter sees the sleeper, or the sleeper sees the new value.
  sleepers.fetch_add(1);
  uint32_t value;
  while ((value = word.load()) == old)
    syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  sleepers.fetch_sub(1);
  return value;
}

void WaitWord::set(uint32_t value) {
  word.store(value);
  if (sleepers.load() > 0)
    syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Barrier::arrive() {
  uint32_t before = generation.load();
  if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
    arrived.store(0, std::memory_order_relaxed);
    generation.set(before + 1);
    return;
  }
  generation.waitWhile(before, spinRounds);
}
