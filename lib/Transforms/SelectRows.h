// The head of a model computed for chosen tokens alone.
#ifndef DS_LIB_TRANSFORMS_SELECTROWS_H
#define DS_LIB_TRANSFORMS_SELECTROWS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ds {

/// The place of the result of `function` whose `ds.name` is `name`.
std::optional<unsigned> resultNamed(mlir::func::FuncOp function, llvm::StringRef name);

/// Adds an argument of `type` with `ds.name` before argument `index`. Fails with a diagnostic where the function cannot take it.
mlir::FailureOr<mlir::Value> insertNamedArgument(mlir::func::FuncOp function, unsigned index, llvm::StringRef name, mlir::Type type);

/// Computes result `logits` [B, T, V] as [R, V] from the tokens `rows` [R] of result `hidden` [B, T, H] alone. Fails with a diagnostic for
/// a head that reads other tokens, or whose ops do not take each token by itself. With `intoLayers` what stands behind the last attention
/// is computed for `rows` as well; the same of all tokens, which makes `hidden`, stays.
mlir::LogicalResult selectRows(mlir::func::FuncOp function, unsigned hidden, unsigned logits, mlir::Value rows, bool intoLayers = false);

} // namespace ds
#endif // DS_LIB_TRANSFORMS_SELECTROWS_H
