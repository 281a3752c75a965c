// Kernels in which each row stands alone: norms and gradients of norms with element-wise ops around them, element-wise ops alone, the loss.
#include "RowRegion.h"
#include "dialects/DS/DSDialect.h"

using namespace ds;
using mlir::Value;

/// Without a norm rows do not matter: all elements are one long row, cut into tiles.
static void emitElements(KernelContext &context) {
  constexpr int64_t vectorsAtOnce = 2, tileVectors = 64;
  Emitter &e = context.e;
  int64_t lanes = context.level.lanes, block = vectorsAtOnce * lanes, tile = tileVectors * lanes;
  Value count = e.mul(context.rows, context.outs[0].width());
  RowRegion region(context, e.constant(0), context.outs[0].width());
  auto all = [](Value) { return true; };
  context.forTiles(e.ceilDiv(count, tile), [&](Value index) {
    Value begin = e.mul(index, tile), end = e.min(e.add(begin, tile), count);
    Value whole = e.add(begin, e.mul(e.div(e.sub(end, begin), block), block));
    e.forRange(begin, whole, block, [&](Value at) {
      for (int64_t i = 0; i < vectorsAtOnce; ++i) {
        region.begin({e.add(at, i * lanes), lanes, Value()});
        region.storeResults(all);
      }
    });
    e.forRange(whole, end, lanes, [&](Value at) {
      region.begin({at, 0, e.laneMask(e.sub(end, at), lanes)});
      region.storeResults(all);
    });
  });
}

/// Indices belong to rows: each row alone.
static void emitRows(KernelContext &context) {
  context.forTiles(context.rows, [&](Value row) {
    RowRegion region(context, row, context.outs[0].width());
    forEachSpan(context.e, context.outs[0].width(), [&](const RowSpan &span) {
      region.begin(span);
      region.storeResults([](Value) { return true; });
    });
  });
}

llvm::Error ds::buildRow(KernelContext &context) {
  if (isLoss(context.kernel))
    return buildLoss(context);
  if (llvm::Error error = RowRegion::check(context))
    return error;
  if (mlir::Operation *norm = RowRegion::norm(context.kernel))
    emitNormRows(context, norm);
  else if (llvm::any_of(context.kernel.getBody().front(), llvm::IsaPred<EmbeddingOp>))
    emitRows(context);
  else
    emitElements(context);
  return llvm::Error::success();
}
