#include "runtime/lib/Sampler.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace dsrt;

Status dsrt::checkSampling(const SamplingOptions &options) {
  // Written so that a NaN fails.
  if (!(options.repetitionPenalty > 0) || !std::isfinite(options.repetitionPenalty))
    return Status::invalidArgument("repetition_penalty: expects a positive number, got ", options.repetitionPenalty);
  if (!options.sample)
    return Status();
  if (!(options.temperature > 0) || !std::isfinite(options.temperature))
    return Status::invalidArgument("temperature: expects a positive number, got ", options.temperature);
  if (options.topK < 0)
    return Status::invalidArgument("top_k: expects 0 or more, got ", options.topK);
  if (!(options.topP > 0) || !(options.topP <= 1))
    return Status::invalidArgument("top_p: expects a number above 0, 1 at most, got ", options.topP);
  if (!(options.minP >= 0) || !(options.minP <= 1))
    return Status::invalidArgument("min_p: expects a number in 0..1, got ", options.minP);
  return Status();
}

std::array<uint32_t, 4> dsrt::philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t first = static_cast<uint64_t>(0xD2511F53u) * counter[0], second = static_cast<uint64_t>(0xCD9E8D57u) * counter[2];
    counter = {static_cast<uint32_t>(second >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(second),
               static_cast<uint32_t>(first >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(first)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

double dsrt::uniformAt(uint64_t seed, uint32_t row, uint32_t step) {
  std::array<uint32_t, 4> words = philox({row, step, 0, 0}, {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  uint64_t bits = (static_cast<uint64_t>(words[0]) << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

void dsrt::applyRepetitionPenalty(float *logits, const std::vector<int32_t> &seen, float penalty) {
  if (penalty == 1)
    return;
  for (int32_t token : seen)
    logits[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
}

static bool before(const Candidate &a, const Candidate &b) { return a.logit > b.logit || (a.logit == b.logit && a.token < b.token); }

/// Brings the greatest `count` to the front, in order.
static void sortFront(std::vector<Candidate> &candidates, size_t count) {
  auto middle = candidates.begin() + static_cast<ptrdiff_t>(std::min(count, candidates.size()));
  if (middle != candidates.end())
    std::nth_element(candidates.begin(), middle, candidates.end(), before);
  std::sort(candidates.begin(), middle, before);
}

std::vector<Candidate> dsrt::filterCandidates(const float *logits, int32_t vocab, const SamplingOptions &options) {
  std::vector<Candidate> candidates;
  candidates.reserve(vocab);
  for (int32_t token = 0; token < vocab; ++token)
    if (logits[token] > -std::numeric_limits<float>::infinity()) // false for NaN as well
      candidates.push_back({logits[token] / options.temperature, token});
  if (candidates.empty())
    return candidates;
  // Ties with the k-th stay.
  if (options.topK > 0 && static_cast<size_t>(options.topK) < candidates.size()) {
    auto kth = candidates.begin() + (options.topK - 1);
    std::nth_element(candidates.begin(), kth, candidates.end(), before);
    float least = kth->logit;
    std::erase_if(candidates, [least](const Candidate &candidate) { return candidate.logit < least; });
  }
  float greatest = std::max_element(candidates.begin(), candidates.end(), [](const Candidate &a, const Candidate &b) {
                     return a.logit < b.logit;
                   })->logit;
  if (options.topP < 1) {
    double total = 0;
    for (const Candidate &candidate : candidates)
      total += std::exp(candidate.logit - greatest);
    // A token stays while those before it make less than top_p; few are needed, so the rest is not sorted.
    size_t sorted = 0, kept = 0;
    double sum = 0;
    while (kept < candidates.size() && (kept == 0 || sum < options.topP * total)) {
      if (kept == sorted) {
        sorted = std::min(std::max<size_t>(sorted * 4, 64), candidates.size());
        sortFront(candidates, sorted);
      }
      sum += std::exp(candidates[kept++].logit - greatest);
    }
    candidates.resize(kept);
  }
  if (options.minP > 0)
    std::erase_if(candidates,
                  [&](const Candidate &candidate) { return std::exp(candidate.logit - greatest) < static_cast<double>(options.minP); });
  // Few are left of many; all of them stay in the order of the vocabulary.
  if (options.topK > 0 || options.topP < 1 || options.minP > 0)
    std::sort(candidates.begin(), candidates.end(), before);
  return candidates;
}

static int32_t greatestToken(const float *logits, int32_t vocab) {
  int32_t best = -1;
  for (int32_t token = 0; token < vocab; ++token)
    if (logits[token] > (best < 0 ? -std::numeric_limits<float>::infinity() : logits[best]))
      best = token;
  return best;
}

Status dsrt::chooseToken(float *logits, int32_t vocab, const std::vector<int32_t> &seen, const SamplingOptions &options, uint32_t row,
                         uint32_t step, int32_t &token) {
  applyRepetitionPenalty(logits, seen, options.repetitionPenalty);
  token = greatestToken(logits, vocab);
  if (token < 0 || std::isinf(logits[token]))
    return Status::internal("row ", row, ": the logits of new token ", step, " hold no number to choose by");
  if (!options.sample)
    return Status();
  std::vector<Candidate> candidates = filterCandidates(logits, vocab, options);
  float greatest = logits[token] / options.temperature; // no filter removes it
  double total = 0;
  for (Candidate &candidate : candidates)
    total += candidate.logit = std::exp(candidate.logit - greatest);
  double target = uniformAt(options.seed, row, step) * total;
  token = candidates.back().token;
  for (const Candidate &candidate : candidates) {
    target -= candidate.logit; // now its weight
    if (target < 0) {
      token = candidate.token;
      break;
    }
  }
  return Status();
}
