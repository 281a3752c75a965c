// Choosing a token from logits, with the names and the order of transformers: repetition penalty, temperature, top-k, top-p, min-p. The
// arithmetic is that of dsrt/sample.h, as kernels on a device have it.
// Sources: Holtzman et al. 2020 (top-p), arXiv:1904.09751; Keskar et al. 2019 (penalty), arXiv:1909.05858; Nguyen et al. 2024 (min-p),
// arXiv:2407.01082.
#ifndef DSRT_LIB_SAMPLER_H
#define DSRT_LIB_SAMPLER_H

#include "dsrt/sample.h"
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

/// What the options mean for one row and one step: the same random numbers for the same seed, row and step. Nothing is seen.
DsSampleRow sampleRowOf(const SamplingOptions &options, uint32_t row, uint32_t step);

/// Distance and weight of dsrt/sample.h; `greatest` is divided by the temperature. A NaN is far.
uint32_t sampleDistance(float logit, float greatest, float temperature);
uint64_t sampleWeight(uint32_t distance);

struct Candidate {
  int32_t token;
  uint64_t weight;
};

/// Divides positive and multiplies negative logits of the tokens in `seen` by `penalty`, each token once.
void applyRepetitionPenalty(float *logits, const std::vector<int32_t> &seen, float penalty);

/// The tokens that are left of `logits` [vocab], of which `greatest` is the greatest, after temperature, top-k, top-p and min-p, in the
/// order of the vocabulary. All tokens whose logits are equal are left, or none of them. Those of no weight are not among them.
std::vector<Candidate> filterCandidates(const float *logits, int32_t vocab, float greatest, const DsSampleRow &row);

/// The error of a row whose logits hold no number: all are NaN or -infinity, or the greatest is infinite.
Status noNumberToChoose(uint32_t row, uint32_t step);

/// Chooses the next token of a row.
///   logits [vocab], changed by the repetition penalty;   seen: distinct tokens of the row so far
/// Fails with internal when the logits hold no number to choose.
Status chooseToken(float *logits, int32_t vocab, const std::vector<int32_t> &seen, const SamplingOptions &options, uint32_t row,
                   uint32_t step, int32_t &token);

} // namespace dsrt
#endif // DSRT_LIB_SAMPLER_H
