// Attention with an online softmax: scores of a few query rows by a block of keys, then the rows' weighted sums of values.
//
// bf16 and codes of a cache become f32 in registers; the scale of a key multiplies its finished score, that of a value its probability.
// Pairs of bf16 meet queries and probabilities rounded to bf16 where the level has dot products of them, become f16 where it has
// multiply-adds of those, and f32 elsewhere. A cache becomes either there too, where attention is `rounded` and many queries read it.
//
// Follows Milakov and Gimelshein 2018 (arXiv:1805.02867) and Dao et al. 2022 (arXiv:2205.14135). A row that sees no key gives zeros.
// Values of keys that a row does not see are multiplied by zero, so they have to be finite when another row of its block sees them, or in
// f16 one that sees any of the 32 keys they lie with.
#ifndef LIB_TARGET_CPU_ATTENTION_H
#define LIB_TARGET_CPU_ATTENTION_H

#include "CacheView.h"
#include "dialects/DS/DSDialect.h"

namespace ds {

/// What one attention kernel works on.
struct AttentionKernel {
  KernelContext &context;
  AttentionOp op;
  const KernelOperand *query, *mask, *past, *slopes, *seed; // all but the first may be null
  const KernelOperand *scratch;                             // null where the plan gives none
  CacheView keys, values;
  mlir::Value maskState; // stack: i64 sequence, its last seen key + 1, and whether an earlier one is hidden

  static llvm::Expected<AttentionKernel> get(KernelContext &context);

  int64_t heads() { return op.getHeads(); }
  int64_t group() { return op.getHeads() / op.getKvHeads(); }
  int64_t headSize() const { return keys.headSize; }
  /// f32 of one partial result: sum of probabilities, largest score, padding to 16, then `headSize` weighted sums, padded to 16.
  int64_t partialSize() const { return 16 + llvm::alignTo(headSize(), 16); }
  /// Partial results of a head that `scratch` has room for.
  int64_t partials() { return scratch ? scratch->width() / (heads() * partialSize()) : 0; }

  /// Tokens of sequence `b` before this step.
  mlir::Value pastOf(mlir::Value b);
  /// What the key mask of sequence `b` says: keys at or beyond `end` are hidden, and others only when `holes` (i1, null without a mask).
  struct MaskOf {
    mlir::Value end, holes;
  };
  MaskOf maskOf(mlir::Value b);
  /// Element `h` of token `row` of queries or outputs.
  mlir::Value headOf(const KernelOperand &rows, mlir::Value row, mlir::Value h);

private:
  void scanMask(mlir::Value b);
};

/// One query row: some head of some token.
struct AttentionRow {
  mlir::Value query, output; // pointers to `headSize` values, f32 of the output
  mlir::Value begin, end;    // i64, the keys it sees, without regard to holes of the mask
  mlir::Value slope;         // f32, null without slopes
  mlir::Value partial;       // pointer to a partial result, null where there is none
};

/// Keys for all rows of a block.
struct AttentionKeys {
  mlir::Value keys, values;           // pointers to the head
  mlir::Value begin, end;             // i64: no row sees keys outside
  mlir::Value commonBegin, commonEnd; // i64: all rows see all keys within, but for holes
  mlir::Value mask;                   // pointer to the mask of the sequence, null without
  mlir::Value holes;                  // i1, null without a mask
  mlir::Value aheadKeys, aheadValues; // i64: bytes from what is read to what is asked for meanwhile; null asks for nothing
  mlir::Value nextQueries;            // pointer to the first query of the block behind this one; null asks for none
  mlir::Value isPartial;              // i1: write partial results in place of outputs; null: never
  // With dropout alone, where rows are tokens that follow each other, a multiple of 4.
  mlir::Value firstToken; // i64, a multiple of 4
  mlir::Value head;       // i64, of the heads of all sequences
};

/// Code for `rows` query rows that share their keys, at most as many as a vector has lanes. Made once a function: it owns a part of the
/// stack.
class AttentionBlock {
public:
  /// `layout` is of what keys and values are converted to before; by default they are read where they lie.
  AttentionBlock(AttentionKernel &kernel, int64_t rows, std::optional<ds_plan::CacheLayout> layout = std::nullopt);
  virtual ~AttentionBlock() = default;
  int64_t rows() const { return count; }
  /// Emits the block for its rows; a row may stand there twice, and then the first time counts.
  void emit(llvm::ArrayRef<AttentionRow> rows, const AttentionKeys &keys);

protected:
  using Value = mlir::Value;
  /// Some keys of the online softmax: `blocks` blocks of 16, from key `first` on.
  struct Step {
    Value first, blocks;
  };
  virtual void begin(llvm::ArrayRef<AttentionRow> rows);
  virtual void scores(const AttentionKeys &keys, const Step &step);
  /// Scores of `vectors` vectors of keys that lie at `keys`; `first` is the first of them in the step.
  void scoreTile(Value keys, Value ahead, Value first, int64_t vectors);
  /// Asks for what lies `ahead` bytes behind `place`, unless that is null or the line of `place` has been asked for, or comes by itself:
  /// `inLine` bytes of it lie before.
  void ask(Value place, Value ahead, int64_t inLine);
  /// What one `add` adds to a sum: a number that all lanes share times a vector of a key's or value's numbers, or two of each.
  using Factors = llvm::SmallVector<Value, 2>;
  /// The numbers at `place`, of f32 or rounded to pairs.
  Factors shared(Value place);
  Factors pairsAt(Value place);
  Value add(Value sum, const Factors &numbers, const Factors &lines);
  virtual void weighValues(const AttentionKeys &keys, Value begin, Value end, const Step &step);
  void finish(llvm::ArrayRef<AttentionRow> rows);
  void finishPartially(llvm::ArrayRef<AttentionRow> rows, Value maxima);

