// What comes before a product: rows copied to the stack, through their norm.
#include "Gemm.h"
#include "KernelRegion.h"

using namespace mlir;
using namespace ds;

Value ds::placeInGroups(Emitter &e, Value row, Value groupBytes, Value k) {
  return e.at(row, e.add(e.mul(e.div(k, linearGroup), groupBytes), e.mul(e.rem(k, linearGroup), 4)));
}

Value GemmKernel::placeOfGroupedRow(Value first, Value row, int64_t width) {
  const int64_t group = c.level.groupRows();
  return e.at(first, e.add(e.mul(e.div(row, group), group * width * 4), e.mul(e.rem(row, group), linearGroup * 4)));
}

std::pair<Value, Value> GemmKernel::blockOfRow(ArrayRef<int64_t> heights, Value count, Value row) {
  // As the blocks of `emitProduct` lie one behind the other.
  SmallVector<std::array<Value, 3>> kinds; // first row, the row behind the last, rows of a block
  Value first = e.constant(0);
  for (int64_t height : heights) {
    Value blocks = e.div(e.sub(count, first), height);
    Value end = e.add(first, e.mul(blocks, height));
    kinds.push_back({first, end, e.constant(height)});
    first = end;
  }
  auto [begin, end, height] = kinds.pop_back_val();
  for (auto [otherBegin, otherEnd, otherHeight] : llvm::reverse(kinds)) {
    Value inside = e.lt(row, otherEnd);
    begin = e.select(inside, otherBegin, begin);
    height = e.select(inside, otherHeight, height);
  }
  return {e.sub(row, e.rem(e.sub(row, begin), height)), height};
}

std::pair<Value, Value> GemmKernel::copiedRow(const Slab &slab, Value row) {
  auto [begin, height] = blockOfRow(heights, slab.count, row);
  const int64_t most = gemmShortBlocks(heights).front();
  Value many = hasManyRows(slab), shortBegin = e.sub(row, e.rem(row, most));
  begin = e.select(many, begin, shortBegin);
  height = e.select(many, height, e.min(e.sub(slab.count, shortBegin), most));
  Value within = e.sub(row, begin);
  return {e.at(copied, e.add(e.mul(begin, rowBytes), e.mul(within, linearGroup * 4))), e.mul(height, linearGroup * 4)};
}

std::function<Value(Value k)> GemmKernel::rowToRound(const Slab &slab, Value row) {
  if (!region.norm && !groupRows) {
    Value plain = e.at(input->pointer, e.mul(e.add(slab.first, row), region.depth * 4));
    return [this, plain](Value k) { return e.element(plain, e.f32(), k); };
  }
  std::pair<Value, Value> groups;
  if (region.norm)
    groups = copiedRow(slab, row);
  else
    groups = {placeOfGroupedRow(slab.rows, row, region.depth), e.constant(groupRows * linearGroup * 4)};
  return [this, groups](Value k) { return placeInGroups(e, groups.first, groups.second, k); };
}

Value GemmKernel::loadOfRow(llvm::function_ref<Value(Value)> row, Value k) {
  const int64_t lanes = c.level.lanes;
  if (region.depth % lanes == 0)
    return e.load(e.vec(), row(k));
  return e.maskedLoad(e.vec(), row(k), e.laneMask(e.sub(e.constant(region.depth), k), lanes));
}

void GemmKernel::roundRows(const Slab &slab) {
  const int64_t lanes = c.level.lanes, depth = region.depth;
  // The last pair may be half a one: the weights there are zero, and so is this.
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value to = e.at(rounded, e.mul(r, roundedBytes));
    if (packsPairs) { // they are bf16 already
      Type narrow = input->element();
      Value row = e.element(input->pointer, narrow, e.mul(e.add(slab.first, r), depth));
      return forEachSpan(e, depth, [&](const RowSpan &span) {
        Value values = e.loadRow(narrow, e.element(row, narrow, span.index), span.count, lanes);
        e.store(e.bitsOf(narrow, values), e.at(to, e.mul(span.index, 2)));
      });
    }
    std::function<Value(Value)> from = rowToRound(slab, r);
    forEachSpan(e, depth, [&](const RowSpan &span) {
      e.store(e.toBf16(e.loadFirst(from(span.index), span.count, lanes)), e.at(to, e.mul(span.index, 2)));
    });
  });
}

void GemmKernel::copyRows(const Slab &slab, Value writesNorm) {
  const int64_t width = region.depth, lanes = c.level.lanes;
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value from = e.at(input->pointer, e.mul(e.add(slab.first, r), width * elementBytes(*input)));
    auto at = [&](const RowSpan &span) {
      return e.loadRow(input->element(), e.element(from, input->element(), span.index), span.count, lanes);
    };
    auto [row, groupBytes] = copiedRow(slab, r);
    auto place = [&, row = row, groupBytes = groupBytes](Value k) { return placeInGroups(e, row, groupBytes, k); };
    if (!region.norm)
      return forEachSpan(e, width, [&](const RowSpan &span) { e.storeFirst(at(span), place(span.index), span.count); });
    auto vectorAt = [&](Value vector, const RowSpan &span) {
      return e.loadFirst(e.element(operand(vector).pointer, e.f32(), span.index), span.count, lanes);
    };
    emitNormOfRow(e, region.norm, width, at, vectorAt,
                  [&](const RowSpan &span, Value value) { e.storeFirst(value, place(span.index), span.count); });
    if (!region.normIsResult)
      return;
    // What a norm gives is not rounded, so these rows are f32.
    Value out = e.at(result(region.norm->getResult(0)).pointer, e.mul(e.add(slab.first, r), width * 4));
    e.ifThen(writesNorm, [&] {
      forEachSpan(e, width, [&](const RowSpan &span) {
        e.storeFirst(e.loadFirst(place(span.index), span.count, lanes), e.element(out, e.f32(), span.index), span.count);
      });
    });
  });
}
