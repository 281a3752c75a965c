// Threads and barriers. Built with -fsanitize=thread, this is the test of their memory order.
#include "runtime/lib/WorkerPool.h"
#include <gtest/gtest.h>
#include <numeric>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace dsrt;

TEST(WorkerPool, EveryWorkerRunsEveryJobOnce) {
  for (int32_t threads : {1, 2, 3, 4, 7}) {
    std::unique_ptr<WorkerPool> pool;
    ASSERT_TRUE(WorkerPool::create(threads, -1, pool).ok());
    std::vector<int> counts(threads); // plain memory: the pool must order it
    for (int job = 0; job < 200; ++job)
      pool->run([&](int32_t worker) { ++counts[worker]; });
    EXPECT_EQ(counts, std::vector<int>(threads, 200));
  }
}

TEST(WorkerPool, BarrierOrdersWhatIsWritten) {
  for (int32_t threads : {2, 3, 4}) {
    std::unique_ptr<WorkerPool> pool;
    ASSERT_TRUE(WorkerPool::create(threads, -1, pool).ok());
    std::vector<int> values(threads, 1), sums(threads);
    constexpr int rounds = 100;
    pool->run([&](int32_t worker) {
      for (int round = 0; round < rounds; ++round) {
        sums[worker] = std::accumulate(values.begin(), values.end(), 0);
        pool->barrier().arrive();
        values[worker] = sums[(worker + 1) % threads] % 1000 + 1;
        pool->barrier().arrive();
      }
    });
    EXPECT_EQ(values, std::vector<int>(threads, values[0]));
  }
}

TEST(WorkerPool, SleepersWake) {
  std::unique_ptr<WorkerPool> pool;
  ASSERT_TRUE(WorkerPool::create(3, -1, pool).ok());
  int runs = 0;
  for (int job = 0; job < 5; ++job) {
    usleep(20000); // workers have gone to sleep
    pool->run([&](int32_t worker) {
      if (worker == 1)
        usleep(5000); // the others sleep in the barrier
      pool->barrier().arrive();
      if (worker == 0)
        ++runs;
    });
  }
  EXPECT_EQ(runs, 5);
}

TEST(WorkerPool, PinnedWorkersRun) {
  std::unique_ptr<WorkerPool> pool;
  ASSERT_TRUE(WorkerPool::create(2, 1, pool).ok());
  cpu_set_t before, after;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  {
    WorkerPool::CallerPin pin(*pool);
    std::vector<int> counts(2);
    pool->run([&](int32_t worker) { ++counts[worker]; });
    EXPECT_EQ(counts, std::vector<int>(2, 1));
    pin.suspend(); // while code of the user runs
    ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT_TRUE(CPU_EQUAL(&before, &after));
    pin.resume();
    ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT_EQ(CPU_COUNT(&after), 1);
  }
  ASSERT_EQ(sched_getaffinity(0, sizeof(after), &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

/// Whatever `ulimit -s` says: kernels keep slabs of rows there.
TEST(WorkerPool, WorkersHaveRoomOnTheirStacks) {
  rlimit limit, small;
  ASSERT_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
  small = limit;
  small.rlim_cur = 256 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_STACK, &small), 0);
  std::unique_ptr<WorkerPool> pool;
  ASSERT_TRUE(WorkerPool::create(2, -1, pool).ok());
  setrlimit(RLIMIT_STACK, &limit);
  size_t bytes = 0;
  pool->run([&](int32_t worker) {
    pthread_attr_t attributes;
    if (worker != 1 || pthread_getattr_np(pthread_self(), &attributes) != 0)
      return;
    pthread_attr_getstacksize(&attributes, &bytes);
    pthread_attr_destroy(&attributes);
  });
  EXPECT_GE(bytes, size_t(16) << 20);
}

/// As a virtual machine's threads or those of a server may have.
TEST(WorkerPool, CallersWithSmallStacksHaveRoom) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 128 << 10);
  for (int32_t threads : {1, 2}) {
    std::unique_ptr<WorkerPool> pool;
    ASSERT_TRUE(WorkerPool::create(threads, -1, pool).ok());
    auto runs = [](void *argument) -> void * {
      for (int job = 0; job < 3; ++job)
        static_cast<WorkerPool *>(argument)->run([](int32_t) {
          volatile uint8_t slab[3 << 20];
          for (size_t i = 0; i < sizeof(slab); i += 4096)
            slab[i] = 1;
        });
      return argument;
    };
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, &attributes, runs, pool.get()), 0);
    void *done = nullptr;
    ASSERT_EQ(pthread_join(thread, &done), 0);
    EXPECT_EQ(done, pool.get());
  }
  pthread_attr_destroy(&attributes);
}

TEST(WorkerPool, AForkedProcessIsToldSo) {
  std::unique_ptr<WorkerPool> pool;
  ASSERT_TRUE(WorkerPool::create(2, -1, pool).ok());
  pid_t child = fork();
  if (child == 0)
    _exit(pool->usable() ? 1 : 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(pool->usable());
}
