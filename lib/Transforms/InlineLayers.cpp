#include "ds/Transforms/InlineLayers.h"
#include "dialects/DS/DSDialect.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;

void ds::inlineLayers(func::FuncOp function) {
  SmallVector<LayerOp> layers;
  function.walk<WalkOrder::PreOrder>([&](LayerOp layer) { layers.push_back(layer); });
  IRRewriter rewriter(function.getContext());
  for (LayerOp layer : layers) {
    Block &body = layer.getBody().front();
    Operation *yield = body.getTerminator();
    rewriter.inlineBlockBefore(&body, layer, layer.getInputs());
    rewriter.replaceOp(layer, yield->getOperands());
    rewriter.eraseOp(yield);
  }
}
