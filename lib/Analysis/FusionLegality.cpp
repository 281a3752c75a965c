#include "ds/Analysis/FusionLegality.h"
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/LinearRegion.h"

using namespace mlir;
using namespace ds;

bool ds::isElementwise(Operation *op) { return op->hasTrait<OpTrait::Elementwise>() || isa<ScaleOp, DropoutOp>(op); }

bool ds::takesRowsAlone(Operation *op) {
  return op->hasTrait<OpTrait::Elementwise>() || isa<LinearOp, LayerNormOp, RmsNormOp, L2NormalizeOp, SoftmaxOp>(op);
}

static bool isNormGradient(Operation *op) { return isa<LayerNormGradOp, RmsNormGradOp, L2NormalizeGradOp, SoftmaxGradOp>(op); }

bool ds::isRowNorm(Operation *op) { return isa<LayerNormOp, RmsNormOp, L2NormalizeOp, SoftmaxOp>(op) || isNormGradient(op); }

SmallVector<Value, 2> ds::rowsOfNorm(Operation *norm) {
  SmallVector<Value, 2> rows{norm->getOperand(0)};
  if (isNormGradient(norm)) // `grad` stands last
    rows.push_back(norm->getOperands().back());
  return rows;
}

bool ds::isRowOp(Operation *op) { return isElementwise(op) || isRowNorm(op) || isa<EmbeddingOp>(op); }

static std::optional<std::string> whyNotRows(ArrayRef<Operation *> ops) {
  auto typeOf = [](Operation *op) { return cast<RankedTensorType>(op->getResult(0).getType()); };
  int norms = 0;
  for (Operation *op : ops) {
    if (!isRowOp(op))
      return (op->getName().getStringRef() + " is no op of rows").str();
    RankedTensorType type = typeOf(op);
    if (!type.getElementType().isF32() || type.getRank() < 1)
      return "no rows of f32";
    int64_t width = type.getShape().back(), first = typeOf(ops.front()).getShape().back();
    if (width != first || ShapedType::isDynamic(width))
      return "rows of " + std::to_string(width) + " and of " + std::to_string(first) + " values";
    norms += isRowNorm(op);
    if (norms > 1)
      return std::string("two norms in one region");
    auto isComputed = [&](Value row) { return llvm::is_contained(ops, row.getDefiningOp()); };
    if (isRowNorm(op) && (llvm::any_of(rowsOfNorm(op), isComputed) || isa<SoftmaxOp>(op)) && width > longestRowOnStack)
      return "rows of " + std::to_string(width) + " values exceed " + std::to_string(longestRowOnStack);
  }
  return std::nullopt;
}

/// A pool, then an L2 norm of what it gives.
static std::optional<std::string> whyNotPool(ArrayRef<Operation *> ops) {
  auto pool = dyn_cast<PoolOp>(ops.front());
  if (!pool || llvm::count_if(ops, llvm::IsaPred<PoolOp>) > 1)
    return std::string("a pool behind other ops of the region");
  for (Operation *op : ops.drop_front()) {
    auto norm = dyn_cast<L2NormalizeOp>(op);
    if (!norm || ops.size() > 2)
      return (op->getName().getStringRef() + " has no place behind a pool").str();
    if (norm.getInput() != pool.getOutput())
      return std::string("the norm does not read the pool");
  }
  return std::nullopt;
}

/// The loss of rows, its gradient, rounded or not, or both.
static std::optional<std::string> whyNotLoss(ArrayRef<Operation *> ops) {
  if (llvm::count_if(ops, llvm::IsaPred<CrossEntropyOp>) > 1 || llvm::count_if(ops, llvm::IsaPred<CrossEntropyGradOp>) > 1)
    return std::string("two losses in one region");
  for (Operation *op : ops) {
    auto round = dyn_cast<RoundOp>(op);
    if (round && isa_and_nonnull<CrossEntropyGradOp>(round.getInput().getDefiningOp()) && round.getInput().hasOneUse())
      continue;
    if (!isa<CrossEntropyOp, CrossEntropyGradOp>(op))
      return (op->getName().getStringRef() + " has no place beside a loss").str();
    if (op->getOperands().take_front(2) != ops.front()->getOperands().take_front(2) ||
        op->getAttr("smoothing") != ops.front()->getAttr("smoothing"))
      return std::string("losses of different rows");
  }
  return std::nullopt;
}

std::optional<std::string> ds::whyNotOneKernel(ArrayRef<Operation *> ops) {
  if (llvm::any_of(ops, llvm::IsaPred<PoolOp>))
    return whyNotPool(ops);
  if (llvm::any_of(ops, llvm::IsaPred<CrossEntropyOp, CrossEntropyGradOp>))
    return whyNotLoss(ops);
  if (llvm::none_of(ops, llvm::IsaPred<LinearOp>))
    return whyNotRows(ops);
  std::string reason;
  if (LinearRegion::match(ops, reason))
    return std::nullopt;
  return reason;
}
