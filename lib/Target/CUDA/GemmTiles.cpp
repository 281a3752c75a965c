// More than 16 rows. A launch prepares the rows once: through the norm, rounded, in the blocks of 8 rows and 32 k that weights lie in, so
// that both factors of an instruction are 16 bytes of a lane, read without conflicts. The next one multiplies tiles of units and rows,
// their blocks copied to shared memory some steps ahead.
#include "Gemm.h"
#include "ds/Target/CUDA/CodeGen.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;
using Values = Emitter::Values;

static constexpr int64_t rowBlock = PreparedRows::rowBlock, blockBytes = Tiles::tileBytes;

namespace {
class TileBody {
public:
  TileBody(GpuBody &body, const GpuGemm &gemm, size_t index, const TileShape &shape)
      : body(body), e(body.e), gemm(gemm), group(gemm.groups[index]), index(index), shape(shape), layout(group.shape(), shape),
        prepared(gemm) {}
  void emit(Value block);

private:
  void copy(Value step, Value buffer);
  Emitter::Values multiply(Value step, Value buffer, ValueRange sums);
  Emitter::Values multiplyTile(Value tile, Value inStage, Value buffer, ValueRange sums);
  /// Calls `body` for the pieces of 16 bytes of `bytes` that this thread copies.
  void forPieces(int64_t bytes, llvm::function_ref<void(Value piece, int64_t number)> body);

  GpuBody &body;
  GpuEmitter &e;
  const GpuGemm &gemm;
  const GpuGroup &group;
  size_t index;
  const TileShape &shape;
  TileLayout layout;
  PreparedRows prepared;
  Value firstUnit, firstRow, rows, lane, team, unitsOfWarp, columnsOfWarp;
  SmallVector<Value> weightSources; // of this thread's copies, at tile 0
  SmallVector<UnitPlace> places;    // of the warp's units, for scales
};
} // namespace

void TileBody::forPieces(int64_t bytes, llvm::function_ref<void(Value, int64_t)> then) {
  const int64_t count = bytes / 16, threads = shape.threads();
  for (int64_t i = 0; i * threads < count; ++i) {
    Value piece = e.add(e.thread(), i * threads);
    if ((i + 1) * threads <= count)
      then(piece, i);
    else
      e.ifThen(e.lt(piece, count), [&] { then(piece, i); });
  }
}

/// Asks for what step `step` (i32) along the depth multiplies.
void TileBody::copy(Value step, Value buffer) {
  // The tiles of a block, and the blocks of a row of blocks, stand side by side along k.
  Value tile = e.mul(step, layout.tiles), to = e.at(buffer, layout.weightBytes);
  forPieces(layout.weightBytes, [&](Value piece, int64_t number) {
    e.copyAsync(e.at(buffer, e.mul(piece, 16)), e.at(weightSources[number], e.mul(tile, blockBytes)));
  });
  const int64_t parts = layout.tiles * group.tiles.tileDepth() / Tiles::partDepth;
  const int64_t rowOfBlocks = group.paddedDepth() / Tiles::partDepth * blockBytes;
  forPieces(layout.rowBytes, [&](Value piece, int64_t) {
    Value block = e.div(piece, parts * 32), inBlock = e.rem(piece, parts * 32);
    Value from = e.add(e.mul(e.toI64(e.add(e.div(firstRow, rowBlock), block)), rowOfBlocks),
                       e.toI64(e.add(e.mul(step, parts * blockBytes), e.mul(inBlock, 16))));
    e.copyAsync(e.at(to, e.mul(piece, 16)), e.at(rows, from));
  });
}

/// Teams take turns at the tiles; where there is one for all, what the others multiply is not looked at.
Emitter::Values TileBody::multiply(Value step, Value buffer, ValueRange sums) {
  Emitter::Values result(sums);
  Value first = e.mul(step, layout.tiles);
  for (int64_t i = 0; i < layout.tiles; i += layout.teams) {
    Value inStage = layout.teams > 1 ? e.add(team, i) : e.index(i);
    result = multiplyTile(e.add(first, inStage), inStage, buffer, result);
  }
  return result;
}

