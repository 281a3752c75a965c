// What comes behind a product: bias, element-wise ops, rope and writes to caches, each item of a thread on its own.
#include "CacheView.h"
#include "Gemm.h"
#include "ds/Target/CPU/Elementwise.h"

using namespace mlir;
using namespace ds;

namespace {
/// The values of a domain at one column of one token.
class ItemValues {
public:
  /// `product` gives the product of a linear, with its bias, at this column or, for rope, at its partner's.
  ItemValues(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, Value token, Value column,
             llvm::function_ref<Value(LinearOp, Value)> product)
      : body(body), e(body.e), gemm(gemm), domain(domain), token(token), column(column), product(product) {}

  Value get(Value value) {
    if (Value known = computed.lookup(value))
      return known;
    Operation *op = value.getDefiningOp();
    Value result;
    if (auto linear = dyn_cast_or_null<LinearOp>(op)) {
      result = product(linear, column);
    } else if (!op) {
      result = e.load(e.f32(), placeOf(body.ins[gemm.operandOf(value)].pointer));
    } else {
      SmallVector<Value> operands;
      for (Value operand : op->getOperands())
        operands.push_back(get(operand));
      result = emitElementwise(e, op, operands);
    }
    return computed[value] = result;
  }

  /// What results and caches get of a domain with heads.
  Value ofHeads() { return domain.domain->rope ? turned() : get(LinearOp(domain.domain->linears.front()).getOutput()); }
  Value placeOf(Value rows) { return e.element(rows, e.f32(), e.add(e.mul(e.toI64(token), domain.domain->columns), e.toI64(column))); }

private:
  /// The value behind the rope.
  Value turned();

  GpuBody &body;
  GpuEmitter &e;
  const GpuGemm &gemm;
  const GpuDomain &domain;
  Value token, column;
  llvm::function_ref<Value(LinearOp, Value)> product;
  llvm::DenseMap<Value, Value> computed;
};
} // namespace

/// The column that row r of a unit is of its domain.
static Value columnOf(GpuEmitter &e, const GpuDomain &domain, Value unit, Value r) {
  if (domain.kind == UnitKind::pairs)
    return e.add(e.mul(unit, 8), r);
  if (domain.kind == UnitKind::plain)
    return e.add(e.mul(unit, 16), r);
  RopeOp rope = domain.domain->rope;
  const auto headSize = domain.domain->columns / static_cast<int64_t>(rope.getHeads()), rotary = static_cast<int64_t>(rope.getRotary());
  Value inHead = e.rem(unit, headSize / 16), head = e.mul(e.div(unit, headSize / 16), headSize);
  Value second = e.select(e.lt(inHead, rotary / 16), e.index(rotary / 2 - 8), e.index(0)); // beyond the next 8 rows
  Value first = e.select(e.lt(inHead, rotary / 16), e.mul(inHead, 8), e.mul(inHead, 16));
  return e.add(head, e.add(e.add(first, r), e.select(e.lt(r, 8), e.index(0), second)));
}

Value ItemValues::turned() {
  RopeOp rope = domain.domain->rope;
  LinearOp linear = domain.domain->linears.front();
  const auto headSize = domain.domain->columns / static_cast<int64_t>(rope.getHeads()), rotary = static_cast<int64_t>(rope.getRotary());
  const bool halves = rope.getStyle() == RopeStyle::half;
  Value x = get(linear), d = e.rem(column, headSize), rest = x;
  return e.ifElse(
      e.lt(d, rotary), TypeRange(e.f32()),
      [&] {
        Value isFirst = halves ? e.lt(d, rotary / 2) : e.eq(e.bitAnd(d, e.index(1)), 0);
        Value step = e.index(halves ? rotary / 2 : 1), other = e.select(isFirst, e.add(column, step), e.sub(column, step));
        Value y = product(linear, other);
        Value i = halves ? e.rem(d, rotary / 2) : e.div(d, 2);
        Value position = e.load(e.i32(), e.element(body.ins[gemm.operandOf(rope.getPositions())].pointer, e.i32(), token));
        Value angles = e.element(body.aux[gemm.tableOf(rope)].pointer, e.f32(), e.mul(e.toI64(position), rotary));
        Value cosine = e.load(e.f32(), e.element(angles, e.f32(), i));
        Value sine = e.load(e.f32(), e.element(angles, e.f32(), e.add(i, rotary / 2)));
        return Emitter::Values{e.fma(x, cosine, e.mul(y, e.select(isFirst, e.neg(sine), sine)))};
      },
      [&] { return Emitter::Values{rest}; })[0];
}

/// Calls `write` with the cache of `store`, and the sequence and slot of `token` in it, where there is such a slot.
static void atSlot(GpuBody &body, const GpuGemm &gemm, ds_plan::StoreCacheOp store, Value token,
                   llvm::function_ref<void(const GpuCacheView &, Value b, Value slot)> write) {
  GpuEmitter &e = body.e;
  const GpuCacheView view(body, &body.outs[gemm.resultOf(store.getOutput())], store.getKind(), static_cast<int64_t>(store.getKvHeads()));
  Value b = e.div(token, body.tokens), slot = e.rem(token, body.tokens);
  if (store.getPast())
    slot = e.add(slot, e.load(e.i32(), e.element(body.ins[gemm.operandOf(store.getPast())].pointer, e.i32(), b)));
  e.ifThen(e.lt(slot, view.capacity), [&] { write(view, b, slot); });
}

