#include "ds/Transforms/InlineLayers.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;

SmallVector<Value> ds::inlineBody(LayerOp layer) {
  IRRewriter rewriter(layer.getContext());
  Block &body = layer.getBody().front();
  Operation *yield = body.getTerminator();
  SmallVector<Value> results(yield->getOperands());
  for (Value &result : results)
    if (auto argument = dyn_cast<BlockArgument>(result); argument && argument.getOwner() == &body)
      result = layer.getInputs()[argument.getArgNumber()];
  rewriter.eraseOp(yield);
  rewriter.inlineBlockBefore(&body, layer, layer.getInputs());
  return results;
}

void ds::inlineLayers(func::FuncOp function) {
  SmallVector<LayerOp> layers;
  function.walk<WalkOrder::PreOrder>([&](LayerOp layer) { layers.push_back(layer); });
  IRRewriter rewriter(function.getContext());
  for (LayerOp layer : layers)
    rewriter.replaceOp(layer, inlineBody(layer));
}
