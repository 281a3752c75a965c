// The phases a module passes, each with a contract.
#ifndef DS_TRANSFORMS_PHASES_H
#define DS_TRANSFORMS_PHASES_H

#include "mlir/IR/BuiltinOps.h"
#include <optional>

namespace ds {

/// In order. `ds-verify-phase` says what each promises.
enum class Phase { imported, normalized, planned };

inline constexpr Phase allPhases[] = {Phase::imported, Phase::normalized, Phase::planned};

llvm::StringRef stringifyPhase(Phase phase);
std::optional<Phase> symbolizePhase(llvm::StringRef name);

/// Checks the contract of `phase`; a diagnostic names the first thing that breaks it.
mlir::LogicalResult verifyPhase(mlir::ModuleOp module, Phase phase);

} // namespace ds
#endif // DS_TRANSFORMS_PHASES_H
