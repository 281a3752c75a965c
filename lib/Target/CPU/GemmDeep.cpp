// Products too deep for their rows to lie on the stack: what a pass needs of the rows is copied there once for several panels.
//
// Rows that are far apart, such as the gradients of logits, would otherwise be read again for every panel, a page each.
#include "Gemm.h"
#include "KernelRegion.h"

using namespace mlir;
using namespace ds;

bool GemmKernel::isDeepProduct() const {
  if (!packs || region.norm || groupRows || linearRowsFit(region.depth) || region.domains.size() != 1)
    return false;
  const LinearDomain &domain = region.domains.front();
  return domain.linears.size() == 1 && domain.chunk == panelOf(domain.linears.front());
}

void GemmKernel::copyPass(const Slab &slab, Value k, int64_t depth) {
  constexpr int64_t rowsAhead = 4;
  Type element = input->element(), copied16 = e.getBuilder().getBF16Type();
  const int64_t bytes = elementBytes(*input), lanes = c.level.lanes;
  Value last = e.sub(slab.count, 1);
  auto valueAt = [&](Value row) { return e.element(e.at(slab.rows, e.mul(row, rowBytes)), element, k); };
  e.forRange(e.constant(0), slab.count, 1, [&](Value r) {
    Value from = valueAt(r), to = e.at(copied, e.mul(r, copiedRowBytes)), next = valueAt(e.min(e.add(r, rowsAhead), last));
    for (int64_t line = 0; line < depth * bytes; line += 64)
      e.prefetch(e.at(next, line));
    forEachSpan(e, depth, [&](const RowSpan &span) {
      Value values = e.loadRow(element, e.element(from, element, span.index), span.count, lanes);
      // A pair may be half a one: behind the depth stand zeros.
      if (packsPairs)
        e.store(e.bitsOf(copied16, values), e.at(to, e.mul(span.index, 2)));
      else
        e.storeFirst(values, e.element(to, e.f32(), span.index), span.count);
    });
  });
}

void GemmKernel::emitDeepDomain(const LinearDomain &domain, const Slab &slab, Value firstChunk, Value endChunk) {
  LinearOp linear = domain.linears.front();
  const KernelOperand &weight = operand(linear.getWeight());
  const PackedMatrix matrix{linear.getColumns(),   region.depth, linear.getTransposed(), panelOf(linear), Type(),
                            roundedTypeOf(linear), packsPairs};
  const int64_t panelBytes = matrix.width * 4, most = deepPass(), tail = region.depth % most;
  Value zero = e.constant(0), sums = tile;
  auto pass = [&](Value firstPanel, Value count, Value k, int64_t depth) {
    copyPass(slab, k, depth);
    e.forRange(zero, count, 1, [&](Value p) {
      Value panel = e.add(firstPanel, p), end = e.add(k, depth);
      emitPackedPanel(e, matrix, weight.pointer, panel, k, e.constant(depth), widened);
      Value next = nextPacked(e, matrix, weight.pointer, panel, end);
      forBlocks(heights, zero, slab.count, [&](Value row, int64_t height) {
        GemmBlock block{e.f32(), matrix.width, height, copiedRowBytes, /*groupRows=*/0, /*aheadBytes=*/0, /*touches=*/false};
        if (packsPairs) {
          block.element = e.getBuilder().getBF16Type();
          block.dots = true;
        }
        Value rows = e.at(copied, e.mul(row, copiedRowBytes)), ahead = rows;
        if (matrix.transposed && height == heights.front()) {
          block.aheadRows = 2;
          block.aheadRowBytes = matrix.columns * 4;
          ahead = e.at(next, e.mul(e.div(row, height), most / linearGroup * block.aheadRows * block.aheadRowBytes));
        }
        emitGemmBlock(e, block, rows, widened, e.at(sums, e.add(e.mul(row, tileRowBytes), e.mul(p, panelBytes))), e.constant(tileRowBytes),
                      e.constant(llvm::alignTo(depth, packsPairs ? 2 : 1)), e.ne(k, 0), ahead, rows, zero);
      });
    });
  };
  e.forRange(firstChunk, endChunk, gemmDeepPanels, [&](Value first) {
    Value count = e.min(e.sub(endChunk, first), gemmDeepPanels), whole = e.constant(region.depth - tail);
    e.forRange(zero, whole, most, [&](Value k) { pass(first, count, k, most); });
    if (tail != 0)
      pass(first, count, whole, tail);
    e.forRange(zero, count, 1, [&](Value p) {
      tile = e.at(sums, e.mul(p, panelBytes));
      emitEpilogue(domain, slab, e.add(first, p));
    });
  });
  tile = sums;
}
