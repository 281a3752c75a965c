// How many threads this process should run, and where: affinity mask, cgroup quota, physical cores.
#ifndef DSRT_LIB_CPUBUDGET_H
#define DSRT_LIB_CPUBUDGET_H

#include "runtime/lib/Status.h"
#include <cstdint>
#include <vector>

namespace dsrt {

/// Whole CPUs that the cgroups in `procCgroup` (the text of /proc/self/cgroup) allow, rounded up; 0 when nothing limits them.
///   root   the mount point of the cgroup file systems, /sys/fs/cgroup
/// Reads cpu.max (v2) or cpu.cfs_quota_us and cpu.cfs_period_us (v1) of the group and of all groups above it.
int32_t cgroupCpuLimit(std::string_view procCgroup, const std::string &root);

/// The CPUs of this process's affinity mask, one of each physical core first, then their siblings.
std::vector<int> allowedCpus();

/// The number of threads to use.
///   requested   0: the environment's DS_NUM_THREADS, else the smaller of the affinity mask and the cgroup quota
/// Fails with invalid argument when either number is not in 1..1024.
Status chooseThreads(int32_t requested, int32_t &threads);

} // namespace dsrt
#endif // DSRT_LIB_CPUBUDGET_H
