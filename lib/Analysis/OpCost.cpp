#include "ds/Analysis/OpCost.h"
#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace ds;
using mlir::Operation;

static int64_t width(mlir::Value value) { return mlir::cast<mlir::RankedTensorType>(value.getType()).getShape().back(); }

static bool isOfCodes(mlir::Value value) {
  return mlir::isa<QuantizedType>(mlir::cast<mlir::RankedTensorType>(value.getType()).getElementType());
}

namespace {
// Vector instructions of lib/Target/CPU/VectorMath.cpp and Dropout.cpp. A division takes the time of 8 on the processor this is fitted to.
constexpr int64_t laneOpsOfDivision = 8, laneOpsOfExp = 20, laneOpsOfExpNonPositive = 14, laneOpsOfPhilox = 58;
// What a row waits for when its sums are joined and its root is taken: about 50 ns that nothing else fills, one row after the other.
constexpr int64_t laneOpsOfReduction = 2048;
} // namespace

static OpCost perRow(int64_t flops, int64_t compatible, int64_t laneOps) {
  OpCost cost;
  cost.flopsPerRow = flops;
  cost.compatibleFlopsPerRow = compatible;
  cost.laneOpsPerRow = laneOps;
  return cost;
}

static OpCost costOfLinear(LinearOp op) {
  OpCost cost;
  cost.macsPerRow = width(op.getInput()) * width(op.getOutput());
  cost.flopsPerRow = 2 * cost.macsPerRow + (op.getBias() ? width(op.getOutput()) : 0);
  cost.compatibleFlopsPerRow = 2 * cost.macsPerRow;
  cost.laneOpsPerRow = op.getBias() ? width(op.getOutput()) : 0;
  return cost;
}

/// A pair costs the product of a query and a key, its softmax (scale, maximum, difference, exp, sum), and a weighted value.
static OpCost costOfAttention(AttentionOp op) {
  OpCost cost;
  cost.macsPerPair = 2 * width(op.getQuery());
  cost.flopsPerPair = 2 * cost.macsPerPair + (op.getSlopes() ? 7 : 5) * static_cast<int64_t>(op.getHeads());
  cost.flopsPerRow = width(op.getQuery()); // the division by the sum
  cost.compatibleFlopsPerPair = 2 * cost.macsPerPair;
  // Scale, maximum, difference, exp, sum; the scores go through memory three times.
  cost.laneOpsPerPair = static_cast<int64_t>(op.getHeads()) * (laneOpsOfExpNonPositive + 10 + (op.getSeed() ? laneOpsOfPhilox : 0));
  cost.laneOpsPerRow = width(op.getQuery());
  if (isOfCodes(op.getKey())) // widened and converted, of keys and of values
    cost.laneOpsPerKey = 4 * width(op.getKey());
  return cost;
}

/// Five products where attention has two, and its softmax once more.
static OpCost costOfAttentionGrad(AttentionGradOp op) {
  OpCost cost;
  const auto heads = static_cast<int64_t>(op.getHeads());
  cost.macsPerPair = 5 * width(op.getQuery());
  cost.flopsPerPair = 2 * cost.macsPerPair + 9 * heads;
  cost.compatibleFlopsPerPair = 2 * cost.macsPerPair;
  cost.laneOpsPerPair = heads * (laneOpsOfExpNonPositive + 14 + (op.getSeed() ? laneOpsOfPhilox : 0));
  return cost;
}

static OpCost costOfPool(PoolOp op) {
  OpCost cost;
  if (op.getKind() == PoolKind::mean) {
    cost.flopsPerKey = cost.flopsPerRow = width(op.getOutput());
    cost.laneOpsPerKey = 8 * cost.flopsPerKey; // its mask is asked before each vector
  }
  return cost;
}

