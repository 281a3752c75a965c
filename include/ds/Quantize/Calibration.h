// What matrices multiply, measured on a text: the second moments that decide how an error of a weight counts.
#ifndef DS_QUANTIZE_CALIBRATION_H
#define DS_QUANTIZE_CALIBRATION_H

#include "ds/Import/Result.h"
#include "ds/Import/SafeOpen.h"
#include "ds/Import/TensorSource.h"
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ds {

/// Before a tensor's name: the output of a package that observes, and the moments of a calibration file.
inline constexpr std::string_view observedPrefix = "input:";

/// A file of moments: safetensors with a tensor `input:NAME` [K, K] f32 for each value that matrices multiply, NAME the tensor of the first
/// of them. Element (i, j) is the mean over tokens of x_i x_j. Written by `ds_mlir.calibrate`.
class Calibration {
public:
  /// Errors: Missing; BadData, for a file that is cut short or is no such file, a tensor that is not square and f32, and moments that are
  /// not finite or negative on the diagonal. Messages name file and tensor.
  static Result<Calibration> open(const std::string &path);
  /// The moments named after tensor `name`, [K, K], or null.
  const StoredTensor *find(std::string_view name) const;
  const std::string &path() const { return file.path(); }

private:
  MappedFile file;
  std::map<std::string, StoredTensor, std::less<>> moments;
};

/// `moments` [K, K] of values x[K], as those of x / `factors` [K].
std::vector<float> dividedMoments(const float *moments, const std::vector<float> &factors);

} // namespace ds
#endif // DS_QUANTIZE_CALIBRATION_H
