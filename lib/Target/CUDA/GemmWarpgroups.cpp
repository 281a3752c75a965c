// More than 16 rows on sm_90a. One warp keeps weights and prepared rows of the next steps along the depth on their way, by bulk copies
// that mbarriers count; warpgroups multiply them by wgmma: 64 rows of weights from registers, as they lie or decoded, times the block's
// tokens from shared memory. While a step is multiplied a warp loads its weights of the next one; those to decode wait for the registers.
#include "Gemm.h"
#include "ds/Target/CUDA/CodeGen.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;
using Values = Emitter::Values;

static constexpr int64_t tileBytes = Tiles::tileBytes, partDepth = Tiles::partDepth, barrierBytes = Pipeline::barrierBytes;

namespace {
class WarpgroupBody {
public:
  WarpgroupBody(GpuBody &body, const GpuGemm &gemm, size_t index, const WarpgroupShape &shape)
      : body(body), e(body.e), gemm(gemm), group(gemm.groups[index]), index(index), shape(shape), pipeline(group.shape(), shape),
        prepared(gemm) {}
  void emit(Value block);

private:
  Value buffer(Value step) { return e.at(e.shared(), e.mul(e.rem(step, pipeline.stages), pipeline.stageBytes)); }
  Value full(Value step) { return e.at(e.shared(pipeline.barriers), e.mul(e.rem(step, pipeline.stages), barrierBytes)); }
  Value empty(Value step) { return e.at(full(step), pipeline.stages * barrierBytes); }
  /// The parity of the phase of its barriers that step `step` is.
  Value parity(Value step) { return e.bitAnd(e.div(step, pipeline.stages), e.index(1)); }
  Value unitAt(Value unit) { return e.min(e.add(firstUnit, unit), group.units - 1); }

  void copyAll();
  Values scalesOf(Value step);
  /// The factors that the lane gives to the instructions of a step, 4 words each.
  Values weightsOf(Value step, ValueRange scales);
  /// Begins the products of a step; `weights` become what the instructions hold until they are waited for.
  Values multiply(Value step, Values &weights, ValueRange sums);
  Values multiplyAhead();
  Values multiplyInTurn();
  void release(Value step) {
    e.ifThen(e.eq(lane, 0), [&] { e.arrive(empty(step)); });
  }
  void storeSums(ValueRange sums);

  GpuBody &body;
  GpuEmitter &e;
  const GpuGemm &gemm;
  const GpuGroup &group;
  size_t index;
  const WarpgroupShape &shape;
  Pipeline pipeline;
  PreparedRows prepared;
  Value firstUnit, firstRow, lane, warp;
  UnitPlace place; // of the warp's unit
};
} // namespace

/// One warp. The first lanes copy a block of weights each, the next ones 32 k of all the block's tokens.
void WarpgroupBody::copyAll() {
  const int64_t blocks = shape.units() * 2, blockBytes = pipeline.tiles * tileBytes;
  Value isRows = e.ge(lane, blocks), part = e.max(e.sub(lane, blocks), 0);
  UnitPlace unit = placeOfUnit(body, gemm, group, unitAt(e.min(e.shiftRight(lane, 1), shape.units() - 1)));
  Value weights = e.select(e.eq(e.bitAnd(lane, e.index(1)), 0), unit.blocks[0], unit.blocks[1]);
  // Tokens up to the next block of 8 rows behind the last one.
  Value tokens = e.min(e.sub(e.roundUp(body.rows, PreparedRows::rowBlock), firstRow), shape.columns),
        rowBytes = e.mul(tokens, partDepth * 2);
  Value ofPart = e.mul(e.toI64(PreparedRows::rowsOf(body)), partDepth * 2);
  Value rows = e.at(prepared.rows(body, index), e.add(e.mul(e.toI64(part), ofPart), e.mul(e.toI64(firstRow), partDepth * 2)));
  Value from = e.select(isRows, rows, weights), stride = e.select(isRows, e.mul(ofPart, pipeline.parts), e.constant(blockBytes));
  Value bytes = e.select(isRows, rowBytes, e.index(blockBytes));
  Value to = e.select(isRows, e.add(e.mul(part, pipeline.partBytes), pipeline.weightBytes), e.mul(lane, blockBytes));
  Value all = e.add(e.mul(rowBytes, pipeline.parts), pipeline.weightBytes);
  e.forRange(e.index(0), e.index(pipeline.steps), 1, [&](Value step) {
    e.ifThen(e.ge(step, pipeline.stages), [&] { e.waitPhase(empty(step), parity(e.sub(step, pipeline.stages))); });
    e.ifThen(e.eq(lane, 0), [&] { e.arrive(full(step), all); });
    e.ifThen(e.lt(lane, blocks + pipeline.parts),
             [&] { e.copyBulk(e.at(buffer(step), to), e.at(from, e.mul(e.toI64(step), stride)), bytes, full(step)); });
  });
}

