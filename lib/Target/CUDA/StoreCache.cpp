// Keys and values of this step go behind those of the past. A thread has some columns; of codes, a warp has a head, as it is rounded whole.
#include "CacheView.h"
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

/// Rows that lie side by side in a block, so that neighbours write neighbouring slots of keys.
static constexpr int64_t rowsOfBlock = 16;

namespace {
/// A result of the kernel and what it holds.
struct Store {
  ds_plan::StoreCacheOp op;
  unsigned result;
  int64_t width, heads;

  int64_t lanes() const { return lanesOfRow(width / heads); }
  int64_t columnItems() const { return width / lanes(); }
  /// Calls `write` with the cache, and the head and slot of row `row` in it, where there is such a slot.
  void at(GpuBody &body, Value row, Value head, llvm::function_ref<void(const GpuCacheView &, Value head, Value slot)> write) const;
  void columns(GpuBody &body, Value row, Value item) const;
  void codes(GpuBody &body, Value row, Value head) const;
};
} // namespace

void Store::at(GpuBody &body, Value row, Value head, llvm::function_ref<void(const GpuCacheView &, Value, Value)> write) const {
  GpuEmitter &e = body.e;
  auto op = this->op;
  GpuCacheView cache(body, &body.outs[result], op.getKind(), heads);
  const KernelOperand *past = operandOf(body, op.getPast());
  Value b = e.div(row, body.tokens), t = e.rem(row, body.tokens);
  Value slot = past ? e.add(e.toI32(loadIndex(e, *past, b)), t) : t;
  e.ifThen(e.lt(slot, cache.capacity), [&] { write(cache, cache.head(e, b, head), slot); });
}

/// Columns of one row.
void Store::columns(GpuBody &body, Value row, Value item) const {
  GpuEmitter &e = body.e;
  auto op = this->op;
  const int64_t headSize = width / heads;
  Value column = e.mul(item, lanes());
  at(body, row, e.div(column, headSize), [&](const GpuCacheView &cache, Value head, Value slot) {
    Value values = loadLanes(e, elementOfRow(e, *operandOf(body, op.getInput()), row, column), lanes());
    cache.store(e, head, slot, e.rem(column, headSize), values);
  });
}

void Store::codes(GpuBody &body, Value row, Value number) const {
  GpuEmitter &e = body.e;
  auto op = this->op;
  at(body, row, number, [&](const GpuCacheView &cache, Value head, Value slot) {
    Value from = elementOfRow(e, *operandOf(body, op.getInput()), row, e.mul(number, width / heads));
    cache.storeCodes(e, head, slot, [&](Value d) { return e.load(e.f32(), e.element(from, e.f32(), d)); });
  });
}

static void addColumnStage(GpuKernel &kernel, const llvm::SmallVector<Store> &stores) {
  int64_t items = 0; // of a row
  for (const Store &store : stores)
    items = std::max(items, store.columnItems());
  GpuShape shape;
  shape.name = "store";
  const int64_t itemsOfBlock = shape.threads / rowsOfBlock;
  shape.grid[0].factors = {{GpuSize::rows, rowsOfBlock}};
  shape.grid[1].constant = llvm::divideCeil(items, itemsOfBlock);
  kernel.stage(shape, [=](GpuBody &body) {
    GpuEmitter &e = body.e;
    Value row = e.add(e.mul(e.block(), rowsOfBlock), e.rem(e.thread(), rowsOfBlock));
    Value item = e.add(e.mul(e.block(1), itemsOfBlock), e.div(e.thread(), rowsOfBlock));
    e.ifThen(e.lt(row, body.rows), [&] {
      for (const Store &store : stores)
        e.ifThen(e.lt(item, store.columnItems()), [&] { store.columns(body, row, item); });
    });
  });
}

static void addCodeStage(GpuKernel &kernel, const llvm::SmallVector<Store> &stores) {
  int64_t heads = 0; // of a row
  for (const Store &store : stores)
    heads = std::max(heads, store.heads);
  GpuShape shape;
  shape.name = "store_codes";
  shape.threads = 128;
  const int64_t headsOfBlock = shape.threads / GpuEmitter::warpThreads;
  shape.grid[0].factors = {{GpuSize::rows, 1}};
  shape.grid[1].constant = llvm::divideCeil(heads, headsOfBlock);
  kernel.stage(shape, [=](GpuBody &body) {
    GpuEmitter &e = body.e;
    Value head = e.add(e.mul(e.block(1), headsOfBlock), e.warp());
    for (const Store &store : stores)
      e.ifThen(e.lt(head, store.heads), [&] { store.codes(body, e.block(), head); });
  });
}

llvm::Error ds::buildGpuStoreCache(GpuKernel &kernel) {
  llvm::SmallVector<Store> ofColumns, ofCodes;
  for (auto [index, out, value] : llvm::enumerate(kernel.outs, kernel.kernel.getBody().front().getTerminator()->getOperands())) {
    auto store = value.getDefiningOp<ds_plan::StoreCacheOp>();
    const KernelOperand *input = store ? operandOf(kernel, store.getInput()) : nullptr;
    if (!store || !isF32Rows(input) || (store.getPast() && !isI32Rows(operandOf(kernel, store.getPast()))))
      return kernel.error("expects to store f32 operands behind an i32 past");
    const auto heads = static_cast<int64_t>(store.getKvHeads());
    if (llvm::Error error = GpuCacheView::check(kernel, &out, store.getKind(), heads))
      return error;
    (GpuCacheView::layoutOf(out, heads).hasCodes ? ofCodes : ofColumns)
        .push_back({store, static_cast<unsigned>(index), out.width(), heads});
  }
  if (!ofColumns.empty())
    addColumnStage(kernel, ofColumns);
  if (!ofCodes.empty())
    addCodeStage(kernel, ofCodes);
  return llvm::Error::success();
}
