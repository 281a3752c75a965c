// 1 to 16 rows. A block's warps share units of 16 rows of weights and their depth: each streams its part of both blocks of a unit from
// memory to registers, several tiles ahead, the first of them before it waits for the launch that makes the rows. The rows lie in shared
// memory, and the blocks that fit the machine take turns at the units, so that rows are prepared once a block. Where rows do not fit they
// come in segments of the depth, and a block has one turn. Sums of the parts of a unit meet in shared memory.
#include "Gemm.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;
using Values = Emitter::Values;

namespace {
/// Emits the body of a stage for one group.
class SkinnyBody {
public:
  SkinnyBody(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, const Cut &cut)
      : body(body), e(body.e), gemm(gemm), group(group), cut(cut) {}
  /// `block` is the number of the block in its group.
  void emit(Value block);

private:
  using Blocks = std::array<Value, 2>;
  Blocks blocksOfTurn(Value turn);
  Emitter::Values loadTile(const Blocks &blocks, Value tile);
  Emitter::Values loadFirst(const Blocks &blocks, int64_t segment);
  void makeRows();
  void startRows();
  void stageRows(int64_t segment);
  Emitter::Values multiply(ValueRange loaded, Value inSegment, ValueRange sums);
  /// Multiplies `count` tiles that are there, number `first` (i32) of the warp and those behind. Where `reload` gives a tile, it takes the
  /// place of number i of them.
  Emitter::Values round(ValueRange carried, Value first, int64_t count, llvm::function_ref<Emitter::Values(int64_t)> reload);
  Emitter::Values multiplySegment(Emitter::Values carried, const Blocks &blocks, int64_t segment);
  void finish(ValueRange sums, Value turn, Value sumsAt);
  void emitTurns(Value block);
  void emitSegments(Value block);
  int64_t sumCount() const { return cut.tokens() / 8 * 4; }
  int64_t valuesOfTile() const { return 2 + scales; }
  int64_t ahead() const { return cut.ahead; }

  GpuBody &body;
  GpuEmitter &e;
  const GpuGemm &gemm;
  const GpuGroup &group;
  const Cut &cut;
  Value unitOfWarp, firstOfWarp, lane, laneBytes, xOfLane;
  int64_t scales = 0; // values of a tile behind its words
  std::vector<GemmRows> rows;
};
} // namespace

SkinnyBody::Blocks SkinnyBody::blocksOfTurn(Value turn) {
  Value unit = e.add(e.mul(turn, cut.unitsPerTurn), unitOfWarp);
  UnitPlace place = placeOfUnit(body, gemm, group, e.min(unit, group.units - 1));
  return {place.blocks[0], place.blocks[1]};
}

/// The words and scales of a tile, the last one where `tile` is beyond it.
Values SkinnyBody::loadTile(const Blocks &blocks, Value tile) {
  tile = e.min(tile, group.tiles.tiles() - 1);
  Value offset = e.add(e.mul(tile, Tiles::tileBytes), laneBytes);
  Values loaded;
  for (Value blockOfRows : blocks)
    loaded.push_back(e.loadStream(e.at(blockOfRows, offset)));
  Values of = scalesOfTile(body, group, blocks, tile);
  scales = static_cast<int64_t>(of.size());
  loaded.append(of);
  return loaded;
}

Values SkinnyBody::loadFirst(const Blocks &blocks, int64_t segment) {
  Values loaded;
  for (int64_t i = 0; i < ahead(); ++i)
    loaded.append(loadTile(blocks, e.add(firstOfWarp, cut.firstTiles[segment] + i)));
  return loaded;
}

/// A row is worked on by the whole block, or each of several by a warp.
void SkinnyBody::makeRows() {
  const bool wholeBlock = cut.rows == 1;
  Value scratch = e.shared(cut.factorsAt + 64), first = wholeBlock ? e.thread() : lane;
  for (int64_t i = 0; i < (wholeBlock ? 1 : static_cast<int64_t>(llvm::divideCeil(cut.rows, cut.warps))); ++i)
    rows.emplace_back(body, gemm, group.mma(), wholeBlock ? cut.threads() : GpuEmitter::warpThreads, first, scratch).loadVectors();
}

