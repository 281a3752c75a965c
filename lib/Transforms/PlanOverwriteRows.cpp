// The gradient of a loss takes the place of the logits, and rounded rows that of what they were.
#include "dialects/DS/DSDialect.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANOVERWRITEROWS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

namespace {
struct PlanOverwriteRows : ds::impl::PlanOverwriteRowsBase<PlanOverwriteRows> {
  /// The rows that `launch` reads and those that it writes, in buffers that could be one.
  static std::pair<BufferOp, BufferOp> buffersOf(LaunchOp launch, KernelOp kernel) {
    Block &body = kernel.getBody().front();
    Operation *op = nullptr;
    for (Operation &each : body)
      if (isa<CrossEntropyGradOp>(each) || (isa<RoundOp>(each) && llvm::hasNItems(body, 2)))
        op = &each;
    if (!op)
      return {};
    auto logits = dyn_cast<BlockArgument>(op->getOperand(0));
    if (op->hasOneUse() && isa<RoundOp>(*op->user_begin()))
      op = *op->user_begin();
    ValueRange results = body.getTerminator()->getOperands();
    auto result = llvm::find(results, op->getResult(0));
    if (!logits || result == results.end())
      return {};
    auto from = launch.getIns()[logits.getArgNumber()].getDefiningOp<BufferOp>();
    auto to = launch.getOuts()[result - results.begin()].getDefiningOp<BufferOp>();
    if (!from || !to || from == to || from.getType() != to.getType() || from.getRows() != to.getRows() || from.getGrouped())
      return {};
    return {from, to};
  }

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (auto program : getOperation().getOps<ProgramOp>())
      for (auto launch : program.getOps<LaunchOp>()) {
        auto [from, to] = buffersOf(launch, symbols.lookup<KernelOp>(launch.getKernel()));
        if (!from)
          continue;
        constexpr StringLiteral name = "in-place", category = "ds-plan-overwrite-rows";
        if (llvm::any_of(from->getUsers(), [&](Operation *user) { return launch->isBeforeInBlock(user) || !isa<LaunchOp>(user); })) {
          remark::missed(launch.getLoc(), remark::RemarkOpts::name(name).category(category).function(program.getSymName()))
              << remark::reason("{0}", "what it reads is read again");
          continue;
        }
        to.getResult().replaceAllUsesWith(from.getResult());
        remark::passed(launch.getLoc(), remark::RemarkOpts::name(name).category(category).function(program.getSymName()))
            << remark::metric("width", cast<MemRefType>(from.getType()).getDimSize(1));
      }
  }
};
} // namespace
