// Weights on 2 MiB pages: mapped files mostly lie on 4 KiB pages, which cost a page walk for every 4 KiB read.
#ifndef DSRT_LIB_HUGEPAGES_H
#define DSRT_LIB_HUGEPAGES_H

#include <cstdint>
#include <string>

namespace dsrt {

/// Moves the read-only pages of a file in [data, data + bytes) to 2 MiB pages of memory at the same addresses. Returns the bytes moved:
/// whole 2 MiB pages, none where the system refuses or `memoryForHugePages` does. Nobody may read the range meanwhile.
int64_t moveToHugePages(uint8_t *data, int64_t bytes);

/// True where the system has 2 MiB pages for who asks, and `bytes` more of memory are no danger: half of what is available, and less than
/// what the memory groups (cgroups) of this process leave.
///   root   the mount point of the cgroup file systems, /sys/fs/cgroup; `proc` that of /proc; `sys` that of /sys
bool memoryForHugePages(int64_t bytes, const std::string &root = "/sys/fs/cgroup", const std::string &proc = "/proc",
                        const std::string &sys = "/sys");

} // namespace dsrt
#endif // DSRT_LIB_HUGEPAGES_H
