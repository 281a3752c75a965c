// Parameters, caches and layers.
#include "dialects/DS/DSDialect.h"

using namespace mlir;
using namespace ds;

LogicalResult ParameterOp::verify() {
  RankedTensorType type = getTensorType();
  if (getSource().has_value() == getValue().has_value()) // (C1)
    return emitOpError("expects either a source or a value, got ") << (getSource() ? "both" : "neither");
  if (!type.hasStaticShape() || type.getRank() < 1 || type.getRank() > 2) // (C2)
    return emitOpError("expects a static tensor of rank 1 or 2, got ") << type;
  if (getValue() && getValue()->getShapedType() != type) // (C2)
    return emitOpError("expects value of type ") << type << ", got " << getValue()->getShapedType();
  if (auto quantized = dyn_cast<QuantizedType>(type.getElementType())) { // (C4)
    if (!getSource() || type.getRank() != 2)
      return emitOpError("expects a quantized matrix of rank 2 with a source, got ") << type;
    int64_t columns = type.getDimSize(1), group = quantized.getGroup() ? quantized.getGroup() : columns;
    if (columns == 0 || columns % 16 != 0 || group % 16 != 0 || columns % group != 0)
      return emitOpError("expects groups that divide the columns, both multiples of 16, got groups of ")
             << group << " and " << columns << " columns";
    if (quantized.hasFactors() && columns % QuantizedType::kBlock != 0)
      return emitOpError("expects columns that blocks of ") << QuantizedType::kBlock << " divide, as scales are integers, got " << columns;
  }
  if (std::optional<MoqAttr> grid = getGrid()) { // (C5)
    auto quantized = dyn_cast<QuantizedType>(type.getElementType());
    const int64_t bits = std::max<int64_t>(grid->getBits(), 2); // a binary grid has a code for 0 as well
    if (!quantized || quantized.getKind() != grid->getKind() || !quantized.getScale().isF32() || quantized.getBits() != bits)
      return emitOpError("expects a quantized type of ")
             << bits << " bits, " << stringifyQuantizedKind(grid->getKind()) << ", with scales of f32 for its grid, got " << type;
  }
  if (std::optional<ViewAttr> view = getView()) { // (C3)
    if (!getSource())
      return emitOpError("expects a source to take the view of");
    int64_t elements = 1;
    for (int64_t size : view->getSizes())
      if (llvm::MulOverflow(elements, size, elements))
        return emitOpError("expects a view of fewer than 2^63 elements");
    if (elements != type.getNumElements())
      return emitOpError("expects a view of ") << type.getNumElements() << " elements, got " << elements;
  }
  return success();
}

LogicalResult CacheOp::verify() {
  RankedTensorType type = getTensorType();
  if (type.getRank() != 3 || !type.isDynamicDim(0) || type.isDynamicDim(1) || type.isDynamicDim(2)) // (C1)
    return emitOpError("expects a type [?, context, width], got ") << type;
  if (auto codes = dyn_cast<QuantizedType>(type.getElementType()); // (C2)
      codes && (!codes.isOfCache() || type.getDimSize(2) % codes.getGroup() != 0))
    return emitOpError("expects symmetric codes of 8 bits with f32 scales of groups that divide the width, got ") << type;
  return success();
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto parameter = symbols.lookupNearestSymbolFrom<ParameterOp>(*this, getParameterAttr());
  if (!parameter) // (C1)
    return emitOpError("expects a ds.parameter named ") << getParameterAttr();
  if (parameter.getTensorType() != getType()) // (C1)
    return emitOpError("expects type ") << parameter.getTensorType() << " of " << getParameterAttr() << ", got " << getType();
  return success();
}

/// Looks up the cache an op names and compares its type with that of the op's result.
template <typename OpT> static FailureOr<CacheOp> verifyCacheUse(OpT op, SymbolTableCollection &symbols) {
  auto cache = symbols.lookupNearestSymbolFrom<CacheOp>(op, op.getCacheAttr());
  if (!cache) // (C1)
    return op.emitOpError("expects a ds.cache named ") << op.getCacheAttr();
  if (cache.getTensorType() != op.getType()) // (C1)
    return op.emitOpError("expects type ") << cache.getTensorType() << " of " << op.getCacheAttr() << ", got " << op.getType();
  return cache;
}

LogicalResult CacheAppendOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (failed(verifyCacheUse(*this, symbols)))
    return failure();
  RankedTensorType input = getInput().getType(), cache = getOutput().getType();
  if (input.getRank() != 3 || input.getDimSize(2) != cache.getDimSize(2)) // (C1)
    return emitOpError("expects input of shape [B, T, ") << cache.getDimSize(2) << "], got " << input;
  if (getPast().getType().getRank() != 1) // (C2)
    return emitOpError("expects past of rank 1, got ") << getPast().getType();
  return success();
}

LogicalResult CacheReadOp::verifySymbolUses(SymbolTableCollection &symbols) { return verifyCacheUse(*this, symbols); }

LogicalResult LayerOp::verify() {
  Block &body = getBody().front();
  if (TypeRange(body.getArgumentTypes()) != TypeRange(getInputs().getTypes())) // (C1)
    return emitOpError("expects block arguments of the types of its inputs");
  if (TypeRange(body.getTerminator()->getOperandTypes()) != TypeRange(getOutputs().getTypes())) // (C1)
    return emitOpError("expects yielded values of the types of its results");
  if (TypeRange(getInputs().getTypes()) != TypeRange(getOutputs().getTypes())) // (C2)
    return emitOpError("expects inputs and results of equal types");
  return success();
}

LogicalResult FusionOp::verify() {
  Block &body = getBody().front();
  ValueRange yielded = body.getTerminator()->getOperands();
  if (body.getNumArguments() != 0 || TypeRange(yielded) != TypeRange(getOutputs().getTypes())) // (C1)
    return emitOpError("expects no block arguments, and yielded values of the types of its results");
  llvm::SmallDenseSet<Value> seen;
  for (Value value : yielded)
    if (!value.getDefiningOp() || value.getDefiningOp()->getBlock() != &body || !seen.insert(value).second) // (C2)
      return emitOpError("expects to yield values that its body computes, each once");
  return success();
}