OpCost ds::costOf(Operation *op) {
  int64_t n = op->getNumResults() == 1 && mlir::isa<mlir::RankedTensorType>(op->getResult(0).getType()) ? width(op->getResult(0)) : 0;
  return llvm::TypeSwitch<Operation *, OpCost>(op)
      .Case(costOfLinear)
      .Case(costOfAttention)
      .Case(costOfAttentionGrad)
      .Case([&](LinearWeightGradOp grad) {
        OpCost cost;
        cost.macsPerRow = width(grad.getInput()) * width(grad.getGrad());
        cost.flopsPerRow = cost.compatibleFlopsPerRow = 2 * cost.macsPerRow;
        return cost;
      })
      .Case<ColumnSumOp, EmbeddingGradOp, ScaleOp>([&](Operation *) { return perRow(n, 0, n); })
      .Case([&](DropoutOp) { return perRow(n, 0, laneOpsOfPhilox * n); })
      .Case([&](LayerNormGradOp grad) {
        const int64_t columns = width(grad.getInput());
        return perRow(15 * columns, 0, 15 * columns + 4 * laneOpsOfReduction);
      })
      .Case([&](RmsNormGradOp grad) {
        const int64_t columns = width(grad.getInput());
        return perRow(10 * columns, 0, 10 * columns + 2 * laneOpsOfReduction);
      })
      .Case([&](SoftmaxGradOp) { return perRow(4 * n, 0, 4 * n + laneOpsOfReduction); })
      .Case([&](L2NormalizeGradOp) { return perRow(8 * n, 0, 8 * n + 2 * laneOpsOfReduction); })
      .Case<GeluGradOp, SiluGradOp, QuickGeluGradOp>(
          [&](Operation *) { return perRow(9 * n, 0, (12 + laneOpsOfExp + laneOpsOfDivision) * n); })
      .Case<ReluGradOp, TanhGradOp>([&](Operation *) { return perRow(3 * n, 0, 3 * n); })
      .Case([&](CrossEntropyOp loss) {
        const int64_t classes = width(loss.getLogits());
        return perRow(4 * classes, 0, (4 + laneOpsOfExpNonPositive) * classes + 2 * laneOpsOfReduction);
      })
      .Case([&](CrossEntropyGradOp) { return perRow(6 * n, 0, (6 + 2 * laneOpsOfExpNonPositive) * n + 2 * laneOpsOfReduction); })
      .Case(costOfPool)
      .Case([&](LayerNormOp norm) {
        return perRow((norm.getBias() ? 8 : 7) * n + 3, (norm.getBias() ? 5 : 4) * n, 7 * n + 2 * laneOpsOfReduction);
      })
      .Case([&](RmsNormOp) { return perRow(4 * n + 3, 0, 4 * n + laneOpsOfReduction); }) // transformers writes it in operators
      .Case([&](L2NormalizeOp) { return perRow(3 * n + 2, 0, (2 + laneOpsOfDivision) * n + laneOpsOfReduction); })
      .Case([&](SoftmaxOp) { return perRow(5 * n, n, (6 + laneOpsOfExpNonPositive) * n + 2 * laneOpsOfReduction); })
      .Case([&](GeluOp gelu) {
        // The models write it in operators or hold the function from before it is counted (transformers' GELUActivation).
        if (gelu.getKind() == GeluKind::erf)
          return perRow(5 * n, 0, gelu.getCoarse() ? 13 * n : (8 + laneOpsOfExpNonPositive) * n);
        return perRow(9 * n, 0, gelu.getCoarse() ? 13 * n : (4 + laneOpsOfExp + laneOpsOfDivision) * n);
      })
      .Case([&](SiluOp) { return perRow(4 * n, n, (2 + laneOpsOfExp + laneOpsOfDivision) * n); })
      .Case([&](QuickGeluOp) { return perRow(5 * n, 0, (2 + laneOpsOfExp + laneOpsOfDivision) * n); })
      .Case([&](ReluOp) { return perRow(n, n, n); })
      .Case([&](TanhOp) { return perRow(n, 0, (8 + laneOpsOfExpNonPositive + laneOpsOfDivision) * n); })
      .Case([&](RoundOp) { return perRow(n, 0, 5 * n); })
      .Case<AddOp, MulOp>([&](Operation *) { return perRow(n, 0, n); })
      .Case([&](RopeOp rope) {
        int64_t turned = static_cast<int64_t>(rope.getRotary() * rope.getHeads());
        return perRow(3 * turned, 0, 3 * turned);
      })
      .Case([&](ds_plan::StoreCacheOp store) { // keys change places with slots, 16 x 16 at a time
        const int64_t moved = store.getKind() == ds_plan::CacheKind::keys ? 28 : 0, rounded = isOfCodes(store.getOutput()) ? 12 : 0;
        return perRow(0, 0, (moved + rounded) * width(store.getInput()));
      })
      .Default([](Operation *) { return OpCost(); });
}
