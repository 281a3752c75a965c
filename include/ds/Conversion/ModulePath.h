// Locations say which module of the model's source an op stands for, and whether it is of the backward pass.
#ifndef DS_CONVERSION_MODULEPATH_H
#define DS_CONVERSION_MODULEPATH_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"
#include <string>

namespace ds {

/// In the location of an op of the backward pass, behind the name of its module; and the root of such modules in profiles.
inline constexpr llvm::StringLiteral backwardName = "backward";

/// Of what belongs to the backward pass of `loc`'s module. Locations that name no module stay as they are.
inline mlir::Location backwardOf(mlir::Location loc) {
  auto named = mlir::dyn_cast<mlir::NameLoc>(loc);
  return named ? mlir::NameLoc::get(named.getName(), mlir::NameLoc::get(mlir::StringAttr::get(loc.getContext(), backwardName))) : loc;
}

/// `model.layers.3.mlp`, of the backward pass `backward.model.layers.3.mlp`; empty for what names no module.
inline std::string modulePath(mlir::Location loc) {
  auto named = mlir::dyn_cast<mlir::NameLoc>(loc);
  if (!named)
    return {};
  auto child = mlir::dyn_cast<mlir::NameLoc>(named.getChildLoc());
  const bool isBackward = child && child.getName() == backwardName;
  return (isBackward ? backwardName.str() + "." : "") + named.getName().str();
}

} // namespace ds
#endif // DS_CONVERSION_MODULEPATH_H
