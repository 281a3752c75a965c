// Waiting between threads that run one program together: spin briefly, then sleep in the kernel.
#ifndef DSRT_LIB_BARRIER_H
#define DSRT_LIB_BARRIER_H

#include <atomic>
#include <cstdint>

namespace dsrt {

/// A counter that threads wait on. Waiters spin for `spinRounds` rounds of a pause instruction before they sleep.
class alignas(64) WaitWord {
public:
  uint32_t load() const { return word.load(std::memory_order_acquire); }
  /// Waits until the word is no longer `old`; returns what it is then.
  uint32_t waitWhile(uint32_t old, uint32_t spinRounds);
  /// Sets the word and wakes those who sleep.
  void set(uint32_t value);

private:
  std::atomic<uint32_t> word{0};
  std::atomic<uint32_t> sleepers{0};
};

/// Holds back `count` threads until all have come. Reusable at once: the generation is the sense that reverses.
class Barrier {
public:
  Barrier(int32_t count, uint32_t spinRounds) : count(count), spinRounds(spinRounds) {}
  void arrive();

private:
  alignas(64) std::atomic<int32_t> arrived{0};
  WaitWord generation;
  int32_t count;
  uint32_t spinRounds;
};

} // namespace dsrt
#endif // DSRT_LIB_BARRIER_H
