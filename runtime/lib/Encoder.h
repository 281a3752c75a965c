// Forward of encoders, and the shapes of outputs.
#ifndef DSRT_LIB_ENCODER_H
#define DSRT_LIB_ENCODER_H

#include "runtime/lib/Batch.h"
#include "runtime/lib/Model.h"

namespace dsrt {

/// An output of the forward program. Fails with invalid argument, naming those there are.
Status findOutput(const Model &model, std::string_view name, int &index);

/// Elements of an output for a batch: [batch, width], or [batch, tokens, width] for outputs of tokens or rows.
int64_t outputElements(const OutputRecord &output, int32_t batch, int32_t tokens);

/// Runs `program` (`encode`, or `forward` of a decoder) over the batch, as many rows at a time as fit, and writes the output. Fails with
/// invalid argument when one sequence is longer than a step or than the model's positions; then nothing ran.
Status encodeBatch(Model &model, const Program &program, const TokenBatch &batch, int output, float *out);

} // namespace dsrt
#endif // DSRT_LIB_ENCODER_H
