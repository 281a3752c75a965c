// Matrix products: blocks of rows times panels of weights, with what comes before and behind them.
//
// A thread works on slabs of rows. A slab is copied to the thread's stack once where the region begins with a norm, or where rows lie so
// that they would evict each other: block by block of rows, in groups of 16 k, as the product reads it. Then each unit of columns is
// computed into a tile on the stack, and the region's other ops read it there.
#ifndef DS_LIB_TARGET_CPU_GEMM_H
#define DS_LIB_TARGET_CPU_GEMM_H

#include "RowRegion.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Target/CPU/Kernel.h"
#include <functional>

namespace ds {

/// A register-blocked product whose sizes are known when code is made.
struct GemmBlock {
  mlir::Type element; // of the weights; of bf16, pairs of k stand side by side
  int64_t panel;      // columns
  int64_t rows;
  int64_t rowBytes;        // from one row of activations to the next
  int64_t groupRows;       // activations are [K / 16][groupRows][16], or with 0 [rows][K]
  int64_t aheadBytes;      // of weights that are read ahead for every k
  bool touches;            // for every 16 k, the columns of one row elsewhere are read ahead as well
  bool dots = false;       // the activations are bf16 as well, and `depth` is even
  bool aheadIsNear = true; // what is read ahead goes to the first-level cache
  int64_t stepBytes = 4;   // of f32 in no groups, or pairs of bf16: from one k, or pair of k, of a row to the next
  /// Instead of `aheadBytes`: rows, of as many f32 as the panel has columns, that are read ahead for every 16 k, and from one to the next.
  int64_t aheadRows = 0, aheadRowBytes = 0;
  int64_t panelAhead = 0; // of f32: so many k of the panel are asked for into the first-level cache before they are read
};

/// Rows of the register blocks there is code for where rows, in groups of `groupRows` or with 0 in none, meet weights in
/// panels of these widths; highest first, ending with 1.
llvm::SmallVector<int64_t> gemmBlockHeights(const CpuLevel &level, llvm::ArrayRef<int64_t> panels, int64_t groupRows);
/// How many of `vectors` side by side a block has at once: their largest divisor up to `most`.
int64_t gemmBlockVectors(int64_t vectors, int64_t most);
/// That of a block of so many rows and a panel of `vectors`: as wide as the registers allow, so that short blocks read whole rows of the
/// panel at once.
int64_t gemmStripeVectors(const CpuLevel &level, int64_t vectors, int64_t rows);
/// Those of few rows: as many whole ones as there are, then one of what is left, so that a panel is read once for each eight rows.
inline llvm::SmallVector<int64_t> gemmShortBlocks(llvm::ArrayRef<int64_t> heights) {
  llvm::SmallVector<int64_t> all;
  for (int64_t height = std::min(heights.front(), linearFewRows / 2); height > 0; --height)
    all.push_back(height);
  return all;
}

/// The sums that a block goes on with: `count` vectors at `place`, or zeros unless `accumulate` (i1).
llvm::SmallVector<mlir::Value> emitSumsBefore(Emitter &e, mlir::Value accumulate, int64_t count,
                                              llvm::function_ref<mlir::Value(int64_t)> place);

/// sums[r, c] = (or +=, with `accumulate`, an i1) sum over k < `depth` of rows[r, k] * panel[k, c]. `rows` and `panel` are
/// pointers to the first k, `sums` one to f32 of `sumBytes` a row. Weights from `ahead` on are read ahead, and f32 of rows from `touched`
/// on, which are `touchedBytes` apart.
void emitGemmBlock(Emitter &e, const GemmBlock &block, mlir::Value rows, mlir::Value panel, mlir::Value sums, mlir::Value sumBytes,
                   mlir::Value depth, mlir::Value accumulate, mlir::Value ahead, mlir::Value touched, mlir::Value touchedBytes);

/// A register-blocked product of rows with a panel of codes.
struct CodesBlock {
  const ds_plan::PanelCodes &codes;
  int64_t rows;
  int64_t rowBytes, groupRows; // as of a GemmBlock
  int64_t aheadBytes;          // how far ahead the panel is asked for
};

/// sums[r, c] = (or +=, unless `begin` is 0) sum over k in [begin, end) of rows[r, k] * panel[k, c]. `rows` and `panel` are pointers to
/// k = 0; `begin` and `end` are multiples of 16.
void emitCodesBlock(Emitter &e, const CodesBlock &block, mlir::Value rows, mlir::Value panel, mlir::Value sums, mlir::Value sumBytes,
                    mlir::Value begin, mlir::Value end);

/// How many k of activations share a scale where weights share theirs in groups of `group`: a group, or equal parts of one.
int64_t bytesSegmentOf(int64_t group, int64_t depth);

/// A row of activations as integers: `depth` codes, then f32 scales, then i32 sums of the codes times -128, of `segment` k each. Where the
/// level multiplies words the codes are of 16 bits, of each 4 k the even ones first.
struct RoundedRows {
  RoundedRows(int64_t depth, int64_t segment, bool words);
  int64_t segment, codeBytes;
  int64_t scales, sums, bytes; // where they begin, and from one row to the next: an odd number of cache lines
  bool hasWords() const { return codeBytes == 2; }
  /// Digits that say what f32 says, as one group may have numbers of all sizes: with 16 bits, logits of SmolLM2 were wrong by 5e-3.
  int64_t digitsOfF32() const { return bitsOfF32 / digitBits(); }
  int64_t digitBits() const { return hasWords() ? 12 : 8; }
  static constexpr int64_t bitsOfF32 = 24;
};

/// How many words of codes below 2^`bits` may meet bytes in a sum of 16 bits: of each word two products. 0 for those of 8 bits.
inline int64_t wordsOfSum(int64_t bits) { return 32767 / (2 * 128 * ((int64_t(1) << bits) - 1)); }

/// A register-blocked product of such rows with a panel of codes.
struct BytesBlock {
  const ds_plan::PanelCodes &codes;
  const RoundedRows &layout;
  int64_t height;
  int64_t digits;          // each row is the sum of as many that follow each other
  int64_t aheadLines;      // for every 16 k so many lines from `ahead` on are read ahead
  int64_t panelAheadBytes; // how far ahead the panel is asked for
  bool touches = false;    // for every 32 k, the columns of one row elsewhere are read ahead as well
  static constexpr int64_t lineBytes = 64;
  int64_t aheadBytes() const { return aheadLines * lineBytes / linearGroup; } // of one k
};

/// As `emitCodesBlock`; `begin` and `end` are multiples of what shares a scale of activations, or the end of the depth. `touched` and
/// `touchedBytes` are as of `emitGemmBlock`.
void emitBytesBlock(Emitter &e, const BytesBlock &block, mlir::Value rows, mlir::Value panel, mlir::Value sums, mlir::Value sumBytes,
                    mlir::Value begin, mlir::Value end, mlir::Value ahead, mlir::Value touched, mlir::Value touchedBytes);

/// Widens `depth` k of a panel of `width` columns of `element` (bf16 in pairs, or f16) to f32 in the layout `panels`. Of bf16 an odd depth
/// is rounded up.
void emitWidenedPanel(Emitter &e, mlir::Type element, int64_t width, mlir::Value panel, mlir::Value to, mlir::Value depth);

/// A row-major matrix that is packed on the way: `[columns][depth]`, or transposed `[depth][columns]`.
struct PackedMatrix {
  int64_t columns, depth;
  bool transposed;
  int64_t width;           // of its panels
  mlir::Type element = {}; // of one that is transposed, null for f32
  mlir::Type rounded = {}; // what its values are rounded to on the way; null leaves them
  bool pairs = false;      // its values are bf16 then: pairs of k side by side, [depth / 2][width][2]
};

/// Two f32 that are bf16, in each lane of i32: the first in the low half.
mlir::Value emitPair(Emitter &e, mlir::Value first, mlir::Value second);

/// The type of 16 bits a product rounds its weight to, or null.
inline mlir::Type roundedTypeOf(LinearOp linear) { return linear.getRounded().value_or(mlir::Type()); }

/// Writes `depth` k, from `k` on, of panel `panel` of `matrix` at `from` as f32 [depth][width], of which `to` has room for a multiple
/// of 16. Columns behind the last are finite where the matrix is. `k` is a multiple of 16, and so is `depth` unless it ends with the
/// matrix. Of an odd depth the last pair ends with zeros.
void emitPackedPanel(Emitter &e, const PackedMatrix &matrix, mlir::Value from, mlir::Value panel, mlir::Value k, mlir::Value depth,
                     mlir::Value to);

/// Where that of the transposed `matrix` begins which is packed behind k = `end` of `panel`.
mlir::Value nextPacked(Emitter &e, const PackedMatrix &matrix, mlir::Value from, mlir::Value panel, mlir::Value end);

/// True for a matrix that many rows want as f32.
inline bool isNarrowMatrix(const KernelOperand &operand) {
  return operand.kind == KernelOperand::Kind::weight && isInPanels(operand.layout) && !operand.element().isF32();
}

/// True for a weight that training changes, [N, K] or transposed [K, N] as it is.
inline bool isRowMajor(const KernelOperand &operand) {
  return operand.kind == KernelOperand::Kind::weight && operand.layout == ds_plan::Layout::rows;
}

/// Where value `k` lies of a row whose groups of 16 are `groupBytes` apart.
mlir::Value placeInGroups(Emitter &e, mlir::Value row, mlir::Value groupBytes, mlir::Value k);

/// The depth of one pass over the rows of a slab: its part of a panel stays in the first-level cache.
inline constexpr int64_t gemmPass = 128;
/// A longer one, of f32 that comes from the second-level cache for each block: blocks begin and end less often. Of 256 and 384 k there was
/// no gain before the panel was asked for; `gemmPanelAhead` of 4 and 8 are as good.
inline constexpr int64_t gemmLongPass = 768, gemmPanelAhead = 4;
/// Bytes of later passes that each of many blocks asks for with every k.
inline constexpr int64_t gemmAhead = 32;
static_assert(gemmPass % 2 == 0, "a pass begins at a pair of k");
/// The most panels of a deep product that share what a pass copies of the rows.
inline constexpr int64_t gemmDeepPanels = 8;

/// Rows [first, first + count) of a launch that one thread works on.
struct Slab {
  mlir::Value first, count; // i64
  mlir::Value rows;         // pointer to the first value of the first row, in groups where rows are copied
};

/// One kernel of family `gemm`.
class GemmKernel {
public:
  static llvm::Expected<GemmKernel> get(KernelContext &context);
  void emit();

private:
  GemmKernel(KernelContext &context, LinearRegion region);
  using Value = mlir::Value;