/// Tile `tile` (i32), which is number `inStage` of those in the buffer.
Emitter::Values TileBody::multiplyTile(Value tile, Value inStage, Value buffer, ValueRange sums) {
  Emitter::Values result(sums);
  const int64_t parts = group.tiles.tileDepth() / Tiles::partDepth, units = shape.unitsOfWarp(), columns = shape.columnsOfWarp();
  Value lane16 = e.mul(lane, 16);
  SmallVector<Values> words, scales;
  for (int64_t u = 0; u < units; ++u) {
    Values &ofUnit = words.emplace_back();
    for (int64_t block = 0; block < 2; ++block) {
      Value number = e.add(e.mul(e.add(unitsOfWarp, u), 2), block);
      Value place = e.add(e.mul(number, layout.tiles * blockBytes), e.add(lane16, e.mul(inStage, blockBytes)));
      ofUnit.push_back(e.load(e.vec(4, e.i32()), e.at(buffer, place), 16));
    }
    scales.push_back(scalesOfTile(body, group, places[u].blocks, tile));
  }
  Value rowsAt = e.at(buffer, layout.weightBytes);
  for (int64_t part = 0; part < parts; ++part) {
    SmallVector<Value> right;
    for (int64_t column = 0; column < columns; ++column) {
      Value place = e.add(e.mul(e.add(columnsOfWarp, column), layout.tiles * parts * blockBytes),
                          e.add(lane16, e.mul(e.add(e.mul(inStage, parts), part), blockBytes)));
      right.push_back(e.load(e.vec(4, e.i32()), e.at(rowsAt, place), 16));
    }
    for (int64_t u = 0; u < units; ++u) {
      PartWords weights = partOfTile(body, group, words[u], scales[u], part);
      for (int64_t half = 0; half < 2; ++half) {
        Values a{weights[0][2 * half], weights[1][2 * half], weights[0][2 * half + 1], weights[1][2 * half + 1]};
        for (int64_t column = 0; column < columns; ++column) {
          Values b{e.extract(right[column], 2 * half), e.extract(right[column], 2 * half + 1)};
          const int64_t at = (u * columns + column) * 4;
          llvm::copy(e.mma(group.mma(), a, b, ValueRange(result).slice(at, 4)), result.begin() + at);
        }
      }
    }
  }
  return result;
}

