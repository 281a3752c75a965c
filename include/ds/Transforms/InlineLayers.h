// Layers replaced by what they hold.
#ifndef DS_TRANSFORMS_INLINELAYERS_H
#define DS_TRANSFORMS_INLINELAYERS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ds {

/// Replaces each `ds.layer` of a function, outer ones first, by its body.
void inlineLayers(mlir::func::FuncOp function);

} // namespace ds
#endif // DS_TRANSFORMS_INLINELAYERS_H
