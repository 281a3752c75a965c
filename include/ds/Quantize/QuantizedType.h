// The type of the program and the scheme it stands for.
#ifndef DS_QUANTIZE_QUANTIZEDTYPE_H
#define DS_QUANTIZE_QUANTIZEDTYPE_H

#include "dialects/DS/DSDialect.h"
#include "ds/Quantize/MoqScheme.h"

namespace ds {

/// On a parameter, the type of its source's blocks as GGUF spells it.
inline constexpr llvm::StringLiteral storedTypeAttrName = "ds.stored";

inline QuantizationScheme schemeOf(QuantizedType type) {
  return {type.getBits(), type.getGroup(), type.isAsymmetric(), type.getScale().isF16(), type.isE4m3(), type.hasFactors()};
}

inline QuantizedType quantizedTypeOf(mlir::MLIRContext *context, const QuantizationScheme &scheme) {
  mlir::Type scale = mlir::Float32Type::get(context);
  if (scheme.factors)
    scale = scheme.asymmetric ? mlir::IntegerType::get(context, 6, mlir::IntegerType::Unsigned)
                              : mlir::IntegerType::get(context, 8, mlir::IntegerType::Signed);
  else if (scheme.halfScales)
    scale = mlir::Float16Type::get(context);
  const QuantizedKind kind = scheme.e4m3 ? QuantizedKind::e4m3 : scheme.asymmetric ? QuantizedKind::asymmetric : QuantizedKind::symmetric;
  return QuantizedType::get(context, scheme.bits, kind, scheme.group, scale);
}

/// The type of a parameter's elements; null where they are not quantized.
inline QuantizedType quantizedTypeOf(ParameterOp parameter) {
  return mlir::dyn_cast<QuantizedType>(parameter.getTensorType().getElementType());
}

inline MoqAttr moqAttrOf(mlir::MLIRContext *context, const MoqGrid &grid) {
  return MoqAttr::get(context, grid.bits, grid.asymmetric ? QuantizedKind::asymmetric : QuantizedKind::symmetric, grid.groups,
                      grid.inference ? MoqFormula::inference : MoqFormula::training);
}

/// The grid that a parameter's values are rounded to; none where each group is rounded to the nearest codes.
inline std::optional<MoqGrid> gridOf(ParameterOp parameter) {
  std::optional<MoqAttr> grid = parameter.getGrid();
  if (!grid)
    return std::nullopt;
  return MoqGrid{static_cast<int>(grid->getBits()), grid->getKind() == QuantizedKind::asymmetric, grid->getGroups(), std::nullopt,
                 grid->getFormula() == MoqFormula::inference};
}

/// What a quantized parameter is called in reports: the name of its grid or of its scheme.
inline std::string schemeNameOf(ParameterOp parameter) {
  std::optional<MoqGrid> grid = gridOf(parameter);
  return grid ? nameOf(*grid) : nameOf(schemeOf(quantizedTypeOf(parameter)));
}

/// How a parameter lies in a source of `elements`.
inline StoredMatrix storedMatrixOf(ParameterOp parameter, int64_t elements) {
  mlir::RankedTensorType type = parameter.getTensorType();
  StoredMatrix matrix{elements, type.getDimSize(1), 0, {type.getNumElements()}, {1}};
  if (std::optional<ViewAttr> view = parameter.getView())
    matrix.offset = view->getOffset(), matrix.sizes = view->getSizes().vec(), matrix.strides = view->getStrides().vec();
  return matrix;
}

} // namespace ds
#endif // DS_QUANTIZE_QUANTIZEDTYPE_H
