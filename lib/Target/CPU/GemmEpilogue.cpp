// What comes behind a product, read from the tile: element-wise ops in vectors; or whole heads, turned by rope and stored in a cache.
#include "Gemm.h"
#include "KernelRegion.h"
#include "Rope.h"
#include "StoreCache.h"
#include "ds/Target/CPU/Elementwise.h"

using namespace mlir;
using namespace ds;

namespace {
/// Values of a domain at some columns of a row, each computed once.
class EpilogueValues {
public:
  /// `control` gives the number that a `ds.scale` multiplies by, `dropout` what stays of a value.
  EpilogueValues(Emitter &e, llvm::function_ref<Value(Value)> leaf, llvm::function_ref<Value(ScaleOp)> control,
                 llvm::function_ref<Value(DropoutOp, Value)> dropout)
      : e(e), leaf(leaf), control(control), dropout(dropout) {}

  Value get(Value value) {
    if (Value lanes = known.lookup(value))
      return lanes;
    Operation *op = value.getDefiningOp();
    Value lanes;
    if (!op || isa<LinearOp>(op)) {
      lanes = leaf(value);
    } else if (auto scale = dyn_cast<ScaleOp>(op)) {
      lanes = emitElementwise(e, op, {get(scale.getInput()), control(scale)});
    } else if (auto random = dyn_cast<DropoutOp>(op)) {
      lanes = dropout(random, get(random.getInput()));
    } else {
      SmallVector<Value> operands;
      for (Value operand : op->getOperands())
        operands.push_back(get(operand));
      lanes = emitElementwise(e, op, operands);
    }
    return known[value] = lanes;
  }

private:
  Emitter &e;
  llvm::function_ref<Value(Value)> leaf;
  llvm::function_ref<Value(ScaleOp)> control;
  llvm::function_ref<Value(DropoutOp, Value)> dropout;
  llvm::DenseMap<Value, Value> known;
};
} // namespace

const KernelOperand *GemmKernel::rowsReadBehind(const LinearDomain &domain) const {
  SmallVector<Value> open(domain.results.begin(), domain.results.end());
  llvm::SmallDenseSet<Value> seen;
  while (!open.empty()) {
    Value value = open.pop_back_val();
    if (isa<BlockArgument>(value))
      return &operand(value);
    Operation *op = value.getDefiningOp();
    if (isa<ScaleOp, DropoutOp>(op))
      open.push_back(op->getOperand(0));
    else if (!isa<LinearOp>(op) && seen.insert(value).second)
      llvm::append_range(open, op->getOperands());
  }
  return nullptr;
}

GemmKernel::TouchedRows GemmKernel::touchedRows(const Touched &touched, Value row, Value endOfPass) {
  auto rowsOf = [&](const KernelOperand &rows) -> TouchedRows {
    if (rows.grouped)
      return {placeInGroups(e, placeOfGroupedRow(rows.pointer, row, touched.width), e.constant(c.level.groupRows() * linearGroup * 4),
                            touched.column),
              e.constant(touched.panel * 4)};
    const int64_t bytes = elementBytes(rows);
    return {e.at(rows.pointer, e.mul(e.add(e.mul(row, touched.width), touched.column), bytes)), e.constant(touched.width * bytes)};
  };
  // What the epilogue writes in the last pass, what it reads in those before.
  TouchedRows result = rowsOf(*touched.result);
  if (!touched.operand)
    return result;
  TouchedRows read = rowsOf(*touched.operand);
  Value isLast = e.ge(endOfPass, region.depth);
  return {e.select(isLast, result.first, read.first), e.select(isLast, result.bytes, read.bytes)};
}

