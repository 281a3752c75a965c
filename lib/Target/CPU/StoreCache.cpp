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
        sourceColumn(sourceColumn), element(rows.element ? rows.element : e.f32()), cacheElement(rows.view.element()),
        hasCodes(rows.view.hasCodes()), before(rows.past ? loadIndex(e, *rows.past, b) : e.constant(0)), firstOfHead(firstOfHead),
        to(rows.view.head(e, rows.view.sequence(e, b), head)) {
    firstSlot = e.sub(e.sub(e.mul(b, context.tokens), rows.firstRow), before);
  }

  void storeKeys(Value firstToken, Value endToken);
  void storeValues(Value firstToken, Value endToken);

private:
  ds_plan::CacheLayout layout() const { return rows.view.layout; }
  /// A block of 16 slots.
  Value blockOf(Value block) { return e.at(to, e.mul(block, layout().blockBytes())); }
  /// Stores the scale of the head at `source`, in which lane `lane` of the block is; returns the inverse of the scale, 0 where all codes
  /// are 0.
  Value storeScale(Value source, Value block, Value lane);
  /// Codes of f32 that go with an inverse scale, i8. Lanes of a head that holds a NaN or an infinity get any.
  Value toCodes(Value values, Value inverse) {
    // `min` gives its second operand for a NaN, so that none is converted.
    return e.toI8(e.toI32(e.roundEven(e.min(e.mul(values, inverse), e.constantOf(values.getType(), 127)))));
  }
  void storeCodesOfKeys(Value slot, Value block, Value lane);
  /// The first of its columns in the token that goes to `slot`.
  Value from(Value slot) {
    return e.at(rows.source, e.add(e.mul(e.add(slot, firstSlot), rows.rowBytes), sourceColumn * element.getIntOrFloatBitWidth() / 8));
  }
  Value endSlot(Value endToken) { return e.min(e.add(before, endToken), rows.view.capacity); }
  void transposeBlock(Value from, Value place, Value inverses);
  /// The same in pairs.
  void transposePairs(Value from, Value place);
  void storePairsOfValues(Value first, Value end);
  /// Rounded to the cache's f32 or bf16; what is bf16 already stays as it is.
  Value rounded(Value values) { return cacheElement == element || cacheElement.isF32() ? values : e.roundTo(cacheElement, values); }
  void storeFloat(Value value, Value place) { e.store(cacheElement.isF32() ? value : e.bitsOf(cacheElement, rounded(value)), place); }

  const CacheRows &rows;
  KernelContext &context;
  Emitter &e;
  int64_t lanes, headSize, columns, sourceColumn;
  mlir::Type element, cacheElement;
  bool hasCodes;
  Value before, firstOfHead, to;
  Value firstSlot; // plus a slot: the row of `rows.source` that goes there
};
} // namespace

Value HeadStore::storeScale(Value source, Value block, Value lane) {
  // As integers magnitudes have the order of floats, and what is not finite is greater than all that is.
  mlir::VectorType integers = e.vec(lanes, e.i32());
  Value none = e.zero(integers), largest = none;
  auto larger = [&](Value index, int64_t count, Value before) {
    Value values = e.loadRow(element, e.element(source, element, index), count, lanes);
    return e.max(e.bitAnd(e.bitcast(values, integers), e.constantOf(integers, 0x7fffffff)), before);
  };
  const int64_t whole = columns / lanes * lanes;
  largest = e.forRange(e.constant(0), e.constant(whole), lanes, none,
                       [&](Value index, mlir::ValueRange carried) { return Emitter::Values{larger(index, lanes, carried[0])}; })[0];
  if (whole < columns)
    largest = larger(e.constant(whole), columns - whole, largest);
  Value bits = e.reduceMax(largest), zero = e.constantF32(0), one = e.constantF32(1);
  Value scale = e.div(e.bitcast(bits, e.f32()), e.constantF32(127));
  Value isFinite = e.lt(bits, 0x7f800000), isNormal = e.ge(scale, e.constantF32(0x1p-126f));
  Value stored = e.select(isFinite, e.select(isNormal, scale, zero), e.bitcast(e.constantI32(0x7fc00000), e.f32()));
  e.store(stored, e.element(block, e.f32(), lane));
  return e.select(e.bitAnd(isFinite, isNormal), e.div(one, scale), zero);
}

