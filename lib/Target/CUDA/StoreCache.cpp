// Keys and values of this step go behind those of the past. Keys are transposed: 16 slots lie side by side.
#include "CacheView.h"
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

/// Rows that lie side by side in a block, so that neighbours write neighbouring slots of keys.
static constexpr int64_t rowsOfBlock = 16;

/// Columns of one row, `lanes` of them from `column` on, to the result `out` of `op`. `b` and `t` are its sequence and token.
static void storeColumns(GpuBody &body, ds_plan::StoreCacheOp op, const KernelOperand &out, Value row, Value b, Value t, Value column,
                         int64_t lanes) {
  GpuEmitter &e = body.e;
  GpuCacheView cache(body, &out, op.getKind(), op.getKvHeads());
  const KernelOperand *past = operandOf(body, op.getPast());
  Value slot = past ? e.add(e.toI32(loadIndex(e, *past, b)), t) : t;
  e.ifThen(e.lt(slot, cache.capacity), [&] {
    Value values = loadLanes(e, elementOfRow(e, *operandOf(body, op.getInput()), row, column), lanes);
    Value head = cache.head(e, b, e.div(column, cache.headSize)), d = e.rem(column, cache.headSize);
    if (cache.kind == ds_plan::CacheKind::values || lanes == 1)
      return storeLanes(e, values, cache.element(e, head, slot, d));
    for (int64_t i = 0; i < lanes; ++i)
      e.store(e.extract(values, i), cache.element(e, head, slot, e.add(d, i)));
  });
}

llvm::Error ds::buildGpuStoreCache(GpuKernel &kernel) {
  ds_plan::KernelOp op = kernel.kernel;
  auto stores = [op]() mutable { return op.getBody().front().getTerminator()->getOperands(); };
  auto lanesOf = [](ds_plan::StoreCacheOp store, const KernelOperand &out) {
    return lanesOfRow(out.width() / int64_t(store.getKvHeads()));
  };
  int64_t items = 0; // of a row
  for (auto [out, value] : llvm::zip_equal(kernel.outs, stores())) {
    auto store = value.getDefiningOp<ds_plan::StoreCacheOp>();
    const KernelOperand *input = store ? operandOf(kernel, store.getInput()) : nullptr;
    if (!store || !isF32Rows(input) || (store.getPast() && !isI32Rows(operandOf(kernel, store.getPast()))))
      return kernel.error("expects to store f32 operands behind an i32 past");
    if (llvm::Error error = GpuCacheView::check(kernel, &out, store.getKind(), store.getKvHeads()))
      return error;
    items = std::max(items, out.width() / lanesOf(store, out));
  }
  GpuShape shape;
  shape.name = "store";
  const int64_t itemsOfBlock = shape.threads / rowsOfBlock;
  shape.grid[0].factors = {{GpuSize::rows, rowsOfBlock}};
  shape.grid[1].constant = llvm::divideCeil(items, itemsOfBlock);
  kernel.stage(shape, [=](GpuBody &body) mutable {
    GpuEmitter &e = body.e;
    Value row = e.add(e.mul(e.block(), rowsOfBlock), e.rem(e.thread(), rowsOfBlock));
    Value item = e.add(e.mul(e.block(1), itemsOfBlock), e.div(e.thread(), rowsOfBlock));
    e.ifThen(e.lt(row, body.rows), [&] {
      Value b = e.div(row, body.tokens), t = e.rem(row, body.tokens);
      for (auto [out, value] : llvm::zip_equal(body.outs, stores())) {
        auto store = value.getDefiningOp<ds_plan::StoreCacheOp>();
        const int64_t lanes = lanesOf(store, out);
        e.ifThen(e.lt(item, out.width() / lanes),
                 [&, &out = out] { storeColumns(body, store, out, row, b, t, e.mul(item, lanes), lanes); });
      }
    });
  });
  return llvm::Error::success();
}