void TileBody::emit(Value block) {
  const int64_t steps = group.tiles.tiles() / layout.tiles, units = shape.unitsOfWarp(), columns = shape.columnsOfWarp();
  firstUnit = e.mul(block, shape.units);
  firstRow = e.mul(e.block(1), shape.rows);
  lane = e.lane();
  team = e.div(e.warp(), TileShape::teamWarps);
  Value inTeam = e.rem(e.warp(), TileShape::teamWarps);
  unitsOfWarp = e.mul(e.bitAnd(inTeam, e.index(1)), units);
  columnsOfWarp = e.mul(e.shiftRight(inTeam, 1), columns);
  rows = prepared.rows(body, index);
  auto unitAt = [&](Value unit) { return e.min(e.add(firstUnit, unit), group.units - 1); };
  for (int64_t i = 0; i * shape.threads() < layout.weightBytes / 16; ++i) {
    Value piece = e.add(e.thread(), i * shape.threads()), ofBlock = e.div(piece, layout.tiles * 32);
    UnitPlace place = placeOfUnit(body, gemm, group, unitAt(e.div(ofBlock, 2)));
    Value source = e.select(e.eq(e.bitAnd(ofBlock, e.index(1)), 0), place.blocks[0], place.blocks[1]);
    weightSources.push_back(e.at(source, e.mul(e.rem(piece, layout.tiles * 32), 16)));
  }
  if (group.tiles.type)
    for (int64_t u = 0; u < units; ++u)
      places.push_back(placeOfUnit(body, gemm, group, unitAt(e.add(unitsOfWarp, u))));
  else
    places.resize(units);

  const int64_t stages = layout.stages;
  auto bufferOf = [&](Value step) { return e.at(e.shared(), e.mul(e.rem(step, stages), layout.stageBytes)); };
  for (int64_t i = 0; i < stages - 1; ++i) {
    if (i < steps)
      copy(e.index(i), bufferOf(e.index(i)));
    e.commitCopies();
  }
  Values begin(units * columns * 4, e.constantF32(0));
  Values sums = e.forRange(e.index(0), e.index(steps), 1, begin, [&](Value step, ValueRange carried) {
    e.waitCopies(stages - 2);
    e.barrier(); // all copies of the step are there, and the buffer of the last one is read
    Value ahead = e.add(step, stages - 1);
    e.ifThen(e.lt(ahead, steps), [&] { copy(ahead, bufferOf(ahead)); });
    e.commitCopies();
    return multiply(step, bufferOf(step), carried);
  });
  e.gridLaunchDependents();
  e.barrier(); // the last buffer is read; sums take their place
  Value sumsOfTeam = e.at(e.shared(), e.mul(team, layout.sumBytes));
  Value g = e.shiftRight(lane, 2), t2 = e.mul(e.bitAnd(lane, e.index(3)), 2);
  for (int64_t u = 0; u < units; ++u)
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t i = 0; i < 4; ++i) {
        Value row = e.add(e.mul(e.add(columnsOfWarp, column), rowBlock), e.add(t2, i % 2));
        Value at = e.add(e.mul(e.add(e.mul(e.add(unitsOfWarp, u), shape.rows), row), gemmSumStride), e.add(g, i / 2 * 8));
        e.store(sums[(u * columns + column) * 4 + i], e.element(sumsOfTeam, e.f32(), at));
      }
  e.barrier();
  Value factors = prepared.factors(body, gemm, index);
  emitEpilogues(body, gemm, group, firstUnit, shape.units, firstRow, shape.rows, shape.threads(), [&](Value unit, Value r, Value token) {
    Value at = e.add(e.mul(e.add(e.mul(unit, shape.rows), token), gemmSumStride), r), sum;
    for (int64_t i = 0; i < layout.teams; ++i) {
      Value one = e.load(e.f32(), e.element(e.shared(i * layout.sumBytes), e.f32(), at));
      sum = sum ? e.add(sum, one) : one;
    }
    if (group.mma() == MmaType::bf16)
      return sum;
    return e.mul(sum, e.load(e.f32(), e.element(factors, e.f32(), e.add(firstRow, token))));
  });
}

/// Where products of warpgroups take their place.
static std::string exceptOf(const GpuGemm &gemm) { return gemm.kernel->hasWarpgroups ? GpuArch::warpgroups.str() : std::string(); }

void ds::addTileStages(std::shared_ptr<GpuGemm> gemm) {
  gemm->kernel->needScratch(PreparedRows(*gemm).bytes);
  GpuShape shape;
  shape.name = "prepare";
  shape.except = exceptOf(*gemm);
  addPrepareStage(gemm, shape, PreparedOrder::lanes);
  auto ruleOf = [&](int64_t rows) { return tileShapes[bestTile(gemm->shapes(), rows)].config(); };
  addManyRowsStages(gemm, "tiles", ruleOf, [&](const TuningConfig &config) {
    const TileShape tile = TileShape::of(config);
    GpuShape shape;
    shape.name = "tiles" + std::to_string(tile.units * 16) + "x" + std::to_string(tile.rows);
    shape.except = exceptOf(*gemm);
    shape.threads = tile.threads();
    shape.blocksPerProcessor = tile.resident;
    for (const GpuGroup &group : gemm->groups)
      shape.sharedBytes = std::max(shape.sharedBytes, TileLayout(group.shape(), tile).bytes);
    auto emit = [gemm, tile](GpuBody &body, size_t group, Value block) { TileBody(body, *gemm, group, tile).emit(block); };
    return ManyRowsStage{std::move(shape), tile.units, tile.rows, emit};
  });
}