/// 16 tokens, `from` on, fill the slots of a block, whose first of these columns is at `place`. `inverses` are those of their scales, null
/// without codes.
void HeadStore::transposeBlock(Value from, Value place, Value inverses) {
  int64_t whole = columns / lanes * lanes;
  e.forRange(e.constant(0), e.constant(whole), lanes, [&](Value d) {
    for (int64_t slot = 0; slot < 16; slot += lanes) {
      Emitter::Values tokens;
      for (int64_t i = 0; i < lanes; ++i)
        tokens.push_back(e.loadRow(element, e.at(e.element(from, element, d), (slot + i) * rows.rowBytes), lanes, lanes));
      Value scales = inverses ? e.load(e.vec(), e.at(inverses, slot * 4)) : Value();
      for (auto [i, column] : llvm::enumerate(e.transpose(tokens))) {
        Value index = e.add(e.mul(d, 16), int64_t(i) * 16 + slot);
        if (inverses)
          e.store(toCodes(column, scales), e.at(place, index));
        else
          e.storeRow(cacheElement, rounded(column), e.element(place, cacheElement, index), lanes);
      }
    }
  });
  for (int64_t d = whole; d < columns; ++d)
    e.forRange(e.constant(0), e.constant(16), 1, [&](Value slot) {
      Value value = e.loadF32(element, e.element(e.at(from, e.mul(slot, rows.rowBytes)), element, e.constant(d)), 0);
      if (inverses)
        e.store(toCodes(value, e.load(e.f32(), e.element(inverses, e.f32(), slot))), e.at(place, e.add(slot, d * 16)));
      else
        storeFloat(value, e.element(place, cacheElement, e.add(slot, d * 16)));
    });
}

/// Two vectors of f32 as pairs of bf16: `low` in the low halves of 32-bit lanes.
static Value pairsOf(Emitter &e, Value low, Value high) {
  mlir::Type bf16 = e.getBuilder().getBF16Type();
  mlir::Type words = e.vec(e.lanesOf(low), e.i32());
  return e.bitOr(e.shiftRight(e.bitcast(e.roundTo(bf16, low), words), 16), e.bitcast(e.roundTo(bf16, high), words));
}

void HeadStore::transposePairs(Value from, Value place) {
  e.forRange(e.constant(0), e.constant(columns), lanes, [&](Value d) {
    for (int64_t slot = 0; slot < 16; slot += lanes) {
      Emitter::Values tokens;
      for (int64_t i = 0; i < lanes; ++i)
        tokens.push_back(e.loadRow(element, e.at(e.element(from, element, d), (slot + i) * rows.rowBytes), lanes, lanes));
      Emitter::Values turned = e.transpose(tokens);
      for (int64_t i = 0; i < lanes; i += 2)
        e.store(pairsOf(e, turned[i], turned[i + 1]), e.at(place, e.add(e.mul(d, 16 * 2), (i * 16 + slot * 2) * 2)));
    }
  });
}

/// One slot of a block of codes.
void HeadStore::storeCodesOfKeys(Value slot, Value block, Value lane) {
  Value source = from(slot), inverse = storeScale(source, block, lane), codes = e.at(rows.scratch, 64);
  forEachSpan(e, columns, [&](const RowSpan &span) {
    Value values = e.loadRow(element, e.element(source, element, span.index), span.count, lanes);
    e.store(toCodes(values, e.splat(inverse)), e.at(codes, span.index));
  });
  Value place = e.at(block, e.add(lane, layout().scaleBytes()));
  e.forRange(e.constant(0), e.constant(columns), 1, [&](Value d) { e.store(e.load(e.i8(), e.at(codes, d)), e.at(place, e.mul(d, 16))); });
}

void HeadStore::storeKeys(Value firstToken, Value endToken) {
  Value first = e.add(before, firstToken), end = endSlot(endToken);
  e.forRange(e.div(first, 16), e.ceilDiv(end, 16), 1, [&](Value block) {
    Value slots = e.mul(block, 16), blockFirst = e.max(slots, first), blockEnd = e.min(e.add(slots, 16), end);
    Value start = blockOf(block), place = e.at(start, e.mul(firstOfHead, 16 * layout().elementBytes));
    e.ifElse(
        e.eq(e.sub(blockEnd, blockFirst), 16),
        [&] {
          if (layout().hasPairs)
            return transposePairs(from(blockFirst), place);
          if (!hasCodes)
            return transposeBlock(from(blockFirst), place, Value());
          Value inverses = rows.scratch;
          e.forRange(e.constant(0), e.constant(16), 1,
                     [&](Value lane) { e.store(storeScale(from(e.add(slots, lane)), start, lane), e.element(inverses, e.f32(), lane)); });
          transposeBlock(from(blockFirst), e.at(start, layout().scaleBytes()), inverses);
        },
        [&] {
          e.forRange(blockFirst, blockEnd, 1, [&](Value slot) {
            Value lane = e.sub(slot, slots);
            if (hasCodes)
              return storeCodesOfKeys(slot, start, lane);
            Value token = from(slot);
            e.forRange(e.constant(0), e.constant(columns), 1, [&](Value d) {
              Value value = e.loadF32(element, e.element(token, element, d), 0), index = e.add(e.mul(d, 16), lane);
              if (layout().hasPairs) {
                Value second = e.bitAnd(d, e.constant(1));
                index = e.add(e.add(e.mul(e.sub(d, second), 16), e.mul(lane, 2)), second);
              }
              storeFloat(value, e.element(place, cacheElement, index));
            });
          });
        });
  });
}

