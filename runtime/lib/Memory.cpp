#include "runtime/lib/Memory.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace dsrt;

Mapping::~Mapping() {
  if (address)
    munmap(address, bytes);
}

void Mapping::swap(Mapping &other) {
  std::swap(address, other.address);
  std::swap(bytes, other.bytes);
  std::swap(isFile, other.isFile);
}

Status Mapping::anonymous(int64_t bytes, bool huge, Mapping &mapping) {
  mapping = Mapping();
  if (bytes <= 0)
    return Status();
  void *address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    return Status::outOfMemory("the system refuses ", bytes, " bytes: ", strerror(errno));
  if (huge)
    madvise(address, bytes, MADV_HUGEPAGE); // advice: 4 KiB pages do as well
  mapping.address = static_cast<uint8_t *>(address);
  mapping.bytes = bytes;
  return Status();
}

Status Mapping::file(int descriptor, int64_t bytes, std::string_view place, Mapping &mapping) {
  mapping = Mapping();
  if (bytes <= 0)
    return Status();
  void *address = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (address == MAP_FAILED)
    return Status::outOfMemory(place, ": the system does not map ", bytes, " bytes: ", strerror(errno));
  mapping.address = static_cast<uint8_t *>(address);
  mapping.bytes = bytes;
  mapping.isFile = true;
  return Status();
}

void Mapping::forget() {
  if (isFile)
    madvise(address, bytes, MADV_DONTNEED); // advice: the pages stay otherwise
}

Descriptor::~Descriptor() {
  if (number >= 0)
    close(number);
}

Descriptor &Descriptor::operator=(Descriptor &&other) noexcept {
  std::swap(number, other.number);
  return *this;
}

int Descriptor::release() { return std::exchange(number, -1); }

Status dsrt::openFile(const std::string &path, Descriptor &descriptor, int64_t &bytes) {
  // Non-blocking, so that a pipe in the place of a file cannot hold the caller.
  Descriptor opened(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (opened.get() < 0)
    return Status::missing(path, ": ", strerror(errno));
  struct stat info;
  if (fstat(opened.get(), &info) != 0)
    return Status::missing(path, ": ", strerror(errno));
  if (!S_ISREG(info.st_mode))
    return Status::badData(path, ": expects a regular file");
  bytes = info.st_size;
  descriptor = std::move(opened);
  return Status();
}

Status dsrt::readWholeFile(const std::string &path, int64_t most, std::string &text) {
  Descriptor file;
  int64_t bytes = 0;
  DSRT_TRY(openFile(path, file, bytes));
  if (bytes > most)
    return Status::badData(path, ": expects at most ", most, " bytes, found ", bytes);
  text.resize(bytes);
  int64_t done = 0;
  while (done < bytes) {
    ssize_t count = read(file.get(), text.data() + done, bytes - done);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return Status::missing(path, ": ", strerror(errno));
    if (count == 0)
      return Status::badData(path, ": expects ", bytes, " bytes, found ", done);
    done += count;
  }
  return Status();
}