/// Norms look at whole rows once.
void SkinnyBody::startRows() {
  const bool wholeBlock = cut.rows == 1;
  Value first = wholeBlock ? e.thread() : lane;
  for (auto [i, of] : llvm::enumerate(rows)) {
    Value row = wholeBlock ? e.index(0) : e.add(e.warp(), static_cast<int64_t>(i) * cut.warps);
    of.start(e.min(row, e.sub(body.rows, 1)));
    e.ifThen(e.bitAnd(e.eq(first, 0), e.lt(row, cut.rows)),
             [&] { e.store(of.factor(), e.element(e.shared(cut.factorsAt), e.f32(), row)); });
    if (gemm.region.normIsResult)
      e.ifThen(e.bitAnd(e.eq(e.block(), 0), e.lt(row, body.rows)),
               [&] { of.writeNorm(body.outs[gemm.resultOf(gemm.region.norm->getResult(0))].pointer); });
  }
}

void SkinnyBody::stageRows(int64_t segment) {
  const int64_t first = cut.firstTiles[segment] * group.tiles.tileDepth();
  for (auto [i, of] : llvm::enumerate(rows)) {
    Value row = cut.rows == 1 ? e.index(0) : e.add(e.warp(), static_cast<int64_t>(i) * cut.warps);
    Value base = e.at(e.shared(), e.mul(row, cut.rowBytes));
    e.ifThen(e.lt(row, body.rows),
             [&] { of.write(first, cut.segmentDepth, [&](Value k) { return e.at(base, e.mul(e.sub(k, first), 2)); }); });
  }
}

