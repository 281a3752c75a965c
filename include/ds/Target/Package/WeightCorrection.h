// Codes of a module's quantized matrices, chosen with regard to what they multiply on a calibration text.
#ifndef DS_TARGET_PACKAGE_WEIGHTCORRECTION_H
#define DS_TARGET_PACKAGE_WEIGHTCORRECTION_H

#include "ds/Import/TensorSource.h"
#include "ds/Quantize/Calibration.h"
#include "ds/Quantize/QuantizedMatrix.h"
#include "mlir/IR/BuiltinOps.h"
#include <functional>
#include <vector>

namespace ds {

/// What the columns of matrices were multiplied by before they are rounded, by the name of their moments.
using InputFactors = std::map<std::string, std::vector<float>, std::less<>>;

struct CorrectionOptions {
  unsigned threads = 1;
  /// Moments are of values that these divide; null: none.
  const InputFactors *inputs = nullptr;
  /// Called with the matrices done so far and their number, from any thread.
  std::function<void(int64_t done, int64_t total)> progress;
  /// Asked between pieces of work, from any thread; true ends the work with CannotWrite.
  std::function<bool()> cancelled;
};

/// What quantization costs a matrix where it is used: mean squares, over tokens, of the layer's output and of its error, added up over
/// rows.
struct OutputError {
  double signal = 0, noise = 0;
};

struct CorrectedWeights {
  QuantizedMatrices matrices;
  std::map<std::string, OutputError, std::less<>> errors; // of the same matrices
  std::vector<std::string> left;                          // sources of matrices that are rounded without regard, and why
};

/// Chooses the codes of the quantized matrices of `module` (phase `normalized`, after `ds-quantize-weights`) by error correction with the
/// moments of `calibration`. Tables, and matrices that keep the codes of the source or have a grid, stay as they are. The same on any
/// number of threads. Errors: BadData, for moments of another size than a matrix has columns, moments that no values have, and values that
/// cannot be quantized; those of reading a parameter.
Result<CorrectedWeights> correctWeights(mlir::ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                        const CorrectionOptions &options);

} // namespace ds
#endif // DS_TARGET_PACKAGE_WEIGHTCORRECTION_H
