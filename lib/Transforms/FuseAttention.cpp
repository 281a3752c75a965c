// Rope and writes to the cache become a part of the products of queries, keys and values.
#include "Fusion.h"
#include "ds/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_FUSEATTENTION
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;

namespace {
struct FuseAttention : ds::impl::FuseAttentionBase<FuseAttention> {
  void runOnOperation() override {
    forEachModelBlock(getOperation(), [](Block &block) {
      Fuser fuser(block, "ds-fuse-attention");
      SmallVector<Operation *> ropes, stores;
      for (Operation &op : block) {
        if (isa<RopeOp>(op))
          ropes.push_back(&op);
        if (isCacheStore(&op))
          stores.push_back(&op);
      }
      // rope(fusion { linear }) -> fusion { linear, rope }, then the same for the write to the cache
      for (Operation *op : llvm::concat<Operation *>(ropes, stores)) {
        Operation *product = fuser.producerOf(op->getOperand(0));
        if (product && isa<LinearOp, FusionOp>(product) && linearRegionOf(product)) {
          FusionOp fusion = fuser.join({product, op}, isa<RopeOp>(op) ? "rope-behind-product" : "cache-behind-product");
          // fusion { linear, rope }, round -> fusion { linear, rope, round }, as training in 16 bits has it
          for (Operation *reader : fusion ? fuser.readersOf(fusion) : SmallVector<Operation *>())
            if (isa<RoundOp>(reader)) {
              fuser.join({fusion, reader}, "rope-behind-product");
              break;
            }
        } else
          fuser.refuse(op, isa<RopeOp>(op) ? "rope-behind-product" : "cache-behind-product", Refusal::dataFlow,
                       "no product computes its input");
      }
    });
  }
};
} // namespace
