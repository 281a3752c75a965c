#include "StoreCache.h"
#include "KernelRegion.h"
#include "RowRegion.h"

using namespace ds;
using mlir::Value;

namespace {
/// Tokens of one sequence, and columns of one head, on their way.
class HeadStore {
public:
  /// `columns` of them, from `firstOfHead` on; element 0 of `rows.source` is theirs after `sourceColumn`.
  HeadStore(const CacheRows &rows, Value b, Value head, Value firstOfHead, int64_t sourceColumn, int64_t columns)
      : rows(rows), context(rows.context), e(context.e), lanes(context.level.lanes), headSize(rows.view.headSize), columns(columns),
        sourceColumn(sourceColumn), element(rows.element ? rows.element : e.f32()),
        before(rows.past ? loadIndex(e, *rows.past, b) : e.constant(0)), firstOfHead(firstOfHead),
        to(rows.view.head(e, rows.view.sequence(e, b), head)) {
    firstSlot = e.sub(e.sub(e.mul(b, context.tokens), rows.firstRow), before);
  }

  void storeKeys(Value firstToken, Value endToken);
  void storeValues(Value firstToken, Value endToken);

private:
  /// The first column of the token that goes to `slot`.
  Value from(Value slot) {
    return e.at(rows.source, e.add(e.mul(e.add(slot, firstSlot), rows.rowBytes), sourceColumn * element.getIntOrFloatBitWidth() / 8));
  }
  Value endSlot(Value endToken) { return e.min(e.add(before, endToken), rows.view.capacity); }
  void transposeBlock(Value from, Value block);

  const CacheRows &rows;
  KernelContext &context;
  Emitter &e;
  int64_t lanes, headSize, columns, sourceColumn;
  mlir::Type element;
  Value before, firstOfHead, to;
  Value firstSlot; // plus a slot: the row of `rows.source` that goes there
};
} // namespace

/// 16 tokens, `from` on, fill a block of slots.
void HeadStore::transposeBlock(Value from, Value block) {
  int64_t whole = columns / lanes * lanes;
  e.forRange(e.constant(0), e.constant(whole), lanes, [&](Value d) {
    for (int64_t slot = 0; slot < 16; slot += lanes) {
      Emitter::Values tokens;
      for (int64_t i = 0; i < lanes; ++i)
        tokens.push_back(e.loadRow(element, e.at(e.element(from, element, d), (slot + i) * rows.rowBytes), lanes, lanes));
      for (auto [i, column] : llvm::enumerate(e.transpose(tokens)))
        e.store(column, e.element(block, e.f32(), e.add(e.mul(d, 16), int64_t(i) * 16 + slot)));
    }
  });
  for (int64_t d = whole; d < columns; ++d)
    e.forRange(e.constant(0), e.constant(16), 1, [&](Value slot) {
      Value value = e.loadF32(element, e.element(e.at(from, e.mul(slot, rows.rowBytes)), element, e.constant(d)), 0);
      e.store(value, e.element(block, e.f32(), e.add(slot, d * 16)));
    });
}

void HeadStore::storeKeys(Value firstToken, Value endToken) {
  Value first = e.add(before, firstToken), end = endSlot(endToken);
  e.forRange(e.div(first, 16), e.ceilDiv(end, 16), 1, [&](Value block) {
    Value slots = e.mul(block, 16), blockFirst = e.max(slots, first), blockEnd = e.min(e.add(slots, 16), end);
    Value place = e.at(to, e.mul(e.add(e.mul(block, headSize), firstOfHead), 64));
    e.ifElse(
        e.eq(e.sub(blockEnd, blockFirst), 16), [&] { transposeBlock(from(blockFirst), place); },
        [&] {
          e.forRange(blockFirst, blockEnd, 1, [&](Value slot) {
            Value token = from(slot), lane = e.sub(slot, slots);
            e.forRange(e.constant(0), e.constant(columns), 1, [&](Value d) {
              e.store(e.loadF32(element, e.element(token, element, d), 0), e.element(place, e.f32(), e.add(e.mul(d, 16), lane)));
            });
          });
        });
  });
}

