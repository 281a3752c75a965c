// Kernels around matrix products on tensor cores: a norm, linears that read it, and element-wise ops, rope and cache writes behind them.
// Weights are the left factor of the instruction, so that its 8 columns are tokens and its cost is the same for 1 to 8 of them.
#ifndef LIB_TARGET_CUDA_GEMM_H
#define LIB_TARGET_CUDA_GEMM_H

#include "GemmShapes.h"
#include "TileReader.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Target/CUDA/Kernel.h"
#include <functional>

namespace ds {

/// The 16 rows of weights that one instruction multiplies: two blocks of 8, chosen so that what the epilogue joins lies in one unit.
enum class UnitKind {
  plain,    // rows 16 u to 16 u + 15
  partners, // of a head that rope turns by halves: 8 rows and the 8 they are turned with
  pairs     // 8 rows of each of two linears
};

/// A domain of the region (LinearRegion.h) and its units.
struct GpuDomain {
  const LinearDomain *domain = nullptr;
  UnitKind kind = UnitKind::plain;
  int64_t units = 0;
  int64_t firstUnit = 0; // in its group
  /// The rope, or the writes to caches, come in a launch of their own, from rows of scratch at this byte of each; -1: here.
  int64_t scratchColumn = -1;
};

/// Domains whose weights are of one type, so that one loop multiplies them.
struct GpuGroup {
  ds_plan::Tiles tiles; // of one of them: type and depth are those of all
  llvm::SmallVector<GpuDomain, 3> domains;
  int64_t units = 0;

  MmaType mma() const { return tiles.type || tiles.isF16 ? MmaType::f16 : MmaType::bf16; }
  int64_t paddedDepth() const { return tiles.tiles() * tiles.tileDepth(); }
  /// How its weights are called in tuning entries.
  std::string weights() const;
  WeightShape shape() const;
};

/// What the stages of a kernel share. Lives as long as they do.
struct GpuGemm {
  GpuKernel *kernel = nullptr;
  LinearRegion region;
  llvm::SmallVector<GpuGroup, 2> groups;
  int64_t headsScratch = 0; // bytes of scratch a row, for domains with a launch of their own

  unsigned operandOf(mlir::Value value) const { return mlir::cast<mlir::BlockArgument>(value).getArgNumber(); }
  /// The result of the kernel that `value` is; it is one.
  unsigned resultOf(mlir::Value value) const;
  /// The number of `rope` among the ropes of the region: of its table in `aux`.
  unsigned tableOf(RopeOp rope) const;

  llvm::SmallVector<WeightShape, 2> shapes() const;
  /// What the stages of `builder` for steps of up to `rows` rows are chosen by; none for products of several types, which rules cut.
  std::optional<TuningKey> tuningKey(llvm::StringRef builder, int64_t rows) const;
  /// What is taken for it. Where `sharedBytes` of a configuration are more than all machines of the package have, the rule's is.
  TuningChoice choose(const TuningKey &key, llvm::function_ref<int64_t(const TuningConfig &)> sharedBytes) const;
};

/// A unit in its domain, and the weights of its two blocks of 8 rows.
struct UnitPlace {
  mlir::Value unit;      // i32, of its domain
  mlir::Value blocks[2]; // pointers
};
/// Of unit `unit` (i32) of a group, below `group.units`.
UnitPlace placeOfUnit(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, mlir::Value unit);

/// The two factors a lane gives to the instructions of one part (32 k) of a unit: 2 times 4 words.
using PartWords = std::array<llvm::SmallVector<mlir::Value, 4>, 2>;
/// Of the words a lane has of tile `tile` (i32) of both blocks; `part` of the tile. Codes become f16 values.
PartWords partOfTile(GpuBody &body, const GpuGroup &group, mlir::ValueRange words, mlir::ValueRange scales, int64_t part);
/// Scales (and offsets) of the rows g = lane / 4 of both blocks, for each group of k that tile `tile` touches, as pairs of f16.
Emitter::Values scalesOfTile(GpuBody &body, const GpuGroup &group, llvm::ArrayRef<mlir::Value> blocks, mlir::Value tile);

/// The rows that are multiplied, after the norm, rounded for the instruction. A thread has every `threads`th chunk of 4 elements.
class GemmRows {
public:
  /// `threads` threads of which this one is number `index` (i32) work on a row together: a warp, or a whole block with `scratch` (shared,
  /// one f32 a warp).
  GemmRows(GpuBody &body, const GpuGemm &gemm, MmaType type, int64_t threads, mlir::Value index, mlir::Value scratch)
      : body(body), e(body.e), gemm(gemm), type(type), threads(threads), index(index), scratch(scratch) {}

