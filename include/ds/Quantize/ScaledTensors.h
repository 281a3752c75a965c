// A model's tensors with rows and columns multiplied by factors.
#ifndef DS_QUANTIZE_SCALEDTENSORS_H
#define DS_QUANTIZE_SCALEDTENSORS_H

#include "ds/Import/TensorSource.h"
#include <map>

namespace ds {

/// Factors along the two axes of a matrix [rows, columns], or of a vector's elements (`columns`). Empty ones are 1.
struct TensorFactors {
  std::vector<float> rows, columns;
};

/// By the tensor's name.
using FactorsByTensor = std::map<std::string, TensorFactors, std::less<>>;

/// Reads the tensors of another source, which outlives it, times their factors: value * row factor * column factor, each rounded to f32.
class ScaledTensors final : public TensorSource {
public:
  ScaledTensors(const TensorSource &source, FactorsByTensor factors) : source(source), factors(std::move(factors)) {}
  const StoredTensor *find(std::string_view name) const override { return source.find(name); }
  const std::vector<StoredTensor> &tensors() const override { return source.tensors(); }
  Result<void> readF32(const StoredTensor &tensor, int64_t first, int64_t count, float *out) const override;

private:
  const TensorSource &source;
  FactorsByTensor factors;
};

} // namespace ds
#endif // DS_QUANTIZE_SCALEDTENSORS_H
