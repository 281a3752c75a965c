// Progressive layer dropping: gates around layers, and branches scaled by what their layer's gate is worth.
// Source: Zhang and He 2020, arXiv:2010.13369, algorithm 1.
#include "SelectRows.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_INSERTLAYERDROP
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

/// Whether `value` is computed from `from`, both in one block.
static bool dependsOn(Value value, Value from) {
  SmallVector<Value> open = {value};
  llvm::SmallPtrSet<Operation *, 16> seen;
  while (!open.empty()) {
    Value next = open.pop_back_val();
    if (next == from)
      return true;
    Operation *op = next.getDefiningOp();
    if (op && op->getBlock() == from.getParentBlock() && seen.insert(op).second)
      llvm::append_range(open, op->getOperands());
  }
  return false;
}

/// The operands of residual sums in the body of a layer that are not the stream, in order. The stream is the layer's input, every sum with
/// it, and, in sums of neither (post-norm), the operand that the other is computed from.
static SmallVector<OpOperand *> branchesOf(LayerOp layer) {
  Block &body = layer.getBody().front();
  Value input = body.getArgument(0);
  llvm::SmallPtrSet<Value, 8> stream = {input};
  SmallVector<OpOperand *> branches;
  for (auto add : body.getOps<AddOp>()) {
    OpOperand &lhs = add.getLhsMutable(), &rhs = add.getRhsMutable();
    const bool lhsIsStream = stream.contains(lhs.get()), rhsIsStream = stream.contains(rhs.get());
    if (lhsIsStream || rhsIsStream) {
      stream.insert(add);
      OpOperand &other = lhsIsStream ? rhs : lhs;
      if (lhsIsStream != rhsIsStream && dependsOn(other.get(), input))
        branches.push_back(&other);
      continue;
    }
    if (!dependsOn(lhs.get(), input) || !dependsOn(rhs.get(), input) || lhs.get() == rhs.get())
      continue;
    const bool lhsIsBranch = dependsOn(lhs.get(), rhs.get());
    if (lhsIsBranch || dependsOn(rhs.get(), lhs.get())) {
      stream.insert(add);
      branches.push_back(lhsIsBranch ? &lhs : &rhs);
    }
  }
  return branches;
}

/// add(branch, x) -> add(scale(branch), x)
static void scale(OpOperand &branch, Value scales, int64_t layer) {
  Operation *add = branch.getOwner();
  OpBuilder builder(add);
  branch.set(ScaleOp::create(builder, add->getLoc(), branch.get().getType(), branch.get(), scales, builder.getI64IntegerAttr(layer)));
}

namespace {
struct InsertLayerDrop : ds::impl::InsertLayerDropBase<InsertLayerDrop> {
  LogicalResult run(ModuleOp module) {
    auto step = module.lookupSymbol<func::FuncOp>("step");
    if (!step)
      return module.emitError("expects a function @step to drop layers of");
    SmallVector<LayerOp> layers;
    SmallVector<SmallVector<OpOperand *>> branches;
    WalkResult walk = step.walk<WalkOrder::PreOrder>([&](LayerOp layer) {
      if (layer->getParentOp() != step) {
        layer.emitError("expects no layer inside a layer to drop layers");
        return WalkResult::interrupt();
      }
      if (layer.getNumResults() != 1) {
        layer.emitError("expects a layer of one input and result to drop it, got ") << layer.getNumResults();
        return WalkResult::interrupt();
      }
      layers.push_back(layer);
      branches.push_back(branchesOf(layer));
      if (branches.back().empty()) {
        layer.emitError("expects a sum of the layer's input and what is computed from it to drop the layer");
        return WalkResult::interrupt();
      }
      return WalkResult::advance();
    });
    if (walk.wasInterrupted())
      return failure();
    if (layers.empty())
      return step.emitError("expects layers (ds.layer) to drop, found none");
    Builder builder(&getContext());
    const auto count = static_cast<int64_t>(layers.size());
    FailureOr<Value> gates =
        insertNamedArgument(step, step.getNumArguments(), "layer_gates", RankedTensorType::get({count}, builder.getI32Type()));
    FailureOr<Value> scales =
        insertNamedArgument(step, step.getNumArguments(), "layer_scales", RankedTensorType::get({count}, builder.getF32Type()));
    if (failed(gates) || failed(scales))
      return failure();
    for (auto [index, layer] : llvm::enumerate(layers)) {
      layer->setAttr("ds.gate", builder.getI64IntegerAttr(static_cast<int64_t>(index)));
      for (OpOperand *branch : branches[index])
        scale(*branch, *scales, static_cast<int64_t>(index));
    }
    return success();
  }

  void runOnOperation() override {
    if (failed(run(getOperation())))
      signalPassFailure();
  }
};
} // namespace
