// Keys and values of this step go behind those of the past. Keys are transposed: 16 slots lie side by side.
#include "CacheView.h"
#include "KernelRegion.h"

using namespace ds;
using mlir::Value;

namespace {
/// One `ds_plan.store_cache`.
class CacheStore {
public:
  CacheStore(KernelContext &context, CacheView view, const KernelOperand &input, const KernelOperand *past)
      : context(context), e(context.e), view(view), input(input), past(past), lanes(context.level.lanes) {}

  void storeKeys();
  void storeValues();

private:
  Value pastOf(Value b) { return past ? loadIndex(e, *past, b) : e.constant(0); }
  /// Head `head` of token `row`.
  Value source(Value row, Value head) {
    return e.element(input.pointer, e.f32(), e.add(e.mul(row, input.width()), e.mul(head, view.headSize)));
  }
  void transposeBlock(Value from, Value block);

  KernelContext &context;
  Emitter &e;
  CacheView view;
  const KernelOperand &input, *past;
  int64_t lanes;
};
} // namespace

/// Rows and columns of a square change places: log2(n) rounds, each of which interleaves row i with row i + n / 2.
static Emitter::Values transpose(Emitter &e, Emitter::Values rows) {
  int64_t n = rows.size();
  llvm::SmallVector<int64_t> low, high;
  for (int64_t i = 0; i < n / 2; ++i) {
    low.append({i, n + i});
    high.append({n / 2 + i, n + n / 2 + i});
  }
  for (int64_t round = 1; round < n; round *= 2) {
    Emitter::Values next;
    for (int64_t i = 0; i < n / 2; ++i) {
      next.push_back(e.shuffle(rows[i], rows[i + n / 2], low));
      next.push_back(e.shuffle(rows[i], rows[i + n / 2], high));
    }
    rows = next;
  }
  return rows;
}

/// 16 tokens, `from` on, fill a block of slots.
void CacheStore::transposeBlock(Value from, Value block) {
  int64_t stride = input.width(), whole = view.headSize / lanes * lanes;
  e.forRange(e.constant(0), e.constant(whole), lanes, [&](Value d) {
    for (int64_t slot = 0; slot < 16; slot += lanes) {
      Emitter::Values rows;
      for (int64_t i = 0; i < lanes; ++i)
        rows.push_back(e.load(e.vec(), e.element(from, e.f32(), e.add(d, (slot + i) * stride))));
      for (auto [i, column] : llvm::enumerate(transpose(e, rows)))
        e.store(column, e.element(block, e.f32(), e.add(e.mul(d, 16), int64_t(i) * 16 + slot)));
    }
  });
  for (int64_t d = whole; d < view.headSize; ++d)
    e.forRange(e.constant(0), e.constant(16), 1, [&](Value slot) {
      Value value = e.load(e.f32(), e.element(from, e.f32(), e.add(e.mul(slot, stride), d)));
      e.store(value, e.element(block, e.f32(), e.add(slot, d * 16)));
    });
}

void CacheStore::storeKeys() {
  // A tile is one block of 16 slots of one head, so no two threads share a cache line.
  Value blocks = e.add(e.ceilDiv(context.tokens, 16), 1);
  Value tiles = e.mul(e.mul(context.batch, view.heads), blocks);
  context.forTiles(tiles, [&](Value tile) {
    Value pair = e.div(tile, blocks), b = e.div(pair, view.heads), head = e.rem(pair, view.heads), before = pastOf(b);
    Value block = e.add(e.div(before, 16), e.rem(tile, blocks)), slots = e.mul(block, 16);
    Value begin = e.max(slots, before);
    Value end = e.min(e.min(e.add(slots, 16), e.add(before, context.tokens)), view.capacity);
    Value to = e.at(view.head(e, view.sequence(e, b), head), e.mul(block, view.headSize * 64));
    Value firstRow = e.sub(e.mul(b, context.tokens), before); // the row of slot 0
    e.ifElse(
        e.eq(e.sub(end, begin), 16), [&] { transposeBlock(source(e.add(firstRow, begin), head), to); },
        [&] {
          e.forRange(begin, end, 1, [&](Value slot) {
            Value from = source(e.add(firstRow, slot), head), lane = e.sub(slot, slots);
            e.forRange(e.constant(0), e.constant(view.headSize), 1, [&](Value d) {
              e.store(e.load(e.f32(), e.element(from, e.f32(), d)), e.element(to, e.f32(), e.add(e.mul(d, 16), lane)));
            });
          });
        });
  });
}

void CacheStore::storeValues() {
  context.forTiles(e.mul(context.batch, context.tokens), [&](Value row) {
    Value b = e.div(row, context.tokens), slot = e.add(pastOf(b), e.rem(row, context.tokens));
    e.ifThen(e.lt(slot, view.capacity), [&] {
      Value sequence = view.sequence(e, b);
      e.forRange(e.constant(0), e.constant(view.heads), 1, [&](Value head) {
        Value to = e.element(view.head(e, sequence, head), e.f32(), e.mul(slot, view.headSize));
        copyValues(e, source(row, head), to, view.headSize);
      });
    });
  });
}

llvm::Error ds::buildStoreCache(KernelContext &context) {
  mlir::Block &body = context.kernel.getBody().front();
  for (auto [out, value] : llvm::zip_equal(context.outs, body.getTerminator()->getOperands())) {
    auto op = value.getDefiningOp<ds_plan::StoreCacheOp>();
    const KernelOperand *input = op ? operandOf(context, op.getInput()) : nullptr;
    const KernelOperand *past = op ? operandOf(context, op.getPast()) : nullptr;
    if (!op || !isF32Rows(input) || (op.getPast() && !isI32Rows(past)))
      return context.error("expects to store f32 operands behind an i32 past");
    llvm::Expected<CacheView> view = CacheView::get(context, &out, op.getKind(), op.getKvHeads());
    if (!view)
      return view.takeError();
    CacheStore store(context, *view, *input, past);
    if (op.getKind() == ds_plan::CacheKind::keys)
      store.storeKeys();
    else
      store.storeValues();
  }
  return llvm::Error::success();
}
