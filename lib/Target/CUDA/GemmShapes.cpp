#include "GemmShapes.h"

using namespace ds;
using ds_plan::Tiles;

static constexpr int64_t tileBytes = Tiles::tileBytes, partDepth = Tiles::partDepth;
/// Tiles of a block of 8 rows that are on their way to a lane: 8 KiB a warp for both blocks, less where sums or scales take registers.
static constexpr int64_t tilesAhead = 8, tilesAheadOfSome = 6, tilesAheadOfMany = 5, tilesAheadOfCodes = 4;
/// Of shared memory of a multiprocessor that is not for rows: sums, and what the system takes.
static constexpr int64_t otherSharedBytes = 37 << 10;
/// What the system takes for a block.
static constexpr int64_t systemBytes = 1 << 10;

static int64_t at(const TuningConfig &config, const char *name) {
  auto found = config.find(name);
  return found == config.end() ? 0 : found->second;
}

RowsConfig RowsConfig::of(const TuningConfig &config) {
  return {at(config, "warps"), at(config, "resident"), at(config, "splits"), at(config, "ahead"), at(config, "persistent") != 0};
}
TuningConfig RowsConfig::config() const {
  return {{"warps", warps}, {"resident", resident}, {"splits", splits}, {"ahead", ahead}, {"persistent", isPersistent}};
}
TileShape TileShape::of(const TuningConfig &config) {
  return {at(config, "units"), at(config, "tokens"), at(config, "teams"), at(config, "resident"), at(config, "stages")};
}
TuningConfig TileShape::config() const {
  return {{"units", units}, {"tokens", rows}, {"teams", teams}, {"resident", resident}, {"stages", stages}};
}
WarpgroupShape WarpgroupShape::of(const TuningConfig &config) {
  return {at(config, "warpgroups"), at(config, "tokens"), at(config, "resident"), at(config, "stages")};
}
TuningConfig WarpgroupShape::config() const {
  return {{"warpgroups", warpgroups}, {"tokens", columns}, {"resident", resident}, {"stages", stages}};
}

RowsConfig ds::rowsRule(const WeightShape &weights, int64_t allUnits, int64_t rows) {
  RowsConfig config;
  // Few units leave a multiprocessor one block, which then has all its warps. Of several rows each block has a copy, so there is one for
  // each multiprocessor.
  config.warps = rows > 1 || allUnits <= gemmProcessors ? gemmWarps : gemmWarps / 2;
  config.resident = gemmWarps / config.warps;
  config.splits = 1;
  while (config.splits < config.warps && weights.units * config.splits < gemmProcessors * gemmWarps &&
         weights.tiles >= 2 * config.splits * 2)
    config.splits *= 2;
  const int64_t most = weights.areCodes ? tilesAheadOfCodes : rows == 1 ? tilesAhead : rows <= 8 ? tilesAheadOfSome : tilesAheadOfMany;
  config.ahead = std::min<int64_t>(most, llvm::divideCeil(weights.tiles, config.splits));
  config.isPersistent = true;
  return config;
}

Cut::Cut(const WeightShape &weights, int64_t rows, const RowsConfig &config, int64_t sharedBytes)
    : rows(rows), warps(config.warps), splits(config.splits) {
  const int64_t rowRoom = (sharedBytes - otherSharedBytes) / config.resident;
  const int64_t most = std::max<int64_t>(splits, rowRoom / (rows * weights.depth * 2) / splits * splits);
  const int64_t room = (sharedBytes + systemBytes) / config.resident - systemBytes;
  // Two buffers of sums may leave less than that.
  for (int64_t segments = llvm::divideCeil(weights.tiles, most);; ++segments) {
    layOut(weights, segments, config);
    if (bytes <= room || perWarp == 1)
      break;
  }
  ahead = std::min(config.ahead, perWarp);
}

void Cut::layOut(const WeightShape &weights, int64_t segments, const RowsConfig &config) {
  unitsPerTurn = warps / splits;
  turns = llvm::divideCeil(weights.units, unitsPerTurn);
  perWarp = llvm::divideCeil(llvm::divideCeil(weights.tiles, segments), splits);
  firstTiles.clear();
  for (int64_t first = 0; first < weights.tiles; first += perWarp * splits)
    firstTiles.push_back(first);
  blocks = isWhole() && config.isPersistent ? std::min(turns, gemmProcessors * config.resident) : turns;
  segmentDepth = perWarp * splits * weights.depth;
  rowBytes = llvm::alignTo(segmentDepth * 2, 128) + 64; // lanes of two rows then read different banks
  sumsAt = rows * rowBytes;
  sumsBytes = warps * tokens() * gemmSumStride * 4;
  factorsAt = sumsAt + (isWhole() ? 2 : 1) * sumsBytes; // a turn writes where the one before the last did
  bytes = factorsAt + 64 + warps * 4;
}