Values WarpgroupBody::scalesOf(Value step) {
  Values scales;
  for (int64_t tile = 0; tile < pipeline.tiles; ++tile)
    llvm::append_range(scales, scalesOfTile(body, group, place.blocks, e.add(e.mul(step, pipeline.tiles), tile)));
  return scales;
}

Values WarpgroupBody::weightsOf(Value step, ValueRange scales) {
  Values factors;
  const int64_t partsOfTile = pipeline.parts / pipeline.tiles, scalesOfTile = static_cast<int64_t>(scales.size()) / pipeline.tiles;
  Value mine = e.at(buffer(step), e.add(e.mul(warp, 2 * pipeline.tiles * tileBytes), e.mul(lane, 16)));
  for (int64_t tile = 0; tile < pipeline.tiles; ++tile) {
    Values words;
    for (int64_t block = 0; block < 2; ++block)
      words.push_back(e.load(e.vec(4, e.i32()), e.at(mine, (block * pipeline.tiles + tile) * tileBytes), 16));
    for (int64_t part = 0; part < partsOfTile; ++part) {
      PartWords of = partOfTile(body, group, words, scales.slice(tile * scalesOfTile, scalesOfTile), part);
      for (int64_t half = 0; half < 2; ++half)
        factors.append({of[0][2 * half], of[1][2 * half], of[0][2 * half + 1], of[1][2 * half + 1]});
    }
  }
  return factors;
}

Values WarpgroupBody::multiply(Value step, Values &weights, ValueRange sums) {
  Values result(sums);
  Value rows = e.factorAt(e.at(buffer(step), pipeline.weightBytes), /*kBytes=*/128, /*columnBytes=*/tileBytes);
  e.wgmmaFence(result, weights);
  for (int64_t i = 0; i < pipeline.parts * 2; ++i) {
    Value factor = e.add(rows, (i / 2 * pipeline.partBytes + i % 2 * 256) / 16); // addresses count 16 bytes
    result = e.wgmma(group.mma(), ValueRange(weights).slice(i * 4, 4), factor, result);
  }
  e.wgmmaCommit();
  return result;
}

Values WarpgroupBody::multiplyAhead() {
  const auto sumCount = static_cast<size_t>(shape.sums());
  Values carried(sumCount, e.constantF32(0));
  e.waitPhase(full(e.index(0)), e.index(0));
  llvm::append_range(carried, weightsOf(e.index(0), {}));
  carried = e.forRange(e.index(0), e.index(pipeline.steps - 1), 1, carried, [&](Value step, ValueRange now) {
    Value next = e.add(step, 1);
    Values weights(now.drop_front(sumCount)), sums = multiply(step, weights, now.take_front(sumCount));
    e.waitPhase(full(next), parity(next));
    Values loaded = weightsOf(next, {});
    sums = e.wgmmaWait(0, sums, weights);
    release(step);
    llvm::append_range(sums, loaded);
    return sums;
  });
  Values weights(ValueRange(carried).drop_front(sumCount));
  Values sums = multiply(e.index(pipeline.steps - 1), weights, ValueRange(carried).take_front(sumCount));
  return e.wgmmaWait(0, sums, weights);
}

