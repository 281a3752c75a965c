#include "AttentionGradient.h"
#include "KernelRegion.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace ds;
using mlir::Value;

/// Where sequences are longer than what fits in as much memory, blocks of keys follow each other, and scores are computed twice.
static constexpr int64_t mostScratchBytes = 3 << 19;
/// Rows of a head lie further apart than the hardware looks ahead.
static constexpr int64_t aheadRows = 8;
static constexpr double log2OfE = 1.4426950408889634;

AttentionGradientTiles AttentionGradientTiles::get(const CpuLevel &level) {
  if (level.registers >= 32)
    return {2, 8, 8, 2};
  // Without multiply-add a product needs a register, and a number takes two instructions to reach all lanes.
  return level.fma ? AttentionGradientTiles{2, 6, 4, 2} : AttentionGradientTiles{4, 2, 2, 4};
}

int64_t AttentionGradientScratch::place(int64_t floats) {
  // Arrays do not lie a multiple of a page apart, or stores to one would hold up loads from the other.
  const int64_t here = bytes;
  bytes += static_cast<int64_t>(llvm::alignTo(floats * 4, 64)) + 5 * 64;
  return here;
}

AttentionGradientScratch::AttentionGradientScratch(const CpuLevel &level, int64_t headSize)
    : tiles(AttentionGradientTiles::get(level)), lanes(level.lanes), headSize(headSize),
      paddedSize(static_cast<int64_t>(llvm::alignTo(headSize, level.lanes))), mostRows(tiles.rowVectors * level.lanes), bytes(0) {
  const int64_t keyBytes = (4 * paddedSize + 2 * mostRows + 1) * 4;
  mostKeys = std::max<int64_t>(mostScratchBytes / keyBytes / tiles.keys, 16) * tiles.keys;
  for (int64_t *array : {&keys, &values, &keyGrads, &valueGrads})
    *array = place(mostKeys * paddedSize);
  bias = place(mostKeys);
  for (int64_t *array : {&queryRows, &gradRows, &sums, &queryColumns, &gradColumns})
    *array = place(mostRows * paddedSize);
  for (int64_t *array : {&scores, &scoreGrads})
    *array = place(mostKeys * mostRows);
}

static void prefetchHead(Emitter &e, Value pointer, int64_t headSize) {
  for (int64_t d = 0; d < headSize; d += 16)
    e.prefetch(e.at(pointer, d * 4));
}

namespace {
/// Emits the kernel: threads share the heads of keys of all sequences.
class GradientKernel {
public:
  GradientKernel(KernelContext &context, AttentionGradOp op)
      : context(context), e(context.e), op(op), query(operandOf(context, op.getQuery())), key(operandOf(context, op.getKey())),
        value(operandOf(context, op.getValue())), grad(operandOf(context, op.getGrad())), mask(operandOf(context, op.getMask())),
        slopes(operandOf(context, op.getSlopes())), seed(operandOf(context, op.getSeed())), queryGrad(outOf(op.getQueryGrad())),
        keyGrad(outOf(op.getKeyGrad())), valueGrad(outOf(op.getValueGrad())), group(static_cast<int64_t>(op.getHeads() / op.getKvHeads())) {
  }

  llvm::Error check();
  void emit();

private:
  /// A head of keys of a sequence.
  struct Item {
    Value sequence, head;
    Value seen; // keys behind are hidden
  };
  /// Some keys of it.
  struct Keys {
    Value first, count;
  };

  const KernelOperand *outOf(Value result);
  /// Element `column` of token `token`.
  Value rowOf(const KernelOperand *rows, const Item &item, Value token, Value column);
  Value seenKeys(Value sequence);
  void load(const Item &item, const Keys &keys);
  /// With `add`, adds to what the outputs hold.
  void storeKeyGrads(const Item &item, const Keys &keys, Value add);
  void emitItem(const Item &item);
  void emitKeys(const Item &item, Value head, const Keys &keys, Value measure, Value finish);
  void emitRows(const Item &item, Value head, const Keys &keys, Value row, Value measure, Value finish);

