// The arrays of one step of a program, whatever runs it.
#ifndef DSRT_LIB_STEPARRAYS_H
#define DSRT_LIB_STEPARRAYS_H

#include "dsrt/sample.h"
#include "runtime/lib/Manifest.h"

namespace dsrt {

/// How a device chooses the token of each of `rows`, all of them greedily or none.
struct SampleArrays {
  bool isGreedy = true;
  std::vector<DsSampleRow> rows;                  // [rows], or empty: nobody wants tokens; `seen` of each is filled in when the step is run
  std::vector<const std::vector<int32_t> *> seen; // [rows], distinct tokens; null: none
  int32_t *tokens = nullptr;                      // [rows], written; -1 where the logits hold no number to choose by
};

/// Those that a program does not declare are ignored; the caller fills those it may declare.
struct StepArrays {
  int32_t batch = 0, tokens = 0;
  std::vector<int32_t> inputs[inputKindCount]; // by InputKind
  std::vector<uint8_t *> kv;                   // [batch], decoders; addresses of the device that runs
  std::vector<float *> outputs;                // by output of the program; null: not wanted
  SampleArrays sampling;                       // of steps whose tokens a device chooses

  std::vector<int32_t> &of(InputKind kind) { return inputs[static_cast<int>(kind)]; }
  const std::vector<int32_t> &of(InputKind kind) const { return inputs[static_cast<int>(kind)]; }
  /// Sizes for `batch` x `tokens`, all zero, no rows, no outputs.
  void reset(int32_t newBatch, int32_t newTokens, size_t outputCount);
};

} // namespace dsrt
#endif // DSRT_LIB_STEPARRAYS_H
