// Executes functions of `ds` in f64 on the host: the oracle that passes, kernels and back ends are held to.
#ifndef DS_REFERENCE_INTERPRETER_H
#define DS_REFERENCE_INTERPRETER_H

#include "dialects/DS/DSDialect.h"
#include "ds/Import/Result.h"
#include "ds/Quantize/QuantizedMatrix.h"
#include "ds/Reference/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include <functional>

namespace ds {
class TensorSource;
}

namespace ds::reference {

/// The elements of a parameter with a `source`, row-major in the parameter's own shape.
using WeightLoader = std::function<Result<std::vector<double>>(ParameterOp)>;

/// Reads parameters from the files of a model, through their views; `matrices` has the codes of those that were chosen before, or is null.
/// Both outlive the loader.
/// The loader fails with Missing for a tensor that is not there, and BadData for a view that leaves its tensor.
WeightLoader loadFrom(const TensorSource &source, const QuantizedMatrices *matrices = nullptr);

/// Executes the functions of one module. Dynamic sizes are those of the arguments. No value is rounded but weights, which have their
/// parameter's element type also after an update, what goes into a cache, and rope's frequencies and angles, all as the ops' descriptions
/// say. Errors are diagnostics at the op they arose in. Not thread-safe; it uses the context's threads.
class Interpreter {
public:
  struct Options {
    bool keepWeights = true; // false: a weight is read anew at each use, so that memory holds one at a time
  };

  explicit Interpreter(mlir::ModuleOp module, WeightLoader loader = {}) : Interpreter(module, std::move(loader), Options()) {}
  Interpreter(mlir::ModuleOp module, WeightLoader loader, Options options);
  ~Interpreter();

  /// Runs `function` to its results. Fails for a function that is not there, arguments of another type or shape than its own, an index
  /// outside a table, sizes that do not go together, an op that has no meaning here, and an expectation that does not hold.
  mlir::FailureOr<std::vector<TensorPtr>> call(llvm::StringRef function, llvm::ArrayRef<TensorPtr> arguments);

  /// What a cache holds, [B, C, width], or null when nothing was appended. It lives from call to call.
  TensorPtr cache(llvm::StringRef name) const;
  /// Begins anew: every cache is empty.
  void resetCaches();

  /// The value of a parameter: what the last update or `setParameter` made it. Null for one that is not there or cannot be read.
  TensorPtr parameter(llvm::StringRef name);
  /// Replaces the value of a parameter, rounded to its element type. Fails for one that is not there or has another type.
  mlir::LogicalResult setParameter(llvm::StringRef name, Tensor value);
  /// The sum of what was added to a parameter's gradient since it was used or reset: zeros when nothing was. Null for no parameter.
  TensorPtr gradient(llvm::StringRef name) const;
  /// What the optimizer keeps of a parameter: zeros before its first step. Null for no parameter.
  TensorPtr moment1(llvm::StringRef name) const;
  TensorPtr moment2(llvm::StringRef name) const;
  /// Every gradient is zero.
  void resetGradients();

private:
  class Machine;
  std::unique_ptr<Machine> machine;
};

} // namespace ds::reference
#endif // DS_REFERENCE_INTERPRETER_H
