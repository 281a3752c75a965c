// 1 to 16 rows. A block's warps share units of 16 rows of weights and their depth: each streams its part of both blocks of a unit from memory
// to registers, several tiles ahead, the first of them before it waits for the launch that makes the rows. The rows lie in shared memory;
// where they do not fit they come in segments of the depth. Sums of the parts of a unit meet in shared memory.
#include "Gemm.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;
using Values = Emitter::Values;

static constexpr int64_t warps = 8, threads = warps * GpuEmitter::warpThreads;
/// Of one multiprocessor, 256 threads each: 128 registers a thread.
static constexpr int64_t blocksPerProcessor = 2;
/// Tiles of a block of 8 rows that are on their way to a lane: 8 KiB a warp for both blocks.
static constexpr int64_t tilesAhead = 8;
/// Warps that keep the memory of the largest machine busy: 16 for each of 132 multiprocessors.
static constexpr int64_t wantedWarps = 132 * 16;
static constexpr int64_t mostRowBytes = 96 << 10;
/// f32 from one token of the sums to the next: 16 rows, and 4 so that lanes meet no bank twice.
static constexpr int64_t sumStride = 20;

namespace {
/// How a group is cut for steps of up to `rows` rows.
struct Cut {
  Cut(const GpuGroup &group, int64_t rows) : rows(rows) {
    const int64_t tiles = group.tiles.tiles(), depth = group.tiles.tileDepth();
    splits = 1;
    while (splits < warps && group.units * splits < wantedWarps && tiles >= 2 * splits * 2)
      splits *= 2;
    unitsPerBlock = warps / splits;
    blocks = llvm::divideCeil(group.units, unitsPerBlock);
    int64_t most = std::max<int64_t>(splits, mostRowBytes / (rows * depth * 2) / splits * splits);
    const int64_t segments = llvm::divideCeil(tiles, most);
    perWarp = llvm::divideCeil(llvm::divideCeil(tiles, segments), splits);
    for (int64_t first = 0; first < tiles; first += perWarp * splits)
      firstTiles.push_back(first);
    segmentDepth = perWarp * splits * depth;
    rowBytes = llvm::alignTo(segmentDepth * 2, 128) + 64; // lanes of two rows then read different banks
    sumsAt = rows * rowBytes;
    factorsAt = sumsAt + warps * llvm::alignTo(rows, 8) * sumStride * 4;
    bytes = factorsAt + 64 + warps * 4;
  }

  int64_t rows, splits, unitsPerBlock, blocks;
  int64_t perWarp;                        // tiles of a segment that a warp multiplies
  SmallVector<int64_t> firstTiles;        // of segments
  int64_t segmentDepth, rowBytes;         // of a row in shared memory
  int64_t sumsAt, factorsAt, bytes;       // of shared memory; behind the factors is what reductions need
};

/// Emits the body of a stage for one group.
class SkinnyBody {
public:
  SkinnyBody(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, const Cut &cut)
      : body(body), e(body.e), gemm(gemm), group(group), cut(cut) {}
  /// `block` is the number of the block in its group.
  void emit(Value block);

private:
  Value load(Value pointer) { return e.loadStream(pointer); }
  Emitter::Values loadTile(Value tile);
  void stageRows(int64_t segment);
  Emitter::Values multiply(ValueRange loaded, Value inSegment, ValueRange sums);
  int64_t columnsOfTokens() const { return llvm::divideCeil(cut.rows, 8); }
  int64_t valuesOfTile() const { return 2 + scales; }

  GpuBody &body;
  GpuEmitter &e;
  const GpuGemm &gemm;
  const GpuGroup &group;
  const Cut &cut;
  Value block, unitOfWarp, split, lane, laneBytes, xOfLane;
  UnitPlace place;
  int64_t scales = 0; // values of a tile behind its words
  std::vector<GemmRows> rows;
  SmallVector<Value> factors;
};
} // namespace

/// The words and scales of a tile, the last one where `tile` is beyond it.
Emitter::Values SkinnyBody::loadTile(Value tile) {
  tile = e.min(tile, group.tiles.tiles() - 1);
  Value offset = e.add(e.mul(tile, Tiles::tileBytes), laneBytes);
  Emitter::Values loaded;
  for (Value blockOfRows : place.blocks)
    loaded.push_back(load(e.at(blockOfRows, offset)));
  Emitter::Values of = scalesOfTile(body, group, place.blocks, tile);
  scales = static_cast<int64_t>(of.size());
  loaded.append(of);
  return loaded;
}

