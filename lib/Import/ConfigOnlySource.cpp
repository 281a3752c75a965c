#include "ConfigOnlySource.h"
#include <sys/mman.h>

using namespace ds;

ConfigOnlySource::~ConfigOnlySource() {
  if (zeros)
    munmap(zeros, zeroBytes);
}

Result<void> ConfigOnlySource::add(const std::string &name, const std::vector<int64_t> &shape) {
  if (places.count(name) != 0)
    return {};
  size_t bytes = sizeof(float);
  for (int64_t size : shape)
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes))
      bytes = SIZE_MAX;
  if (bytes > zeroBytes) {
    void *more = bytes == SIZE_MAX ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (more == MAP_FAILED)
      return Error::badData("'" + file + "': tensor '" + name + "': expects a size this machine can address, found " +
                            (bytes == SIZE_MAX ? "more than any" : std::to_string(bytes) + " bytes"));
    if (zeros)
      munmap(zeros, zeroBytes);
    zeros = more;
    zeroBytes = bytes;
    for (StoredTensor &tensor : all)
      tensor.data = static_cast<const uint8_t *>(zeros);
  }
  places.emplace(name, all.size());
  all.push_back({name, StoredType::F32, shape, static_cast<const uint8_t *>(zeros), bytes, file});
  return {};
}

const StoredTensor *ConfigOnlySource::find(std::string_view name) const {
  auto place = places.find(std::string(name));
  return place == places.end() ? nullptr : &all[place->second];
}