  KernelContext &context;
  Emitter &e;
  AttentionGradOp op;
  const KernelOperand *query, *key, *value, *grad, *mask, *slopes, *seed; // the last three may be null
  const KernelOperand *queryGrad, *keyGrad, *valueGrad;
  int64_t group;
  // Once the kernel is known to be sound.
  std::optional<AttentionGradientScratch> layout;
  Value scratch, statistics; // on the stack
};
} // namespace

const KernelOperand *GradientKernel::outOf(Value result) {
  for (auto [index, returned] : llvm::enumerate(context.kernel.getBody().front().getTerminator()->getOperands()))
    if (returned == result)
      return &context.outs[index];
  return nullptr;
}

llvm::Error GradientKernel::check() {
  if (!llvm::all_of(llvm::ArrayRef{query, key, value, grad}, isFloatRows) ||
      !llvm::all_of(llvm::ArrayRef{queryGrad, keyGrad, valueGrad}, isF32Rows))
    return context.error("expects one attention_grad over rows of floats, which gives f32");
  if (op.getMask() && !isI32Rows(mask))
    return context.error("expects the mask as i32 rows");
  if (op.getSlopes() && (!slopes || slopes->kind != KernelOperand::Kind::weight || !slopes->element().isF32()))
    return context.error("expects slopes as an f32 weight");
  if (op.getSeed() && (!seed || !isSeed(*seed)))
    return context.error("expects the seed of dropout as two i32");
  return llvm::Error::success();
}

Value GradientKernel::rowOf(const KernelOperand *rows, const Item &item, Value token, Value column) {
  Value row = e.add(e.mul(item.sequence, context.tokens), token);
  return e.element(rows->pointer, rows->element(), e.add(e.mul(row, rows->width()), column));
}

/// The last key that the mask does not hide, plus 1.
Value GradientKernel::seenKeys(Value sequence) {
  if (!mask)
    return context.tokens;
  Value start = e.mul(sequence, context.tokens);
  return e.forRange(e.constant(0), context.tokens, 1, mlir::ValueRange(e.constant(0)), [&](Value t, mlir::ValueRange carried) {
    return Emitter::Values{e.select(e.ne(loadIndex(e, *mask, e.add(start, t)), 0), e.add(t, 1), carried[0])};
  })[0];
}

void GradientKernel::load(const Item &item, const Keys &keys) {
  const int64_t lanes = layout->lanes, rowBytes = layout->paddedSize * 4;
  Value whole = e.mul(e.ceilDiv(keys.count, layout->tiles.keys), layout->tiles.keys), column = e.mul(item.head, layout->headSize);
  Value keyRow = rowOf(key, item, keys.first, column), valueRow = rowOf(value, item, keys.first, column), zero = e.zero(e.vec());
  Value open = e.constantF32(0), hidden = e.infinity(e.f32(), /*negative=*/true);
  auto sinkOf = [&](int64_t array, Value at) { return e.at(e.at(scratch, array), e.mul(at, rowBytes)); };
  auto biasOf = [&](Value at) { return e.element(e.at(scratch, layout->bias), e.f32(), at); };
  e.forRange(e.constant(0), keys.count, 1, [&](Value at) {
    for (auto [from, rows, array] : {std::tuple(keyRow, key, layout->keys), std::tuple(valueRow, value, layout->values)}) {
      const int64_t bytes = elementBytes(*rows);
      Value source = e.at(from, e.mul(at, rows->width() * bytes)), sink = sinkOf(array, at);
      prefetchHead(e, e.at(source, aheadRows * rows->width() * bytes), layout->headSize);
      for (int64_t d = 0; d < layout->paddedSize; d += lanes)
        e.store(e.loadRow(rows->element(), e.at(source, d * bytes), layout->headSize - d, lanes), e.at(sink, d * 4));
    }
    Value bias = open;
    if (mask) {
      Value row = e.add(e.add(e.mul(item.sequence, context.tokens), keys.first), at);
      bias = e.select(e.ne(loadIndex(e, *mask, row), 0), open, hidden);
    }
    e.store(bias, biasOf(at));
  });
  e.forRange(keys.count, whole, 1, [&](Value at) {
    for (int64_t array : {layout->keys, layout->values})
      for (int64_t d = 0; d < layout->paddedSize; d += lanes)
        e.store(zero, e.at(sinkOf(array, at), d * 4));
    e.store(hidden, biasOf(at));
  });
  e.forRange(e.constant(0), whole, 1, [&](Value at) {
    for (int64_t array : {layout->keyGrads, layout->valueGrads})
      for (int64_t d = 0; d < layout->paddedSize; d += lanes)
        e.store(zero, e.at(sinkOf(array, at), d * 4));
  });
}

