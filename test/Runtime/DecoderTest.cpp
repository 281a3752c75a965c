// Forward of a causal model: padding anywhere, batches larger than a step, prompts longer than a chunk, any number of threads.
#include "FakePackage.h"
#include <gtest/gtest.h>
#include <random>

using namespace fake;

namespace {
struct Case {
  const char *name;
  int32_t rows;
  std::vector<int32_t> mask; // [rows, tokens]
};

std::vector<int32_t> idsFor(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids(count);
  for (int32_t &id : ids)
    id = static_cast<int32_t>(random() % vocab);
  return ids;
}

/// Checks logits and hidden of every place against the toy model, positions by column or by running count.
void checkForward(dsrt_model *model, int32_t rows, const std::vector<int32_t> &ids, const std::vector<int32_t> &mask, bool countTokens,
                  int offset) {
  auto tokens = static_cast<int32_t>(ids.size()) / rows;
  dsrt_batch batch = batchOf(rows, ids, &mask);
  std::vector<float> logits(ids.size() * vocab, -1), hiddenOut(ids.size() * hidden, -1);
  ASSERT_EQ(dsrt_forward(model, &batch, "logits", logits.data(), logits.size()), DSRT_OK) << dsrt_last_error();
  ASSERT_EQ(dsrt_forward(model, &batch, "hidden", hiddenOut.data(), hiddenOut.size()), DSRT_OK) << dsrt_last_error();
  for (int32_t row = 0; row < rows; ++row) {
    std::vector<int32_t> real, positions;
    for (int32_t column = 0; column < tokens; ++column) {
      size_t at = static_cast<size_t>(row) * tokens + column;
      std::vector<float> got(logits.begin() + at * vocab, logits.begin() + (at + 1) * vocab);
      if (!mask[at]) {
        EXPECT_EQ(got, std::vector<float>(vocab, 0)) << row << ' ' << column;
        EXPECT_EQ(hiddenOut[at * hidden], 0);
        continue;
      }
      positions.push_back((countTokens ? static_cast<int32_t>(real.size()) : column) + offset);
      real.push_back(ids[at]);
      EXPECT_EQ(got, expectedLogits(real, positions)) << row << ' ' << column;
      uint32_t state = 0;
      for (size_t i = 0; i < real.size(); ++i)
        state = fold(state, real[i], positions[i]);
      EXPECT_EQ(hiddenOut[at * hidden + 1], static_cast<float>(state + 1));
    }
  }
}
} // namespace

TEST(Decoder, PaddingAnywhere) {
  const std::vector<Case> cases = {
      {"full", 2, {1, 1, 1, 1, 1, 1, 1, 1}},  {"right", 2, {1, 1, 1, 1, 1, 1, 0, 0}},        {"left", 2, {0, 0, 1, 1, 1, 1, 1, 1}},
      {"holes", 2, {1, 0, 1, 0, 0, 1, 0, 1}}, {"an empty row", 2, {0, 0, 0, 0, 1, 1, 1, 0}}, {"all empty", 1, {0, 0, 0}},
  };
  for (const char *rule : {"arange", "from_mask"})
    for (int offset : {0, 2}) {
      Package package(Package::decoder, rule, offset);
      Loaded loaded(package.path());
      ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
      for (const Case &test : cases) {
        SCOPED_TRACE(test.name);
        std::vector<int32_t> ids = idsFor(test.mask.size(), 1);
        for (size_t i = 0; i < ids.size(); ++i)
          if (!test.mask[i])
            ids[i] = -100; // ids at masked places are ignored
        checkForward(loaded.model, test.rows, ids, test.mask, std::string(rule) == "from_mask", offset);
      }
    }
}

TEST(Decoder, RaggedBatchesOnAnyThreads) {
  Package package(Package::decoder);
  for (int threads = 1; threads <= 4; ++threads) {
    Loaded loaded(package.path(), threads);
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    std::mt19937 random(threads);
    for (int round = 0; round < 40; ++round) {
      // Up to 9 rows of up to the whole context, with steps of 4 rows and 16 tokens at most.
      int32_t rows = 1 + static_cast<int32_t>(random() % 9), tokens = 1 + static_cast<int32_t>(random() % context);
      std::vector<int32_t> mask(static_cast<size_t>(rows) * tokens);
      for (int32_t &flag : mask)
        flag = random() % 4 != 0;
      checkForward(loaded.model, rows, idsFor(mask.size(), random()), mask, false, 0);
    }
  }
}

