// A model with weights made up from their names, its training functions, and one step of them in f64.
#ifndef DS_TEST_TRANSFORMS_TRAINEDMODEL_H
#define DS_TEST_TRANSFORMS_TRAINEDMODEL_H

#include "ds/Reference/Interpreter.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include <map>
#include <string>

namespace ds::test {

/// How the training functions of a model are made.
struct TrainingOptions {
  bool layerDrop = false;
  std::string recompute = "none";
  double smoothing = 0;
  double dropout = 0; // of every product inside a layer and every embedding
};

class TrainedModel {
public:
  /// From the text of a module of phase `normalized`. Where that fails, `error()` says why.
  TrainedModel(const std::string &text, const TrainingOptions &options);

  const std::string &error() const { return message; }
  mlir::ModuleOp get() { return *module; }
  reference::Interpreter &state() { return *interpreter; }

  /// Values of arguments that are not those of the step that is made up: 2 sequences of 5 tokens, some masked, 4 rows, one without a label.
  std::map<std::string, std::vector<double>> given;

  /// What `function` returns, in order; empty where it fails.
  std::vector<reference::TensorPtr> call(const std::string &function);
  /// The sum of all rows' losses in `function`, times the loss scale.
  double loss(const std::string &function = "step");

  static constexpr double lossScale = 0.25;

private:
  reference::TensorPtr argument(const std::string &name, mlir::RankedTensorType type);

  mlir::MLIRContext context;
  std::string message;
  mlir::ScopedDiagnosticHandler handler;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::unique_ptr<reference::Interpreter> interpreter;
};

} // namespace ds::test
#endif // DS_TEST_TRANSFORMS_TRAINEDMODEL_H