void GradientKernel::storeKeyGrads(const Item &item, const Keys &keys, Value add) {
  Value column = e.mul(item.head, layout->headSize);
  auto copy = [&](bool accumulate) {
    e.forRange(e.constant(0), keys.count, 1, [&](Value at) {
      for (auto [out, array] : {std::tuple(keyGrad, layout->keyGrads), std::tuple(valueGrad, layout->valueGrads)}) {
        Value source = e.at(e.at(scratch, array), e.mul(at, layout->paddedSize * 4)),
              sink = rowOf(out, item, e.add(keys.first, at), column);
        prefetchHead(e, e.at(sink, aheadRows * out->width() * 4), layout->headSize);
        for (int64_t d = 0; d < layout->headSize; d += layout->lanes) {
          Value sum = e.load(e.vec(), e.at(source, d * 4));
          if (accumulate)
            sum = e.add(sum, e.loadFirst(e.at(sink, d * 4), layout->headSize - d, layout->lanes));
          e.storeFirst(sum, e.at(sink, d * 4), layout->headSize - d);
        }
      }
    });
  };
  e.ifElse(add, [&] { copy(true); }, [&] { copy(false); });
}

/// The block of query rows number `row` of `head` against some keys.
void GradientKernel::emitRows(const Item &item, Value head, const Keys &keys, Value row, Value measure, Value finish) {
  Value first = e.mul(row, layout->mostRows), left = e.sub(context.tokens, first), zero = e.constant(0);
  Value end = op.getCausal() ? e.min(item.seen, e.add(first, layout->mostRows)) : item.seen;
  Value begin = op.getWindow() ? e.add(e.sub(first, static_cast<int64_t>(*op.getWindow())), 1) : zero;
  end = e.max(e.min(e.sub(end, keys.first), keys.count), zero);
  begin = e.min(e.max(e.sub(begin, keys.first), zero), end);
  // The first keys have gradients of queries written, even where no row sees them.
  Value isFirst = e.eq(keys.first, 0);
  e.ifThen(e.bitOr(isFirst, e.lt(begin, end)), [&] {
    Value column = e.mul(head, layout->headSize);
    AttentionGradientBlock block;
    block.query = rowOf(query, item, first, column), block.grad = rowOf(grad, item, first, column);
    block.queryGrad = rowOf(queryGrad, item, first, column);
    // After the last rows, most often the next head follows.
    Value isLast = e.le(left, layout->mostRows), next = e.select(isLast, zero, e.add(first, layout->mostRows));
    Value nextColumn = e.select(isLast, e.add(column, layout->headSize), column);
    block.nextQuery = rowOf(query, item, next, nextColumn), block.nextGrad = rowOf(grad, item, next, nextColumn);
    block.scratch = scratch;
    block.statistics = e.at(statistics, e.mul(row, AttentionGradientStatistics::count * layout->mostRows * 4));
    block.first = first, block.left = left;
    block.keyOffset = keys.first;
    block.keyBegin = e.mul(e.div(begin, layout->tiles.keys), layout->tiles.keys);
    block.keyEnd = e.mul(e.ceilDiv(end, layout->tiles.keys), layout->tiles.keys);
    block.slope = e.constantF32(0);
    if (slopes)
      block.slope = e.mul(e.load(e.f32(), e.element(slopes->pointer, e.f32(), head)), e.constantF32(log2OfE));
    block.measure = measure, block.finish = finish;
    block.accumulate = e.ne(keys.first, 0);
    if (seed)
      block.seed = seed->pointer, block.randomHead = e.add(e.mul(item.sequence, static_cast<int64_t>(op.getHeads())), head);
    const int64_t many = layout->tiles.rowVectors, few = many / 2;
    e.ifElse(
        e.le(left, few * layout->lanes), [&] { callAttentionGradientBlock(context, op, *layout, few, block); },
        [&] { callAttentionGradientBlock(context, op, *layout, many, block); });
  });
}