/// Slots [first, end). A slot whose neighbour comes from another tile is stored alone, as another thread may store that one; what would lie
/// beside the last one of a sequence becomes 0, as pairs are multiplied whole.
void HeadStore::storePairsOfValues(Value first, Value end) {
  auto place = [&](Value slot, Value column) { // of the pair
    return e.element(to, e.i32(), e.add(e.mul(e.shiftRight(slot, 1), headSize), e.add(firstOfHead, column)));
  };
  auto storeAlone = [&](Value slot) {
    Value source = from(slot), second = e.mul(e.bitAnd(slot, e.constant(1)), 2);
    e.forRange(e.constant(0), e.constant(columns), 1, [&](Value column) {
      storeFloat(e.loadF32(element, e.element(source, element, column), 0), e.at(place(slot, column), second));
    });
  };
  auto storePair = [&](Value slot, bool isWhole) {
    Value source = from(slot);
    for (int64_t column = 0; column < columns; column += lanes) {
      Value low = e.loadRow(element, e.element(source, element, e.constant(column)), lanes, lanes), high = e.zero(e.vec());
      if (isWhole)
        high = e.loadRow(element, e.at(e.element(source, element, e.constant(column)), rows.rowBytes), lanes, lanes);
      e.store(pairsOf(e, low, high), place(slot, e.constant(column)));
    }
  };
  Value one = e.constant(1), isOdd = e.ne(e.bitAnd(first, one), 0), begin = e.add(first, e.bitAnd(first, one));
  e.ifThen(e.bitAnd(isOdd, e.lt(first, end)), [&] { storeAlone(first); });
  Value left = e.bitAnd(e.max(e.sub(end, begin), e.constant(0)), one), whole = e.sub(e.max(end, begin), left);
  e.forRange(begin, whole, 2, [&](Value slot) { storePair(slot, true); });
  e.ifThen(e.ne(left, 0), [&] { e.ifElse(e.eq(end, context.tokens), [&] { storePair(whole, false); }, [&] { storeAlone(whole); }); });
}

void HeadStore::storeValues(Value firstToken, Value endToken) {
  if (layout().hasPairs) // there is no past
    return storePairsOfValues(firstToken, endToken);
  e.forRange(e.add(before, firstToken), endSlot(endToken), 1, [&](Value slot) {
    Value source = from(slot);
    if (hasCodes) {
      Value block = blockOf(e.div(slot, 16)), lane = e.rem(slot, 16), inverse = e.splat(storeScale(source, block, lane));
      Value row = e.at(block, e.add(e.mul(lane, layout().rowBytes()), layout().scaleBytes()));
      // Whole vectors: what is behind a head in its row is room for them.
      return forEachSpan(e, columns, [&](const RowSpan &span) {
        Value values = e.loadRow(element, e.element(source, element, span.index), span.count, lanes);
        e.store(toCodes(values, inverse), e.at(row, span.index));
      });
    }
    Value sink = e.element(to, cacheElement, e.add(e.mul(slot, headSize), firstOfHead));
    if (element.isF32() && cacheElement.isF32())
      return copyValues(e, source, sink, columns);
    forEachSpan(e, columns, [&](const RowSpan &span) {
      Value values = e.loadRow(element, e.element(source, element, span.index), span.count, lanes);
      e.storeRow(cacheElement, rounded(values), e.element(sink, cacheElement, span.index), span.count);
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
    Value scratch = cache.hasCodes() ? e.stack(storeScratchBytes(cache)) : Value();
    Value blocks = e.ceilDiv(context.tokens, 16);
    context.forTiles(e.mul(e.mul(context.batch, cache.heads), blocks), [&](Value tile) {
      Value pair = e.div(tile, blocks), b = e.div(pair, cache.heads), head = e.rem(pair, cache.heads);
      Value token = e.mul(e.rem(tile, blocks), 16), firstColumn = e.mul(head, cache.headSize);
      Value firstRow = e.add(e.mul(b, context.tokens), token);
      Value source = e.element(input->pointer, input->element(), e.add(e.mul(firstRow, input->width()), firstColumn));
      CacheRows rows{context, cache, past, source, input->width() * elementBytes(*input), firstRow, input->element(), scratch};
      storeRows(rows, e.min(e.sub(context.tokens, token), 16), firstColumn, cache.headSize);
    });
  }
  return llvm::Error::success();
}