  // Gemm.cpp
  llvm::Error checkOperands();
  void emitSlab(const Slab &slab, Value firstUnit, Value endUnit);
  void emitDomain(const LinearDomain &domain, const Slab &slab, Value firstChunk, Value endChunk);
  /// Rows of `width` columns that the epilogue of a panel will touch from column `column` on.
  struct Touched {
    const KernelOperand *result, *operand; // `operand` or null
    int64_t width, panel;
    Value column;
  };
  struct TouchedRows {
    Value first, bytes; // the first row, and from one to the next
  };
  /// Those that the block at `row` asks for in the pass that ends at k = `endOfPass`.
  TouchedRows touchedRows(const Touched &touched, Value row, Value endOfPass);
  /// Rows that element-wise ops of a domain read, or null.
  const KernelOperand *rowsReadBehind(const LinearDomain &domain) const;
  void emitProduct(LinearOp linear, const Slab &slab, Value panel, Value sums, const Touched *touched);
  void emitFewRowsOfCodes(const KernelOperand &weight, const Slab &slab, Value panel, Value sums);
  /// Rows [first, end) in blocks, the highest first; returns the end.
  Value forBlocks(llvm::ArrayRef<int64_t> heights, Value first, Value end, llvm::function_ref<void(Value row, int64_t height)> body);
  /// The most rows of a launch that have as many digits: with more, f32 products are as fast, or rows may be rounded. Where two dot
  /// products begin in each cycle, three take less time than a multiply-add of f32 and what widens codes for it.
  int64_t mostRowsOfDigits() const {
    return roundsManyRows || c.level.byteDots == Dots::pairwise || !c.level.isOfIntel ? 2 : linearFewRows;
  }
  /// Whether rows that can be rounded are, i1: to all digits, or to one where the products allow that and there are more than few.
  Value usesDigits() { return e.bitAnd(e.le(c.rows, mostRowsOfDigits()), e.constantBool(digitsAreFaster())); }
  /// Three digits of bytes in sums of 16 bits are slower than f32 at x86-64-v3: 82 and 98 tokens a second of SmolLM2 in 4 bits.
  bool digitsAreFaster() const { return c.level.byteDots != Dots::pairwise || c.level.lanes != 8 || roundedRows->hasWords(); }
  Value usesOneDigit() { return e.bitAnd(e.gt(c.rows, mostRowsOfDigits()), e.constantBool(roundsManyRows)); }
  /// Whether a slab takes the blocks of many rows, i1. What codes and dot products give depends on it in the last bit, so there the launch
  /// decides.
  Value hasManyRows(const Slab &slab) {
    return packs ? e.constantBool(true) : e.gt(hasCodes || roundedBytes || winograd || halves ? c.rows : slab.count, linearFewRows);
  }
  /// The depth of a pass: a part of a panel is of as many bytes in pairs of bf16.
  static int64_t passDepth(bool pairs) { return pairs ? 2 * gemmPass : gemmPass; }
  /// Whether many rows meet a weight in passes of `gemmLongPass`: f32 in panels.
  bool hasLongPasses(const KernelOperand &weight) const {
    return c.level.isOfIntel && weight.layout == ds_plan::Layout::panels && weight.element().isF32();
  }
  bool hasDots(const KernelOperand &weight) const {
    return packsPairs || (roundedBytes > 0 && weight.layout == ds_plan::Layout::panel_pairs);
  }
  int64_t chunksOf(const LinearDomain &domain) const { return llvm::divideCeil(domain.columns, domain.chunk); }
  const KernelOperand &operand(Value value) const { return c.ins[mlir::cast<mlir::BlockArgument>(value).getArgNumber()]; }
  const KernelOperand &result(Value value) const;