TEST(Decoder, RefusesWhatIsOutOfRange) {
  Package package(Package::decoder);
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  struct {
    std::vector<int32_t> ids, mask;
    std::string message;
  } cases[] = {
      {{1, 2, vocab}, {1, 1, 1}, "invalid argument: input_ids[0][2]: expects an id in 0..31, got 32"},
      {{1, -1, 2}, {1, 1, 1}, "invalid argument: input_ids[0][1]: expects an id in 0..31, got -1"},
      {{1, 2, 3}, {1, 2, 1}, "invalid argument: attention_mask[0][1]: expects 0 or 1, got 2"},
      {std::vector<int32_t>(25, 1), std::vector<int32_t>(25, 1), "invalid argument: a sequence of 25 tokens exceeds the context of 24"},
  };
  for (const auto &test : cases) {
    dsrt_batch batch = batchOf(1, test.ids, &test.mask);
    std::vector<float> out(test.ids.size() * vocab, 7);
    EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
    EXPECT_EQ(dsrt_last_error(), test.message);
    EXPECT_EQ(out[0], 7);
  }
  std::vector<int32_t> ids = {1, 2};
  dsrt_batch batch = batchOf(1, ids);
  std::vector<float> out(2 * vocab);
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "embedding", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: output: expects one of hidden, logits, got 'embedding'");
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size() - 1), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: out: expects room for 64 elements, got 63");
  batch.size = 0;
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
  EXPECT_EQ(dsrt_forward(nullptr, &batch, "logits", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
}

TEST(Decoder, LearnedPositionsBoundTheSequence) {
  Package package(Package::decoder);
  package.replace("\"max_positions\": 40", "\"max_positions\": 8");
  Loaded loaded(package.path());
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  std::vector<int32_t> ids(9, 1);
  dsrt_batch batch = batchOf(1, ids);
  std::vector<float> out(9 * vocab);
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "logits", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: row 0: a sequence of 9 tokens exceeds the model's 8 positions");
}

TEST(Decoder, RunsAProgramAsItIs) {
  Package package(Package::decoder);
  Loaded loaded(package.path(), 2);
  ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
  std::vector<int32_t> ids = {3, 4, 5}, positions = {0, 1, 2}, past = {0}, rows = {2};
  std::vector<float> logits(vocab);
  dsrt_array inputs[] = {
      {"input_ids", ids.data(), 3}, {"positions", positions.data(), 3}, {"past", past.data(), 1}, {"rows", rows.data(), 1}};
  dsrt_array outputs[] = {{"logits", logits.data(), logits.size()}};
  ASSERT_EQ(dsrt_run_program(loaded.model, "prefill", 1, 3, 1, inputs, 4, outputs, 1), DSRT_OK) << dsrt_last_error();
  EXPECT_EQ(logits, expectedLogits(ids, positions));
  rows[0] = 3;
  EXPECT_EQ(dsrt_run_program(loaded.model, "prefill", 1, 3, 1, inputs, 4, outputs, 1), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: rows[0]: expects 0..2, got 3");
  rows[0] = 0;
  past[0] = context - 2;
  EXPECT_EQ(dsrt_run_program(loaded.model, "prefill", 1, 3, 1, inputs, 4, outputs, 1), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: past[0]: expects 0..21, got 22");
  EXPECT_EQ(dsrt_run_program(loaded.model, "train", 1, 3, 1, inputs, 4, outputs, 1), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: the package has no program 'train'");
  EXPECT_EQ(dsrt_run_program(loaded.model, "prefill", 1, 17, 1, inputs, 4, outputs, 1), DSRT_INVALID_ARGUMENT);
  past[0] = 0;
  EXPECT_EQ(dsrt_run_program(loaded.model, "prefill", 1, 3, 1, inputs, 3, outputs, 1), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: rows: expects 1 elements, got none");
}
