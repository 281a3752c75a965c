#include "SelectRows.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Transforms/InlineLayers.h"
#include "mlir/Analysis/SliceAnalysis.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace ds;

std::optional<unsigned> ds::resultNamed(func::FuncOp function, StringRef name) {
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    if (auto attr = function.getResultAttrOfType<StringAttr>(i, "ds.name"); attr && attr == name)
      return i;
  return std::nullopt;
}

FailureOr<Value> ds::insertNamedArgument(func::FuncOp function, unsigned index, StringRef name, Type type) {
  Builder builder(function.getContext());
  auto attrs = builder.getDictionaryAttr(builder.getNamedAttr("ds.name", builder.getStringAttr(name)));
  if (failed(function.insertArgument(index, type, attrs, function.getLoc())))
    return function.emitError("cannot take an argument '") << name << "'";
  return Value(function.getArgument(index));
}

/// [B, T, N] -> [R, N]
static RankedTensorType selectedType(RankedTensorType type) {
  return RankedTensorType::get({ShapedType::kDynamic, type.getShape().back()}, type.getElementType());
}

/// The head of `last` and what stands before it of which results and the head alone read: of the last layer, which is inlined, what comes
/// behind attention.
static llvm::SetVector<Operation *> tailOf(Operation *last, Operation *terminator) {
  llvm::SetVector<Operation *> tail;
  tail.insert(last);
  auto isBehind = [&](Operation *user) { return user == terminator || tail.contains(user); };
  for (Operation *op = last->getPrevNode(); op;) {
    auto layer = dyn_cast<LayerOp>(op);
    const bool isRead = llvm::any_of(op->getUsers(), [&](Operation *user) { return tail.contains(user); });
    if (isRead && llvm::all_of(op->getUsers(), isBehind)) {
      if (layer) {
        Operation *behind = op->getNextNode();
        IRRewriter rewriter(op->getContext());
        rewriter.replaceOp(layer, inlineBody(layer));
        op = behind->getPrevNode();
        continue;
      }
      if (takesRowsAlone(op))
        tail.insert(op);
    }
    op = op->getPrevNode();
  }
  // A product beside those that make queries and keys is joined with them: all tokens' is made anyway.
  auto isBesideOthers = [&](Operation *op) {
    auto linear = dyn_cast<LinearOp>(op);
    return linear && op != last && !tail.contains(linear.getInput().getDefiningOp()) &&
           !llvm::all_of(linear.getInput().getUsers(), isBehind);
  };
  llvm::SetVector<Operation *> inOrder;
  for (Operation *op : llvm::reverse(tail))
    if (!isBesideOthers(op))
      inOrder.insert(op);
  return inOrder;
}

LogicalResult ds::selectRows(func::FuncOp function, unsigned hidden, unsigned logits, Value rows, bool intoLayers) {
  Operation *terminator = function.getBody().front().getTerminator();
  Value from = terminator->getOperand(hidden), to = terminator->getOperand(logits);
  BackwardSliceOptions options;
  options.inclusive = true;
  options.omitBlockArguments = true;
  options.filter = [&](Operation *op) {
    return op != from.getDefiningOp() && !op->hasTrait<OpTrait::ConstantLike>() && !isa<WeightOp>(op);
  };
  llvm::SetVector<Operation *> head;
  if (failed(getBackwardSlice(to, &head, options)))
    return function.emitError("expects logits that are computed in the function");
  if (llvm::none_of(head, [&](Operation *op) { return llvm::is_contained(op->getOperands(), from); }))
    return function.emitError("expects logits that are computed from hidden");
  for (Operation *op : head)
    if (!takesRowsAlone(op))
      return op->emitError("expects a head of linear, norm and element-wise ops, which each token passes alone");
  if (intoLayers)
    head = tailOf(to.getDefiningOp(), terminator);

  OpBuilder builder(terminator);
  IRMapping mapping;
  for (Operation *op : head) {
    for (Value operand : op->getOperands()) {
      auto type = dyn_cast<RankedTensorType>(operand.getType());
      if (mapping.contains(operand) || !type || type.getRank() != 3)
        continue;
      if (operand != from && !intoLayers)
        return op->emitError("expects the head to read no tokens but those of hidden");
      mapping.map(operand, GatherRowsOp::create(builder, op->getLoc(), operand, rows).getResult());
    }
    Operation *copy = builder.clone(*op, mapping);
    for (Value result : copy->getResults())
      result.setType(selectedType(cast<RankedTensorType>(result.getType())));
  }
  terminator->setOperand(logits, mapping.lookup(to));
  // Users come behind what they use, so nothing that is erased has a reader left.
  for (Operation *op : llvm::reverse(head))
    if (op->use_empty())
      op->erase();
  function.setFunctionType(FunctionType::get(function.getContext(), function.getArgumentTypes(), terminator->getOperandTypes()));
  return success();
}
