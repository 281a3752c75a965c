// The control groups of a process, as the kernel shows them in files.
#ifndef DSRT_LIB_CGROUP_H
#define DSRT_LIB_CGROUP_H

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace dsrt {

/// The text of a small file; empty when it cannot be read.
std::string readSmallFile(const std::string &path);

/// The first number of `text`, which is moved behind it; -1 when there is none ("max").
int64_t takeNumber(std::string_view &text);

/// Calls `visit` for each group in `procCgroup` (the text of /proc/self/cgroup) that may limit `controller`, and for the groups above it as
/// far as they are visible here. `folder` holds the group's files, `unified` says that they are those of version 2.
///   root   the mount point of the cgroup file systems, /sys/fs/cgroup
void forEachCgroup(std::string_view procCgroup, const std::string &root, std::string_view controller,
                   const std::function<void(const std::string &folder, bool unified)> &visit);

} // namespace dsrt
#endif // DSRT_LIB_CGROUP_H