  // GemmPack.cpp
  /// Bytes of a panel of one.
  static int64_t bytesOfPanel(const KernelOperand &weight) {
    return weight.codes ? weight.codes->bytes()
                        : weight.type.getNumElements() / weight.type.getDimSize(0) * weight.element().getIntOrFloatBitWidth() / 8;
  }
  /// Columns of the panels of a linear's weight.
  int64_t panelOf(LinearOp linear) const;

  // GemmDeep.cpp
  bool isDeepProduct() const;
  int64_t deepPass() const { return passDepth(packsPairs); }
  /// Copies `depth` k of the rows of a slab, from `k` on, to the stack.
  void copyPass(const Slab &slab, Value k, int64_t depth);
  void emitDeepDomain(const LinearDomain &domain, const Slab &slab, Value firstChunk, Value endChunk);

  // GemmRows.cpp
  /// Where k = 0 of a row is, of grouped rows of `width` that begin at `first`.
  Value placeOfGroupedRow(Value first, Value row, int64_t width);
  /// The first row of the block of `heights` that a row of `count` lies in, and its height.
  std::pair<Value, Value> blockOfRow(llvm::ArrayRef<int64_t> heights, Value count, Value row);
  /// Where k = 0 of a row of a copied slab lies, and the bytes from one of its groups to the next.
  std::pair<Value, Value> copiedRow(const Slab &slab, Value row);
  /// Copies a slab to the stack, through the norm; `writesNorm` (i1): this thread also writes the norm's result.
  void copyRows(const Slab &slab, Value writesNorm);
  /// Where value `k` of row `row` of a slab is that is rounded: behind the norm, in groups, or where the input has it.
  std::function<Value(Value k)> rowToRound(const Slab &slab, Value row);
  /// A vector of such a row from `k` on, a multiple of its lanes: zeros behind the end.
  Value loadOfRow(llvm::function_ref<Value(Value k)> row, Value k);
  /// Rounds the rows of a slab to bf16.
  void roundRows(const Slab &slab);