void GemmKernel::elementwiseEpilogue(const LinearDomain &domain, const Slab &slab, Value firstColumn, int64_t columns) {
  const int64_t lanes = c.level.lanes, rowWidth = domain.columns * 4;
  Value groupBytes = e.constant(c.level.groupRows() * linearGroup * 4);
  llvm::SmallDenseMap<Operation *, Value> keys;
  for (auto dropout : ds_plan::KernelOp(c.kernel).getBody().front().getOps<DropoutOp>())
    keys[dropout] = emitDropoutKey(e, operand(dropout.getSeed()).pointer);
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value sums = e.at(tile, e.mul(r, tileRowBytes));
    Value place = e.add(e.mul(e.add(slab.first, r), rowWidth), e.mul(firstColumn, 4));
    llvm::SmallDenseMap<Value, Value> groupedRows;
    for (Value wanted : domain.results)
      if (result(wanted).grouped)
        groupedRows[wanted] = placeOfGroupedRow(result(wanted).pointer, e.add(slab.first, r), domain.columns);
    auto span = [&](Value column, int64_t count) {
      Value here = e.add(place, e.mul(column, 4));
      auto in = [&](const KernelOperand &rows) { return e.at(rows.pointer, elementBytes(rows) == 4 ? here : e.shiftRight(here, 1)); };
      auto leaf = [&](Value value) -> Value {
        if (auto linear = value.getDefiningOp<LinearOp>()) {
          int64_t index = llvm::find(domain.linears, linear) - domain.linears.begin();
          Value sum = e.load(e.vec(), e.at(sums, e.add(e.mul(column, 4), index * domain.chunk * 4)));
          if (!linear.getBias())
            return sum;
          return e.add(sum, e.load(e.vec(), e.element(operand(linear.getBias()).pointer, e.f32(), e.add(firstColumn, column))));
        }
        return e.loadRow(operand(value).element(), in(operand(value)), count, lanes);
      };
      auto control = [&](ScaleOp scale) { return loadControl(e, scale, operand(scale.getScales())); };
      auto dropout = [&](DropoutOp op, Value x) {
        // Rows of a launch with a seed are never counted from a chain's slab: ds-plan-chain-rows takes none that reads a single row.
        Value first = e.shiftRight(here, 2);
        return emitDropout(e, op, x, keys.lookup(op), {first, domain.columns % 4 == 0 && domain.chunk % 4 == 0});
      };
      EpilogueValues values(e, leaf, control, dropout);
      // All are computed before the first is written.
      SmallVector<Value> ready;
      for (Value wanted : domain.results)
        ready.push_back(values.get(wanted));
      for (auto [wanted, lanesOf] : llvm::zip_equal(domain.results, ready)) {
        Value grouped = groupedRows.lookup(wanted);
        Value to = grouped ? placeInGroups(e, grouped, groupBytes, e.add(firstColumn, column)) : in(result(wanted));
        e.storeRow(result(wanted).element(), lanesOf, to, count);
      }
    };
    const int64_t whole = columns / lanes * lanes;
    if (whole <= 2 * lanes)
      for (int64_t column = 0; column < whole; column += lanes)
        span(e.constant(column), lanes);
    else
      e.forRange(e.constant(0), e.constant(whole), lanes, [&](Value column) { span(column, lanes); });
    if (whole < columns)
      span(e.constant(whole), columns - whole);
  });
}

void GemmKernel::headEpilogue(const LinearDomain &domain, const Slab &slab, Value firstColumn, int64_t columns) {
  LinearOp linear = domain.linears.front();
  RopeOp rope = domain.rope;
  const int64_t lanes = c.level.lanes;
  const KernelOperand *angles = nullptr;
  if (rope) {
    size_t index = 0; // tables stand in `aux` in the order of their ropes
    for (Operation &op : *rope->getBlock()) {
      if (&op == rope)
        break;
      index += isa<RopeOp>(op);
    }
    angles = &c.aux[index];
  }
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value sums = e.at(tile, e.mul(r, tileRowBytes)), row = e.add(slab.first, r);
    if (linear.getBias())
      for (int64_t column = 0; column < columns; column += lanes) {
        Value at = e.at(sums, column * 4);
        Value bias = e.load(e.vec(), e.element(operand(linear.getBias()).pointer, e.f32(), e.add(firstColumn, column)));
        e.store(e.add(e.load(e.vec(), at), bias), at); // behind the last column lies padding
      }
    if (rope) {
      int64_t headSize = domain.columns / static_cast<int64_t>(rope.getHeads());
      Value turned = e.element(angles->pointer, e.f32(), e.mul(loadIndex(e, operand(rope.getPositions()), row), rope.getRotary()));
      for (int64_t column = 0; column < columns; column += headSize)
        emitRotation(e, rope, e.at(sums, column * 4), e.at(sums, column * 4), turned);
    }
    if (RoundOp round = domain.roundedRope)
      for (int64_t column = 0; column < columns; column += lanes) {
        Value at = e.at(sums, column * 4);
        e.store(e.roundTo(round.getTarget(), e.load(e.vec(), at)), at);
      }
    for (Value wanted : domain.results) {
      Type element = result(wanted).element();
      Value to = e.element(result(wanted).pointer, element, e.add(e.mul(row, domain.columns), firstColumn));
      if (element.isF32()) {
        copyValues(e, sums, to, columns);
        continue;
      }
      for (int64_t column = 0; column < columns; column += lanes)
        e.storeRow(element, e.load(e.vec(), e.at(sums, column * 4)), e.at(to, column * 2), columns - column);
    }
  });
  for (Operation *op : domain.stores) {
    auto store = cast<ds_plan::StoreCacheOp>(op);
    const KernelOperand &cache = result(store.getOutput());
    CacheRows rows{c, cacheViewOf(c, cache, store), store.getPast() ? &operand(store.getPast()) : nullptr, tile, tileRowBytes, slab.first};
    rows.scratch = storeScratch;
    storeRows(rows, slab.count, firstColumn, columns);
  }
}

void GemmKernel::emitEpilogue(const LinearDomain &domain, const Slab &slab, Value chunk) {
  Value firstColumn = e.mul(chunk, domain.chunk);
  auto emit = [&](int64_t columns) {
    if (domain.rope || !domain.stores.empty())
      headEpilogue(domain, slab, firstColumn, columns);
    else
      elementwiseEpilogue(domain, slab, firstColumn, columns);
  };
  const int64_t tail = domain.columns % domain.chunk;
  if (tail == 0)
    return emit(domain.chunk);
  if (chunksOf(domain) == 1)
    return emit(tail);
  e.ifElse(e.eq(chunk, chunksOf(domain) - 1), [&] { emit(tail); }, [&] { emit(domain.chunk); });
}
