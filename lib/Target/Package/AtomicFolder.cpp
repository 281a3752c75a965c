#include "AtomicFolder.h"
#include "dsrt/package.h"
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace ds;

static Error cannotWrite(const std::string &name, int error) {
  return Error::cannotWrite("cannot write '" + name + "': " + std::strerror(error));
}

/// Removes work folders of `path` whose process is gone.
static void removeStale(const fs::path &path) {
  std::error_code error;
  std::string prefix = path.filename().string() + ".tmp-";
  for (const fs::directory_entry &entry : fs::directory_iterator(path.parent_path().empty() ? "." : path.parent_path(), error)) {
    std::string name = entry.path().filename().string();
    if (name.compare(0, prefix.size(), prefix) != 0)
      continue;
    long pid = std::strtol(name.c_str() + prefix.size(), nullptr, 10);
    if (pid > 0 && kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) {
      std::error_code ignored;
      fs::remove_all(entry.path(), ignored);
    }
  }
}

Result<AtomicFolder> AtomicFolder::create(const std::string &path) {
  std::string clean = path;
  while (clean.size() > 1 && clean.back() == '/')
    clean.pop_back();
  std::error_code error;
  if (fs::exists(fs::symlink_status(clean, error))) {
    bool package = fs::is_directory(clean, error) && (fs::is_empty(clean, error) || fs::exists(clean + "/manifest.json", error));
    if (!package)
      return Error::cannotWrite("cannot write '" + clean + "': expects a package, an empty folder or nothing there, found something else");
  }
  removeStale(clean);
  std::string work = clean + ".tmp-" + std::to_string(getpid());
  if (mkdir(work.c_str(), 0777) != 0)
    return cannotWrite(work, errno);
  return AtomicFolder(clean, work);
}

AtomicFolder::AtomicFolder(AtomicFolder &&other) noexcept : path(std::move(other.path)), work(std::move(other.work)) { other.work.clear(); }

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!work.empty())
    fs::remove_all(work, ignored);
}

Result<int> AtomicFolder::openFile(const std::string &name) {
  fs::path full = fs::path(work) / name;
  std::error_code error;
  fs::create_directories(full.parent_path(), error);
  int file = open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0)
    return cannotWrite(finalName(name), errno);
  return file;
}

Result<void> AtomicFolder::closeFile(int file, const std::string &name) {
  int error = fsync(file) != 0 ? errno : 0;
  if (close(file) != 0 && error == 0)
    error = errno;
  if (error != 0)
    return cannotWrite(finalName(name), error);
  return {};
}

Result<void> ds::writeAt(int file, const void *data, size_t size, int64_t offset, const std::string &name) {
  const char *bytes = static_cast<const char *>(data);
  while (size > 0) {
    ssize_t written = pwrite(file, bytes, size, offset);
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return cannotWrite(name, written < 0 ? errno : ENOSPC);
    bytes += written, size -= written, offset += written;
  }
  return {};
}

Result<void> AtomicFolder::writeFile(const std::string &name, const std::string &content) {
  Result<int> file = openFile(name);
  if (!file)
    return file.error();
  Result<void> written = writeAt(*file, content.data(), content.size(), 0, finalName(name));
  Result<void> closed = closeFile(*file, name);
  return written ? closed : written;
}

static Result<void> syncFolder(const std::string &name) {
  int folder = open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0 || fsync(folder) != 0) {
    int error = errno;
    if (folder >= 0)
      close(folder);
    return cannotWrite(name, error);
  }
  close(folder);
  return {};
}

Result<void> AtomicFolder::commit() {
  std::error_code error;
  for (const fs::directory_entry &entry : fs::recursive_directory_iterator(work, error))
    if (entry.is_directory())
      if (Result<void> synced = syncFolder(entry.path().string()); !synced)
        return synced;
  if (Result<void> synced = syncFolder(work); !synced)
    return synced;
  // Two folders change places in one step, so there is always a whole package at `path`.
  bool exists = fs::exists(fs::symlink_status(path, error));
  if (renameat2(AT_FDCWD, work.c_str(), AT_FDCWD, path.c_str(), exists ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0)
    return cannotWrite(path, errno);
  if (exists)
    fs::remove_all(work, error);
  work.clear();
  fs::path parent = fs::path(path).parent_path();
  return syncFolder(parent.empty() ? "." : parent.string());
}
