// What is left of ops on rows: each with what computes its operands.
#include "Fusion.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FORMFUSIONREGIONS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// An op of rows, or a fusion of them.
static bool isRowPart(Operation *part) { return llvm::all_of(opsOf(part), isRowOp); }

/// What computes operands of `part`, each once.
static llvm::SetVector<Operation *> producersOf(Fuser &fuser, Operation *part) {
  llvm::SetVector<Operation *> producers;
  for (Operation *op : opsOf(part))
    for (Value operand : op->getOperands())
      if (Operation *producer = fuser.producerOf(operand); producer && producer != part)
        producers.insert(producer);
  return producers;
}

/// True for `l2_normalize(pool(x))`.
static bool isPoolAndNorm(Operation *producer, Operation *op) { return isa<PoolOp>(producer) && isa<L2NormalizeOp>(op); }

/// op(rows(x)) -> fusion { rows(x), op }, anywhere in `block`; false when there is no place left.
static bool joinOnce(Block &block, Fuser &fuser, bool pools, llvm::DenseSet<std::pair<Operation *, Operation *>> &refused) {
  for (Operation &op : block) {
    if (!isRowPart(&op))
      continue;
    for (Operation *producer : producersOf(fuser, &op))
      if ((isRowPart(producer) || (pools && isPoolAndNorm(producer, &op))) && !refused.contains({producer, &op})) {
        if (fuser.join({producer, &op}, isRowPart(producer) ? "rows-behind-rows" : "norm-behind-pool")) {
          refused.clear(); // their ops are gone, and other ops may come to stand at their addresses
          return true;
        }
        refused.insert({producer, &op});
      }
  }
  return false;
}

namespace {
struct FormFusionRegions : ds::impl::FormFusionRegionsBase<FormFusionRegions> {
  using FormFusionRegionsBase::FormFusionRegionsBase;

  void runOnOperation() override {
    forEachModelBlock(getOperation(), [&](Block &block) {
      Fuser fuser(block, "ds-form-fusion-regions");
      llvm::DenseSet<std::pair<Operation *, Operation *>> refused;
      while (joinOnce(block, fuser, pools, refused)) {
      }
    });
  }
};
} // namespace
