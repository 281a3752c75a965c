#include "ds/Quantize/Calibration.h"
#include "ds/Import/Safetensors.h"
#include <cmath>
#include <cstring>

using namespace ds;

static Result<void> check(const StoredTensor &tensor) {
  const std::string place = "'" + tensor.file + "': tensor '" + tensor.name + "': ";
  if (tensor.type != StoredType::F32 || tensor.shape.size() != 2 || tensor.shape[0] != tensor.shape[1])
    return Error::badData(place + "expects a square matrix of f32");
  const int64_t columns = tensor.shape[0];
  auto at = [&](int64_t i, int64_t j) {
    float value;
    std::memcpy(&value, tensor.data + 4 * (i * columns + j), 4);
    return value;
  };
  for (int64_t i = 0; i < columns; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float value = at(i, j);
      if (!std::isfinite(value) || (i == j && value < 0))
        return Error::badData(place + "element [" + std::to_string(i) + ", " + std::to_string(j) +
                              "]: expects a finite moment, not negative on the diagonal, found " + std::to_string(value));
      if (j < i && !(std::fabs(value - at(j, i)) <= 1e-3f * std::sqrt(at(i, i) * at(j, j))))
        return Error::badData(place + "element [" + std::to_string(i) + ", " + std::to_string(j) + "]: expects the moment of [" +
                              std::to_string(j) + ", " + std::to_string(i) + "], " + std::to_string(at(j, i)) + ", found " +
                              std::to_string(value));
    }
  return {};
}

Result<Calibration> Calibration::open(const std::string &path) {
  Result<MappedFile> mapped = MappedFile::open(path);
  if (!mapped)
    return mapped.error();
  Calibration calibration;
  calibration.file = std::move(*mapped);
  Result<std::vector<StoredTensor>> tensors = parseSafetensors(calibration.file);
  if (!tensors)
    return tensors.error();
  for (StoredTensor &tensor : *tensors) {
    if (!std::string_view(tensor.name).starts_with(observedPrefix))
      return Error::badData("'" + path + "': expects tensors '" + std::string(observedPrefix) + "...', found '" + tensor.name + "'");
    if (Result<void> checked = check(tensor); !checked)
      return checked.error();
    calibration.moments.emplace(tensor.name.substr(observedPrefix.size()), std::move(tensor));
  }
  return calibration;
}

const StoredTensor *Calibration::find(std::string_view name) const {
  auto found = moments.find(name);
  return found == moments.end() ? nullptr : &found->second;
}

std::vector<float> ds::dividedMoments(const float *moments, const std::vector<float> &factors) {
  const size_t columns = factors.size();
  std::vector<float> divided(columns * columns);
  for (size_t i = 0; i < columns; ++i)
    for (size_t j = 0; j < columns; ++j)
      divided[i * columns + j] = moments[i * columns + j] / (factors[i] * factors[j]);
  return divided;
}
