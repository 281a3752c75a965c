// Layers replaced by what they hold.
#ifndef DS_TRANSFORMS_INLINELAYERS_H
#define DS_TRANSFORMS_INLINELAYERS_H

#include "dialects/DS/DSDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ds {

/// Moves the body of a layer in front of it and returns what it yields. The layer is left empty, its results still in use.
llvm::SmallVector<mlir::Value> inlineBody(LayerOp layer);

/// Replaces each `ds.layer` of a function, outer ones first, by its body.
void inlineLayers(mlir::func::FuncOp function);

} // namespace ds
#endif // DS_TRANSFORMS_INLINELAYERS_H
