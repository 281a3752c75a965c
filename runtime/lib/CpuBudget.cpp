// Formats: cgroups(7), Documentation/admin-guide/cgroup-v2.rst (cpu.max) and cgroup-v1 (cpu.cfs_*_us) of the kernel.
#include "runtime/lib/CpuBudget.h"
#include "runtime/lib/Cgroup.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sched.h>
#include <set>
#include <unistd.h>

using namespace dsrt;

static int32_t wholeCpus(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0)
    return 0;
  return static_cast<int32_t>(std::min<int64_t>((quota - 1) / period + 1, 1 << 20));
}

static int32_t limitV2(const std::string &folder) {
  std::string text = readSmallFile(folder + "/cpu.max");
  std::string_view rest = text;
  int64_t quota = takeNumber(rest);
  return quota < 0 ? 0 : wholeCpus(quota, takeNumber(rest));
}

static int32_t limitV1(const std::string &folder) {
  std::string quota = readSmallFile(folder + "/cpu.cfs_quota_us"), period = readSmallFile(folder + "/cpu.cfs_period_us");
  std::string_view quotaText = quota, periodText = period;
  return wholeCpus(takeNumber(quotaText), takeNumber(periodText));
}

int32_t dsrt::cgroupCpuLimit(std::string_view procCgroup, const std::string &root) {
  int32_t least = 0;
  forEachCgroup(procCgroup, root, "cpu", [&least](const std::string &folder, bool unified) {
    if (int32_t limit = unified ? limitV2(folder) : limitV1(folder); limit > 0)
      least = least > 0 ? std::min(least, limit) : limit;
  });
  return least;
}

std::vector<int> dsrt::allowedCpus() {
  std::vector<int> allowed;
  // Masks larger than cpu_set_t exist on machines with more than 1024 CPUs.
  for (int count = 1024; count <= 1 << 16; count *= 4) {
    cpu_set_t *set = CPU_ALLOC(count);
    size_t bytes = CPU_ALLOC_SIZE(count);
    CPU_ZERO_S(bytes, set);
    if (sched_getaffinity(0, bytes, set) == 0)
      for (int cpu = 0; cpu < count; ++cpu)
        if (CPU_ISSET_S(cpu, bytes, set))
          allowed.push_back(cpu);
    CPU_FREE(set);
    if (!allowed.empty())
      break;
  }
  std::vector<int> first, siblings;
  std::set<std::string> seen;
  for (int cpu : allowed) {
    std::string core = readSmallFile(concat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
    (core.empty() || seen.insert(core).second ? first : siblings).push_back(cpu);
  }
  first.insert(first.end(), siblings.begin(), siblings.end());
  return first;
}

Status dsrt::chooseThreads(int32_t requested, int32_t &threads) {
  constexpr int64_t most = 1024;
  if (requested < 0 || requested > most)
    return Status::invalidArgument("threads: expects 0..", most, ", got ", requested);
  threads = requested;
  if (requested > 0)
    return Status();
  if (const char *text = std::getenv("DS_NUM_THREADS"); text && *text) {
    std::string_view rest = text;
    int64_t number = takeNumber(rest);
    if (number < 1 || number > most || !rest.empty())
      return Status::invalidArgument("DS_NUM_THREADS: expects 1..", most, ", got ", inQuotes(text));
    threads = static_cast<int32_t>(number);
    return Status();
  }
  threads = static_cast<int32_t>(std::clamp<size_t>(allowedCpus().size(), 1, most));
  if (int32_t limit = cgroupCpuLimit(readSmallFile("/proc/self/cgroup"), "/sys/fs/cgroup"); limit > 0)
    threads = std::min(threads, limit);
  return Status();
}