/// Adds the products of the tile number `inSegment` (i32) of the segment.
Values SkinnyBody::multiply(ValueRange loaded, Value inSegment, ValueRange sums) {
  Values result(sums);
  const int64_t depth = group.tiles.tileDepth();
  Value x = e.at(xOfLane, e.mul(inSegment, depth * 2));
  for (int64_t part = 0; part < depth / Tiles::partDepth; ++part) {
    PartWords weights = partOfTile(body, group, loaded.take_front(2), loaded.drop_front(2), part);
    for (int64_t column = 0; column < cut.tokens() / 8; ++column) {
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

Values SkinnyBody::round(ValueRange carried, Value first, int64_t count, llvm::function_ref<Values(int64_t)> reload) {
  const int64_t width = valuesOfTile();
  Values now(carried.drop_back(sumCount())), sums(carried.take_back(sumCount()));
  for (int64_t i = 0; i < count; ++i) {
    sums = multiply(ValueRange(now).slice(i * width, width), e.add(e.add(firstOfWarp, first), i), sums);
    Values next = reload(i);
    llvm::copy(next, now.begin() + i * width);
  }
  now.append(sums);
  return now;
}

/// All tiles of a segment but those of the last rounds, which `emitTurns` and `emitSegments` end differently: what is left are `ahead`
/// tiles that are there, and behind them the rest.
Values SkinnyBody::multiplySegment(Values carried, const Blocks &blocks, int64_t segment) {
  const int64_t rounds = cut.perWarp / ahead();
  if (rounds < 2)
    return carried;
  return e.forRange(e.index(0), e.index((rounds - 1) * ahead()), ahead(), carried, [&](Value first, ValueRange inside) {
    return round(inside, first, ahead(),
                 [&](int64_t i) { return loadTile(blocks, e.add(e.add(firstOfWarp, first), cut.firstTiles[segment] + ahead() + i)); });
  });
}

/// c[0], c[1] are row g of tokens 2 t and 2 t + 1, c[2], c[3] row g + 8.
void SkinnyBody::finish(ValueRange sums, Value turn, Value sumsAt) {
  Value g = e.shiftRight(lane, 2), token = e.mul(e.bitAnd(lane, e.index(3)), 2);
  Value sumsOfWarp = e.at(sumsAt, e.mul(e.warp(), cut.tokens() * gemmSumStride * 4));
  for (int64_t i = 0; i < sumCount(); ++i) {
    Value at = e.add(e.mul(e.add(token, i / 4 * 8 + i % 2), gemmSumStride), e.add(g, i % 4 / 2 * 8));
    e.store(sums[i], e.element(sumsOfWarp, e.f32(), at));
  }
  e.barrier();
  Value firstUnit = e.mul(turn, cut.unitsPerTurn);
  emitEpilogues(body, gemm, group, firstUnit, cut.unitsPerTurn, e.index(0), cut.rows, cut.threads(), [&](Value unit, Value r, Value token) {
    Value first = e.add(e.mul(e.add(e.mul(unit, cut.splits * cut.tokens()), token), gemmSumStride), r), all;
    for (int64_t i = 0; i < cut.splits; ++i) {
      Value sum = e.load(e.f32(), e.element(sumsAt, e.f32(), e.add(first, i * cut.tokens() * gemmSumStride)));
      all = all ? e.add(all, sum) : sum;
    }
    if (group.mma() == MmaType::bf16)
      return all;
    return e.mul(all, e.load(e.f32(), e.element(e.shared(cut.factorsAt), e.f32(), token)));
  });
}

/// Rows are staged once; the first tiles of the next turn are asked for in the last rounds of this one.
void SkinnyBody::emitTurns(Value block) {
  Blocks blocks = blocksOfTurn(block);
  Values loaded = loadFirst(blocks, 0);
  makeRows();
  e.gridWait();
  startRows();
  stageRows(0);
  e.barrier();
  const int64_t rest = cut.perWarp % ahead(), lastFull = cut.perWarp - rest - ahead();
  const bool again = cut.turns > cut.blocks; // some block has a second turn
  const auto loadedCount = static_cast<int64_t>(loaded.size());
  Values carried{blocks[0], blocks[1], e.index(0)};
  carried.append(loaded);
  e.forRange(block, e.index(cut.turns), cut.blocks, carried, [&](Value turn, ValueRange inside) {
    Blocks now{inside[0], inside[1]}, next = now;
    Value sumsOffset = inside[2], nextTurn = e.add(turn, cut.blocks), hasNext = e.lt(nextTurn, cut.turns);
    if (again)
      next = blocksOfTurn(nextTurn);
    // A branch for each load: with one around the round LLVM would hoist what both sides do, and decode all tiles at once.
    auto loadNext = [&](int64_t i) -> Values {
      if (!again)
        return {};
      SmallVector<Type> types(ValueRange(loaded).take_front(valuesOfTile()).getTypes());
      return e.ifElse(
          hasNext, types, [&] { return loadTile(next, e.add(firstOfWarp, i)); },
          [&] {
            Values none;
            for (Type type : types)
              none.push_back(e.zero(type));
            return none;
          });
    };
    Values values(inside.slice(3, loadedCount));
    values.append(sumCount(), e.constantF32(0));
    values = multiplySegment(values, now, 0);
    values = round(values, e.index(lastFull), ahead(),
                   [&](int64_t i) { return i < rest ? loadTile(now, e.add(firstOfWarp, lastFull + ahead() + i)) : loadNext(i); });
    values = round(values, e.index(lastFull + ahead()), rest, loadNext);
    finish(ValueRange(values).take_back(sumCount()), turn, e.at(e.shared(cut.sumsAt), sumsOffset));
    Values behind{next[0], next[1], e.sub(e.index(cut.sumsBytes), sumsOffset)};
    behind.append(values.begin(), values.begin() + loadedCount);
    return behind;
  });
}

void SkinnyBody::emitSegments(Value block) {
  Blocks blocks = blocksOfTurn(block);
  Values loaded = loadFirst(blocks, 0), sums(sumCount(), e.constantF32(0));
  makeRows();
  e.gridWait();
  startRows();
  const int64_t rest = cut.perWarp % ahead(), lastFull = cut.perWarp - rest - ahead();
  const auto segments = static_cast<int64_t>(cut.firstTiles.size());
  for (int64_t segment = 0; segment < segments; ++segment) {
    if (segment > 0)
      e.barrier(); // the rows of the last one are read
    stageRows(segment);
    e.barrier();
    Values carried = loaded;
    carried.append(sums);
    carried = multiplySegment(carried, blocks, segment);
    carried = round(carried, e.index(lastFull), ahead(), [&](int64_t i) {
      return i < rest ? loadTile(blocks, e.add(firstOfWarp, cut.firstTiles[segment] + lastFull + ahead() + i)) : Values();
    });
    carried = round(carried, e.index(lastFull + ahead()), rest, [](int64_t) { return Values(); });
    sums.assign(carried.end() - sumCount(), carried.end());
    if (segment + 1 < segments)
      loaded = loadFirst(blocks, segment + 1);
  }
  finish(sums, block, e.shared(cut.sumsAt));
}

void SkinnyBody::emit(Value block) {
  lane = e.lane();
  laneBytes = e.mul(lane, 16);
  unitOfWarp = e.div(e.warp(), cut.splits);
  firstOfWarp = e.mul(e.rem(e.warp(), cut.splits), cut.perWarp);
  // Lanes of rows that are not there read the first: their columns of the result are not looked at.
  Value xRow = cut.rows == 1 ? e.index(0) : e.shiftRight(lane, 2);
  xOfLane = e.at(e.shared(), e.add(e.mul(xRow, cut.rowBytes), e.mul(e.bitAnd(lane, e.index(3)), 16)));
  if (cut.isWhole())
    emitTurns(block);
  else
    emitSegments(block);
}

/// Steps of up to `rows` rows, `configs` being those of the groups.
static void addSkinnyStage(const std::shared_ptr<GpuGemm> &gemm, int64_t least, int64_t rows, const SmallVector<RowsConfig> &configs,
                           std::vector<TuningChoice> choices) {
  GpuShape shape;
  shape.name = "rows" + std::to_string(rows);
  shape.when = {{GpuSize::rows, least, rows}};
  shape.threads = configs.front().warps * GpuEmitter::warpThreads;
  shape.blocksPerProcessor = configs.front().resident;
  shape.waitsItself = true;
  SmallVector<Cut> cuts;
  int64_t blocks = 0;
  for (auto [group, config] : llvm::zip_equal(gemm->groups, configs)) {
    const Cut &cut = cuts.emplace_back(group.shape(), rows, config, gemm->kernel->mostSharedBytes);
    blocks += cut.blocks;
    shape.sharedBytes = std::max(shape.sharedBytes, cut.bytes);
  }
  shape.grid[0].constant = blocks;
  auto body = [gemm, cuts](GpuBody &body) {
    GpuEmitter &e = body.e;
    int64_t first = 0;
    for (auto [group, cut] : llvm::zip_equal(gemm->groups, cuts)) {
      auto emit = [&, &group = group, &cut = cut] { SkinnyBody(body, *gemm, group, cut).emit(e.sub(e.block(), first)); };
      if (gemm->groups.size() == 1) {
        emit();
      } else {
        Value block = e.block();
        e.ifThen(e.bitAnd(e.ge(block, first), e.lt(block, first + cut.blocks)), emit);
      }
      first += cut.blocks;
    }
  };
  gemm->kernel->stage(shape, body, std::move(choices));
}

void ds::addSkinnyStages(std::shared_ptr<GpuGemm> gemm) {
  int64_t units = 0;
  for (const GpuGroup &group : gemm->groups)
    units += group.units;
  if (gemm->groups.size() > 1)
    gemm->kernel->tuning->mixed.push_back(ds_plan::KernelOp(gemm->kernel->kernel).getSymName().str());
  for (auto [least, most] : {std::pair<int64_t, int64_t>{1, 1}, {2, 8}, {9, 16}}) {
    SmallVector<RowsConfig> configs;
    std::vector<TuningChoice> choices;
    if (std::optional<TuningKey> key = gemm->tuningKey("rows" + std::to_string(most), most)) {
      const WeightShape weights = gemm->groups.front().shape();
      choices.push_back(gemm->choose(*key, [&, rows = most](const TuningConfig &config) {
        return Cut(weights, rows, RowsConfig::of(config), gemm->kernel->mostSharedBytes).bytes;
      }));
      configs.push_back(RowsConfig::of(choices.front().config));
    } else {
      for (const GpuGroup &group : gemm->groups)
        configs.push_back(rowsRule(group.shape(), units, most));
    }
    addSkinnyStage(gemm, least, most, configs, std::move(choices));
  }
}
