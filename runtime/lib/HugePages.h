// Weights on 2 MiB pages: mapped files mostly lie on 4 KiB pages, which cost a page walk for every 4 KiB read.
#ifndef DSRT_LIB_HUGEPAGES_H
#define DSRT_LIB_HUGEPAGES_H

#include "runtime/lib/WorkerPool.h"
#include <cstdint>
#include <string>
#include <vector>

namespace dsrt {

/// A matrix in [begin, end) of the weights, whose parts the workers of a pool read in their order.
struct MatrixRange {
  int64_t begin, end;
};

/// The worker that reads the byte at `place`, of `threads`: the part of its matrix that place lies in. `matrices` are in order and do not
/// overlap; what lies in none is worker 0's.
int32_t readerOf(const std::vector<MatrixRange> &matrices, int64_t place, int32_t threads);

/// Moves the read-only pages of a file in [data, data + bytes) to 2 MiB pages of memory at the same addresses, each by the worker that
/// reads its middle, so that they lie in memory near it (first touch). `matrices` count from `data`. Returns the bytes moved: whole 2 MiB
/// pages, none where the system refuses or `memoryForHugePages` does. Nobody may read the range meanwhile.
int64_t moveToHugePages(uint8_t *data, int64_t bytes, const std::vector<MatrixRange> &matrices, WorkerPool &pool);

/// True where the system has 2 MiB pages for who asks, and `bytes` more of memory are no danger: half of what is available, and less than
/// what the memory groups (cgroups) of this process leave.
///   root   the mount point of the cgroup file systems, /sys/fs/cgroup; `proc` that of /proc; `sys` that of /sys
bool memoryForHugePages(int64_t bytes, const std::string &root = "/sys/fs/cgroup", const std::string &proc = "/proc",
                        const std::string &sys = "/sys");

} // namespace dsrt
#endif // DSRT_LIB_HUGEPAGES_H
