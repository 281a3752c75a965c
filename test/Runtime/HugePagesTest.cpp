// Weights on huge pages: the same bytes at the same addresses, and only where memory is plenty.
#include "runtime/lib/HugePages.h"
#include "FakePackage.h"
#include "runtime/lib/Memory.h"
#include <array>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <vector>

using namespace dsrt;

static const std::string thp = "sys/kernel/mm/transparent_hugepage/enabled";

namespace {
struct File {
  std::string path, content;
};
struct Case {
  const char *name;
  std::vector<File> files;
  bool expected;
};
} // namespace

static bool holds(const std::vector<File> &files, int64_t bytes) {
  const std::filesystem::path root = fake::temporaryFolder();
  for (const File &file : files) {
    std::filesystem::create_directories((root / file.path).parent_path());
    fake::writeFile((root / file.path).string(), file.content);
  }
  const bool fits = memoryForHugePages(bytes, (root / "cgroup").string(), (root / "proc").string(), (root / "sys").string());
  std::filesystem::remove_all(root);
  return fits;
}

TEST(HugePages, memory) {
  const File ask = {thp, "always [madvise] never\n"}, plenty = {"proc/meminfo", "MemTotal: 900 kB\nMemAvailable:    2048 kB\n"};
  const std::vector<Case> cases = {
      {"no groups", {ask, plenty}, true},
      {"never", {{thp, "always madvise [never]\n"}, plenty}, false},
      {"a system without them", {plenty}, false},
      {"half of what is available", {ask, {"proc/meminfo", "MemAvailable: 2047 kB\n"}}, false},
      {"no meminfo", {ask}, false},
      {"v2 without limit", {ask, plenty, {"proc/self/cgroup", "0::/a\n"}, {"cgroup/a/memory.max", "max\n"}}, true},
      {"v2 room",
       {ask, plenty, {"proc/self/cgroup", "0::/a\n"}, {"cgroup/a/memory.max", "4194304\n"}, {"cgroup/a/memory.current", "1048576\n"}},
       true},
      {"v2 no room",
       {ask, plenty, {"proc/self/cgroup", "0::/a\n"}, {"cgroup/a/memory.max", "2097152\n"}, {"cgroup/a/memory.current", "1048576\n"}},
       false},
      {"v2 the parent has none",
       {ask, plenty, {"proc/self/cgroup", "0::/a/b\n"}, {"cgroup/a/memory.max", "1048576\n"}, {"cgroup/a/memory.current", "0\n"}},
       false},
      {"v1 no room",
       {ask,
        plenty,
        {"proc/self/cgroup", "5:cpu:/x\n4:memory:/x\n"},
        {"cgroup/memory/x/memory.limit_in_bytes", "1000\n"},
        {"cgroup/memory/x/memory.usage_in_bytes", "0\n"}},
       false},
      {"v1 another controller",
       {ask, plenty, {"proc/self/cgroup", "5:cpu:/x\n"}, {"cgroup/memory/x/memory.limit_in_bytes", "1000\n"}},
       true},
  };
  for (const Case &one : cases)
    EXPECT_EQ(holds(one.files, 1 << 20), one.expected) << one.name;
}

TEST(HugePages, eachWorkerMovesWhatItReads) {
  const std::vector<MatrixRange> matrices = {{100, 1100}, {2000, 2004}};
  for (auto [place, two, three] : {std::array{0, 0, 0},
                                   {99, 0, 0},
                                   {100, 0, 0},
                                   {433, 0, 0},
                                   {434, 0, 1},
                                   {599, 0, 1},
                                   {600, 1, 1},
                                   {1099, 1, 2},
                                   {1100, 0, 0},
                                   {1999, 0, 0},
                                   {2003, 1, 2},
                                   {2004, 0, 0}}) {
    EXPECT_EQ(readerOf(matrices, place, 1), 0) << place;
    EXPECT_EQ(readerOf(matrices, place, 2), two) << place;
    EXPECT_EQ(readerOf(matrices, place, 3), three) << place;
  }
  EXPECT_EQ(readerOf({}, 5, 4), 0);
}

TEST(HugePages, movedBytesAreTheSame) {
  constexpr int64_t bytes = (21 << 20) + 12345;
  const std::filesystem::path root = fake::temporaryFolder();
  std::string values(bytes, '\0');
  uint32_t state = 1;
  for (char &value : values)
    value = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  const std::string path = (root / "weights").string();
  fake::writeFile(path, values);
  {
    Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    Mapping mapping;
    ASSERT_TRUE(Mapping::file(file.get(), bytes, path, mapping).ok());
    // Whole huge pages are moved, wherever the mapping begins; none where the system has none.
    std::unique_ptr<WorkerPool> pool;
    ASSERT_TRUE(WorkerPool::create(3, -1, pool).ok());
    const int64_t moved = moveToHugePages(mapping.data(), bytes, {{4096, 9 << 20}, {9 << 20, bytes}}, *pool);
    if (memoryForHugePages(bytes))
      EXPECT_GE(moved, bytes - (4 << 20));
    else
      EXPECT_EQ(moved, 0);
    EXPECT_EQ(std::memcmp(values.data(), mapping.data(), bytes), 0);
    EXPECT_EQ(moveToHugePages(mapping.data(), 12345, {}, *pool), 0) << "less than a page";
  }
  std::filesystem::remove_all(root);
}
