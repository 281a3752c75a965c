// The safetensors header, and a read of each tensor's ends.
#include "ds/Import/Safetensors.h"
#include <algorithm>
#include <cstdlib>

namespace {
struct Source : ds::TensorSource {
  std::vector<ds::StoredTensor> all;
  const ds::StoredTensor *find(std::string_view) const override { return nullptr; }
  const std::vector<ds::StoredTensor> &tensors() const override { return all; }
};
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto parsed = ds::parseSafetensors(data, size, "fuzz");
  if (!parsed)
    return parsed.error().message.empty() ? (std::abort(), 0) : 0;
  Source source;
  source.all = std::move(*parsed);
  float values[8];
  for (const ds::StoredTensor &tensor : source.all) {
    int64_t count = std::min<int64_t>(tensor.elements(), 8);
    (void)static_cast<bool>(source.readF32(tensor, 0, count, values));
    (void)static_cast<bool>(source.readF32(tensor, tensor.elements() - count, count, values));
  }
  return 0;
}
