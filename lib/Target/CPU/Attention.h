// Attention with an online softmax: scores of a few query rows by a block of keys, then the rows' weighted sums of values.
//
// Follows Milakov and Gimelshein 2018 (arXiv:1805.02867) and Dao et al. 2022 (arXiv:2205.14135). A row that sees no key gives zeros. Values
// of keys that a row does not see are multiplied by zero, so they have to be finite when another row of its block sees them.
#ifndef LIB_TARGET_CPU_ATTENTION_H
#define LIB_TARGET_CPU_ATTENTION_H

#include "CacheView.h"
#include "dialects/DS/DSDialect.h"

namespace ds {

/// What one attention kernel works on.
struct AttentionKernel {
  KernelContext &context;
  AttentionOp op;
  const KernelOperand *query, *mask, *past, *slopes; // the last three may be null
  CacheView keys, values;
  mlir::Value maskState; // stack: i64 sequence, its last seen key + 1, and whether an earlier one is hidden

  static llvm::Expected<AttentionKernel> get(KernelContext &context);

  int64_t heads() { return op.getHeads(); }
  int64_t group() { return op.getHeads() / op.getKvHeads(); }
  int64_t headSize() const { return keys.headSize; }

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
  mlir::Value query, output; // pointers to `headSize` f32
  mlir::Value begin, end;    // i64, the keys it sees, without regard to holes of the mask
  mlir::Value slope;         // f32, null without slopes
};

/// Keys for all rows of a block.
struct AttentionKeys {
  mlir::Value keys, values;           // pointers to the head
  mlir::Value begin, end;             // i64: no row sees keys outside
  mlir::Value commonBegin, commonEnd; // i64: all rows see all keys within, but for holes
  mlir::Value mask;                   // pointer to the mask of the sequence, null without
  mlir::Value holes;                  // i1, null without a mask
};

/// Code for `rows` query rows that share their keys. Made once a function: it owns a part of the stack.
class AttentionBlock {
public:
  AttentionBlock(AttentionKernel &kernel, int64_t rows);
  /// Emits the block for `rows` rows; a row may stand there twice.
  void emit(llvm::ArrayRef<AttentionRow> rows, const AttentionKeys &keys);

private:
  using Value = mlir::Value;
  /// Scores of `vectors` vectors of keys that lie at `keys`; `first` is the first of them in this step.
  void scores(llvm::ArrayRef<AttentionRow> rows, Value keys, Value first, int64_t vectors);
  void partialScores(llvm::ArrayRef<AttentionRow> rows, const AttentionKeys &keys, Value step, Value blocks);
  /// Turns scores to probabilities against the largest score so far, and says by what earlier sums shrink.
  void softmaxOfWholeStep(Value step);
  void softmaxOfPartialStep(const AttentionKeys &keys, Value step, Value blocks);
  void renewMaxima();
  void weighValues(const AttentionKeys &keys, Value begin, Value end, Value step);
  void begin(llvm::ArrayRef<AttentionRow> rows);
  void finish(llvm::ArrayRef<AttentionRow> rows);

  /// The score with its slope; `key` is the index of the first lane.
  Value sloped(Value score, Value row, Value key);
  Value f32At(Value array, Value index) { return e.element(array, e.f32(), index); }
  Value scoreAt(Value row, Value key) { return f32At(scoreArray, e.add(e.mul(row, stepKeys), key)); }

  AttentionKernel &kernel;
  Emitter &e;
  int64_t count, lanes, headSize, paddedSize;
  int64_t tileVectors; // vectors of keys in one register block
  int64_t stepKeys;    // keys of one step of the online softmax
  int64_t paddedRows;
  Value scoreArray;                   // [rows][stepKeys]
  Value sumArray;                     // [rows][lanes]: partial sums of probabilities
  Value outputArray;                  // [rows][paddedSize]
  Value oldMaxima, newMaxima, shrink; // [paddedRows]
  Value slopeArray;                   // [paddedRows]
  Value beginArray, endArray;         // [rows] i32
};

/// A block of tokens of one head at a time.
void emitAttentionPrefill(AttentionKernel &kernel);
/// One token a sequence; heads that share keys stand in one block.
void emitAttentionDecode(AttentionKernel &kernel);

} // namespace ds
#endif // LIB_TARGET_CPU_ATTENTION_H
