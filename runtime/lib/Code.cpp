#include "runtime/lib/Code.h"
#include "runtime/lib/Hash.h"
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

using namespace dsrt;

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

Code::Code(Code &&other) noexcept
    : path(std::move(other.path)), sealed(std::move(other.sealed)), handle(std::exchange(other.handle, nullptr)) {}

Code &Code::operator=(Code &&other) noexcept {
  std::swap(path, other.path);
  std::swap(sealed, other.sealed);
  std::swap(handle, other.handle);
  return *this;
}

static std::string loadName(int descriptor) { return concat("/proc/self/fd/", descriptor); }

Code::~Code() {
  if (!handle)
    return;
  dlclose(handle);
  // The loader knows libraries by name. Where one stays resident, its number must not be given to another.
  if (void *resident = dlopen(loadName(sealed.get()).c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
    dlclose(resident);
    sealed.release();
  }
}

static Status copyBytes(int from, int to, int64_t bytes, const std::string &path) {
  char buffer[1 << 16];
  int64_t done = 0;
  while (done < bytes) {
    ssize_t count = read(from, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return Status::missing(path, ": ", strerror(errno));
    if (count == 0)
      return Status::badData(path, ": expects ", bytes, " bytes, found ", done);
    for (ssize_t written = 0; written < count;) {
      ssize_t step = write(to, buffer + written, count - written);
      if (step < 0 && errno == EINTR)
        continue;
      if (step < 0)
        return Status::outOfMemory(path, ": copy in memory: ", strerror(errno));
      written += step;
    }
    done += count;
  }
  return Status();
}

Status Code::copy(const std::string &path, int64_t bytes, const std::string &sha256, Code &code) {
  Descriptor file;
  int64_t found = 0;
  DSRT_TRY(openFile(path, file, found));
  if (found != bytes)
    return Status::badData(path, ": expects ", bytes, " bytes, found ", found);
  // Kernels before 6.3 do not know MFD_EXEC and need none.
  Descriptor memory(memfd_create("dsrt-code", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
  if (memory.get() < 0)
    memory = Descriptor(memfd_create("dsrt-code", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (memory.get() < 0)
    return Status::internal("memfd_create: ", strerror(errno));
  DSRT_TRY(copyBytes(file.get(), memory.get(), bytes, path));
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    return Status::internal("sealing the code in memory: ", strerror(errno));
  // The sealed copy is what is hashed, as it is what is opened.
  Mapping mapping;
  DSRT_TRY(Mapping::file(memory.get(), bytes, path, mapping));
  if (std::string hash = sha256Hex(mapping.data(), mapping.size()); hash != sha256)
    return Status::badData(path, ": expects sha256 ", sha256, ", found ", hash);
  code.path = path;
  code.sealed = std::move(memory);
  return Status();
}

static std::string loaderError() {
  const char *text = dlerror();
  std::string line = text ? text : "no reason given";
  for (char &byte : line)
    if (byte == '\n')
      byte = ' ';
  return line;
}

Status Code::open() {
  handle = dlopen(loadName(sealed.get()).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return Status::badData(path, ": the system does not load it: ", loaderError());
  const auto *abi = static_cast<const int32_t *>(dlsym(handle, DS_ABI_SYMBOL));
  if (!abi)
    return Status::badData(path, ": expects the symbol " DS_ABI_SYMBOL ", found none");
  if (*abi != DS_ABI)
    return Status::badData(path, ": this runtime runs abi ", DS_ABI, ", the code has abi ", *abi);
  return Status();
}

void *Code::address(const std::string &symbol) const { return dlsym(handle, symbol.c_str()); }

Status Code::find(const std::string &symbol, DsProgramFn &program) const {
  program = reinterpret_cast<DsProgramFn>(address(symbol));
  return program ? Status() : Status::badData(path, ": expects the symbol ", symbol, ", found none");
}

Status Code::findLaunches(const std::string &name, int32_t &launches) const {
  std::string symbol = concat(DS_LAUNCHES_PREFIX, name);
  const auto *count = static_cast<const int32_t *>(address(symbol));
  if (!count || *count < 0 || *count > (1 << 20))
    return Status::badData(path, ": expects the symbol ", symbol, " with the number of launches");
  launches = *count;
  return Status();
}
