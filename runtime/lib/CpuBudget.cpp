// Formats: cgroups(7), Documentation/admin-guide/cgroup-v2.rst (cpu.max) and cgroup-v1 (cpu.cfs_*_us) of the kernel.
#include "runtime/lib/CpuBudget.h"
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <sched.h>
#include <set>
#include <unistd.h>

using namespace dsrt;

static std::string readSmallFile(const std::string &path) {
  std::string text;
  FILE *file = std::fopen(path.c_str(), "re");
  if (!file)
    return text;
  char buffer[4096];
  while (size_t count = std::fread(buffer, 1, sizeof(buffer), file))
    text.append(buffer, count);
  std::fclose(file);
  return text;
}

/// The first number of `text`, which is moved behind it; -1 when there is none ("max").
static int64_t takeNumber(std::string_view &text) {
  while (!text.empty() && text.front() == ' ')
    text.remove_prefix(1);
  int64_t number = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(end - text.data());
  return error == std::errc() ? number : -1;
}

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

/// The least of the limits of `group` and of the groups above it, as far as they are visible here.
static int32_t leastUpwards(const std::string &mount, std::string group, int32_t (*limit)(const std::string &)) {
  int32_t least = 0;
  while (true) {
    while (!group.empty() && group.back() == '/')
      group.pop_back();
    if (int32_t here = limit(mount + group); here > 0)
      least = least > 0 ? std::min(least, here) : here;
    if (group.empty())
      return least;
    group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
  }
}

static bool listsCpu(std::string_view controllers) {
  while (!controllers.empty()) {
    size_t end = std::min(controllers.find(','), controllers.size());
    if (controllers.substr(0, end) == "cpu")
      return true;
    controllers.remove_prefix(std::min(end + 1, controllers.size()));
  }
  return false;
}

int32_t dsrt::cgroupCpuLimit(std::string_view procCgroup, const std::string &root) {
  int32_t least = 0;
  auto consider = [&least](int32_t limit) {
    if (limit > 0)
      least = least > 0 ? std::min(least, limit) : limit;
  };
  while (!procCgroup.empty()) {
    size_t end = std::min(procCgroup.find('\n'), procCgroup.size());
    std::string_view line = procCgroup.substr(0, end);
    procCgroup.remove_prefix(std::min(end + 1, procCgroup.size()));
    size_t first = line.find(':'), second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos)
      continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    std::string group(line.substr(second + 1));
    if (controllers.empty()) {
      consider(leastUpwards(root, group, limitV2));
      consider(leastUpwards(root + "/unified", group, limitV2));
    } else if (listsCpu(controllers)) {
      consider(leastUpwards(root + "/cpu", group, limitV1));
      consider(leastUpwards(root + "/" + std::string(controllers), group, limitV1));
    }
  }
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