  // GemmWinograd.cpp
  void reserveForWinograd();
  /// Copies the rows of a slab to the stack, each times a power of two in each pass.
  void scaleRows(const Slab &slab);
  void emitWinogradProduct(const KernelOperand &weight, const Slab &slab, Value panel, Value sums);
  /// Multiplies the sums of scaled columns by what takes the scale back.
  void takePowersBack(const Slab &slab, Value powers, int64_t width, Value sums);
  int64_t winogradRowBytes() const { return llvm::alignTo(region.depth, linearGroup) * 4; }
  int64_t factorBytes() const { return llvm::alignTo(slabRows, linearGroup) * 4; }
  static constexpr int64_t winogradHeights[] = {16, 8};
  /// Rows that a slab is filled up to.
  Value winogradRows(const Slab &slab) { return e.roundUp(slab.count, winogradHeights[1]); }
  /// Whether a slab goes that way, i1. The launch decides, as the result depends on it in the last bits.
  Value usesWinograd();

  // GemmHalves.cpp
  void reserveForHalves();
  /// Rounds the rows of a slab to f16, each times a power of two in each pass.
  void scaleRowsToHalves(const Slab &slab);
  void emitProductOfHalves(const KernelOperand &weight, const Slab &slab, Value panel, Value sums);
  /// From one row of f16 or bf16 to the next: an odd number of cache lines.
  int64_t halfBytes() const { return (llvm::divideCeil(region.depth * 2, 64) | 1) * 64; }
  /// Whether a slab goes that way, i1. The launch decides, as above.
  Value usesHalves();