  // The softmax of a step, in AttentionSoftmax.cpp.
  /// Calls `body` with the first key, in the step, of each unit that some row does not see whole.
  void forPartlySeen(const AttentionKeys &keys, const Step &step, llvm::function_ref<void(Value)> body);
  /// Scores of keys that a row does not see become -infinity.
  void hideKeys(const AttentionKeys &keys, const Step &step);
  /// Adds slopes; returns the largest score of each row, one a lane.
  Value largestScores(const Step &step);
  /// Turns scores to probabilities against the largest scores so far, and says by what earlier sums shrink. Returns the largest scores.
  virtual Value softmax(Value maxima, const AttentionKeys &keys, const Step &step);
  /// The sum of probabilities of each row, one a lane.
  Value rowSums();

  Value f32At(Value array, Value index) { return e.element(array, e.f32(), index); }
  Value scoreAt(Value row, Value key) { return f32At(scoreArray, e.add(e.mul(row, stepKeys), key)); }
  /// Of query `row`: element d, an even one where they are pairs.
  Value queryAt(int64_t row, Value d) { return e.at(e.at(queryArray, e.mul(d, multipliedBytes)), row * paddedSize * multipliedBytes); }
  /// The probability of `key`, an even one where they are pairs.
  Value weightAt(int64_t row, Value key) { return e.at(e.at(scoreArray, e.mul(key, multipliedBytes)), row * stepKeys * 4); }
  Value scoreAt(int64_t row, Value key) { return f32At(e.at(scoreArray, row * stepKeys * 4), key); }

  AttentionKernel &kernel;
  Emitter &e;
  int64_t count, lanes, headSize, paddedSize;
  ds_plan::CacheLayout layout;
  bool hasDots;                            // queries and probabilities are rounded to bf16
  int64_t multipliedBytes;                 // of one of those
  int64_t together;                        // numbers that one `add` multiplies: 2 of pairs
  int64_t tileVectors;                     // vectors of keys in one register block, a multiple of 16 keys
  static constexpr int64_t stepKeys = 128; // keys of one step of the online softmax
  int64_t unitKeys = 16;                   // a step begins at a multiple of as many, and keys are hidden in units of them
  Value queryArray;                        // [rows][paddedSize], scaled
  Value scoreArray;           // [rows][stepKeys], in units of log 2; then probabilities, rounded ones in the first half of a row
  Value sumArray;             // [rows][lanes]: partial sums of probabilities
  Value outputArray;          // [rows][paddedSize]
  Value reference, shrink;    // [lanes]: one a row
  Value slopeArray;           // [lanes]
  Value beginArray, endArray; // [lanes] i32
};

/// A copy of the keys and values of one head in 16 bits, which all blocks of its queries share. Made once a function.
class ConvertedHead {
public:
  virtual ~ConvertedHead() = default;
  /// How they lie here.
  static ds_plan::CacheLayout layoutOf(int64_t headSize) { return ds_plan::CacheLayout(headSize, /*elementBytes=*/2, /*hasPairs=*/true); }
  /// Whether keys [0, end) have room here, and so many tokens read them that the way to 16 bits pays; i1.
  mlir::Value isWorthIt(mlir::Value end);
  /// Makes them those of keys [0, end) of head `head` of sequence `b`, unless they are.
  void take(mlir::Value b, mlir::Value head, mlir::Value end);
  mlir::Value keys, values;

protected:
  using Value = mlir::Value;
  explicit ConvertedHead(AttentionKernel &kernel);
  /// Whether attention may round heads to 16 bits, and their size allows it.
  static bool mayConvert(const AttentionKernel &kernel);
  virtual void takeKeys(Value from, Value end) = 0;
  virtual void takeValues(Value from, Value end) = 0;

