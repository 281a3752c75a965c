// What quantization does to each matrix.
#ifndef DS_TARGET_PACKAGE_QUANTIZATIONREPORT_H
#define DS_TARGET_PACKAGE_QUANTIZATIONREPORT_H

#include "ds/Target/Package/WeightCorrection.h"
#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace ds {

/// A table of the matrices of a module, empty where none is quantized: scheme (`none` and nothing else for those that are not), bits a
/// weight with its scales, signal-to-quantization-noise ratio in dB (`exact` where nothing changes), the greatest error of a weight, and,
/// where weights were corrected, the same ratio at the layer's output on the calibration text. Reads every quantized matrix once. Errors:
/// those of reading a parameter, BadData for values that cannot be quantized.
Result<std::string> quantizationReport(mlir::ModuleOp module, const TensorSource &tensors, const CorrectedWeights *corrected = nullptr);

/// The scheme that most quantized weights of a module have, by name; empty when none is quantized.
std::string mainScheme(mlir::ModuleOp module);

} // namespace ds
#endif // DS_TARGET_PACKAGE_QUANTIZATIONREPORT_H