/// Decoding beside products in flight, or twice the weights beside the most sums, takes more registers than there are, and ptxas then has
/// products wait for each other. Here they do so from step to step, and the other warpgroups multiply meanwhile. Scales come a step ahead.
Values WarpgroupBody::multiplyInTurn() {
  const auto sumCount = static_cast<size_t>(shape.sums());
  Values carried(sumCount, e.constantF32(0));
  llvm::append_range(carried, scalesOf(e.index(0)));
  carried = e.forRange(e.index(0), e.index(pipeline.steps), 1, carried, [&](Value step, ValueRange now) {
    Values next = scalesOf(e.add(step, 1));
    e.waitPhase(full(step), parity(step));
    Values weights = weightsOf(step, now.drop_front(sumCount));
    Values sums = multiply(step, weights, now.take_front(sumCount));
    sums = e.wgmmaWait(0, sums, weights);
    release(step);
    llvm::append_range(sums, next);
    return sums;
  });
  carried.resize(sumCount);
  return carried;
}

void WarpgroupBody::storeSums(ValueRange sums) {
  Value g = e.shiftRight(lane, 2), t2 = e.mul(e.bitAnd(lane, e.index(3)), 2);
  for (int64_t column = 0; column < shape.columns / 8; ++column)
    for (int64_t i = 0; i < 4; ++i) {
      Value row = e.add(t2, column * 8 + i % 2);
      Value at = e.add(e.mul(e.add(e.mul(warp, shape.columns), row), gemmSumStride), e.add(g, i / 2 * 8));
      e.store(sums[column * 4 + i], e.element(e.shared(), e.f32(), at));
    }
}

void WarpgroupBody::emit(Value block) {
  firstUnit = e.mul(block, shape.units());
  firstRow = e.mul(e.block(1), shape.columns);
  lane = e.lane();
  warp = e.warp();
  e.ifThen(e.eq(e.thread(), 0), [&] {
    for (int64_t i = 0; i < pipeline.stages; ++i) {
      e.initPhase(full(e.index(i)), 1);
      e.initPhase(empty(e.index(i)), shape.units());
    }
    e.showPhases();
  });
  e.barrier();
  Value multiplies = e.lt(warp, shape.units());
  SmallVector<Type> types(shape.sums(), e.f32());
  Values sums = e.ifElse(
      multiplies, types,
      [&] {
        if (group.tiles.type)
          place = placeOfUnit(body, gemm, group, unitAt(warp));
        return group.tiles.type || shape.columns > mostColumnsAhead ? multiplyInTurn() : multiplyAhead();
      },
      [&] {
        copyAll();
        return Values(shape.sums(), e.constantF32(0));
      });
  e.gridLaunchDependents();
  e.barrier(); // the last stages are read; sums take their place
  e.ifThen(multiplies, [&] { storeSums(sums); });
  e.barrier();
  Value factors = prepared.factors(body, gemm, index);
  emitEpilogues(body, gemm, group, firstUnit, shape.units(), firstRow, shape.columns, shape.threads(),
                [&](Value unit, Value r, Value token) {
                  Value at = e.add(e.mul(e.add(e.mul(unit, shape.columns), token), gemmSumStride), r);
                  Value sum = e.load(e.f32(), e.element(e.shared(), e.f32(), at));
                  if (group.mma() == MmaType::bf16)
                    return sum;
                  return e.mul(sum, e.load(e.f32(), e.element(factors, e.f32(), e.add(firstRow, token))));
                });
}

void ds::addWarpgroupStages(std::shared_ptr<GpuGemm> gemm) {
  GpuShape shape;
  shape.name = "prepare_pieces";
  shape.only = GpuArch::warpgroups.str();
  addPrepareStage(gemm, shape, PreparedOrder::pieces);
  auto ruleOf = [&](int64_t rows) { return warpgroupShapes[bestWarpgroups(gemm->shapes(), rows)].config(); };
  addManyRowsStages(gemm, "wgmma", ruleOf, [&](const TuningConfig &config) {
    const WarpgroupShape tile = WarpgroupShape::of(config);
    GpuShape shape;
    shape.name = "wgmma" + std::to_string(tile.units() * 16) + "x" + std::to_string(tile.columns);
    shape.only = GpuArch::warpgroups.str();
    shape.threads = tile.threads();
    shape.blocksPerProcessor = tile.resident;
    for (const GpuGroup &group : gemm->groups)
      shape.sharedBytes = std::max(shape.sharedBytes, Pipeline(group.shape(), tile).bytes);
    auto emit = [gemm, tile](GpuBody &body, size_t group, Value block) { WarpgroupBody(body, *gemm, group, tile).emit(block); };
    return ManyRowsStage{std::move(shape), tile.units(), tile.columns, emit};
  });
}
