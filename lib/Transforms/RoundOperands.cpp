// Mixed precision as frameworks have it: master parameters and sums in f32, what is multiplied in 16 bits (Micikevicius et al. 2018,
// arXiv:1710.03740).
#include "dialects/DS/DSDialect.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_ROUNDOPERANDS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
/// Rounds the values of one function.
class Rounding {
public:
  Rounding(func::FuncOp function, Type target) : function(function), builder(function.getContext()), target(target) {}

  void run() {
    SmallVector<Operation *> ops;
    function.walk([&](Operation *op) { ops.push_back(op); });
    for (Operation *op : ops)
      roundOperands(op);
    for (Operation *op : ops)
      if (auto sum = dyn_cast<ColumnSumOp>(op); sum && known.contains(sum.getInput()))
        round(sum.getInputMutable());
    roundKept(ops);
  }

private:
  /// `value` rounded, right behind what computes it, once.
  Value rounded(Value value) {
    if (value.getDefiningOp<RoundOp>())
      return value;
    Value &result = known[value];
    if (!result) {
      builder.setInsertionPointAfterValue(value);
      result = RoundOp::create(builder, value.getLoc(), value.getType(), value, TypeAttr::get(target));
    }
    return result;
  }
  void round(OpOperand &operand) { operand.set(rounded(operand.get())); }

  void roundOperands(Operation *op) {
    if (auto linear = dyn_cast<LinearOp>(op)) {
      linear.setRounded(target);
      round(linear.getInputMutable());
    } else if (isa<LinearWeightGradOp>(op)) {
      for (OpOperand &operand : op->getOpOperands())
        round(operand);
    } else if (isa<AttentionOp, AttentionGradOp>(op)) { // query, key, value and the gradient stand first
      for (unsigned i = 0; i < (isa<AttentionOp>(op) ? 3u : 4u); ++i)
        round(op->getOpOperand(i));
    } else if (auto loss = dyn_cast<CrossEntropyOp>(op)) { // of what its gradient reads, if there is one
      if (llvm::any_of(loss.getLogits().getUsers(), llvm::IsaPred<CrossEntropyGradOp>))
        round(loss.getLogitsMutable());
    } else if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
      Value result = rounded(embedding.getOutput());
      embedding.getOutput().replaceAllUsesExcept(result, result.getDefiningOp());
    }
  }

  /// True where gradients read the values of `operand`, not its shape alone, and may read them rounded.
  static bool readsKept(OpOperand &operand) {
    Operation *op = operand.getOwner();
    if (isa<GatherRowsGradOp, PoolGradOp>(op) && operand.getOperandNumber() == 0)
      return false;
    if (isa<OptimizationBarrierOp>(op)) // the layer is computed again from what it was computed from
      return false;
    return !isa<RoundOp, func::ReturnOp>(op);
  }

  /// What was computed before the loss, or again behind it, and is read by gradients.
  void roundKept(ArrayRef<Operation *> ops) {
    llvm::DenseSet<Operation *> before;
    bool behind = false;
    for (Operation *op : ops) {
      if (behind && !op->hasAttr(recomputedAttrName)) {
        for (OpOperand &operand : op->getOpOperands()) {
          Operation *from = operand.get().getDefiningOp();
          auto type = dyn_cast<RankedTensorType>(operand.get().getType());
          if (from && before.contains(from) && !isa<WeightOp, RoundOp>(from) && type && isa<FloatType>(type.getElementType()) &&
              readsKept(operand))
            round(operand);
        }
      } else {
        before.insert(op);
      }
      behind |= isa<CrossEntropyOp>(op);
    }
  }

  func::FuncOp function;
  OpBuilder builder;
  Type target;
  llvm::DenseMap<Value, Value> known;
};

struct RoundOperands : ds::impl::RoundOperandsBase<RoundOperands> {
  using RoundOperandsBase::RoundOperandsBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (target != "bf16" && target != "f16") {
      module.emitError("expects target to be bf16 or f16, got '") << target << "'";
      return signalPassFailure();
    }
    Type type = target == "bf16" ? Type(BFloat16Type::get(&getContext())) : Type(Float16Type::get(&getContext()));
    for (StringRef name : {"step", "evaluate"}) {
      auto function = module.lookupSymbol<func::FuncOp>(name);
      if (!function) {
        module.emitError("expects a function @") << name << " to round operands in";
        return signalPassFailure();
      }
      Rounding(function, type).run();
    }
  }
};
} // namespace
