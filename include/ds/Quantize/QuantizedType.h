// The type of the program and the scheme it stands for.
#ifndef DS_QUANTIZE_QUANTIZEDTYPE_H
#define DS_QUANTIZE_QUANTIZEDTYPE_H

#include "dialects/DS/DSDialect.h"
#include "ds/Quantize/Scheme.h"

namespace ds {

/// On a parameter, the type of its source's blocks as GGUF spells it.
inline constexpr llvm::StringLiteral storedTypeAttrName = "ds.stored";

inline QuantizationScheme schemeOf(QuantizedType type) {
  return {type.getBits(), type.getGroup(), type.isAsymmetric(), type.getScale().isF16()};
}

inline QuantizedType quantizedTypeOf(mlir::MLIRContext *context, const QuantizationScheme &scheme) {
  mlir::FloatType scale = scheme.halfScales ? mlir::FloatType(mlir::Float16Type::get(context)) : mlir::Float32Type::get(context);
  return QuantizedType::get(context, scheme.bits, scheme.asymmetric ? QuantizedZero::asymmetric : QuantizedZero::symmetric, scheme.group,
                            scale);
}

/// The type of a parameter's elements; null where they are not quantized.
inline QuantizedType quantizedTypeOf(ParameterOp parameter) {
  return mlir::dyn_cast<QuantizedType>(parameter.getTensorType().getElementType());
}

} // namespace ds
#endif // DS_QUANTIZE_QUANTIZEDTYPE_H