  /// Loads what the norm multiplies with, where registers hold it; may stand before the rows are there.
  void loadVectors();
  /// Reads row `row` (i32) and prepares to write it. All threads of the team come here.
  void start(mlir::Value row);
  /// Writes elements [first, first + count) of the row, zeros behind the depth, `to(k)` being the place of element k; `together` (2 or 4)
  /// elements that begin at a multiple of it stand side by side.
  void write(int64_t first, int64_t count, llvm::function_ref<mlir::Value(mlir::Value)> to, int64_t together = 4);
  /// Writes the norm's result to `out`.
  void writeNorm(mlir::Value out);
  /// What sums of this row have to be multiplied by, f32.
  mlir::Value factor() const { return unscale; }

private:
  /// A chunk of this thread: its first element, whether it is in the row (null: it is), and what it holds.
  struct Chunk {
    mlir::Value k, isInside, x, gain, bias;
  };
  int64_t lanes() const { return gemm.region.depth % 4 == 0 ? 4 : 1; }
  int64_t chunkCount() const { return llvm::divideCeil(gemm.region.depth, threads * lanes()); }
  bool isHeld() const { return chunkCount() <= chunksAtOnce; }
  mlir::Type chunkType() { return lanes() == 4 ? mlir::Type(e.vec()) : e.f32(); }
  Chunk chunkAt(mlir::Value number, bool mayEnd);
  mlir::Value loadAt(mlir::Value from, mlir::Value k);
  void loadVectors(Chunk &chunk);
  void loadRow(Chunk &chunk);
  /// Calls `body` for some chunks at a time, all of them loaded, carrying values along.
  Emitter::Values forChunks(mlir::ValueRange carried, llvm::function_ref<Emitter::Values(const Chunk &, mlir::ValueRange)> body);
  void forChunks(llvm::function_ref<void(const Chunk &)> body);
  mlir::Value reduce(mlir::Value value, bool isMax);
  mlir::Value total(llvm::function_ref<mlir::Value(const Chunk &)> of, bool isMax);
  mlir::Value normalized(const Chunk &chunk);

  static constexpr int64_t chunksAtOnce = 8;
  GpuBody &body;
  GpuEmitter &e;
  const GpuGemm &gemm;
  MmaType type;
  int64_t threads;
  mlir::Value index, scratch;
  mlir::Value row, mean, inverse, scale, unscale;
  llvm::SmallVector<Chunk> held; // all of the row
};

/// Where steps of many rows find them, rounded: bytes of scratch before the rows of a group, and of those of all groups, for each row.
struct PreparedRows {
  explicit PreparedRows(const GpuGemm &gemm) : bytes(gemm.headsScratch) {
    for (const GpuGroup &group : gemm.groups) {
      first.push_back(bytes);
      bytes += group.paddedDepth() * 2 + 4;
    }
  }
  static constexpr int64_t rowBlock = 8, padding = 128;
  llvm::SmallVector<int64_t> first;
  int64_t bytes;

