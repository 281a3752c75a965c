// Products of many rows by cuBLASLt, which the runtime opens where it is there. It reads neither the order nor the codes that weights lie
// in: a launch writes those of a kernel row by row into scratch, in the order of units, and behind the product one makes of the sums what
// the region makes of them. So weights are stored once, of any type, and the rows that share the work of unpacking have to be many.
#include "Gemm.h"

using namespace mlir;
using namespace ds;
using ds_plan::Tiles;

/// Of unpacked weights of a kernel, at most.
static constexpr int64_t mostWeightBytes = int64_t(1) << 30;
static constexpr int64_t mostRows = int64_t(1) << 30;
/// k that a warp unpacks of a unit; units and rows of a block behind the product.
static constexpr int64_t unpackedDepth = 128, finishedUnits = 8, finishedRows = 8;

namespace {
/// What lies in scratch: prepared rows, sums of each group, and behind them, whatever the rows, weights of each group.
struct LibraryScratch {
  explicit LibraryScratch(const GpuGemm &gemm) : prepared(gemm), bytesPerRow(prepared.bytes) {
    for (const GpuGroup &group : gemm.groups) {
      sums.push_back(bytesPerRow);
      bytesPerRow += columnsOf(group) * 4;
    }
    for (const GpuGroup &group : gemm.groups) {
      weights.push_back(weightBytes);
      weightBytes += columnsOf(group) * group.paddedDepth() * 2;
    }
  }
  static int64_t columnsOf(const GpuGroup &group) { return group.units * 16; }

  Value sumsOf(GpuBody &body, size_t group) const {
    return body.e.at(body.scratch, body.e.mul(body.e.toI64(PreparedRows::rowsOf(body)), sums[group]));
  }
  Value weightsOf(GpuBody &body, size_t group) const {
    GpuEmitter &e = body.e;
    return e.at(body.scratch, e.add(e.mul(e.toI64(PreparedRows::rowsOf(body)), bytesPerRow), weights[group]));
  }

  PreparedRows prepared;
  int64_t bytesPerRow, weightBytes = 0;
  SmallVector<int64_t> sums, weights;
};
} // namespace

static int64_t tilesOfWarp(const GpuGroup &group) { return unpackedDepth / group.tiles.tileDepth(); }
static int64_t piecesOfUnit(const GpuGroup &group) { return llvm::divideCeil(group.tiles.tiles(), tilesOfWarp(group)); }

/// A lane has 8 k of a row of each block and part, which lie side by side in the row.
static void emitUnpacking(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, Value to, Value block, int64_t warps) {
  GpuEmitter &e = body.e;
  const int64_t pieces = piecesOfUnit(group), count = tilesOfWarp(group), tiles = group.tiles.tiles(), depth = group.tiles.tileDepth();
  Value number = e.add(e.mul(block, warps), e.warp());
  e.ifThen(e.lt(number, group.units * pieces), [&] {
    Value unit = e.div(number, pieces), first = e.mul(e.rem(number, pieces), count), lane = e.lane();
    UnitPlace place = placeOfUnit(body, gemm, group, unit);
    SmallVector<Emitter::Values> words, scales;
    for (int64_t i = 0; i < count; ++i) {
      Value tile = e.min(e.add(first, i), tiles - 1), offset = e.add(e.mul(tile, Tiles::tileBytes), e.mul(lane, 16));
      Emitter::Values &ofTile = words.emplace_back();
      for (Value blockOfRows : place.blocks)
        ofTile.push_back(e.load(e.vec(4, e.i32()), e.at(blockOfRows, offset), 16));
      scales.push_back(scalesOfTile(body, group, place.blocks, tile));
    }
    Value row = e.add(e.mul(unit, 16), e.shiftRight(lane, 2)), inPart = e.mul(e.bitAnd(lane, e.index(3)), 8);
    Value rows[] = {row, e.add(row, Tiles::blockRows)};
    for (int64_t i = 0; i < count; ++i) {
      auto store = [&] {
        for (int64_t part = 0; part < depth / Tiles::partDepth; ++part) {
          PartWords factors = partOfTile(body, group, words[i], scales[i], part);
          Value k = e.add(e.mul(e.add(first, i), depth), e.add(inPart, part * Tiles::partDepth));
          for (int64_t half = 0; half < 2; ++half) {
            Value all = e.zero(e.vec(4, e.i32()));
            for (int64_t word = 0; word < 4; ++word)
              all = e.insert(factors[half][word], all, word);
            Value at = e.add(e.mul(e.toI64(rows[half]), group.paddedDepth() * 2), e.toI64(e.mul(k, 2)));
            e.store(all, e.at(to, at), 16);
          }
        }
      };
      if (tiles % count == 0)
        store();
      else
        e.ifThen(e.lt(e.add(first, i), tiles), store);
    }
  });
}