void SkinnyBody::stageRows(int64_t segment) {
  const int64_t first = cut.firstTiles[segment] * group.tiles.tileDepth();
  auto write = [&](GemmRows &of, Value row) {
    Value base = e.at(e.shared(), e.mul(row, cut.rowBytes));
    of.write(first, cut.segmentDepth, [&](Value k) { return e.at(base, e.mul(e.sub(k, first), 2)); });
  };
  // A row is worked on by the whole block, or each of several by a warp.
  for (auto [i, of] : llvm::enumerate(rows)) {
    Value row = cut.rows == 1 ? e.index(0) : e.add(e.warp(), static_cast<int64_t>(i) * warps);
    e.ifThen(e.lt(row, body.rows), [&] { write(of, row); });
  }
}

/// Adds the products of the tile number `inSegment` (i32) of the segment.
Emitter::Values SkinnyBody::multiply(ValueRange loaded, Value inSegment, ValueRange sums) {
  Emitter::Values result(sums);
  const int64_t depth = group.tiles.tileDepth();
  Value x = e.at(xOfLane, e.mul(inSegment, depth * 2));
  for (int64_t part = 0; part < depth / Tiles::partDepth; ++part) {
    PartWords weights = partOfTile(body, group, loaded.take_front(2), loaded.drop_front(2), part);
    for (int64_t column = 0; column < columnsOfTokens(); ++column) {
      Value words = e.load(e.vec(4, e.i32()), e.at(x, column * 8 * cut.rowBytes + part * 64), 16);
      for (int64_t half = 0; half < 2; ++half) {
        Values a{weights[0][2 * half], weights[1][2 * half], weights[0][2 * half + 1], weights[1][2 * half + 1]};
        Values b{e.extract(words, 2 * half), e.extract(words, 2 * half + 1)};
        Values next = e.mma(group.mma(), a, b, ValueRange(result).slice(column * 4, 4));
        llvm::copy(next, result.begin() + column * 4);
      }
    }
  }
  return result;
}