  /// i32 rows of scratch.
  static mlir::Value rowsOf(GpuBody &body) { return body.e.mul(body.e.ceilDiv(body.rows, padding), padding); }
  mlir::Value rows(GpuBody &body, size_t group) const {
    return body.e.at(body.scratch, body.e.mul(body.e.toI64(rowsOf(body)), first[group]));
  }
  /// Factors of the rows, f32.
  mlir::Value factors(GpuBody &body, const GpuGemm &gemm, size_t group) const {
    return body.e.at(body.scratch, body.e.mul(body.e.toI64(rowsOf(body)), first[group] + gemm.groups[group].paddedDepth() * 2));
  }
};

/// How they lie there.
enum class PreparedOrder {
  lanes,  // blocks of 8 rows and 32 k in the order of weights, those of 8 rows side by side
  pieces, // blocks of 8 rows and 32 k as 4 pieces for `wgmma`, those of 32 k side by side
  plain,  // one behind the other, for cuBLASLt
};
/// The launch that prepares rows for those behind it: a warp prepares a row; a block of threads 8 rows, which are blocks of one row.
/// `shape` has what tells it from others; it is for steps of `leastRows` and more.
void addPrepareStage(std::shared_ptr<GpuGemm> gemm, GpuShape shape, PreparedOrder order, int64_t leastRows = 17);
/// Blocks of each group, one group behind the other: where they end.
llvm::SmallVector<int64_t> endsOfGroups(const GpuGemm &gemm, llvm::function_ref<int64_t(const GpuGroup &)> blocksOf);
/// Calls `then` with the group that this block is of and the block's number (i32) in it.
void forGroupOfBlock(GpuBody &body, llvm::ArrayRef<int64_t> ends, llvm::function_ref<void(size_t group, mlir::Value block)> then);
/// A launch that multiplies prepared rows: what is its own of a shape, what a block computes (units of 16 rows of weights, rows of the
/// step), and the code of `block` (i32) of a group's.
struct ManyRowsStage {
  GpuShape shape;
  int64_t units, rows;
  std::function<void(GpuBody &body, size_t group, mlir::Value block)> emit;
};
/// The launches of `builder` for steps of 17 rows and more: `stageOf` makes that of a configuration, `ruleOf` gives what is taken for
/// products of several types in steps of up to so many rows.
void addManyRowsStages(std::shared_ptr<GpuGemm> gemm, llvm::StringRef builder, llvm::function_ref<TuningConfig(int64_t rows)> ruleOf,
                       llvm::function_ref<ManyRowsStage(const TuningConfig &)> stageOf);

/// A product of a token whose epilogue is due.
struct EpilogueItem {
  mlir::Value unit;  // i32, of its domain
  mlir::Value r;     // i32, the row of the unit
  mlir::Value token; // i32, the row of the step, below `rows`
  /// The sum of row r (i32, 0..15) of the unit for this token.
  llvm::function_ref<mlir::Value(mlir::Value)> sum;
};
/// Computes and writes what the region makes of the item.
void emitEpilogue(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, const EpilogueItem &item);
/// Turns and stores the product, with its bias, that `product(column)` gives at `column` of `token`, but not to caches of codes.
void emitHeadValue(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, mlir::Value token, mlir::Value column,
                   llvm::function_ref<mlir::Value(mlir::Value)> product);
/// The threads of a warp turn and store head `head` of `token` as codes.
void emitHeadCodes(GpuBody &body, const GpuGemm &gemm, const GpuDomain &domain, ds_plan::StoreCacheOp store, mlir::Value token,
                   mlir::Value head, llvm::function_ref<mlir::Value(mlir::Value)> product);
/// The items of units [firstUnit, firstUnit + units) of a group and of tokens [firstToken, firstToken + tokens), shared by `threads`
/// threads. `sum(unit, r, token)` gives sums by place in these ranges.
void emitEpilogues(GpuBody &body, const GpuGemm &gemm, const GpuGroup &group, mlir::Value firstUnit, int64_t units, mlir::Value firstToken,
                   int64_t tokens, int64_t threads, llvm::function_ref<mlir::Value(mlir::Value, mlir::Value, mlir::Value)> sum);

/// Steps of 1 to 16 rows: weights go from memory to registers once, past shared memory.
void addSkinnyStages(std::shared_ptr<GpuGemm> gemm);
/// Steps of more rows: rows are prepared in scratch, then multiplied tile by tile.
void addTileStages(std::shared_ptr<GpuGemm> gemm);
/// The same on machines with `wgmma`, whose stages are marked so.
void addWarpgroupStages(std::shared_ptr<GpuGemm> gemm);
/// For steps of GpuKernel::libraryRows and more, where cuBLASLt is there, launches around its products, in place of stages that were added
/// before. Products with other rows than those of all tokens, and with more weights than scratch should hold, have none.
void addLibraryStages(std::shared_ptr<GpuGemm> gemm);
/// The launch behind the products that turns and stores heads which end inside a block of 8 rows, or are rounded as a whole.
void addHeadStage(std::shared_ptr<GpuGemm> gemm);

} // namespace ds
#endif // LIB_TARGET_CUDA_GEMM_H
