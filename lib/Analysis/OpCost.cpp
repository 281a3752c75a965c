#include "ds/Analysis/OpCost.h"
#include "dialects/DS/DSDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace ds;
using mlir::Operation;

static int64_t width(mlir::Value value) { return mlir::cast<mlir::RankedTensorType>(value.getType()).getShape().back(); }

static OpCost perRow(int64_t flops, int64_t compatible) {
  OpCost cost;
  cost.flopsPerRow = flops;
  cost.compatibleFlopsPerRow = compatible;
  return cost;
}

static OpCost costOfLinear(LinearOp op) {
  OpCost cost;
  cost.macsPerRow = width(op.getInput()) * width(op.getOutput());
  cost.flopsPerRow = 2 * cost.macsPerRow + (op.getBias() ? width(op.getOutput()) : 0);
  cost.compatibleFlopsPerRow = 2 * cost.macsPerRow;
  return cost;
}

/// A pair costs the product of a query and a key, its softmax (scale, maximum, difference, exp, sum), and a weighted value.
static OpCost costOfAttention(AttentionOp op) {
  OpCost cost;
  cost.macsPerPair = 2 * width(op.getQuery());
  cost.flopsPerPair = 2 * cost.macsPerPair + (op.getSlopes() ? 7 : 5) * static_cast<int64_t>(op.getHeads());
  cost.flopsPerRow = width(op.getQuery()); // the division by the sum
  cost.compatibleFlopsPerPair = 2 * cost.macsPerPair;
  return cost;
}

static OpCost costOfPool(PoolOp op) {
  OpCost cost;
  if (op.getKind() == PoolKind::mean)
    cost.flopsPerKey = cost.flopsPerRow = width(op.getOutput());
  return cost;
}

OpCost ds::costOf(Operation *op) {
  int64_t n = op->getNumResults() == 1 && mlir::isa<mlir::RankedTensorType>(op->getResult(0).getType()) ? width(op->getResult(0)) : 0;
  return llvm::TypeSwitch<Operation *, OpCost>(op)
      .Case(costOfLinear)
      .Case(costOfAttention)
      .Case(costOfPool)
      .Case([&](LayerNormOp norm) { return perRow((norm.getBias() ? 8 : 7) * n + 3, (norm.getBias() ? 5 : 4) * n); })
      .Case([&](RmsNormOp) { return perRow(4 * n + 3, 0); }) // transformers writes it in operators
      .Case([&](L2NormalizeOp) { return perRow(3 * n + 2, 0); })
      .Case([&](SoftmaxOp) { return perRow(5 * n, n); })
      .Case([&](GeluOp gelu) { return perRow((gelu.getKind() == GeluKind::erf ? 5 : 9) * n, n); })
      .Case([&](SiluOp) { return perRow(4 * n, n); })
      .Case([&](QuickGeluOp) { return perRow(5 * n, 0); })
      .Case([&](ReluOp) { return perRow(n, n); })
      .Case<TanhOp, AddOp, MulOp>([&](Operation *) { return perRow(n, 0); })
      .Case([&](RopeOp rope) { return perRow(3 * static_cast<int64_t>(rope.getRotary() * rope.getHeads()), 0); })
      .Default([](Operation *) { return OpCost(); });
}
