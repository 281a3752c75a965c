// The threads of a model. The calling thread is worker 0; the others wait between jobs, spinning briefly before they sleep.
#ifndef DSRT_LIB_WORKERPOOL_H
#define DSRT_LIB_WORKERPOOL_H

#include "runtime/lib/Barrier.h"
#include "runtime/lib/CallerStack.h"
#include "runtime/lib/Status.h"
#include <memory>
#include <sched.h>
#include <thread>
#include <type_traits>
#include <vector>

namespace dsrt {

class WorkerPool {
public:
  using Job = void (*)(void *context, int32_t worker);

  /// Starts `threads` - 1 threads.
  ///   pin   0: each on its own CPU when there are as many as CPUs are allowed; 1: always; -1: never
  /// Fails with out of memory when the system gives no thread.
  static Status create(int32_t threads, int32_t pin, std::unique_ptr<WorkerPool> &pool);
  ~WorkerPool();

  int32_t size() const { return count; }
  /// False in a process forked after the threads were made: it has none of them.
  bool usable() const;
  /// Runs `job` once on each worker and returns when all are done.
  void run(Job job, void *context);
  template <typename Callable> void run(Callable &&callable) {
    using Plain = std::remove_reference_t<Callable>;
    run([](void *context, int32_t worker) { (*static_cast<Plain *>(context))(worker); }, &callable);
  }
  /// Holds workers inside a job until all have come.
  Barrier &barrier() { return inside; }

  /// While it lives, the calling thread stays on the CPU kept for worker 0, if threads are pinned.
  class CallerPin {
  public:
    explicit CallerPin(const WorkerPool &pool);
    ~CallerPin() { suspend(); }
    /// Gives the thread its own CPUs back, while it runs code of the user, and takes them again.
    void suspend();
    void resume();
    CallerPin(const CallerPin &) = delete;
    CallerPin &operator=(const CallerPin &) = delete;

  private:
    const WorkerPool &pool;
    cpu_set_t before;
    bool pinned = false;
  };

private:
  WorkerPool(int32_t threads, uint32_t spinRounds);
  static void *enter(void *start);
  void work(int32_t worker);

  int32_t count;
  int process;
  uint32_t idleRounds;
  std::vector<int> cpus; // empty: not pinned
  std::vector<pthread_t> threads;
  CallerStack callerStack;
  WaitWord epoch;
  Barrier inside, finished;
  Job job = nullptr;
  void *jobContext = nullptr;
  bool stopping = false;
};

} // namespace dsrt
#endif // DSRT_LIB_WORKERPOOL_H
