// What --quantize, --quantize-rule, --calibration and --activations do to a module.
#ifndef TOOLS_DS_COMPILE_QUANTIZATION_H
#define TOOLS_DS_COMPILE_QUANTIZATION_H

#include "Budget.h"
#include "Driver.h"
#include "Progress.h"
#include "SchemeFile.h"
#include "ds/Target/Package/InputScaling.h"
#include <optional>

namespace ds {

class Quantization {
public:
  explicit Quantization(const CompileOptions &options) : options(options) {}
  /// Reads and checks the options, before minutes of work. Errors: Usage; those of `readSchemes`.
  Result<void> prepare();
  bool isAsked() const { return budget || schemes.scheme != "none" || !schemes.rules.empty(); }
  /// Gives the matrices of a module in phase `normalized` their types, and chooses their codes where there is a calibration. Errors:
  /// BadData, by name of model and matrix; those of `Calibration::open` and `correctWeights`.
  Result<void> run(mlir::ModuleOp module, const TensorSource &tensors, Progress &progress);
  /// The codes that were chosen; null without calibration.
  const CorrectedWeights *corrected() const { return weights ? &*weights : nullptr; }
  /// The tensors that codes were chosen for: those of `run`, scaled where `--scale-inputs` says so.
  const TensorSource &tensors(const TensorSource &given) const { return scaled ? *scaled : given; }

private:
  Result<void> applySchemes(mlir::ModuleOp module, const Schemes &schemes) const;
  /// Names what the target has no kernel for; notes matrices that activations of bytes do not serve. Errors: BadData.
  Result<void> checkTarget(mlir::ModuleOp module) const;
  Result<CorrectedWeights> correct(mlir::ModuleOp module, const TensorSource &tensors, const Calibration &calibration,
                                   const InputFactors *inputs, Progress &progress) const;
  /// The schemes that keep within the budget. Errors: Usage, for one that cannot be met.
  Result<Schemes> allocate(mlir::ModuleOp module, const TensorSource &tensors, const Calibration &calibration, Progress &progress) const;

  const CompileOptions &options;
  Schemes schemes;
  std::optional<BitBudget> budget;
  std::unique_ptr<ScaledTensors> scaled;
  std::optional<CorrectedWeights> weights;
};

} // namespace ds
#endif // TOOLS_DS_COMPILE_QUANTIZATION_H
