// Choosing a token from logits, with the names and the order of transformers: repetition penalty, temperature, top-k, top-p, min-p.
// Sources: Holtzman et al. 2020 (top-p), arXiv:1904.09751; Keskar et al. 2019 (penalty), arXiv:1909.05858; Nguyen et al. 2024 (min-p),
// arXiv:2407.01082.
#ifndef DSRT_LIB_SAMPLER_H
#define DSRT_LIB_SAMPLER_H

#include "runtime/lib/Status.h"
#include <array>
#include <cstdint>
#include <vector>

namespace dsrt {

struct SamplingOptions {
  bool sample = false;
  float temperature = 1, topP = 1, minP = 0, repetitionPenalty = 1;
  int32_t topK = 0;
  uint64_t seed = 0;
};

/// Fails with invalid argument, naming the option and its bounds.
Status checkSampling(const SamplingOptions &options);

/// Philox4x32-10: four random words that depend on nothing but counter and key.
/// Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A uniform number in [0, 1) for one row and one step of a seed.
double uniformAt(uint64_t seed, uint32_t row, uint32_t step);

struct Candidate {
  float logit;
  int32_t token;
};

/// Divides positive and multiplies negative logits of the tokens in `seen` by `penalty`, each token once.
void applyRepetitionPenalty(float *logits, const std::vector<int32_t> &seen, float penalty);

/// What is left of `logits` [vocab] after temperature, top-k, top-p and min-p: the greatest first, ties by token; in the
/// order of the vocabulary when all three are off.
std::vector<Candidate> filterCandidates(const float *logits, int32_t vocab, const SamplingOptions &options);

/// Chooses the next token of a row.
///   logits [vocab], changed by the repetition penalty;   seen: distinct tokens of the row so far
/// Fails with internal when the logits hold no number to choose.
Status chooseToken(float *logits, int32_t vocab, const std::vector<int32_t> &seen, const SamplingOptions &options, uint32_t row,
                   uint32_t step, int32_t &token);

} // namespace dsrt
#endif // DSRT_LIB_SAMPLER_H