void HeadStore::storeValues(Value firstToken, Value endToken) {
  e.forRange(e.add(before, firstToken), endSlot(endToken), 1, [&](Value slot) {
    Value source = from(slot), sink = e.element(to, e.f32(), e.add(e.mul(slot, headSize), firstOfHead));
    if (element.isF32())
      return copyValues(e, source, sink, columns);
    forEachSpan(e, columns, [&](const RowSpan &span) {
      Value values = e.loadRow(element, e.element(source, element, span.index), span.count, lanes);
      e.storeFirst(values, e.element(sink, e.f32(), span.index), span.count);
    });
  });
}

CacheView ds::cacheViewOf(KernelContext &context, const KernelOperand &cache, ds_plan::StoreCacheOp op) {
  llvm::Expected<CacheView> view = CacheView::get(context, &cache, op.getKind(), op.getKvHeads());
  return llvm::cantFail(std::move(view));
}

void ds::storeRows(const CacheRows &rows, Value count, Value firstColumn, int64_t columns) {
  Emitter &e = rows.context.e;
  Value tokens = rows.context.tokens, end = e.add(rows.firstRow, count);
  const int64_t headSize = rows.view.headSize, piece = std::min(headSize, columns);
  bool keys = rows.view.kind == ds_plan::CacheKind::keys;
  e.forRange(e.div(rows.firstRow, tokens), e.add(e.div(e.sub(end, 1), tokens), 1), 1, [&](Value b) {
    Value sequence = e.mul(b, tokens);
    Value firstToken = e.max(e.sub(rows.firstRow, sequence), 0), endToken = e.min(e.sub(end, sequence), tokens);
    for (int64_t column = 0; column < columns; column += piece) {
      Value here = e.add(firstColumn, column);
      HeadStore store(rows, b, e.div(here, headSize), e.rem(here, headSize), column, piece);
      if (keys)
        store.storeKeys(firstToken, endToken);
      else
        store.storeValues(firstToken, endToken);
    }
  });
}

llvm::Error ds::buildStoreCache(KernelContext &context) {
  Emitter &e = context.e;
  mlir::Block &body = context.kernel.getBody().front();
  for (auto [out, value] : llvm::zip_equal(context.outs, body.getTerminator()->getOperands())) {
    auto op = value.getDefiningOp<ds_plan::StoreCacheOp>();
    const KernelOperand *input = op ? operandOf(context, op.getInput()) : nullptr;
    const KernelOperand *past = op ? operandOf(context, op.getPast()) : nullptr;
    if (!op || !isFloatRows(input) || (op.getPast() && !isI32Rows(past)))
      return context.error("expects to store rows of floats behind an i32 past");
    llvm::Expected<CacheView> view = CacheView::get(context, &out, op.getKind(), op.getKvHeads());
    if (!view)
      return view.takeError();
    // A tile is 16 tokens of one head of one sequence.
    const CacheView &cache = *view;
    Value blocks = e.ceilDiv(context.tokens, 16);
    context.forTiles(e.mul(e.mul(context.batch, cache.heads), blocks), [&](Value tile) {
      Value pair = e.div(tile, blocks), b = e.div(pair, cache.heads), head = e.rem(pair, cache.heads);
      Value token = e.mul(e.rem(tile, blocks), 16), firstColumn = e.mul(head, cache.headSize);
      Value firstRow = e.add(e.mul(b, context.tokens), token);
      Value source = e.element(input->pointer, input->element(), e.add(e.mul(firstRow, input->width()), firstColumn));
      CacheRows rows{context, cache, past, source, input->width() * elementBytes(*input), firstRow, input->element()};
      storeRows(rows, e.min(e.sub(context.tokens, token), 16), firstColumn, cache.headSize);
    });
  }
  return llvm::Error::success();
}