TileLayout::TileLayout(const WeightShape &weights, const TileShape &shape) {
  const int64_t mostBytes = (192 << 10) / shape.resident;
  // Some 128 k a barrier, in whole tiles.
  tiles = std::max(shape.teams, 128 / weights.depth);
  setBytes(weights, shape);
  while (tiles > 1 && (weights.tiles % tiles != 0 || stageBytes > mostBytes / 3)) {
    tiles /= 2;
    setBytes(weights, shape);
  }
  stages = shape.stages ? shape.stages : std::clamp<int64_t>(mostBytes / stageBytes, 2, 4);
  teams = std::min(tiles, shape.teams);
  sumBytes = shape.units * shape.rows * gemmSumStride * 4;
  bytes = std::max(stages * stageBytes, shape.teams * sumBytes);
}

void TileLayout::setBytes(const WeightShape &weights, const TileShape &shape) {
  weightBytes = shape.units * 2 * tileBytes * tiles;
  rowBytes = shape.rows / gemmRowBlock * tileBytes * tiles * (weights.depth / partDepth);
  stageBytes = weightBytes + rowBytes;
}

Pipeline::Pipeline(const WeightShape &weights, const WarpgroupShape &shape) {
  // Beside the most sums there are registers for the weights of 32 k.
  tiles = std::max<int64_t>(1, (shape.columns > mostColumnsAhead ? 32 : 64) / weights.depth);
  if (weights.tiles % tiles != 0)
    tiles = 1;
  parts = tiles * weights.depth / partDepth;
  steps = weights.tiles / tiles;
  weightBytes = shape.units() * 2 * tiles * tileBytes;
  partBytes = shape.columns * partDepth * 2;
  stageBytes = weightBytes + parts * partBytes;
  // A multiprocessor has 228 KiB, of which each block takes one for itself.
  const int64_t most = (228 << 10) / shape.resident - systemBytes - 512;
  stages = shape.stages ? shape.stages : std::clamp<int64_t>(most / stageBytes, 2, 8);
  barriers = std::max(stages * stageBytes, shape.units() * shape.columns * gemmSumStride * 4);
  bytes = barriers + 2 * stages * barrierBytes;
}

/// Waves of blocks of so many units and rows.
static double wavesOf(llvm::ArrayRef<WeightShape> groups, int64_t units, int64_t tileRows, int64_t rows) {
  int64_t blocks = 0;
  for (const WeightShape &group : groups)
    blocks += llvm::divideCeil(group.units, units) * llvm::divideCeil(rows, tileRows);
  return static_cast<double>(llvm::divideCeil(blocks, gemmProcessors));
}

static bool haveCodes(llvm::ArrayRef<WeightShape> groups) {
  return std::any_of(groups.begin(), groups.end(), [](const WeightShape &group) { return group.areCodes; });
}

size_t ds::bestTile(llvm::ArrayRef<WeightShape> groups, int64_t rows) {
  size_t best = haveCodes(groups) ? 1 : 0;
  auto time = [&](size_t i) { return wavesOf(groups, tileShapes[i].units, tileShapes[i].rows, rows) * tileTimes[i]; };
  for (size_t i = best + 1; i < std::size(tileShapes); ++i)
    if (time(i) < time(best))
      best = i;
  return best;
}

size_t ds::bestWarpgroups(llvm::ArrayRef<WeightShape> groups, int64_t rows) {
  size_t best = 0;
  while (haveCodes(groups) && warpgroupShapes[best].columns > mostColumnsOfCodes)
    ++best;
  auto time = [&](size_t i) { return wavesOf(groups, warpgroupShapes[i].units(), warpgroupShapes[i].columns, rows) * warpgroupTimes[i]; };
  for (size_t i = best + 1; i < std::size(warpgroupShapes); ++i)
    if (time(i) < time(best))
      best = i;
  return best;
}
