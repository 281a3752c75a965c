#include "runtime/lib/WorkerPool.h"
#include "runtime/lib/CpuBudget.h"
#include <csignal>
#include <pthread.h>
#include <unistd.h>

using namespace dsrt;

namespace {
// A pause takes 40 to 140 cycles: about 100 us between kernels, 500 us between steps. With more threads than CPUs spinning only delays
// those that are waited for.
constexpr uint32_t insideRounds = 3000, betweenRounds = 20000, crowdedRounds = 20;

// What the system gives a thread depends on `ulimit -s`.
constexpr size_t workerStackBytes = 4 * kernelStackBytes;

struct ThreadStart {
  WorkerPool *pool;
  int32_t worker;
};
} // namespace

WorkerPool::WorkerPool(int32_t threads, uint32_t spinRounds)
    : count(threads), process(getpid()), idleRounds(spinRounds == insideRounds ? betweenRounds : spinRounds), inside(threads, spinRounds),
      finished(threads, spinRounds) {}

Status WorkerPool::create(int32_t threads, int32_t pin, std::unique_ptr<WorkerPool> &pool) {
  std::vector<int> cpus = allowedCpus();
  bool crowded = static_cast<size_t>(threads) > cpus.size();
  pool.reset(new WorkerPool(threads, crowded ? crowdedRounds : insideRounds));
  if (!crowded && threads > 1 && (pin > 0 || (pin == 0 && static_cast<size_t>(threads) == cpus.size())))
    pool->cpus = std::move(cpus);
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, workerStackBytes);
  Status status;
  for (int32_t worker = 1; worker < threads && status.ok(); ++worker) {
    auto start = std::make_unique<ThreadStart>(ThreadStart{pool.get(), worker});
    pthread_t thread;
    if (pthread_create(&thread, &attributes, enter, start.get()) == 0) {
      start.release();
      pool->threads.push_back(thread);
    } else {
      status = Status::outOfMemory("the system gave ", worker, " threads, ", threads, " were asked for");
    }
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!status.ok()) {
    // Those that did start never meet the missing ones: they leave at the first epoch.
    pool->stopping = true;
    pool->epoch.set(1);
    for (pthread_t thread : pool->threads)
      pthread_join(thread, nullptr);
    pool->threads.clear();
    pool.reset();
  }
  return status;
}

WorkerPool::~WorkerPool() {
  if (!usable())
    return;
  stopping = true;
  epoch.set(epoch.load() + 1);
  for (pthread_t thread : threads)
    pthread_join(thread, nullptr);
}

bool WorkerPool::usable() const { return count == 1 || getpid() == process; }

void *WorkerPool::enter(void *argument) {
  std::unique_ptr<ThreadStart> start(static_cast<ThreadStart *>(argument));
  pthread_setname_np(pthread_self(), concat("dsrt-", start->worker).c_str());
  start->pool->work(start->worker);
  return nullptr;
}

static void pinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set); // a CPU that went away leaves the thread where it was
}

void WorkerPool::work(int32_t worker) {
  if (!cpus.empty() && cpus[worker] < CPU_SETSIZE)
    pinTo(cpus[worker]);
  uint32_t seen = 0;
  while (true) {
    seen = epoch.waitWhile(seen, idleRounds);
    if (stopping)
      return;
    job(jobContext, worker);
    finished.arrive();
  }
}

void WorkerPool::run(Job newJob, void *context) {
  if (count == 1)
    return callerStack.run(newJob, context);
  job = newJob;
  jobContext = context;
  epoch.set(epoch.load() + 1);
  callerStack.run(newJob, context);
  finished.arrive();
}

WorkerPool::CallerPin::CallerPin(const WorkerPool &pool) : pool(pool) { resume(); }

void WorkerPool::CallerPin::resume() {
  if (pool.cpus.empty() || pool.cpus[0] >= CPU_SETSIZE || sched_getaffinity(0, sizeof(before), &before) != 0)
    return;
  pinTo(pool.cpus[0]);
  pinned = true;
}

void WorkerPool::CallerPin::suspend() {
  if (pinned)
    sched_setaffinity(0, sizeof(before), &before);
  pinned = false;
}
