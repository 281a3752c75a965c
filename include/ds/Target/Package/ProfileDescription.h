// What each launch of a package computes and costs, for the profiler.
#ifndef DS_TARGET_PACKAGE_PROFILEDESCRIPTION_H
#define DS_TARGET_PACKAGE_PROFILEDESCRIPTION_H

#include "mlir/IR/BuiltinOps.h"
#include <string>

namespace ds {

/// The text of profile.json (docs/package-format.md) of a module in phase `planned`.
std::string profileDescription(mlir::ModuleOp planned, llvm::StringRef fusion);

} // namespace ds
#endif // DS_TARGET_PACKAGE_PROFILEDESCRIPTION_H
