// Folders and canonicalizations. All of them are bit-exact, for NaN, infinities and the sign of zeros too.
#include "dialects/DS/DSDialect.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace ds;

Operation *DSDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type, Location loc) {
  auto elements = dyn_cast<ElementsAttr>(value);
  if (!elements || elements.getType() != type || !isa<RankedTensorType>(type))
    return nullptr;
  return ConstantOp::create(builder, loc, elements);
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValueAttr(); }

/// True for a dense constant of floats that all satisfy `holds`.
template <typename Predicate> static bool isAllOf(Attribute attribute, Predicate holds) {
  auto elements = dyn_cast_or_null<DenseElementsAttr>(attribute);
  if (!elements || !isa<FloatType>(elements.getElementType()))
    return false;
  if (elements.isSplat())
    return holds(elements.getSplatValue<APFloat>());
  return llvm::all_of(elements.getValues<APFloat>(), holds);
}

/// add(x, -0) -> x
OpFoldResult AddOp::fold(FoldAdaptor adaptor) {
  if (isAllOf(adaptor.getRhs(), [](const APFloat &value) { return value.isNegZero(); }))
    return getLhs();
  return {};
}

/// mul(x, 1) -> x
OpFoldResult MulOp::fold(FoldAdaptor adaptor) {
  if (isAllOf(adaptor.getRhs(), [](const APFloat &value) { return value.isExactlyValue(1.0); }))
    return getLhs();
  return {};
}

/// attention(mask of ones) -> attention()
LogicalResult AttentionOp::canonicalize(AttentionOp op, PatternRewriter &rewriter) {
  DenseIntElementsAttr mask;
  if (!op.getMask() || !matchPattern(op.getMask(), m_Constant(&mask)))
    return rewriter.notifyMatchFailure(op, "mask is not a constant");
  if (llvm::any_of(mask.getValues<APInt>(), [](const APInt &value) { return value.isZero(); }))
    return rewriter.notifyMatchFailure(op, "mask hides a key");
  rewriter.modifyOpInPlace(op, [&] { op.getMaskMutable().clear(); });
  return success();
}

/// pool(cls, mask) -> pool(cls)
LogicalResult PoolOp::canonicalize(PoolOp op, PatternRewriter &rewriter) {
  if (op.getKind() != PoolKind::cls || !op.getMask())
    return rewriter.notifyMatchFailure(op, "has no mask that it does not read");
  rewriter.modifyOpInPlace(op, [&] { op.getMaskMutable().clear(); });
  return success();
}

/// layer(x, y) with result 1 unread, or y itself -> layer(x)
LogicalResult LayerOp::canonicalize(LayerOp op, PatternRewriter &rewriter) {
  Block &body = op.getBody().front();
  auto yield = cast<YieldOp>(body.getTerminator());
  llvm::BitVector leaves(op.getNumResults());
  for (auto [index, result] : llvm::enumerate(op.getResults()))
    if (result.use_empty() || yield.getValues()[index] == body.getArgument(index))
      leaves.set(index);
  if (leaves.none())
    return rewriter.notifyMatchFailure(op, "every result is read and differs from its input");
  SmallVector<Value> inputs, yielded;
  SmallVector<Type> types;
  for (unsigned index = 0; index < op.getNumResults(); ++index) {
    if (leaves.test(index))
      continue;
    inputs.push_back(op.getInputs()[index]);
    types.push_back(op.getInputs()[index].getType());
    yielded.push_back(yield.getValues()[index]);
  }
  auto layer = LayerOp::create(rewriter, op.getLoc(), types, op.getNameAttr(), inputs);
  layer->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  rewriter.modifyOpInPlace(yield, [&] { yield.getValuesMutable().assign(yielded); });
  // A value from outside may be read in the region: what the input was.
  for (unsigned index : leaves.set_bits())
    rewriter.replaceAllUsesWith(body.getArgument(index), op.getInputs()[index]);
  rewriter.modifyOpInPlace(op, [&] { body.eraseArguments(leaves); });
  rewriter.inlineRegionBefore(op.getBody(), layer.getBody(), layer.getBody().begin());
  unsigned next = 0;
  SmallVector<Value> results;
  for (unsigned index = 0; index < op.getNumResults(); ++index)
    results.push_back(leaves.test(index) ? op.getInputs()[index] : layer.getResult(next++));
  rewriter.replaceOp(op, results);
  return success();
}
