// Steps of many rows. All blocks of a product read the rows: a launch before it puts them through the norm and rounds them once. Then come
// the tiles of the product, which other files emit.
#include "Gemm.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;

static constexpr int64_t blockBytes = Tiles::tileBytes;

/// Where row `row` (i32, 0..7) of block `block` of 8 rows has element k.
static Value placeOf(GpuBody &body, const GpuGroup &group, PreparedOrder order, Value rows, Value block, Value row, Value k) {
  GpuEmitter &e = body.e;
  if (order == PreparedOrder::plain) {
    Value number = e.add(e.mul(block, PreparedRows::rowBlock), row);
    return e.at(rows, e.add(e.mul(e.toI64(number), group.paddedDepth() * 2), e.toI64(e.mul(k, 2))));
  }
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

void ds::addPrepareStage(std::shared_ptr<GpuGemm> gemm, GpuShape shape, PreparedOrder order, int64_t leastRows) {
  shape.when = {{GpuSize::rows, leastRows, int64_t(1) << 30}};
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

SmallVector<int64_t> ds::endsOfGroups(const GpuGemm &gemm, llvm::function_ref<int64_t(const GpuGroup &)> blocksOf) {
  SmallVector<int64_t> ends;
  for (const GpuGroup &group : gemm.groups)
    ends.push_back((ends.empty() ? 0 : ends.back()) + blocksOf(group));
  return ends;
}

void ds::forGroupOfBlock(GpuBody &body, ArrayRef<int64_t> ends, llvm::function_ref<void(size_t, Value)> then) {
  GpuEmitter &e = body.e;
  int64_t first = 0;
  for (auto [group, end] : llvm::enumerate(ends)) {
    Value block = e.block();
    auto here = [&, group = group] { then(group, e.sub(block, first)); };
    if (ends.size() == 1)
      here();
    else
      e.ifThen(e.bitAnd(e.ge(block, first), e.lt(block, end)), here);
    first = end;
  }
}

void ds::addManyRowsStages(std::shared_ptr<GpuGemm> gemm, StringRef builder, llvm::function_ref<TuningConfig(int64_t)> ruleOf,
                           llvm::function_ref<ManyRowsStage(const TuningConfig &)> stageOf) {
  auto addStage = [&](ManyRowsStage made, int64_t least, int64_t most, std::vector<TuningChoice> choices) {
    made.shape.when = {{GpuSize::rows, least, most}};
    made.shape.letsNextBegin = false; // the body does, behind the last product
    SmallVector<int64_t> ends = endsOfGroups(*gemm, [&](const GpuGroup &group) { return llvm::divideCeil(group.units, made.units); });
    made.shape.grid[0].constant = ends.back();
    made.shape.grid[1].factors = {{GpuSize::rows, made.rows}};
    auto body = [emit = std::move(made.emit), ends](GpuBody &body) {
      forGroupOfBlock(body, ends, [&](size_t group, Value block) { emit(body, group, block); });
    };
    gemm->kernel->stage(std::move(made.shape), std::move(body), std::move(choices));
  };
  auto choose = [&](int64_t rows) -> TuningChoice {
    if (std::optional<TuningKey> key = gemm->tuningKey(builder, rows))
      return gemm->choose(*key, [&](const TuningConfig &config) { return stageOf(config).shape.sharedBytes; });
    TuningChoice rule;
    rule.config = ruleOf(rows);
    return rule;
  };
  ArrayRef<int64_t> bounds(gemmRowBounds);
  auto chooseAt = [&](size_t i) { return choose(std::min(bounds[i + 1] - 1, gemmManyRows)); };
  const bool hasKey = gemm->groups.size() == 1;
  for (size_t i = 0; i + 1 < bounds.size();) {
    std::vector<TuningChoice> choices{chooseAt(i)};
    const TuningConfig config = choices.front().config;
    size_t end = i + 1;
    for (; end + 1 < bounds.size(); ++end) {
      TuningChoice next = chooseAt(end);
      if (next.config != config)
        break;
      choices.push_back(std::move(next));
    }
    addStage(stageOf(config), bounds[i], bounds[end] - 1, hasKey ? std::move(choices) : std::vector<TuningChoice>());
    i = end;
  }
}
