// What comes before a product: rows copied to the stack, through their norm.
#include "Gemm.h"
#include "KernelRegion.h"

using namespace mlir;
using namespace ds;

void GemmKernel::roundRows(const Slab &slab) {
  const int64_t lanes = c.level.lanes, depth = region.depth, whole = depth / lanes * lanes;
  const int64_t padded = llvm::alignTo(depth, lanes); // the last pair may be half a one: the weights there are zero, and so is this
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value from = region.norm ? e.at(slab.rows, e.mul(r, rowBytes)) : e.at(input->pointer, e.mul(e.add(slab.first, r), depth * 4));
    Value to = e.at(rounded, e.mul(r, roundedBytes));
    e.forRange(e.constant(0), e.constant(whole), lanes,
               [&](Value k) { e.store(e.toBf16(e.load(e.vec(), e.at(from, e.mul(k, 4)))), e.at(to, e.mul(k, 2))); });
    if (whole < padded)
      e.store(e.toBf16(e.loadFirst(e.at(from, whole * 4), depth - whole, lanes)), e.at(to, whole * 2));
  });
}

void GemmKernel::copyRows(const Slab &slab, Value writesNorm) {
  const int64_t width = region.depth;
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value from = e.at(input->pointer, e.mul(e.add(slab.first, r), width * 4)), to = e.at(copied, e.mul(r, rowBytes));
    if (!region.norm)
      return copyValues(e, from, to, width);
    auto vectorAt = [&](Value vector, const RowSpan &span) {
      return e.loadFirst(e.element(operand(vector).pointer, e.f32(), span.index), span.count, c.level.lanes);
    };
    emitNormOfRow(e, region.norm, width, from, vectorAt,
                  [&](const RowSpan &span, Value value) { e.storeFirst(value, e.element(to, e.f32(), span.index), span.count); });
  });
  if (!region.normIsResult)
    return;
  Value out = e.at(result(region.norm->getResult(0)).pointer, e.mul(slab.first, width * 4));
  e.ifThen(writesNorm, [&] {
    e.forRange(e.constant(0), slab.count, 1,
               [&](Value r) { copyValues(e, e.at(copied, e.mul(r, rowBytes)), e.at(out, e.mul(r, width * 4)), width); });
  });
}
