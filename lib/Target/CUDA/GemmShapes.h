// How products are cut to blocks of threads: what follows from a configuration, for those who emit code and for those who choose.
#ifndef LIB_TARGET_CUDA_GEMMSHAPES_H
#define LIB_TARGET_CUDA_GEMMSHAPES_H

#include "dialects/DSPlan/TileCodes.h"
#include "ds/Target/CUDA/Tuning.h"
#include "llvm/ADT/SmallVector.h"
#include <algorithm>

namespace ds {

/// Of the largest machine.
inline constexpr int64_t gemmProcessors = 132;
/// f32 in shared memory from one token of a unit's sums to the next: 16 rows, and 4 so that lanes meet no bank twice.
inline constexpr int64_t gemmSumStride = 20;
/// Warps of 128 registers that fill a multiprocessor.
inline constexpr int64_t gemmWarps = 16;
inline constexpr int64_t gemmWarpThreads = 32, gemmRowBlock = 8;
/// Rows of the step from which on the next tile may be better; the last is no bound.
inline constexpr int64_t gemmRowBounds[] = {17, 33, 65, 129, 257, 513, 1025, int64_t(1) << 30};
/// What stands for the steps of the last of them.
inline constexpr int64_t gemmManyRows = 2048;

/// Weights of one type that one loop multiplies, as far as cutting them looks at them.
struct WeightShape {
  int64_t units = 0;            // 16 rows each
  int64_t tiles = 0, depth = 0; // along k; k of one
  bool areCodes = false;
  int64_t scales = 0;    // values of a unit's tile behind its words, of a lane
  int64_t unitBytes = 0; // of both blocks of 8 rows, with scales
};

/// How steps of 1 to 16 rows are cut.
struct RowsConfig {
  int64_t warps = 0;         // of a block
  int64_t resident = 0;      // blocks of a multiprocessor at once
  int64_t splits = 0;        // warps that share the depth of a unit
  int64_t ahead = 0;         // tiles of a unit on their way to a warp, 1 KiB each
  bool isPersistent = false; // as many blocks as fit take turns at the units; else a block has one turn

  static RowsConfig of(const TuningConfig &config);
  TuningConfig config() const;
};
/// The rule: what is taken for a group of a kernel with `allUnits` units.
RowsConfig rowsRule(const WeightShape &weights, int64_t allUnits, int64_t rows);

/// How a group is cut for steps of up to `rows` rows.
struct Cut {
  /// `sharedBytes` is what one block may have.
  Cut(const WeightShape &weights, int64_t rows, const RowsConfig &config, int64_t sharedBytes);
  /// Whole rows fit.
  bool isWhole() const { return firstTiles.size() == 1; }
  int64_t tokens() const { return llvm::alignTo(rows, 8); } // columns of the instructions
  int64_t threads() const { return warps * gemmWarpThreads; }

  int64_t rows, warps, splits, ahead, unitsPerTurn, turns, blocks;
  int64_t perWarp;                             // tiles of a segment that a warp multiplies
  llvm::SmallVector<int64_t> firstTiles;       // of segments
  int64_t segmentDepth, rowBytes;              // of a row in shared memory
  int64_t sumsAt, sumsBytes, factorsAt, bytes; // of shared memory; behind the factors is what reductions need

private:
  void layOut(const WeightShape &weights, int64_t segments, const RowsConfig &config);
};

/// The part of a product that one block of threads computes by mma.sync: teams of 4 warps in a square take turns at the tiles along the
/// depth.
struct TileShape {
  int64_t units, rows; // 16 rows of weights each; rows of the step
  int64_t teams, resident;
  int64_t stages = 0; // steps along the depth that are in shared memory; 0: as many as fit, 2 to 4

  int64_t unitsOfWarp() const { return units / 2; }
  int64_t columnsOfWarp() const { return rows / gemmRowBlock / 2; }
  int64_t threads() const { return teams * teamWarps * gemmWarpThreads; }
  int64_t sums() const { return unitsOfWarp() * columnsOfWarp() * 4; } // of a lane
  static TileShape of(const TuningConfig &config);
  TuningConfig config() const;
  static constexpr int64_t teamWarps = 4;
};
inline constexpr TileShape tileShapes[] = {{8, 128, 1, 2}, {8, 64, 1, 2}, {4, 64, 2, 2}, {2, 32, 2, 2}};
/// What a multiprocessor needs for one, in units of the first.
inline constexpr double tileTimes[std::size(tileShapes)] = {1.0, 0.55, 0.32, 0.14};
/// Beside the sums of the largest there are no registers for codes.
inline constexpr int64_t mostSumsOfCodes = 64;

/// What is copied together, and how often ahead.
struct TileLayout {
  TileLayout(const WeightShape &weights, const TileShape &shape);
  int64_t tiles; // of a stage
  int64_t teams; // that have tiles of their own
  int64_t weightBytes, rowBytes, stageBytes, stages, sumBytes, bytes;

private:
  void setBytes(const WeightShape &weights, const TileShape &shape);
};

/// The same by wgmma: a unit (16 rows of weights) for each warp that multiplies, times `columns` tokens.
struct WarpgroupShape {
  int64_t warpgroups, columns, resident;
  int64_t stages = 0; // 0: as many as fit, 2 to 8

  int64_t units() const { return warpgroups * 4; }
  int64_t multiplying() const { return warpgroups * 128; }
  int64_t threads() const { return multiplying() + gemmWarpThreads; }
  int64_t sums() const { return columns / 2; } // of a lane
  static WarpgroupShape of(const TuningConfig &config);
  TuningConfig config() const;
};
inline constexpr WarpgroupShape warpgroupShapes[] = {{2, 256, 1}, {2, 128, 1}, {2, 64, 2}, {1, 64, 4}, {1, 32, 4}};
/// Estimates: nothing of it is measured.
inline constexpr double warpgroupTimes[std::size(warpgroupShapes)] = {1.0, 0.52, 0.30, 0.17, 0.11};
/// Beside the sums of more columns there are no registers for decoding, nor for weights of the next step.
inline constexpr int64_t mostColumnsOfCodes = 128, mostColumnsAhead = 128;

/// What is copied for a step along the depth, and how many steps ahead.
struct Pipeline {
  Pipeline(const WeightShape &weights, const WarpgroupShape &shape);
  int64_t tiles, parts, steps; // of a step; of 32 k; in all
  int64_t weightBytes, partBytes, stageBytes, stages;
  int64_t barriers; // where they are: first those of full stages
  int64_t bytes;
  static constexpr int64_t barrierBytes = 8;
};

/// The number in `tileShapes` or `warpgroupShapes` of the one with which a kernel of `groups` takes the least time for so many rows.
size_t bestTile(llvm::ArrayRef<WeightShape> groups, int64_t rows);
size_t bestWarpgroups(llvm::ArrayRef<WeightShape> groups, int64_t rows);

} // namespace ds
#endif // LIB_TARGET_CUDA_GEMMSHAPES_H
