#include "ds/Quantize/ScaledTensors.h"

using namespace ds;

Result<void> ScaledTensors::readF32(const StoredTensor &tensor, int64_t first, int64_t count, float *out) const {
  if (Result<void> read = source.readF32(tensor, first, count, out); !read)
    return read;
  auto found = factors.find(tensor.name);
  if (found == factors.end())
    return {};
  const TensorFactors &own = found->second;
  const int64_t width = tensor.shape.back();
  for (int64_t i = 0; i < count; ++i) {
    if (!own.rows.empty())
      out[i] *= own.rows[static_cast<size_t>((first + i) / width)];
    if (!own.columns.empty())
      out[i] *= own.columns[static_cast<size_t>((first + i) % width)];
  }
  return {};
}