/// Rope, results and writes to caches of a domain with heads, codes apart.
static void emitHeads(GpuBody &body, const GpuGemm &gemm, const LinearDomain &region, ItemValues &values, Value token, Value column) {
  GpuEmitter &e = body.e;
  Value value = values.ofHeads();
  for (Value wanted : region.results)
    e.store(value, values.placeOf(body.outs[gemm.resultOf(wanted)].pointer));
  for (Operation *op : region.stores)
    if (auto store = cast<ds_plan::StoreCacheOp>(op); !isOfCodes(store.getOutput()))
      atSlot(body, gemm, store, token, [&](const GpuCacheView &view, Value b, Value slot) {
        view.store(e, view.head(e, b, e.div(column, view.headSize)), slot, e.rem(column, view.headSize), value);
      });
}

void ds::emitHeadValue(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, Value token, Value column,
                       llvm::function_ref<Value(Value)> product) {
  auto ofLinear = [&](LinearOp, Value at) { return product(at); };
  ItemValues values(body, gemm, domain, token, column, ofLinear);
  emitHeads(body, gemm, *domain.domain, values, token, column);
}

void ds::emitHeadCodes(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, ds_plan::StoreCacheOp store, Value token, Value head,
                       llvm::function_ref<Value(Value)> product) {
  GpuEmitter &e = body.e;
  auto ofLinear = [&](LinearOp, Value at) { return product(at); };
  atSlot(body, gemm, store, token, [&](const GpuCacheView &view, Value b, Value slot) {
    view.storeCodes(e, view.head(e, b, head), slot, [&](Value d) {
      return ItemValues(body, gemm, domain, token, e.add(e.mul(head, view.headSize), d), ofLinear).ofHeads();
    });
  });
}

void ds::emitEpilogue(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, const EpilogueItem &item) {
  GpuEmitter &e = body.e;
  const LinearDomain &region = *domain.domain;
  Value column = columnOf(e, domain, item.unit, item.r), isColumn = e.lt(column, region.columns);
  if (domain.kind == UnitKind::pairs)
    isColumn = e.bitAnd(isColumn, e.lt(item.r, 8));
  e.ifThen(isColumn, [&] {
    auto product = [&](LinearOp linear, Value at) {
      bool isSecond = domain.kind == UnitKind::pairs && linear == region.linears[1];
      Value r = isSecond ? e.add(item.r, 8) : item.r;
      // What rope turns it with stands in the same unit: 8 rows away, or beside.
      if (at != column)
        r = e.bitXor(r, e.index(RopeOp(region.rope).getStyle() == RopeStyle::half ? 8 : 1));
      Value sum = item.sum(r);
      if (!linear.getBias())
        return sum;
      return e.add(sum, e.load(e.f32(), e.element(body.ins[gemm.operandOf(linear.getBias())].pointer, e.f32(), at)));
    };
    ItemValues values(body, gemm, domain, item.token, column, product);
    if (domain.scratchColumn >= 0) { // heads are worked on behind it
      Value row = e.at(body.scratch, e.mul(e.toI64(item.token), gemm.headsScratch));
      e.store(values.get(LinearOp(region.linears.front()).getOutput()), e.element(e.at(row, domain.scratchColumn), e.f32(), column));
      return;
    }
    if (!region.hasHeads()) {
      // All are computed before the first is written.
      SmallVector<Value> ready;
      for (Value wanted : region.results)
        ready.push_back(values.get(wanted));
      for (auto [wanted, value] : llvm::zip_equal(region.results, ready))
        e.store(value, values.placeOf(body.outs[gemm.resultOf(wanted)].pointer));
      return;
    }
    emitHeads(body, gemm, region, values, item.token, column);
  });
}

void ds::emitEpilogues(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, Value firstUnit, int64_t units, Value firstToken,
                       int64_t tokens, int64_t threads, llvm::function_ref<Value(Value, Value, Value)> sum) {
  GpuEmitter &e = body.e;
  e.forRange(e.thread(), e.index(units * 16 * tokens), threads, [&](Value number) {
    Value r = e.bitAnd(number, e.index(15)), token = e.rem(e.shiftRight(number, 4), tokens), inBlock = e.div(number, 16 * tokens);
    Value unit = e.add(firstUnit, inBlock), row = e.add(firstToken, token);
    e.ifThen(e.bitAnd(e.lt(unit, group.units), e.lt(row, body.rows)), [&] {
      auto sumOf = [&](Value r) { return sum(inBlock, r, token); };
      std::function<void(size_t)> ofDomain = [&](size_t index) {
        const GpuDomain &domain = group.domains[index];
        auto here = [&] { emitEpilogue(body, gemm, domain, {e.sub(unit, domain.firstUnit), r, row, sumOf}); };
        if (index + 1 == group.domains.size())
          return here();
        e.ifElse(e.lt(unit, group.domains[index + 1].firstUnit), here, [&] { ofDomain(index + 1); });
      };
      ofDomain(0);
    });
  });
}
