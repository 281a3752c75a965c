// Activation-aware scaling: what matrices multiply most is rounded finest.
#ifndef DS_TARGET_PACKAGE_INPUTSCALING_H
#define DS_TARGET_PACKAGE_INPUTSCALING_H

#include "ds/Quantize/ScaledTensors.h"
#include "ds/Target/Package/WeightCorrection.h"

namespace ds {

struct InputScales {
  FactorsByTensor tensors; // of the model's tensors; together they leave the model's values as they are
  InputFactors inputs;     // what the columns of matrices were multiplied by
};

/// Chooses for each value that only linears of `module` (phase `normalized`, after `ds-quantize-weights`) read a factor s[k] for each
/// element: columns of the matrices are multiplied by it, and what makes the value is divided: gain and bias of a norm, or a linear that
/// the value is a product with, as in gated MLPs. s = m^(a / 2), m the diagonal of the moments, with the exponent a of 0, 0.1 to 0.5 that
/// leaves the least error at the output of corrected matrices (of at most 64 rows each). Values with other readers, matrices that keep
/// the codes of the source or have a grid, tables, and values without moments stay as they are. The same on any number of threads.
/// Errors: BadData, for values that cannot be quantized and moments that no values have; those of reading a parameter.
/// Source: AWQ, Lin et al. 2023 (arXiv 2306.00978), section 3.2; moments are of tokens divided by their length, as in a calibration file.
Result<InputScales> chooseInputScales(mlir::ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                      const CorrectionOptions &options);

} // namespace ds
#endif // DS_TARGET_PACKAGE_INPUTSCALING_H
