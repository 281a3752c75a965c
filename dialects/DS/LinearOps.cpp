// Embedding, linear, and the choice of rows: verifiers and inferred types.
#include "dialects/DS/DSDialect.h"

using namespace mlir;
using namespace ds;

LogicalResult EmbeddingOp::inferReturnTypes(MLIRContext *, std::optional<Location> location, ValueRange operands, DictionaryAttr,
                                            OpaqueProperties, RegionRange, SmallVectorImpl<Type> &types) {
  auto indices = cast<RankedTensorType>(operands[0].getType());
  auto table = cast<RankedTensorType>(operands[1].getType());
  if (table.getRank() != 2) // (C1)
    return emitOptionalError(location, "'ds.embedding' op expects table of rank 2, got ", table);
  SmallVector<int64_t> shape(indices.getShape());
  shape.push_back(table.getDimSize(1));
  Type element = table.getElementType();
  types.push_back(RankedTensorType::get(shape, isa<QuantizedType>(element) ? Float32Type::get(element.getContext()) : element));
  return success();
}

LogicalResult LinearOp::inferReturnTypes(MLIRContext *, std::optional<Location> location, ValueRange operands, DictionaryAttr attributes,
                                         OpaqueProperties properties, RegionRange regions, SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(operands[0].getType());
  auto weight = cast<RankedTensorType>(operands[1].getType());
  const bool transposed = Adaptor(operands, attributes, properties, regions).getTransposed();
  if (input.getRank() < 1 || weight.getRank() != 2 || weight.getDimSize(transposed ? 0 : 1) != input.getShape().back()) // (C1)
    return emitOptionalError(location, "'ds.linear' op expects weight of shape ", transposed ? "[K, N]" : "[N, K]",
                             " with K the last size of input, got ", weight, " for ", input);
  const int64_t columns = weight.getDimSize(transposed ? 1 : 0);
  if (operands.size() > 2) {
    auto bias = cast<RankedTensorType>(operands[2].getType());
    if (bias.getRank() != 1 || bias.getDimSize(0) != columns) // (C2)
      return emitOptionalError(location, "'ds.linear' op expects bias of shape [", columns, "], got ", bias);
  }
  SmallVector<int64_t> shape(input.getShape());
  shape.back() = columns;
  types.push_back(RankedTensorType::get(shape, input.getElementType()));
  return success();
}

LogicalResult LinearOp::verify() {
  auto quantized = dyn_cast<QuantizedType>(getWeight().getType().getElementType());
  if (std::optional<uint64_t> bits = getActivationBits(); bits && (*bits != 8 || !quantized || quantized.isE4m3())) // (C3)
    return emitOpError("expects activations of 8 bits with a weight of integer codes, got ")
           << *bits << " bits and " << getWeight().getType();
  if (getTransposed() && quantized) // (C4)
    return emitOpError("expects a transposed weight of floats, got ") << getWeight().getType();
  if (std::optional<Type> rounded = getRounded(); rounded && ((!rounded->isBF16() && !rounded->isF16()) || quantized)) // (C5)
    return emitOpError("expects a weight of floats rounded to bf16 or f16, got ") << getWeight().getType() << " to " << *rounded;
  return success();
}

LogicalResult GatherRowsOp::inferReturnTypes(MLIRContext *, std::optional<Location> location, ValueRange operands, DictionaryAttr,
                                             OpaqueProperties, RegionRange, SmallVectorImpl<Type> &types) {
  auto input = cast<RankedTensorType>(operands[0].getType());
  auto rows = cast<RankedTensorType>(operands[1].getType());
  if (input.getRank() != 3 || rows.getRank() != 1) // (C1)
    return emitOptionalError(location, "'ds.gather_rows' op expects input of rank 3 and rows of rank 1, got ", input, " and ", rows);
  types.push_back(RankedTensorType::get({rows.getDimSize(0), input.getDimSize(2)}, input.getElementType()));
  return success();
}
