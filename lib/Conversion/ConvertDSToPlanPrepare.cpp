// Before the conversion to the plan: flat functions whose every op is one kernel could compute.
#include "ConvertDSToPlan.h"
#include "ds/Transforms/InlineLayers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace ds;
using ds_plan::CacheKind;
using ds_plan::StoreCacheOp;

LogicalResult ds::moveConstants(ModuleOp module) {
  SmallVector<ConstantOp> constants;
  module.walk([&](ConstantOp constant) { constants.push_back(constant); });
  llvm::DenseMap<Attribute, ParameterOp> parameters;
  SymbolTable symbols(module);
  for (ConstantOp constant : constants) {
    RankedTensorType type = constant.getType();
    if (!constant->use_empty() && (!type.getElementType().isF32() || !type.hasStaticShape() || type.getRank() < 1 || type.getRank() > 2))
      return constant.emitError("expects a constant of f32 of rank 1 or 2, got ") << type;
    OpBuilder builder(constant);
    if (!constant->use_empty()) {
      ParameterOp &parameter = parameters[constant.getValue()];
      if (!parameter) {
        std::string name = "const." + std::to_string(parameters.size() - 1);
        parameter = ParameterOp::create(builder, constant.getLoc(), name, type, StringAttr(), ViewAttr(), constant.getValue(), MoqAttr());
        parameter->remove();
        symbols.insert(parameter, module.getBody()->begin());
      }
      auto weight = WeightOp::create(builder, constant.getLoc(), type, parameter.getSymName());
      constant.replaceAllUsesWith(weight.getResult());
    }
    constant.erase();
  }
  return success();
}

void ds::flattenFusions(ModuleOp module) {
  SmallVector<FusionOp> fusions;
  module.walk([&](FusionOp fusion) { fusions.push_back(fusion); });
  IRRewriter rewriter(module.getContext());
  for (auto [number, fusion] : llvm::enumerate(fusions)) {
    Block &body = fusion.getBody().front();
    Operation *yield = body.getTerminator();
    for (Operation &op : body.without_terminator())
      op.setAttr(fusionAttrName, rewriter.getI64IntegerAttr(number));
    rewriter.inlineBlockBefore(&body, fusion, {});
    rewriter.replaceOp(fusion, yield->getOperands());
    rewriter.eraseOp(yield);
  }
}

namespace {
/// Stores of keys and values of this step, shared by the attentions that read them.
class StepStores {
public:
  /// attention(q, k, v) -> attention(q, store_cache(k), store_cache(v))
  void rewrite(AttentionOp attention) {
    OpBuilder builder(attention);
    for (auto [operand, kind] :
         {std::pair(&attention.getKeyMutable(), CacheKind::keys), std::pair(&attention.getValueMutable(), CacheKind::values)}) {
      Value value = operand->get();
      if (Operation *op = value.getDefiningOp(); op && isa<StoreCacheOp, CacheReadOp>(op))
        continue;
      Value &stored = stores[{value, {static_cast<int>(kind), attention.getKvHeads()}}];
      if (!stored)
        stored = StoreCacheOp::create(builder, attention.getLoc(), value.getType(), kind, attention.getKvHeads(), value, Value());
      operand->assign(stored);
    }
  }

private:
  llvm::DenseMap<std::pair<Value, std::pair<int, int64_t>>, Value> stores;
};
} // namespace

LogicalResult ds::prepareFunction(func::FuncOp function, const CacheTable &caches) {
  inlineLayers(function);
  IRRewriter rewriter(function.getContext());
  for (CacheAppendOp append : llvm::make_early_inc_range(function.getOps<CacheAppendOp>())) {
    const CachePlace *place = caches.lookup(append.getCacheAttr());
    if (!place)
      return append.emitError("expects a cache that attention reads, got ") << append.getCacheAttr();
    rewriter.setInsertionPoint(append);
    auto store =
        StoreCacheOp::create(rewriter, append.getLoc(), append.getType(), place->kind, place->kvHeads, append.getInput(), append.getPast());
    store->setDiscardableAttr(cacheAttrName, append.getCacheAttr());
    if (Attribute fusion = append->getAttr(fusionAttrName))
      store->setDiscardableAttr(fusionAttrName, fusion);
    rewriter.replaceOp(append, store);
  }
  StepStores stores;
  for (AttentionOp attention : function.getOps<AttentionOp>())
    stores.rewrite(attention);
  return success();
}