static void addUnpackStage(std::shared_ptr<GpuGemm> gemm, GpuShape shape) {
  shape.name = "unpack";
  shape.blocksPerProcessor = 2;
  shape.letsNextBegin = false; // the next one is not ours
  const int64_t warps = shape.threads / GpuEmitter::warpThreads;
  SmallVector<int64_t> ends =
      endsOfGroups(*gemm, [&](const GpuGroup &group) { return llvm::divideCeil(group.units * piecesOfUnit(group), warps); });
  shape.grid[0].constant = ends.back();
  gemm->kernel->stage(shape, [gemm, ends, warps](GpuBody &body) {
    LibraryScratch scratch(*gemm);
    forGroupOfBlock(body, ends, [&](size_t group, Value block) {
      emitUnpacking(body, *gemm, gemm->groups[group], scratch.weightsOf(body, group), block, warps);
    });
  });
}

static void addFinishStage(std::shared_ptr<GpuGemm> gemm, GpuShape shape) {
  shape.name = "finish";
  SmallVector<int64_t> ends = endsOfGroups(*gemm, [](const GpuGroup &group) { return llvm::divideCeil(group.units, finishedUnits); });
  shape.grid[0].constant = ends.back();
  shape.grid[1].factors = {{GpuSize::rows, finishedRows}};
  gemm->kernel->stage(shape, [gemm, ends, threads = shape.threads](GpuBody &body) {
    GpuEmitter &e = body.e;
    LibraryScratch scratch(*gemm);
    forGroupOfBlock(body, ends, [&](size_t index, Value block) {
      const GpuGroup &group = gemm->groups[index];
      Value firstUnit = e.mul(block, finishedUnits), firstRow = e.mul(e.block(1), finishedRows);
      Value sums = scratch.sumsOf(body, index), factors = scratch.prepared.factors(body, *gemm, index);
      emitEpilogues(body, *gemm, group, firstUnit, finishedUnits, firstRow, finishedRows, threads, [&](Value unit, Value r, Value token) {
        Value row = e.add(firstRow, token), column = e.add(e.mul(e.add(firstUnit, unit), 16), r);
        Value at = e.add(e.mul(e.toI64(row), LibraryScratch::columnsOf(group)), e.toI64(column));
        Value sum = e.load(e.f32(), e.element(sums, e.f32(), at));
        if (group.mma() == MmaType::bf16)
          return sum;
        return e.mul(sum, e.load(e.f32(), e.element(factors, e.f32(), row)));
      });
    });
  });
}

void ds::addLibraryStages(std::shared_ptr<GpuGemm> gemm) {
  GpuKernel &kernel = *gemm->kernel;
  const KernelOperand &first = kernel.outs.front();
  // Few rows: of sequences, or those that the head is wanted for.
  if (first.kind == KernelOperand::Kind::rows && (first.rows == ds_plan::Rows::selected || first.rows == ds_plan::Rows::batch))
    return;
  LibraryScratch scratch(*gemm);
  if (scratch.weightBytes > mostWeightBytes) {
    kernel.note = "its products are not cuBLASLt's: " + std::to_string(scratch.weightBytes) +
                  " bytes of weights would have to be unpacked, " + std::to_string(mostWeightBytes) + " are the most";
    return;
  }
  for (GpuKernel::Stage &stage : kernel.stages)
    if (!stage.shape.when.empty() && stage.shape.when.front().most >= kernel.libraryRows)
      stage.shape.withoutLibraryFrom = kernel.libraryRows;
  kernel.needScratch(scratch.bytesPerRow, scratch.weightBytes, kernel.libraryRows);
  GpuShape shape;
  shape.withLibrary = true;
  shape.when = {{GpuSize::rows, kernel.libraryRows, mostRows}};
  GpuShape prepare = shape;
  prepare.name = "prepare_plain";
  addPrepareStage(gemm, prepare, PreparedOrder::plain, kernel.libraryRows);
  addUnpackStage(gemm, shape);
  for (auto [index, group] : llvm::enumerate(gemm->groups)) {
    GpuLibraryProduct product;
    product.type = group.mma();
    product.columns = LibraryScratch::columnsOf(group);
    product.depth = group.paddedDepth();
    product.x.bytesPerRow = scratch.prepared.first[index];
    product.sums.bytesPerRow = scratch.sums[index];
    product.weights = {scratch.bytesPerRow, scratch.weights[index]};
    kernel.libraryStage(shape.when, product);
  }
  addFinishStage(gemm, shape);
}
