// Gradients of attention: a head of keys of one sequence at a time, a few query rows of the heads that read it after the other.
//
// Follows Dao et al. 2022 (arXiv:2205.14135), appendix B.2. Scores of a block of rows lie key by key, a row in each lane, so that a softmax
// works without reductions and all five products broadcast one side and read vectors of the other.
#ifndef LIB_TARGET_CPU_ATTENTIONGRADIENT_H
#define LIB_TARGET_CPU_ATTENTIONGRADIENT_H

#include "dialects/DS/DSDialect.h"
#include "ds/Target/CPU/Kernel.h"

namespace ds {

/// Shapes of the register blocks of a level.
struct AttentionGradientTiles {
  int64_t rowVectors;   // vectors of query rows in a block of rows
  int64_t keys;         // keys that scores and gradients of keys are computed of at once
  int64_t rows;         // query rows that gradients of queries are computed of at once
  int64_t valueVectors; // vectors of a head at once, in gradients

  static AttentionGradientTiles get(const CpuLevel &level);
};

/// Memory of a thread on its stack, as offsets in bytes. Rows of heads are padded to whole vectors; what lies behind a head is zero.
struct AttentionGradientScratch {
  AttentionGradientScratch(const CpuLevel &level, int64_t headSize);

  AttentionGradientTiles tiles;
  int64_t lanes, headSize, paddedSize;
  int64_t mostRows; // of a block of rows
  int64_t mostKeys; // of a block of keys, a multiple of `tiles.keys`

  // Of a block of keys.
  int64_t keys, values, keyGrads, valueGrads; // [mostKeys][paddedSize]
  int64_t bias;                               // [mostKeys]: 0, -infinity where the key is hidden from all rows
  // Of a block of rows; those behind the last token are zero.
  int64_t queryRows, gradRows, sums; // [mostRows][paddedSize]: queries times scale, gradients of outputs, unscaled gradients of queries
  int64_t queryColumns, gradColumns; // [paddedSize][rows of the block]: queries in units of log 2 of the scores
  int64_t scores, scoreGrads;        // [mostKeys][rows of the block]: scores, then probabilities; gradients of either, at last of scores
  int64_t bytes;

private:
  int64_t place(int64_t floats);
};

/// The statistics of a block of rows: three vectors of `mostRows` f32.
struct AttentionGradientStatistics {
  static constexpr int64_t count = 3;
  int64_t rows; // of the block
  int64_t largest() const { return 0; }
  int64_t sums() const { return rows * 4; } // of powers against the largest score
  int64_t dots() const { return rows * 8; } // of these powers with the gradients of probabilities
};

/// A block of query rows against a block of keys, as values of the function that computes it.
struct AttentionGradientBlock {
  mlir::Value query, grad, queryGrad; // pointers to the head of the first row
  mlir::Value nextQuery, nextGrad;    // to what is read next
  mlir::Value scratch, statistics;
  mlir::Value first, left;      // its token, and how many there are from it on
  mlir::Value keyOffset;        // the first key of the block of keys
  mlir::Value keyBegin, keyEnd; // in that block, multiples of `tiles.keys`: rows see no others
  mlir::Value slope;            // f32, in units of log 2
  mlir::Value measure;          // i1: add these keys to the statistics
  mlir::Value finish;           // i1: with statistics of all keys, compute gradients
  mlir::Value accumulate;       // i1: add to `queryGrad`
  mlir::Value seed;             // pointer, null without dropout
  mlir::Value randomHead;       // i64, of the heads of all sequences; null without dropout
};

/// Calls the function for blocks of `rowVectors` vectors of rows.
void callAttentionGradientBlock(KernelContext &context, AttentionGradOp op, const AttentionGradientScratch &scratch, int64_t rowVectors,
                                const AttentionGradientBlock &block);

// The products, each a function that all kernels of one head size share.

/// out[s, r] = sum_d rows[s, d] * columns[d, r] of `tiles` tiles of keys. Meanwhile the rows of a block from `ahead` on are asked for,
/// which lie `aheadBytes` apart: further than the hardware looks ahead.
void callAttentionGradientScores(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, mlir::Value rows,
                                 mlir::Value columns, mlir::Value out, mlir::Value tiles, mlir::Value ahead, mlir::Value aheadBytes);
/// out[r, d] = sum_s weights[s, r] * rows[s, d].
void callAttentionGradientRowSums(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, mlir::Value weights,
                                  mlir::Value rows, mlir::Value out, mlir::Value tiles);
/// out[s, d] += sum_r weights[s, r] * rows[r, d].
void callAttentionGradientKeySums(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, mlir::Value weights,
                                  mlir::Value rows, mlir::Value out, mlir::Value tiles);
/// columns[d, r] = rows[r, d] * factor.
void callAttentionGradientColumns(Emitter &e, const AttentionGradientScratch &scratch, int64_t rowVectors, mlir::Value rows,
                                  mlir::Value columns, mlir::Value factor);

} // namespace ds
#endif // LIB_TARGET_CPU_ATTENTIONGRADIENT_H