  /// The scales of a block of cached codes; null of other caches.
  Value scalesOfKeys(Value block);
  /// Element `d` of the 16 keys of a block of the cache.
  Value keysOfBlock(Value block, Value d, Value scales);
  struct Slot {
    Value place, scale; // no scale: null
  };
  /// Where the values of a slot of the cache are.
  Slot slotAt(Value from, Value slot);
  /// The values of a slot from `d` on.
  Value valuesOfSlot(const Slot &slot, Value d);
  /// Stores the words of which each has the bits, i16, of one of `low` and one of `high`.
  void storePairs(Value low, Value high, Value to);

  AttentionKernel &kernel;
  Emitter &e;
  int64_t slots; // the most of a sequence

private:
  Value taken; // stack: i64, whose they are
};

/// As pairs of bf16, of a cache, for levels with dot products of them.
class PairsOfHead : public ConvertedHead {
public:
  explicit PairsOfHead(AttentionKernel &kernel) : ConvertedHead(kernel) {}
  /// Whether the level and the kernel go that way.
  static bool serves(const AttentionKernel &kernel);

private:
  void takeKeys(Value from, Value end) override;
  void takeValues(Value from, Value end) override;
};

/// As f16 (Halves.h); of 32 values the first and the 17th stand in a pair: [16][headSize][2].
class HalvesOfHead : public ConvertedHead {
public:
  explicit HalvesOfHead(AttentionKernel &kernel);
  /// Whether the level and the kernel go that way.
  static bool serves(const AttentionKernel &kernel);
  /// Keys of a block of values: those that words hold 16 apart.
  static constexpr int64_t blockKeys = 32, distance = 16;
  mlir::Value factors; // f32: what takes the scale of keys back, and that of values

private:
  void takeKeys(Value from, Value end) override;
  void takeValues(Value from, Value end) override;
  void takePairedKeys(Value from, Value end);
  void takePairedValues(Value from, Value end);
  /// Stores the factor of what is as large as `sizes`; returns the exponent of bf16 that is subtracted, in all halves.
  Value scale(Value sizes, int64_t factor);
  Value numbersOf(Value bits, Value least);
  /// Words with ones in the halves for those of keys `key` and `key + 1` that are below `end`.
  Value wordBelow(Value key, Value end);
  /// Stores the factor of what is as large as `largest`; returns what it is multiplied by, in all lanes.
  Value scaleOfCached(Value largest, int64_t factor);
  /// The bits of f32 that f16 holds.
  Value bitsOfHalf(Value numbers);
};

/// The same by multiply-adds of f16, of keys and values that `HalvesOfHead` holds; scores and probabilities are f16 too.
class HalvesBlock : public AttentionBlock {
public:
  HalvesBlock(AttentionKernel &kernel, const HalvesOfHead &head, int64_t rows);

private:
  void begin(llvm::ArrayRef<AttentionRow> rows) override;
  void scores(const AttentionKeys &keys, const Step &step) override;
  Value softmax(Value maxima, const AttentionKeys &keys, const Step &step) override;
  void weighValues(const AttentionKeys &keys, Value begin, Value end, const Step &step) override;
  void scoreTile(Value keys, Value first, int64_t vectors);
  void hideKeys(const AttentionKeys &keys, const Step &step);
  Value largestScores(const Step &step);
  /// Of row `row`: its scores from key `key` on, a multiple of 32; of 32 the first and the 17th stand in a word.
  Value halvesAt(Value row, Value key) { return e.at(scoreArray, e.mul(e.add(e.mul(row, stepKeys), key), 2)); }
  Value halvesAt(int64_t row, Value key) { return e.at(e.at(scoreArray, row * stepKeys * 2), e.mul(key, 2)); }

  const HalvesOfHead &head;
  mlir::Type half, halves;  // f16, a vector of it
  Value halfQueries;        // [rows][paddedSize] f16, scaled
  Value powers;             // [lanes] f32: what queries are multiplied by on their way to f16
  Value units;              // [lanes] f32: what scores are multiplied by to be in units of log 2
  Value halfUnits, halfMax; // [lanes] f16: those, and the largest scores
};

/// A block of tokens of one head at a time.
void emitAttentionPrefill(AttentionKernel &kernel);
/// One token a sequence; heads that share keys stand in one block. Where the heads do not share out evenly among the threads and the
/// context is long, the cache is shared out too: threads leave partial results in the scratch buffer, meet, and combine them in order.
void emitAttentionDecode(AttentionKernel &kernel);

} // namespace ds
#endif // LIB_TARGET_CPU_ATTENTION_H
