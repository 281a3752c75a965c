// Appends tokens to the caches of sequences: chunks that fit a step, ragged rows, the outputs that are wanted.
#ifndef DSRT_LIB_DECODER_H
#define DSRT_LIB_DECODER_H

#include "runtime/lib/Batch.h"
#include "runtime/lib/Model.h"
#include <functional>

namespace dsrt {

/// Tokens to append to one sequence. `length`, the tokens in its cache, grows as steps are run.
struct Append {
  uint8_t *kv = nullptr;
  int32_t *length = nullptr;
  const int32_t *ids = nullptr, *positions = nullptr;
  int32_t count = 0;
};

enum class Wanted { last, all };

struct AppendOptions {
  int output = -1; // index of an output of prefill; -1: none
  Wanted wanted = Wanted::last;
  int32_t chunk = 0; // most tokens of a sequence in one step; 0: as many as fit
  /// In place of the output, the token behind the last one of each of the appends, which the steps choose (Model::choosesTokens).
  const SampleArrays *sampling = nullptr;
};

/// Where the output of token `token` of `appends[index]` goes; `width` floats.
using Place = std::function<float *(size_t index, int32_t token)>;

/// Runs prefill and decode until all tokens are appended. The caller has checked that every sequence stays within the context.
/// A step's padding stays within the context as well: no cache is written beyond its end.
/// Fails as Model::run does; then the lengths say what was appended.
Status appendTokens(Model &model, std::vector<Append> &appends, const AppendOptions &options, const Place &place);

/// Forward of a decoder: positions by the model's rule, fresh caches, outputs in the caller's [batch, tokens, width], zeros where masked.
/// Fails with invalid argument when a row is longer than the context or the positions; then nothing ran.
Status decodeBatch(Model &model, const TokenBatch &batch, int output, float *out);

} // namespace dsrt
#endif // DSRT_LIB_DECODER_H
