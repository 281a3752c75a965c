// Inferred type of pooling.
#include "dialects/DS/DSDialect.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace ds;

LogicalResult PoolOp::inferReturnTypes(MLIRContext *context, std::optional<Location> location, ValueRange operands,
                                       DictionaryAttr attributes, OpaqueProperties properties, RegionRange regions,
                                       SmallVectorImpl<Type> &types) {
  PoolOpAdaptor adaptor(operands, attributes, properties, regions);
  auto input = cast<RankedTensorType>(adaptor.getInput().getType());
  if (input.getRank() != 3) // (C1)
    return emitOptionalError(location, "'ds.pool' op expects input of shape [B, T, H], got ", input);
  if (!adaptor.getMask() && adaptor.getKind() != PoolKind::cls) // (C1)
    return emitOptionalError(location, "'ds.pool' op expects a mask for kind ", stringifyPoolKind(adaptor.getKind()));
  if (adaptor.getMask() &&
      failed(verifyCompatibleShape(cast<RankedTensorType>(adaptor.getMask().getType()).getShape(), input.getShape().drop_back()))) // (C1)
    return emitOptionalError(location, "'ds.pool' op expects mask of shape [B, T] for input ", input, ", got ",
                             adaptor.getMask().getType());
  types.push_back(RankedTensorType::get({input.getDimSize(0), input.getDimSize(2)}, input.getElementType()));
  return success();
}