  // GemmBytes.cpp
  /// Rounds them to `digits`.
  void roundRowsToBytes(const Slab &slab, int64_t digits);
  void emitProductOfBytes(const KernelOperand &weight, const Slab &slab, Value panel, Value sums, int64_t digits, const Touched *touched);

  // GemmEpilogue.cpp
  void emitEpilogue(const LinearDomain &domain, const Slab &slab, Value chunk);
  void elementwiseEpilogue(const LinearDomain &domain, const Slab &slab, Value firstColumn, int64_t columns);
  void headEpilogue(const LinearDomain &domain, const Slab &slab, Value firstColumn, int64_t columns);

  KernelContext &c;
  Emitter &e;
  LinearRegion region;
  const KernelOperand *input;
  bool hasCodes;                                        // a weight is of codes
  bool packs;                                           // a weight is row-major: its panels are packed on the way
  bool packsPairs;                                      // all are, as pairs of bf16, and meet rows of bf16
  bool isDeep;                                          // passes of the depth stand outside of panels
  bool copies;                                          // rows are copied to the stack
  int64_t groupRows;                                    // of rows that another product grouped, else 0
  int64_t rowBytes;                                     // of one row, where the product reads it
  llvm::SmallVector<int64_t> heights;                   // rows of register blocks
  int64_t slabRows;                                     // the most rows of a slab
  int64_t copiedRowBytes;                               // from one row to the next of what a pass of a deep product copies
  int64_t tileRowBytes;                                 // of the tile: the sums of every linear of a domain side by side
  int64_t roundedBytes;                                 // from one rounded row to the next, 0 without dot products
  std::optional<RoundedRows> roundedRows;               // where they are of bytes
  bool roundsManyRows;                                  // the products allow one digit, of more rows than few
  bool winograd;                                        // many rows of f32 are multiplied by Winograd's inner products
  bool halves;                                          // many rows meet bf16 as f16
  bool hasPanelHalves;                                  // all weights are f16 already, so that rows of any number go that way
  bool hasPanelSums;                                    // all weights are prepared for them, so that some steps of few rows are as well
  Value copied, rounded, widened, tile;                 // on the stack
  Value scaled, rowFactors, scaledPanel, columnFactors; // as well, of Winograd's products and those of f16
  Value storeScratch;                                   // as well, null where no cache has codes
};

} // namespace ds
#endif // DS_LIB_TARGET_CPU_GEMM_H
