// The machines a package has code for.
#ifndef DS_TARGET_CPU_LEVEL_H
#define DS_TARGET_CPU_LEVEL_H

#include "ds/Analysis/LinearTiling.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>

namespace ds {

/// How dot products of pairs of bf16, or of four bytes, are computed. `emulated` is what the instruction does in others, so that machines
/// without it can test the code around it; no package has it. `pairwise`, of bytes alone, takes sums of two products at a time, of words
/// of 16 bits, or of bytes where 16 bits hold the sum: as exact, in more instructions.
enum class Dots { none, emulated, pairwise, native };

/// What code for one level may use, and the shapes of its register blocks.
struct CpuLevel {
  llvm::StringRef name;     // of the file in the package: "x86-64-v2"
  llvm::StringRef cpu;      // LLVM's name
  llvm::StringRef features; // LLVM's feature string
  int64_t lanes;            // f32 values of one vector
  int64_t registers;        // vector registers
  int64_t gemmSums;         // accumulators of one register block of a matrix product
  int64_t gemmVectors;      // the most vectors side by side in one of many rows
  /// Rows of the widest block, and of a group of a `ds_plan.buffer`.
  constexpr int64_t groupRows() const { return gemmSums / gemmVectors; }
  bool fma;      // multiply-add is one instruction
  bool f16;      // conversion of f16 is an instruction
  Dots bf16Dots; // used for all rows; the next for many
  Dots byteDots;
  bool addsBeside = false;    // a vector is added in each cycle in which another is multiplied and added
  bool multipliesF16 = false; // multiply-adds of f16 are instructions
  bool isOfIntel = false;     // processors of Intel with AVX-512
  /// Of rows that stay in the second-level cache beside weights: processors with AVX512_FP16 have 2 MB of it, others 256 KB to 1 MB.
  constexpr int64_t slabBytes() const { return multipliesF16 ? 2 * linearSlabBytes : linearSlabBytes; }
  /// Whether many rows are rounded to 16 bits where they meet weights of bf16.
  constexpr bool roundsForBf16() const { return bf16Dots != Dots::none || multipliesF16; }
};

/// x86-64-v2, x86-64-v3, x86-64-v4, x86-64-v4-vnni, x86-64-v4-bf16, znver4, x86-64-v4-fp16, in this order. The last four gain nothing but
/// where activations are rounded to bytes, where weights are bf16, where f32 is multiplied, and where weights are bf16 again.
llvm::ArrayRef<CpuLevel> allCpuLevels();

/// The level of that name, or null.
const CpuLevel *findCpuLevel(llvm::StringRef name);

} // namespace ds
#endif // DS_TARGET_CPU_LEVEL_H
