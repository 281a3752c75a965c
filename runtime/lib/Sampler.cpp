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

DsSampleRow dsrt::sampleRowOf(const SamplingOptions &options, uint32_t row, uint32_t step) {
  DsSampleRow made = {};
  made.temperature = options.temperature;
  made.top_k = options.topK;
  if (options.topP < 1) // checked to be above 0
    made.top_p = std::max<int64_t>(static_cast<int64_t>(static_cast<double>(options.topP) * 0x1p32), 1);
  if (options.minP > 0)
    made.least = static_cast<int64_t>(std::ceil(static_cast<double>(options.minP) * static_cast<double>(sampleWeight(0))));
  std::array<uint32_t, 4> words =
      philox({row, step, 0, 0}, {static_cast<uint32_t>(options.seed), static_cast<uint32_t>(options.seed >> 32)});
  made.random = static_cast<uint64_t>(words[0]) << 32 | words[1];
  made.penalty = options.repetitionPenalty;
  return made;
}

uint32_t dsrt::sampleDistance(float logit, float greatest, float temperature) {
  float distance = (greatest - logit / temperature) * DS_SAMPLE_OCTAVE;
  return distance < static_cast<float>(DS_SAMPLE_FAR) ? static_cast<uint32_t>(distance) : DS_SAMPLE_FAR;
}

uint64_t dsrt::sampleWeight(uint32_t distance) {
  static constexpr uint64_t powers[] = DS_SAMPLE_POWERS;
  if (distance >= DS_SAMPLE_FAR)
    return 0;
  constexpr uint64_t octave = 1 << 24;
  uint64_t y = octave - distance % octave, power = 0;
  for (size_t i = std::size(powers); i-- > 0;)
    power = powers[i] + (power * y >> 24);
  return (power << 7) >> (distance / octave);
}

void dsrt::applyRepetitionPenalty(float *logits, const std::vector<int32_t> &seen, float penalty) {
  if (penalty == 1)
    return;
  for (int32_t token : seen)
    logits[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
}

/// The distance at which the sum over all that is nearer, or as near, reaches `goal`; the greatest there is where none does. Found digit by
/// digit, so that nothing is sorted. `amount` is what a distance adds.
template <typename Amount> static uint32_t distanceAt(const std::vector<uint32_t> &distances, uint64_t goal, const Amount &amount) {
  constexpr int digit = 10;
  uint32_t prefix = 0;
  for (int shift = DS_SAMPLE_BITS - digit; shift >= 0; shift -= digit) {
    uint64_t sums[1 << digit] = {};
    for (uint32_t distance : distances)
      if (distance >> (shift + digit) == prefix)
        sums[distance >> shift & ((1 << digit) - 1)] += amount(distance);
    uint32_t found = 0;
    while (found < (1 << digit) - 1 && sums[found] < goal)
      goal -= sums[found++];
    prefix = prefix << digit | found;
  }
  return prefix;
}

std::vector<Candidate> dsrt::filterCandidates(const float *logits, int32_t vocab, float greatest, const DsSampleRow &row) {
  std::vector<uint32_t> distances(vocab), near;
  near.reserve(vocab);
  const float scaled = greatest / row.temperature;
  for (int32_t token = 0; token < vocab; ++token) {
    distances[token] = sampleDistance(logits[token], scaled, row.temperature);
    if (distances[token] < DS_SAMPLE_FAR)
      near.push_back(distances[token]);
  }
  uint32_t most = DS_SAMPLE_FAR - 1;
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < near.size()) {
    most = distanceAt(near, row.top_k, [](uint32_t) { return uint64_t(1); });
    std::erase_if(near, [most](uint32_t distance) { return distance > most; });
  }
  if (row.top_p > 0) {
    // A token stays while those before it make less than top_p.
    uint64_t total = 0, share = row.top_p;
    for (uint32_t distance : near)
      total += sampleWeight(distance);
    uint64_t goal = (total >> 32) * share + ((total & 0xFFFFFFFF) * share >> 32);
    most = distanceAt(near, std::max<uint64_t>(goal, 1), sampleWeight);
  }
  std::vector<Candidate> candidates;
  for (int32_t token = 0; token < vocab; ++token)
    if (distances[token] <= most)
      if (uint64_t weight = sampleWeight(distances[token]); weight >= static_cast<uint64_t>(row.least))
        candidates.push_back({token, weight});
  return candidates;
}

static int32_t greatestToken(const float *logits, int32_t vocab) {
  int32_t best = -1;
  for (int32_t token = 0; token < vocab; ++token)
    if (logits[token] > (best < 0 ? -std::numeric_limits<float>::infinity() : logits[best]))
      best = token;
  return best;
}

Status dsrt::noNumberToChoose(uint32_t row, uint32_t step) {
  return Status::internal("row ", row, ": the logits of new token ", step, " hold no number to choose by");
}

Status dsrt::chooseToken(float *logits, int32_t vocab, const std::vector<int32_t> &seen, const SamplingOptions &options, uint32_t row,
                         uint32_t step, int32_t &token) {
  applyRepetitionPenalty(logits, seen, options.repetitionPenalty);
  token = greatestToken(logits, vocab);
  if (token < 0 || std::isinf(logits[token]))
    return noNumberToChoose(row, step);
  if (!options.sample)
    return Status();
  const DsSampleRow how = sampleRowOf(options, row, step);
  std::vector<Candidate> candidates = filterCandidates(logits, vocab, logits[token], how); // the greatest is one
  uint64_t total = 0;
  for (const Candidate &candidate : candidates)
    total += candidate.weight;
  auto target = static_cast<uint64_t>(static_cast<unsigned __int128>(how.random) * total >> 64);
  for (const Candidate &candidate : candidates) {
    if (target < candidate.weight) {
      token = candidate.token;
      break;
    }
    target -= candidate.weight;
  }
  return Status();
}
