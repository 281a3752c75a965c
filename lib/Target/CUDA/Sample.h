// The stages that choose tokens from logits on the device, behind the launches of a program.
#ifndef LIB_TARGET_CUDA_SAMPLE_H
#define LIB_TARGET_CUDA_SAMPLE_H

#include "ds/Target/CUDA/Kernel.h"

namespace ds {

/// What the body of a sampling stage works with.
struct SampleBody {
  GpuEmitter &e;
  mlir::Value logits;  // [rows, vocab] f32
  mlir::Value rows;    // [rows] DsSampleRow, and the tokens that were seen
  mlir::Value chosen;  // [rows] i32, written; -1 where there is no number to choose by
  mlir::Value scratch; // `sampleScratchBytes` for each row, undefined
  mlir::Value pass;    // i64, of a stage that is launched several times
};

/// A stage. The grid's second dimension is the row.
struct SampleStage {
  std::string part; // launched for steps that have it: "" always; greedy, random, top_k, top_p, penalty
  GpuShape shape;
  llvm::SmallVector<int64_t> passes = {0};
  std::function<void(SampleBody &)> body;
};

/// The stages for logits of `vocab` f32, in the order in which they are launched. They choose as runtime/lib/Sampler.h does, token by
/// token: the arithmetic is that of dsrt/sample.h. A chunk of the vocabulary has a block; what blocks find, those of the next launch read.
std::vector<SampleStage> sampleStages(int64_t vocab);
/// Scratch of a row, a multiple of 256.
int64_t sampleScratchBytes(int64_t vocab);

} // namespace ds
#endif // LIB_TARGET_CUDA_SAMPLE_H
