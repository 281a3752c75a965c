// Files are written whole or not at all.
#include "runtime/lib/SavedText.h"
#include "FakePackage.h"
#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace dsrt;
using namespace fake;

namespace {
class SavedText : public ::testing::Test {
protected:
  void TearDown() override { std::filesystem::remove_all(folder); }

  std::string in(const std::string &name) const { return folder + "/" + name; }
  int64_t files() const { return std::distance(std::filesystem::directory_iterator(folder), {}); }

  const std::string folder = temporaryFolder();
};

/// No file of this process may be longer while it lives: a full disk.
struct ShortFiles {
  explicit ShortFiles(rlim_t bytes) : handler(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit low{bytes, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &low);
  }
  ~ShortFiles() {
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
  }
  rlimit before;
  void (*handler)(int);
};
} // namespace

TEST_F(SavedText, ReplacesWhatIsThere) {
  const mode_t mask = umask(022);
  EXPECT_TRUE(saveText(in("a"), "first").ok());
  umask(mask);
  EXPECT_TRUE(saveText(in("a"), "second").ok());
  EXPECT_EQ(readFile(in("a")), "second");
  EXPECT_EQ(files(), 1);
  struct stat found;
  ASSERT_EQ(stat(in("a").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0666 & ~mask);
}

TEST_F(SavedText, KeepsWhatIsThereUnlessAllIsWritten) {
  ASSERT_TRUE(saveText(in("a"), "first").ok());
  {
    ShortFiles full(4096);
    const Status status = saveText(in("a"), std::string(8192, 'x'));
    EXPECT_EQ(status.code(), DSRT_CANNOT_WRITE);
    EXPECT_EQ(status.message(), "cannot write: " + in("a") + ": File too large");
    EXPECT_FALSE(saveText(in("b"), std::string(8192, 'x')).ok());
  }
  EXPECT_EQ(readFile(in("a")), "first");
  EXPECT_EQ(files(), 1);
}

TEST_F(SavedText, FollowsLinksAndWritesToDevices) {
  ASSERT_TRUE(saveText(in("a"), "first").ok());
  std::filesystem::create_symlink("a", in("link"));
  EXPECT_TRUE(saveText(in("link"), "second").ok());
  EXPECT_TRUE(std::filesystem::is_symlink(in("link")));
  EXPECT_EQ(readFile(in("a")), "second");
  EXPECT_TRUE(saveText("/dev/null", "text").ok());
  EXPECT_EQ(saveText("/dev/full", "text").message(), "cannot write: /dev/full: No space left on device");
}

TEST_F(SavedText, SaysBeforehandWhatCannotBeWritten) {
  EXPECT_TRUE(expectWritable(in("a")).ok());
  EXPECT_EQ(files(), 0);
  EXPECT_EQ(expectWritable(in("no/where")).message(), "cannot write: " + in("no/where") + ": No such file or directory");
  EXPECT_EQ(expectWritable(folder).message(), "cannot write: " + folder + ": Is a directory");
}
