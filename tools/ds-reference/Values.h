// Arguments and results of a function as the command line names them.
#ifndef DS_TOOLS_DSREFERENCE_VALUES_H
#define DS_TOOLS_DSREFERENCE_VALUES_H

#include "ds/Import/Result.h"
#include "ds/Reference/Tensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/raw_ostream.h"

namespace ds::reference {

/// The arguments of `function` from `NAME=VALUE` texts, NAME being the argument's `ds.name` or number. VALUE is `@file.npy` or a literal
/// `2x3xi32=...`. Fails with Usage for a name that is none, twice or absent, and with what the value is wrong in.
Result<std::vector<TensorPtr>> readArguments(mlir::func::FuncOp function, llvm::ArrayRef<std::string> inputs);

/// Writes results, named as arguments are, to `@file.npy`.
Result<void> writeResults(mlir::func::FuncOp function, llvm::ArrayRef<TensorPtr> results, llvm::ArrayRef<std::string> outputs);

/// Compares results with arrays and prints a line for each. True when all are close.
Result<bool> compareResults(mlir::func::FuncOp function, llvm::ArrayRef<TensorPtr> results, llvm::ArrayRef<std::string> comparisons,
                            double atol, double rtol, llvm::raw_ostream &out);

/// Prints each result: name, type, and its first elements.
void printResults(mlir::func::FuncOp function, llvm::ArrayRef<TensorPtr> results, llvm::raw_ostream &out);

} // namespace ds::reference
#endif // DS_TOOLS_DSREFERENCE_VALUES_H
