// Sampling against worked tables.
#include "runtime/lib/Sampler.h"
#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace dsrt;

static std::vector<int32_t> tokensOf(const std::vector<Candidate> &candidates) {
  std::vector<int32_t> tokens;
  for (const Candidate &candidate : candidates)
    tokens.push_back(candidate.token);
  return tokens;
}

// Known answers of Random123, kat_vectors.
TEST(Sampler, PhiloxKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

/// What is left of the logits by the options.
static std::vector<Candidate> filtered(const std::vector<float> &logits, const SamplingOptions &options) {
  float greatest = *std::max_element(logits.begin(), logits.end());
  return filterCandidates(logits.data(), static_cast<int32_t>(logits.size()), greatest, sampleRowOf(options, 0, 0));
}

TEST(Sampler, WeightsArePowersOfE) {
  EXPECT_EQ(sampleDistance(3, 3, 1), 0u);
  EXPECT_EQ(sampleWeight(0), uint64_t(1) << 40);
  for (int i = 0; i < 2700; ++i) {
    const float away = static_cast<float>(i) * 0.01f;
    const double weight = static_cast<double>(sampleWeight(sampleDistance(-away, 0, 1))), expected = std::exp(-double(away)) * 0x1p40;
    EXPECT_NEAR(weight, expected, expected * 3e-6 + 1) << away;
  }
  const float infinite = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (float far : {-28.f, -1e30f, -infinite, nan}) {
    EXPECT_EQ(sampleDistance(far, 0, 1), uint32_t(DS_SAMPLE_FAR)) << far;
    EXPECT_EQ(sampleWeight(sampleDistance(far, 0, 1)), 0u);
  }
}

TEST(Sampler, FiltersInTransformersOrder) {
  // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 of tokens 3, 0, 4, 1, 2.
  std::vector<float> logits(5);
  const int32_t order[] = {3, 0, 4, 1, 2};
  const float probabilities[] = {0.5f, 0.25f, 0.125f, 0.0625f, 0.0625f};
  for (int i = 0; i < 5; ++i)
    logits[order[i]] = std::log(probabilities[i]);
  struct {
    float temperature;
    int32_t topK;
    float topP, minP;
    std::vector<int32_t> expected;
  } cases[] = {
      {1, 0, 1, 0, {0, 1, 2, 3, 4}},
      {1, 1, 1, 0, {3}},
      {1, 3, 1, 0, {0, 3, 4}},
      {1, 4, 1, 0, {0, 1, 2, 3, 4}}, // the fourth and the fifth are equal, both stay
      {1, 9, 1, 0, {0, 1, 2, 3, 4}},
      {1, 0, 0.1f, 0, {3}},
      {1, 0, 0.6f, 0, {0, 3}},
      {1, 0, 0.8f, 0, {0, 3, 4}},
      {1, 0, 0.9f, 0, {0, 1, 2, 3, 4}}, // of equal ones both
      {1, 0, 1, 0.2f, {0, 3, 4}},
      {1, 0, 1, 0.6f, {3}},
      {1, 0, 1, 1, {3}},
      {1, 2, 0.7f, 0, {0, 3}}, // after top-k the two have 2/3 and 1/3
      {1, 2, 0.6f, 0, {3}},
      {0.5f, 0, 0.75f, 0, {0, 3}}, // squared and renormalised: 0.734, 0.184, ...
      {2, 0, 0.6f, 0, {0, 3, 4}},  // roots: 0.343, 0.243, 0.171, ...
  };
  for (const auto &test : cases) {
    SamplingOptions options;
    options.sample = true;
    options.temperature = test.temperature;
    options.topK = test.topK;
    options.topP = test.topP;
    options.minP = test.minP;
    EXPECT_EQ(tokensOf(filtered(logits, options)), test.expected)
        << test.temperature << ' ' << test.topK << ' ' << test.topP << ' ' << test.minP;
  }
}

TEST(Sampler, TopPOverManyTokensEqualsASort) {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>((i * 7919) % 5003) * 0.001f;
  for (float topP : {0.01f, 0.3f, 0.9f, 0.999f}) {
    SamplingOptions options;
    options.sample = true;
    options.topP = topP;
    std::vector<Candidate> kept = filtered(logits, options);
    std::vector<float> sorted = logits;
    std::sort(sorted.rbegin(), sorted.rend());
    double total = 0, sum = 0;
    for (float logit : sorted)
      total += std::exp(double(logit) - sorted[0]);
    size_t count = 0;
    while (count == 0 || (count < sorted.size() && sum < topP * total))
      sum += std::exp(double(sorted[count++]) - sorted[0]);
    ASSERT_EQ(kept.size(), count) << topP;
    for (const Candidate &candidate : kept)
      EXPECT_GE(logits[candidate.token], sorted[count - 1]);
  }
}

TEST(Sampler, RepetitionPenaltyCountsEachTokenOnce) {
  std::vector<float> logits = {2, -2, 0, 4};
  applyRepetitionPenalty(logits.data(), {0, 1, 2}, 2);
  EXPECT_EQ(logits, (std::vector<float>{1, -4, 0, 4}));
  std::vector<float> greedy = {3, 2, 0};
  SamplingOptions options;
  options.repetitionPenalty = 2;
  int32_t token = -1;
  ASSERT_TRUE(chooseToken(greedy.data(), 3, {0}, options, 0, 0, token).ok());
  EXPECT_EQ(token, 1);
}

TEST(Sampler, DrawsByProbability) {
  SamplingOptions options;
  options.sample = true;
  options.seed = 7;
  std::vector<int> counts(3);
  constexpr int draws = 20000;
  for (uint32_t step = 0; step < draws; ++step) {
    std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
    int32_t token = -1;
    ASSERT_TRUE(chooseToken(logits.data(), 3, {}, options, step % 4, step, token).ok());
    ++counts[token];
  }
  EXPECT_NEAR(counts[0], draws * 0.2, 300);
  EXPECT_NEAR(counts[1], draws * 0.5, 300);
  EXPECT_NEAR(counts[2], draws * 0.3, 300);
}

TEST(Sampler, LogitsWithoutNumbersAreAnError) {
  float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  int32_t token = -1;
  std::vector<float> none = {nan, nan}, lowest = {-infinite, -infinite}, some = {nan, 1, -infinite}, greatest = {infinite, 0};
  EXPECT_EQ(chooseToken(none.data(), 2, {}, {}, 0, 0, token).code(), DSRT_INTERNAL);
  EXPECT_EQ(chooseToken(lowest.data(), 2, {}, {}, 0, 0, token).code(), DSRT_INTERNAL);
  EXPECT_EQ(chooseToken(greatest.data(), 2, {}, {}, 0, 0, token).code(), DSRT_INTERNAL);
  SamplingOptions options;
  options.sample = true;
  ASSERT_TRUE(chooseToken(some.data(), 3, {}, options, 0, 0, token).ok());
  EXPECT_EQ(token, 1);
}
