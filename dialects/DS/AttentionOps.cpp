// Verifiers of rope and attention.
#include "dialects/DS/DSDialect.h"

using namespace mlir;
using namespace ds;

/// Whether two sizes can be equal when the model runs.
static bool mayEqual(int64_t lhs, int64_t rhs) { return lhs == rhs || ShapedType::isDynamic(lhs) || ShapedType::isDynamic(rhs); }

LogicalResult RopeOp::verify() {
  RankedTensorType input = getInput().getType(), positions = getPositions().getType();
  int64_t heads = getHeads();
  if (heads < 1 || input.getRank() != 3 || input.isDynamicDim(2) || input.getDimSize(2) % heads != 0) // (C1)
    return emitOpError("expects input of shape [B, T, ") << heads << " * D], got " << input;
  if (positions.getRank() != 2 || !mayEqual(positions.getDimSize(0), input.getDimSize(0)) ||
      !mayEqual(positions.getDimSize(1), input.getDimSize(1))) // (C1)
    return emitOpError("expects positions of shape [B, T] for input ") << input << ", got " << positions;
  int64_t rotary = getRotary(), headSize = input.getDimSize(2) / heads;
  if (rotary < 2 || rotary % 2 != 0 || rotary > headSize) // (C2)
    return emitOpError("expects an even rotary of 2 to ") << headSize << ", got " << rotary;
  if (!getBase().isFinite() || getBase().isNegative() || getBase().isZero()) // (C3)
    return emitOpError("expects a positive base, got ") << getBase().convertToDouble();
  return success();
}

LogicalResult AttentionOp::verify() {
  RankedTensorType query = getQuery().getType(), key = getKey().getType();
  int64_t heads = getHeads(), kvHeads = getKvHeads();
  if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0) // (C2)
    return emitOpError("expects heads to be a multiple of kv_heads, got ") << heads << " and " << kvHeads;
  if (query.getRank() != 3 || query.isDynamicDim(2) || query.getDimSize(2) % heads != 0) // (C1)
    return emitOpError("expects query of shape [B, T, ") << heads << " * D], got " << query;
  int64_t batch = query.getDimSize(0), headSize = query.getDimSize(2) / heads;
  if (key.getRank() != 3 || key.getDimSize(2) != kvHeads * headSize || !mayEqual(key.getDimSize(0), batch)) // (C1)
    return emitOpError("expects key and value of shape [B, S, ") << kvHeads * headSize << "] for query " << query << ", got " << key;
  if (auto codes = dyn_cast<QuantizedType>(key.getElementType()); codes && (!codes.isOfCache() || codes.getGroup() != headSize)) // (C1)
    return emitOpError("expects keys and values of codes with one f32 scale for the ") << headSize << " values of a head, got " << key;
  if (getMask()) { // (C3)
    RankedTensorType mask = getMask().getType();
    bool isShort = mask.getRank() == 2 && mask.hasStaticShape() && !key.isDynamicDim(1) && mask.getDimSize(1) < key.getDimSize(1);
    if (mask.getRank() != 2 || isShort || !mayEqual(mask.getDimSize(0), batch))
      return emitOpError("expects mask of shape [B, S] for key ") << key << ", got " << mask;
  }
  if (getPast() && (getPast().getType().getRank() != 1 || !mayEqual(getPast().getType().getDimSize(0), batch))) // (C3)
    return emitOpError("expects past of shape [B] for query ") << query << ", got " << getPast().getType();
  if (getSlopes() && (getSlopes().getType().getRank() != 1 || getSlopes().getType().getDimSize(0) != heads)) // (C3)
    return emitOpError("expects slopes of shape [") << heads << "], got " << getSlopes().getType();
  if (!getScale().isFinite() || getScale().isNegative() || getScale().isZero()) // (C4)
    return emitOpError("expects a positive scale, got ") << getScale().convertToDouble();
  if (getWindow() && (static_cast<int64_t>(*getWindow()) < 1 || !getCausal())) // (C4)
    return emitOpError("expects a positive window together with causal, got ") << static_cast<int64_t>(*getWindow());
  if (getSeed() && getPast()) // (C5)
    return emitOpError("expects no dropout with past");
  return verifyDropout(*this, getSeed(), getRate(), getSite()); // (C5)
}
