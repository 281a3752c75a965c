#include "runtime/lib/SavedText.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace dsrt;

namespace {
/// A file that is being written.
struct Unfinished {
  std::string path, work; // work: what takes the place of path, empty where that is no regular file
  int file = -1;
};
} // namespace

static Status failure(const std::string &path, int error) { return Status::cannotWrite(path, ": ", std::strerror(error)); }

static Status open(const std::string &path, Unfinished &unfinished) {
  unfinished.path = path;
  struct stat found;
  if (stat(path.c_str(), &found) == 0) {
    if (!S_ISREG(found.st_mode)) {
      unfinished.file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      return unfinished.file < 0 ? failure(path, errno) : Status();
    }
    if (char *real = realpath(path.c_str(), nullptr)) { // a link stays one
      unfinished.path = real;
      std::free(real);
    }
  }
  unfinished.work = unfinished.path + ".tmp-" + std::to_string(getpid());
  unfinished.file = ::open(unfinished.work.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
  return unfinished.file < 0 ? failure(path, errno) : Status();
}

/// 0, or why it is not all there.
static int writeAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno != EINTR)
      return errno;
    text.remove_prefix(written < 0 ? 0 : static_cast<size_t>(written));
  }
  return 0;
}

Status dsrt::saveText(const std::string &path, std::string_view text) {
  Unfinished unfinished;
  DSRT_TRY(open(path, unfinished));
  int error = writeAll(unfinished.file, text);
  if (close(unfinished.file) != 0 && error == 0)
    error = errno;
  if (!unfinished.work.empty()) {
    if (error == 0 && std::rename(unfinished.work.c_str(), unfinished.path.c_str()) != 0)
      error = errno;
    if (error != 0)
      unlink(unfinished.work.c_str());
  }
  return error == 0 ? Status() : failure(path, error);
}

Status dsrt::expectWritable(const std::string &path) {
  Unfinished unfinished;
  DSRT_TRY(open(path, unfinished));
  close(unfinished.file);
  if (!unfinished.work.empty())
    unlink(unfinished.work.c_str());
  return Status();
}
