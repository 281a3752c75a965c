// The `ds` dialect: transformer models as operations on tensors.
#ifndef DIALECTS_DS_DSDIALECT_H
#define DIALECTS_DS_DSDIALECT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/DS/DSDialect.h.inc"
#include "dialects/DS/DSEnums.h.inc"
#include "dialects/DS/DifferentiableOpInterface.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/DS/DSAttributes.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/DS/DSTypes.h.inc"
#define GET_OP_CLASSES
#include "dialects/DS/DSOps.h.inc"

namespace ds {
/// The rate, an f64, at which training drops elements of an op's result, of attention its weights (`ds-insert-dropout`).
inline constexpr llvm::StringLiteral dropoutAttrName = "ds.dropout";
/// Marks what `ds-differentiate` has the backward pass compute again.
inline constexpr llvm::StringLiteral recomputedAttrName = "ds.recomputed";

/// The least word of an element that dropout of a rate leaves: rate * 2^32, rounded up.
uint32_t dropoutThreshold(const llvm::APFloat &rate);
/// What elements that stay are multiplied by.
double dropoutFactor(const llvm::APFloat &rate);
/// Fails, with an error at `op`, unless it has a seed [2], a rate in [0, 1) and a site in [0, 2^32), or none of them.
llvm::LogicalResult verifyDropout(mlir::Operation *op, mlir::Value seed, std::optional<llvm::APFloat> rate, std::optional<uint64_t> site);
} // namespace ds

#endif // DIALECTS_DS_DSDIALECT_H
