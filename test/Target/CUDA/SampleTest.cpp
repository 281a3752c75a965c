// Tokens that kernels choose are those of the runtime's own sampler, each of them, whatever the order of blocks and threads.
#include "SampleRows.h"
#include <random>

using namespace ds;
using namespace ds::test;

namespace {

/// Logits like a model's, with ties, and of `kind` 1 almost flat, 2 with one token far ahead, 3 with numbers that are none.
std::vector<float> logitsOf(int64_t vocab, int kind, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, kind == 1 ? 0.01f : 3);
  std::vector<float> logits(vocab);
  for (float &logit : logits)
    logit = std::round(normal(random) * 1024) / 1024;
  if (kind == 2)
    logits[vocab / 2] = 60;
  if (kind == 3)
    for (int64_t i = 0; i < vocab; i += 3)
      logits[i] = i % 2 ? notANumber : -infinite;
  return logits;
}

void expectSame(const EmulatedPlan &code, const SampleRows &rows, const std::string &what, size_t seedCount = 2) {
  std::string error;
  const std::vector<int32_t> found = rows.onDevice(code, error, seedCount);
  ASSERT_EQ(error, "") << what;
  EXPECT_EQ(found, rows.onHost()) << what;
}

struct Options {
  float temperature;
  int32_t topK;
  float topP, minP;
};

constexpr Options cases[] = {{1, 0, 1, 0},       {0.7f, 40, 1, 0},      {1.5f, 0, 0.9f, 0}, {1, 50, 0.8f, 0},
                             {0.9f, 0, 1, 0.1f}, {1.2f, 3, 0.5f, 0.2f}, {0.05f, 1, 1, 0}};

void choose(SampleRows &rows, const Options &options) {
  rows.options.sample = true;
  rows.options.temperature = options.temperature;
  rows.options.topK = options.topK;
  rows.options.topP = options.topP;
  rows.options.minP = options.minP;
}

/// One chunk, several with a rest, columns that are no multiple of 4.
TEST(GpuSample, ChoosesAsTheHostDoes) {
  for (int64_t vocab : {7, 1000, 2051}) {
    EmulatedPlan code(sampleText(vocab));
    ASSERT_TRUE(code) << code.error();
    SampleRows rows{vocab, {}, {}};
    for (int kind = 0; kind < 4; ++kind)
      rows.logits.push_back(logitsOf(vocab, kind, static_cast<uint32_t>(vocab + kind)));
    expectSame(code, rows, "greedy of " + std::to_string(vocab));
    for (const Options &options : cases) {
      choose(rows, options);
      ++rows.step;
      expectSame(code, rows, std::to_string(vocab) + " in step " + std::to_string(rows.step));
    }
  }
}

/// More chunks than a warp has lanes.
TEST(GpuSample, ManyTokens) {
  constexpr int64_t vocab = 40004;
  EmulatedPlan code(sampleText(vocab));
  ASSERT_TRUE(code) << code.error();
  SampleRows rows{vocab, {}, {logitsOf(vocab, 0, 1)}};
  expectSame(code, rows, "greedy", 1);
  for (const Options &options : {cases[3], cases[0]}) {
    choose(rows, options);
    expectSame(code, rows, "top_k " + std::to_string(options.topK), 1);
  }
}

/// Hundreds of draws: no token is ever another.
TEST(GpuSample, Draws) {
  constexpr int64_t vocab = 1030;
  EmulatedPlan code(sampleText(vocab));
  ASSERT_TRUE(code) << code.error();
  SampleRows rows{vocab, {}, {}};
  for (uint32_t row = 0; row < 8; ++row)
    rows.logits.push_back(logitsOf(vocab, row % 4, row));
  rows.options.sample = true;
  for (uint32_t step = 0; step < 12; ++step) {
    rows.step = step;
    rows.options.topK = step % 3 == 0 ? 0 : static_cast<int32_t>(step * 7);
    rows.options.topP = step % 2 ? 0.95f : 1;
    std::string error;
    const std::vector<int32_t> found = rows.onDevice(code, error, 1);
    ASSERT_EQ(error, "");
    EXPECT_EQ(found, rows.onHost()) << step;
  }
}

TEST(GpuSample, EqualLogits) {
  constexpr int64_t vocab = 3000;
  EmulatedPlan code(sampleText(vocab));
  ASSERT_TRUE(code) << code.error();
  std::vector<float> flat(vocab, 1.5f), zeros(vocab, -0.f), two(vocab, -5);
  zeros[1500] = 0; // equals -0: the first of them is the greatest
  two[1] = two[2900] = 4;
  SampleRows rows{vocab, {}, {flat, zeros, two}};
  expectSame(code, rows, "greedy");
  EXPECT_EQ(rows.onHost(), (std::vector<int32_t>{0, 0, 1}));
  for (Options options : {Options{1, 5, 1, 0}, Options{1, 1, 0.5f, 0}, Options{1, 0, 0.001f, 1}}) {
    choose(rows, options);
    expectSame(code, rows, "top_k " + std::to_string(options.topK));
  }
}

TEST(GpuSample, NothingToChooseBy) {
  constexpr int64_t vocab = 1300;
  EmulatedPlan code(sampleText(vocab));
  ASSERT_TRUE(code) << code.error();
  std::vector<float> good(vocab, 1), great(vocab, 0);
  great[700] = infinite;
  SampleRows rows{vocab, {}, {std::vector<float>(vocab, notANumber), good, great, std::vector<float>(vocab, -infinite)}};
  for (bool sample : {false, true}) {
    rows.options.sample = sample;
    rows.options.topK = sample ? 9 : 0;
    rows.options.topP = sample ? 0.9f : 1;
    expectSame(code, rows, sample ? "random" : "greedy");
    const std::vector<int32_t> tokens = rows.onHost();
    EXPECT_TRUE(tokens[0] == -1 && tokens[1] >= 0 && tokens[2] == -1 && tokens[3] == -1);
  }
}

TEST(GpuSample, Penalty) {
  constexpr int64_t vocab = 1100;
  EmulatedPlan code(sampleText(vocab));
  ASSERT_TRUE(code) << code.error();
  SampleRows rows{vocab, {}, {}};
  for (int row = 0; row < 3; ++row) {
    rows.logits.push_back(logitsOf(vocab, 0, 100 + static_cast<uint32_t>(row)));
    std::vector<int32_t> &seen = rows.seen.emplace_back();
    for (int32_t token = 0; token < row * 300; ++token) // none, some, more than a block has threads
      seen.push_back(token);
    if (row > 0) // so that the penalty decides
      seen.push_back(
          static_cast<int32_t>(std::max_element(rows.logits[row].begin() + 600, rows.logits[row].end()) - rows.logits[row].begin()));
  }
  const std::vector<int32_t> without = rows.onHost();
  rows.options.repetitionPenalty = 1.7f;
  expectSame(code, rows, "greedy");
  EXPECT_NE(rows.onHost(), without);
  rows.options.sample = true;
  rows.options.topP = 0.9f;
  expectSame(code, rows, "top_p");
}

} // namespace