void GradientKernel::emitKeys(const Item &item, Value head, const Keys &keys, Value measure, Value finish) {
  AttentionGradientStatistics places{layout->mostRows};
  Value fresh = e.bitAnd(measure, e.eq(keys.first, 0));
  e.forRange(e.constant(0), e.ceilDiv(context.tokens, layout->mostRows), 1, [&](Value row) {
    e.ifThen(fresh, [&] {
      Value block = e.at(statistics, e.mul(row, AttentionGradientStatistics::count * layout->mostRows * 4));
      for (int64_t v = 0; v < layout->tiles.rowVectors; ++v) {
        Value at = e.at(block, v * layout->lanes * 4), zero = e.zero(e.vec());
        e.store(e.infinity(e.vec(), /*negative=*/true), e.at(at, places.largest()));
        e.store(zero, e.at(at, places.sums()));
        e.store(zero, e.at(at, places.dots()));
      }
    });
    emitRows(item, head, keys, row, measure, finish);
  });
}

/// Where all keys fit, they are loaded once and each head measures and finishes at once. Else each head goes through all keys to measure,
/// and again to finish.
void GradientKernel::emitItem(const Item &item) {
  Value fits = e.le(context.tokens, layout->mostKeys), firstPass = e.select(fits, e.constant(1), e.constant(0));
  e.forRange(e.constant(0), e.constant(group), 1, [&](Value member) {
    Value head = e.add(e.mul(item.head, group), member), isFirst = e.eq(member, 0), isLast = e.eq(member, group - 1);
    e.forRange(firstPass, e.constant(2), e.constant(1), [&](Value pass) {
      Value finish = e.eq(pass, 1), measure = e.bitOr(fits, e.eq(pass, 0)), isBlocked = e.bitXor(fits, e.constantBool(true));
      e.forRange(e.constant(0), context.tokens, layout->mostKeys, [&](Value first) {
        Keys keys{first, e.min(e.sub(context.tokens, first), layout->mostKeys)};
        e.ifThen(e.bitOr(isBlocked, isFirst), [&] { load(item, keys); });
        emitKeys(item, head, keys, measure, finish);
        e.ifThen(e.bitAnd(finish, e.bitOr(isBlocked, isLast)), [&] { storeKeyGrads(item, keys, e.bitAnd(isBlocked, e.ne(member, 0))); });
      });
    });
  });
}

void GradientKernel::emit() {
  const auto kvHeads = static_cast<int64_t>(op.getKvHeads());
  layout.emplace(context.level, mlir::cast<mlir::RankedTensorType>(op.getKey().getType()).getDimSize(2) / kvHeads);
  scratch = e.stack(layout->bytes);
  Value bytes = e.mul(e.ceilDiv(context.tokens, layout->mostRows), AttentionGradientStatistics::count * layout->mostRows * 4);
  statistics = mlir::LLVM::AllocaOp::create(e.getBuilder(), e.getLoc(), e.ptr(), e.i8(), bytes, /*alignment=*/64);
  context.forTiles(e.mul(context.batch, kvHeads), [&](Value tile) {
    Value sequence = e.div(tile, kvHeads);
    emitItem({sequence, e.rem(tile, kvHeads), seenKeys(sequence)});
  });
}

llvm::Error ds::buildAttentionGradient(KernelContext &context) {
  mlir::Block &body = context.kernel.getBody().front();
  auto op = mlir::dyn_cast<AttentionGradOp>(&body.front());
  if (!op || !llvm::hasNItems(body, 2))
    return context.error("expects one attention_grad");
  GradientKernel kernel(context, op);
  if (llvm::Error error = kernel.check())
    return error;
  kernel.emit();
  return llvm::Error::success();
}