void SkinnyBody::emit(Value block) {
  this->block = block;
  unitOfWarp = e.div(e.warp(), cut.splits);
  split = e.rem(e.warp(), cut.splits);
  lane = e.lane();
  laneBytes = e.mul(lane, 16);
  Value firstUnit = e.mul(block, cut.unitsPerBlock);
  place = placeOfUnit(body, gemm, group, e.min(e.add(firstUnit, unitOfWarp), group.units - 1));
  // Lanes of rows that are not there read the first: their columns of the result are not looked at.
  Value g = e.shiftRight(lane, 2), xRow = cut.rows == 1 ? e.index(0) : g;
  xOfLane = e.at(e.shared(), e.add(e.mul(xRow, cut.rowBytes), e.mul(e.bitAnd(lane, e.index(3)), 16)));

  const int64_t ahead = std::min(tilesAhead, cut.perWarp);
  Value firstOfWarp = e.mul(split, cut.perWarp);
  auto prefetch = [&](int64_t segment) {
    Values loaded;
    for (int64_t i = 0; i < ahead; ++i)
      loaded.append(loadTile(e.add(firstOfWarp, cut.firstTiles[segment] + i)));
    return loaded;
  };
  Values loaded = prefetch(0);
  e.gridWait();

  // Norms look at whole rows once.
  Value scratch = e.shared(cut.factorsAt + 64);
  const bool wholeBlock = cut.rows == 1;
  for (int64_t i = 0; i < (wholeBlock ? 1 : static_cast<int64_t>(llvm::divideCeil(cut.rows, warps))); ++i) {
    GemmRows &of = rows.emplace_back(body, gemm, group.mma(), wholeBlock ? threads : GpuEmitter::warpThreads,
                                     wholeBlock ? e.thread() : lane, scratch);
    Value row = wholeBlock ? e.index(0) : e.add(e.warp(), i * warps);
    of.start(e.min(row, e.sub(body.rows, 1)));
    e.ifThen(e.eq(wholeBlock ? e.thread() : lane, 0),
             [&] { e.store(of.factor(), e.element(e.shared(cut.factorsAt), e.f32(), row)); });
    if (gemm.region.normIsResult)
      e.ifThen(e.bitAnd(e.eq(e.block(), 0), e.lt(row, body.rows)),
               [&] { of.writeNorm(body.outs[gemm.resultOf(gemm.region.norm->getResult(0))].pointer); });
  }

  Values sums(columnsOfTokens() * 4, e.constantF32(0));
  const int64_t width = valuesOfTile(), segments = static_cast<int64_t>(cut.firstTiles.size());
  for (int64_t segment = 0; segment < segments; ++segment) {
    if (segment > 0)
      e.barrier(); // the rows of the last one are read
    stageRows(segment);
    e.barrier();
    const int64_t rounds = cut.perWarp / ahead, rest = cut.perWarp % ahead;
    // Each round multiplies what is there and asks for what the next needs.
    auto round = [&](Value first, ValueRange carried, int64_t count, int64_t next) {
      Values now(carried.drop_back(columnsOfTokens() * 4)), all(carried.take_back(columnsOfTokens() * 4));
      for (int64_t i = 0; i < count; ++i) {
        Value inSegment = e.add(e.add(firstOfWarp, first), i);
        all = multiply(ValueRange(now).slice(i * width, width), inSegment, all);
        if (i < next)
          llvm::copy(loadTile(e.add(inSegment, cut.firstTiles[segment] + ahead)), now.begin() + i * width);
      }
      now.append(all);
      return now;
    };
    Values carried = loaded;
    carried.append(sums);
    if (rounds > 1)
      carried = e.forRange(e.index(0), e.index((rounds - 1) * ahead), ahead, carried,
                           [&](Value first, ValueRange inside) { return round(first, inside, ahead, ahead); });
    carried = round(e.index((rounds - 1) * ahead), carried, ahead, rest);
    carried = round(e.index(rounds * ahead), carried, rest, 0);
    sums.assign(carried.end() - columnsOfTokens() * 4, carried.end());
    if (segment + 1 < segments)
      loaded = prefetch(segment + 1);
  }

  // c[0], c[1] are row g of tokens 2 t and 2 t + 1, c[2], c[3] row g + 8.
  const int64_t tokens = columnsOfTokens() * 8;
  Value sumsOfWarp = e.at(e.shared(cut.sumsAt), e.mul(e.warp(), tokens * sumStride * 4));
  Value token = e.mul(e.bitAnd(lane, e.index(3)), 2);
  for (int64_t i = 0; i < columnsOfTokens() * 4; ++i) {
    Value at = e.add(e.mul(e.add(token, i / 4 * 8 + i % 2), sumStride), e.add(g, i % 4 / 2 * 8));
    e.store(sums[i], e.element(sumsOfWarp, e.f32(), at));
  }
  e.barrier();
  emitEpilogues(body, gemm, group, firstUnit, cut.unitsPerBlock, e.index(0), cut.rows, threads, [&](Value unit, Value r, Value token) {
    Value first = e.add(e.mul(e.add(e.mul(unit, cut.splits * tokens), token), sumStride), r), all;
    for (int64_t i = 0; i < cut.splits; ++i) {
      Value sum = e.load(e.f32(), e.element(e.shared(cut.sumsAt), e.f32(), e.add(first, i * tokens * sumStride)));
      all = all ? e.add(all, sum) : sum;
    }
    if (group.mma() == MmaType::bf16)
      return all;
    return e.mul(all, e.load(e.f32(), e.element(e.shared(cut.factorsAt), e.f32(), token)));
  });
}

void ds::addSkinnyStages(std::shared_ptr<GpuGemm> gemm) {
  for (auto [least, most] : {std::pair<int64_t, int64_t>{1, 1}, {2, 8}, {9, 16}}) {
    GpuShape shape;
    shape.name = "rows" + std::to_string(most);
    shape.when = {{GpuSize::rows, least, most}};
    shape.threads = threads;
    shape.blocksPerProcessor = blocksPerProcessor;
    shape.waitsItself = true;
    int64_t blocks = 0;
    for (const GpuGroup &group : gemm->groups) {
      Cut cut(group, most);
      blocks += cut.blocks;
      shape.sharedBytes = std::max(shape.sharedBytes, cut.bytes);
    }
    shape.grid[0].constant = blocks;
    const int64_t rows = most;
    gemm->kernel->stage(shape, [gemm, rows](GpuBody &body) {
      GpuEmitter &e = body.e;
      int64_t first = 0;
      for (const GpuGroup &group : gemm->groups) {
        Cut cut(group, rows);
        auto emit = [&] { SkinnyBody(body, *gemm, group, cut).emit(e.sub(e.block(), first)); };
        if (gemm->groups.size() == 1) {
          emit();
        } else {
          Value block = e.block();
          e.ifThen(e.bitAnd(e.ge(block, first), e.lt(block, first + cut.blocks)), emit);
        }
        first += cut.blocks;
      }
    });
  }
}
