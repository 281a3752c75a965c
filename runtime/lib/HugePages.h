// Weights on 2 MiB pages: mapped files mostly lie on 4 KiB pages, which cost a page walk for every 4 KiB read.
#ifndef DSRT_LIB_HUGEPAGES_H
#define DSRT_LIB_HUGEPAGES_H

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <thread>

namespace dsrt {

/// Moves read-only pages of a file to 2 MiB pages of memory at the same addresses, in the background, while others read them.
class HugePageMover {
public:
  HugePageMover() = default;
  HugePageMover(const HugePageMover &) = delete;
  HugePageMover &operator=(const HugePageMover &) = delete;
  ~HugePageMover() { stop(); }

  /// Begins to move [data, data + bytes); must be called once at most. Where the system gives no memory, pages stay where they are.
  void start(uint8_t *data, int64_t bytes);
  /// Ends soon, with what is moved so far. Needed before the range is unmapped.
  void stop();
  /// Waits until all is moved; returns the bytes that were.
  int64_t finish();

private:
  void move(uint8_t *data, int64_t bytes);

  std::thread thread;
  std::atomic<bool> stopping{false};
  std::atomic<int64_t> moved{0};
  pid_t process = 0;
};

/// True where the system has 2 MiB pages for who asks, and `bytes` more of memory are no danger: half of what is available, and less than
/// what the memory groups (cgroups) of this process leave.
///   root   the mount point of the cgroup file systems, /sys/fs/cgroup; `proc` that of /proc; `sys` that of /sys
bool memoryForHugePages(int64_t bytes, const std::string &root = "/sys/fs/cgroup", const std::string &proc = "/proc",
                        const std::string &sys = "/sys");

} // namespace dsrt
#endif // DSRT_LIB_HUGEPAGES_H
