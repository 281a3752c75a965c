// What linears multiply, as results: statistics of it decide how matrices are quantized.
#include "dialects/DS/DSDialect.h"
#include "ds/Quantize/Calibration.h"
#include "ds/Transforms/InlineLayers.h"
#include "ds/Transforms/Passes.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_OBSERVEINPUTS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct ObserveInputs : ds::impl::ObserveInputsBase<ObserveInputs> {
  void runOnOperation() override {
    for (StringRef name : {"forward", "encode"})
      if (auto function = getOperation().lookupSymbol<func::FuncOp>(name))
        if (failed(observe(function)))
          return signalPassFailure();
  }

private:
  LogicalResult observe(func::FuncOp function) {
    inlineLayers(function);
    Operation *terminator = function.getBody().front().getTerminator();
    SymbolTable symbols(getOperation());
    llvm::SmallDenseSet<StringRef> named;
    llvm::SmallDenseSet<Value> seen;
    Builder builder(&getContext());
    for (LinearOp linear : function.getOps<LinearOp>()) {
      auto weight = linear.getWeight().getDefiningOp<WeightOp>();
      auto parameter = weight ? symbols.lookup<ParameterOp>(weight.getParameter()) : ParameterOp();
      if (!parameter || !parameter.getSource() || !seen.insert(linear.getInput()).second)
        continue;
      if (!named.insert(*parameter.getSource()).second) // a matrix that multiplies two values: one name is not enough
        continue;
      auto attributes = builder.getDictionaryAttr(
          builder.getNamedAttr("ds.name", builder.getStringAttr(observedPrefix.data() + parameter.getSource()->str())));
      if (failed(function.insertResult(function.getNumResults(), linear.getInput().getType(), attributes)))
        return function.emitError("cannot give what ") << *parameter.getSource() << " multiplies";
      terminator->insertOperands(terminator->getNumOperands(), linear.getInput());
    }
    return success();
  }
};
} // namespace
