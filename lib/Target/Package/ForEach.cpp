#include "ForEach.h"
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

using namespace ds;

Result<void> ds::forEach(size_t count, unsigned threads, llvm::function_ref<Result<void>(size_t)> body) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  Result<void> first;
  std::mutex lock;
  auto worker = [&] {
    for (size_t i = next++; i < count && !failed; i = next++)
      if (Result<void> result = body(i); !result) {
        std::lock_guard guard(lock);
        if (!failed.exchange(true))
          first = std::move(result);
      }
  };
  std::vector<std::thread> pool;
  for (unsigned i = 1; i < threads; ++i)
    pool.emplace_back(worker);
  worker();
  for (std::thread &thread : pool)
    thread.join();
  return first;
}
