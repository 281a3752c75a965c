// Rows that many weights multiply are read by all blocks of a product: a launch before it puts them through the norm and rounds them once.
#include "Gemm.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;

static constexpr int64_t blockBytes = Tiles::tileBytes;

/// Where row `row` (i32, 0..7) of block `block` of 8 rows has element k.
static Value placeOf(GpuBody &body, const GpuGroup &group, PreparedOrder order, Value rows, Value block, Value row, Value k) {
  GpuEmitter &e = body.e;
  Value part = e.toI64(e.shiftRight(k, 5)), inPart = e.bitAnd(k, e.index(31));
  if (order == PreparedOrder::lanes) {
    Value blocks = e.at(rows, e.mul(e.toI64(block), group.paddedDepth() / Tiles::partDepth * blockBytes));
    return e.at(blocks, e.add(e.mul(part, blockBytes), e.toI64(e.add(e.mul(row, 64), e.mul(inPart, 2)))));
  }
  // Lane t has k 8 t + i of weights; an instruction takes 4 of them, in two pieces: i = 4 instruction + 2 piece + 0 or 1.
  Value t = e.shiftRight(inPart, 3), pair = e.bitAnd(e.shiftRight(inPart, 1), e.index(3)), second = e.bitAnd(inPart, e.index(1));
  Value inBlock = e.add(e.add(e.mul(pair, 128), e.mul(row, 16)), e.add(e.mul(t, 4), e.mul(second, 2)));
  Value ofPart = e.mul(e.toI64(PreparedRows::rowsOf(body)), Tiles::partDepth * 2);
  return e.at(rows, e.add(e.add(e.mul(part, ofPart), e.mul(e.toI64(block), blockBytes)), e.toI64(inBlock)));
}

void ds::addPrepareStage(std::shared_ptr<GpuGemm> gemm, GpuShape shape, PreparedOrder order) {
  shape.when = {{GpuSize::rows, 17, int64_t(1) << 30}};
  shape.grid[0].factors = {{GpuSize::rows, PreparedRows::rowBlock}};
  shape.threads = PreparedRows::rowBlock * GpuEmitter::warpThreads;
  shape.letsNextBegin = false; // blocks of the product would crowd on the multiprocessors that are done first
  gemm->kernel->stage(shape, [gemm, order](GpuBody &body) {
    GpuEmitter &e = body.e;
    PreparedRows prepared(*gemm);
    Value row = e.add(e.mul(e.block(), PreparedRows::rowBlock), e.warp());
    e.ifThen(e.lt(row, body.rows), [&] {
      for (auto [index, group] : llvm::enumerate(gemm->groups)) {
        GemmRows rows(body, *gemm, group.mma(), GpuEmitter::warpThreads, e.lane(), Value());
        rows.start(row);
        Value to = prepared.rows(body, index);
        rows.write(
            0, group.paddedDepth(), [&](Value k) { return placeOf(body, group, order, to, e.block(), e.warp(), k); },
            order == PreparedOrder::pieces ? 2 : 4);
        if (group.mma() == MmaType::f16)
          e.ifThen(e.eq(e.lane(), 0), [&] { e.store(rows.factor(), e.element(prepared.factors(body, *gemm, index), e.f32(), row)); });
        if (index == 0 && gemm->region.normIsResult)
          rows.writeNorm(body.outs[gemm->resultOf(gemm->region.norm->getResult(0))].pointer);
      }
    });
  });
}

void ds::forStepsOfManyRows(llvm::function_ref<size_t(int64_t)> best, llvm::function_ref<void(size_t, int64_t, int64_t)> add) {
  const int64_t bounds[] = {17, 33, 65, 129, 257, 513, 1025, int64_t(1) << 30};
  auto bestAt = [&](size_t i) { return best(std::min<int64_t>(bounds[i + 1] - 1, 2048)); };
  for (size_t i = 0; i + 1 < std::size(bounds);) {
    const size_t index = bestAt(i);
    size_t end = i + 1;
    while (end + 1 < std::size(bounds) && bestAt(end) == index)
      ++end;
    add(index, bounds[i], bounds[end] - 1);
    i = end;
  }
}
