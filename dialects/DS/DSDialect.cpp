#include "dialects/DS/DSDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace ds;

#include "dialects/DS/DSDialect.cpp.inc"
#include "dialects/DS/DSEnums.cpp.inc"
#include "dialects/DS/DifferentiableOpInterface.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/DS/DSAttributes.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/DS/DSTypes.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/DS/DSOps.cpp.inc"

void DSDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/DS/DSAttributes.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/DS/DSTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/DS/DSOps.cpp.inc"
      >();
}

LogicalResult ViewAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t offset, ArrayRef<int64_t> sizes,
                               ArrayRef<int64_t> strides) {
  if (offset < 0)
    return emitError() << "expects offset of at least 0, got " << offset;
  if (sizes.size() != strides.size() || sizes.empty())
    return emitError() << "expects as many strides as sizes, got " << strides.size() << " for " << sizes.size();
  for (auto [size, stride] : llvm::zip(sizes, strides))
    if (size < 1 || stride < 0)
      return emitError() << "expects positive sizes and strides of at least 0, got size " << size << " and stride " << stride;
  return success();
}

LogicalResult QuantizedType::verify(function_ref<InFlightDiagnostic()> emitError, int64_t bits, QuantizedKind kind, int64_t group,
                                    Type scale) {
  if (bits < 2 || bits > 8)
    return emitError() << "expects 2 to 8 bits, got " << bits;
  if (kind == QuantizedKind::e4m3 && bits != 8)
    return emitError() << "expects 8 bits for e4m3, got " << bits;
  if (group < 0)
    return emitError() << "expects groups of at least 1, or 0 for whole rows, got " << group;
  if (isa<IntegerType>(scale)) {
    const bool isSymmetric = kind == QuantizedKind::symmetric;
    if (isSymmetric ? !scale.isSignedInteger(8) : kind != QuantizedKind::asymmetric || !scale.isUnsignedInteger(6))
      return emitError() << "expects integer scales of si8 with symmetric codes or of ui6 with asymmetric ones, got " << scale << " with "
                         << stringifyQuantizedKind(kind);
    if (group != 16 && group != 32)
      return emitError() << "expects groups of 16 or 32 with scales of " << scale << ", got " << group;
  } else if (!scale.isF16() && !scale.isF32()) {
    return emitError() << "expects scales of f16 or f32, or of si8 or ui6 in blocks, got " << scale;
  }
  return success();
}

LogicalResult MoqAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t bits, QuantizedKind kind, int64_t groups,
                              MoqFormula formula) {
  if (bits < 1 || bits > 8)
    return emitError() << "expects 1 to 8 bits, got " << bits;
  if (kind == QuantizedKind::e4m3)
    return emitError() << "expects symmetric or asymmetric codes, got e4m3";
  if (bits < 3 && kind == QuantizedKind::asymmetric)
    return emitError() << "expects 3 bits or more for asymmetric codes, got " << bits;
  if (formula == MoqFormula::inference && (bits < 3 || kind != QuantizedKind::symmetric))
    return emitError() << "expects symmetric codes of 3 bits or more for the formula of inference, got " << stringifyQuantizedKind(kind)
                       << " ones of " << bits;
  if (groups < 1)
    return emitError() << "expects 1 group or more, got " << groups;
  return success();
}

LogicalResult RopeScalingAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringRef kind, FloatAttr factor, FloatAttr low,
                                      FloatAttr high, FloatAttr original) {
  if (kind != "linear" && kind != "llama3")
    return emitError() << "expects kind 'linear' or 'llama3', got '" << kind << "'";
  if (!(factor.getValueAsDouble() > 0) || !factor.getValue().isFinite())
    return emitError() << "expects a positive factor, got " << factor;
  if (kind == "linear")
    return success();
  if (!(low.getValueAsDouble() > 0 && high.getValueAsDouble() > low.getValueAsDouble() && original.getValueAsDouble() > 0))
    return emitError() << "expects 0 < low < high and a positive original, got " << low << ", " << high << ", " << original;
  return success();
}
