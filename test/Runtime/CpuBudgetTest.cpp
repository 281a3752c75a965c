// Thread numbers from cgroup trees as the kernel shows them.
#include "runtime/lib/CpuBudget.h"
#include "FakePackage.h"
#include <cstdlib>
#include <gtest/gtest.h>

using namespace dsrt;

namespace {
struct File {
  const char *path, *content;
};
struct Case {
  const char *name, *procCgroup;
  std::vector<File> files;
  int32_t expected;
};
} // namespace

TEST(CpuBudget, CgroupQuotas) {
  const std::vector<Case> cases = {
      {"v2 without limit", "0::/user.slice\n", {{"user.slice/cpu.max", "max 100000\n"}}, 0},
      {"v2 two CPUs", "0::/box\n", {{"box/cpu.max", "200000 100000\n"}}, 2},
      {"v2 a fraction is rounded up", "0::/box\n", {{"box/cpu.max", "150000 100000\n"}}, 2},
      {"v2 less than one", "0::/box\n", {{"box/cpu.max", "5000 100000\n"}}, 1},
      {"v2 the parent is stricter", "0::/a/b/c\n", {{"a/cpu.max", "100000 100000\n"}, {"a/b/c/cpu.max", "400000 100000\n"}}, 1},
      {"v2 inside a container", "0::/\n", {{"cpu.max", "300000 100000\n"}}, 3},
      {"v2 group outside the mount", "0::/../other\n", {{"cpu.max", "300000 100000\n"}}, 3},
      {"v1", "4:memory:/x\n3:cpu,cpuacct:/x\n", {{"cpu/x/cpu.cfs_quota_us", "250000\n"}, {"cpu/x/cpu.cfs_period_us", "100000\n"}}, 3},
      {"v1 without limit", "3:cpu,cpuacct:/x\n", {{"cpu/x/cpu.cfs_quota_us", "-1\n"}, {"cpu/x/cpu.cfs_period_us", "100000\n"}}, 0},
      {"v1 named mount",
       "3:cpu,cpuacct:/\n",
       {{"cpu,cpuacct/cpu.cfs_quota_us", "100000\n"}, {"cpu,cpuacct/cpu.cfs_period_us", "100000\n"}},
       1},
      {"cpuset is not cpu", "3:cpuset:/x\n", {{"cpu/x/cpu.cfs_quota_us", "100000\n"}, {"cpu/x/cpu.cfs_period_us", "100000\n"}}, 0},
      {"nothing there", "0::/gone\n", {}, 0},
      {"nonsense", "::\nx\n0:\n\n0::/y", {{"y/cpu.max", "many of them\n"}}, 0},
      {"zero period", "0::/y\n", {{"y/cpu.max", "100000 0\n"}}, 0},
      {"huge", "0::/y\n", {{"y/cpu.max", "9223372036854775807 1\n"}}, 1 << 20},
  };
  for (const Case &test : cases) {
    const std::filesystem::path root = fake::temporaryFolder();
    for (const File &file : test.files) {
      std::filesystem::create_directories((root / file.path).parent_path());
      fake::writeFile((root / file.path).string(), file.content);
    }
    EXPECT_EQ(cgroupCpuLimit(test.procCgroup, root.string()), test.expected) << test.name;
    std::filesystem::remove_all(root);
  }
}

TEST(CpuBudget, ChoosesThreads) {
  int32_t threads = 0;
  EXPECT_TRUE(chooseThreads(3, threads).ok());
  EXPECT_EQ(threads, 3);
  EXPECT_EQ(chooseThreads(-1, threads).code(), DSRT_INVALID_ARGUMENT);
  EXPECT_EQ(chooseThreads(100000, threads).code(), DSRT_INVALID_ARGUMENT);
  setenv("DS_NUM_THREADS", "5", 1);
  EXPECT_TRUE(chooseThreads(0, threads).ok());
  EXPECT_EQ(threads, 5);
  for (const char *bad : {"0", "-2", "two", "4x", "99999999999999999999"}) {
    setenv("DS_NUM_THREADS", bad, 1);
    Status status = chooseThreads(0, threads);
    EXPECT_EQ(status.code(), DSRT_INVALID_ARGUMENT) << bad;
    EXPECT_EQ(status.message(), std::string("invalid argument: DS_NUM_THREADS: expects 1..1024, got '") + bad + "'");
  }
  unsetenv("DS_NUM_THREADS");
  EXPECT_TRUE(chooseThreads(0, threads).ok());
  EXPECT_GE(threads, 1);
  EXPECT_LE(static_cast<size_t>(threads), allowedCpus().size());
}
