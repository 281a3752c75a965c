// The arrays of one step of a program, whatever runs it.
#ifndef DSRT_LIB_STEPARRAYS_H
#define DSRT_LIB_STEPARRAYS_H

#include "runtime/lib/Manifest.h"

namespace dsrt {

/// Those that a program does not declare are ignored; the caller fills those it may declare.
struct StepArrays {
  int32_t batch = 0, tokens = 0;
  std::vector<int32_t> inputs[inputKindCount]; // by InputKind
  std::vector<uint8_t *> kv;                   // [batch], decoders; addresses of the device that runs
  std::vector<float *> outputs;                // by output of the program; null: not wanted

  std::vector<int32_t> &of(InputKind kind) { return inputs[static_cast<int>(kind)]; }
  const std::vector<int32_t> &of(InputKind kind) const { return inputs[static_cast<int>(kind)]; }
  /// Sizes for `batch` x `tokens`, all zero, no rows, no outputs.
  void reset(int32_t newBatch, int32_t newTokens, size_t outputCount);
};

} // namespace dsrt
#endif // DSRT_LIB_STEPARRAYS_H
