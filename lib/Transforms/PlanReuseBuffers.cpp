// Places buffers in one arena: largest first, each in the smallest gap between those that live at the same time.
#include "PlanMemory.h"
#include "ds/Transforms/Passes.h"
#include "ds/Transforms/PlanReport.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANREUSEBUFFERS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using ds_plan::BufferOp;

namespace {
struct PlacedBuffer {
  BufferOp buffer;
  LiveSpans live;
  int64_t bytes = 0, offset = 0;
  size_t order = 0; // of first use
  int64_t end() const { return offset + bytes; }
};
} // namespace

/// The offset of the smallest gap of `bytes` between `neighbours`, or behind them all.
static int64_t bestFit(SmallVector<const PlacedBuffer *> neighbours, int64_t bytes) {
  llvm::sort(neighbours, [](const PlacedBuffer *a, const PlacedBuffer *b) { return a->offset < b->offset; });
  int64_t end = 0, best = -1, bestGap = 0;
  for (const PlacedBuffer *neighbour : neighbours) {
    int64_t gap = neighbour->offset - end;
    if (gap >= bytes && (best < 0 || gap < bestGap)) {
      best = end;
      bestGap = gap;
    }
    end = std::max(end, neighbour->end());
  }
  return best < 0 ? end : best;
}

/// Places the buffers of `program` and returns the bytes of its arena.
static int64_t placeBuffers(ds_plan::ProgramOp program) {
  for (auto buffer : llvm::make_early_inc_range(program.getOps<BufferOp>()))
    if (buffer->use_empty())
      buffer.erase();
  SmallVector<PlacedBuffer> buffers;
  for (auto [buffer, live] : liveSpans(program))
    buffers.push_back({buffer, live, bufferBytes(buffer)});
  for (auto [index, buffer] : llvm::enumerate(buffers))
    buffer.order = index;
  llvm::sort(buffers,
             [](const PlacedBuffer &a, const PlacedBuffer &b) { return std::pair(-a.bytes, a.order) < std::pair(-b.bytes, b.order); });
  int64_t arena = 0;
  for (size_t i = 0; i < buffers.size(); ++i) {
    SmallVector<const PlacedBuffer *> neighbours;
    for (size_t j = 0; j < i; ++j)
      if (buffers[j].live.overlaps(buffers[i].live))
        neighbours.push_back(&buffers[j]);
    buffers[i].offset = bestFit(std::move(neighbours), buffers[i].bytes);
    buffers[i].buffer.setOffset(buffers[i].offset);
    arena = std::max(arena, buffers[i].end());
  }
  program.setArenaBytes(arena);
  return arena;
}

namespace {
struct PlanReuseBuffers : ds::impl::PlanReuseBuffersBase<PlanReuseBuffers> {
  using PlanReuseBuffersBase::PlanReuseBuffersBase;

  void runOnOperation() override {
    for (auto program : getOperation().getOps<ds_plan::ProgramOp>()) {
      int64_t peak = placeBuffers(program), apart = 0;
      for (auto buffer : program.getOps<BufferOp>())
        apart += bufferBytes(buffer);
      remark::analysis(program.getLoc(), remark::RemarkOpts::name("arena").category("ds-plan-reuse-buffers").function(program.getSymName()))
          << remark::metric("peak bytes", peak) << remark::metric("bytes without reuse", apart)
          << remark::metric("kv bytes of a sequence", program.getKvBytes());
    }
    if (report)
      llvm::errs() << planReport(getOperation(), reportBatch);
  }
};
} // namespace
