// Erases the parameters and caches that nothing refers to.
#include "ds/Transforms/Passes.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_DROPUNUSEDPARAMETERS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

namespace {
struct DropUnusedParameters : ds::impl::DropUnusedParametersBase<DropUnusedParameters> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    std::optional<SymbolTable::UseRange> uses = SymbolTable::getSymbolUses(&module.getBodyRegion());
    if (!uses)
      return; // an op of an unknown dialect may refer to anything
    llvm::DenseSet<StringAttr> used;
    for (const SymbolTable::SymbolUse &use : *uses)
      used.insert(use.getSymbolRef().getRootReference());
    for (Operation &op : llvm::make_early_inc_range(module.getBody()->getOperations())) {
      if (!isa<ds::ParameterOp, ds::CacheOp>(op) || used.contains(SymbolTable::getSymbolName(&op)))
        continue;
      remark::passed(op.getLoc(), remark::RemarkOpts::name("unused").category("ds-drop-unused-parameters"))
          << remark::metric("symbol", SymbolTable::getSymbolName(&op).getValue());
      op.erase();
    }
  }
};
} // namespace
