// Generation: the same tokens at any batch size, chunking, padding and number of threads; every way to end.
#include "FakePackage.h"
#include <gtest/gtest.h>

using namespace fake;

namespace {
struct Result {
  dsrt_status status;
  std::vector<int32_t> tokens, lengths, finish;
  std::vector<int32_t> row(int32_t index, int32_t maxNew) const {
    return {tokens.begin() + index * maxNew, tokens.begin() + index * maxNew + lengths[index]};
  }
};

dsrt_generation settings(int32_t maxNew) {
  dsrt_generation generation;
  dsrt_generation_init(&generation);
  generation.max_new_tokens = maxNew;
  return generation;
}

Result run(dsrt_model *model, const dsrt_batch &batch, const dsrt_generation &generation, dsrt_token_callback callback = nullptr,
           void *user = nullptr) {
  Result result;
  result.tokens.assign(static_cast<size_t>(batch.batch) * generation.max_new_tokens, -7);
  result.lengths.assign(batch.batch, -7);
  result.finish.assign(batch.batch, -7);
  result.status =
      dsrt_generate(model, &batch, &generation, callback, user, result.tokens.data(), result.lengths.data(), result.finish.data());
  return result;
}

// Prompts of different lengths, padded on the left to 7 columns.
const std::vector<std::vector<int32_t>> prompts = {{5}, {1, 2, 3}, {9, 8, 7, 6, 5, 4, 3}, {2, 2}, {30, 31, 0, 4, 11}, {17, 3, 3, 3}};
void padLeft(std::vector<int32_t> &ids, std::vector<int32_t> &mask, bool left = true) {
  for (const std::vector<int32_t> &prompt : prompts) {
    size_t pad = 7 - prompt.size();
    for (size_t i = 0; i < 7; ++i) {
      bool real = left ? i >= pad : i < prompt.size();
      ids.push_back(real ? prompt[left ? i - pad : i] : 31);
      mask.push_back(real);
    }
  }
}
} // namespace

TEST(Generate, GreedyAtAnyBatchChunkAndThreads) {
  for (int offset : {0, 2}) {
    Package package(Package::decoder, offset ? "from_mask" : "arange", offset);
    for (int threads = 1; threads <= 4; ++threads) {
      Loaded loaded(package.path(), threads);
      ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
      for (bool left : {true, false})
        for (int32_t chunk : {0, 1, 2, 3, 5}) {
          std::vector<int32_t> ids, mask;
          padLeft(ids, mask, left);
          dsrt_generation generation = settings(6);
          generation.prefill_chunk = chunk;
          Result together = run(loaded.model, batchOf(6, ids, &mask), generation);
          ASSERT_EQ(together.status, DSRT_OK) << dsrt_last_error();
          for (int32_t row = 0; row < 6; ++row) {
            EXPECT_EQ(together.row(row, 6), expectedGreedy(prompts[row], 6, offset)) << row;
            EXPECT_EQ(together.finish[row], DSRT_FINISH_LENGTH);
            Result alone = run(loaded.model, batchOf(1, prompts[row]), generation);
            EXPECT_EQ(alone.row(0, 6), together.row(row, 6));
          }
        }
    }
  }
}

TEST(Generate, EndsWhereTheContextEnds) {
  Package package(Package::decoder);
  Loaded loaded(package.path(), 2);
  for (size_t length : {20, 23, 24}) {
    std::vector<int32_t> prompt(length, 3);
    Result result = run(loaded.model, batchOf(1, prompt), settings(50));
    ASSERT_EQ(result.status, DSRT_OK) << dsrt_last_error();
    EXPECT_EQ(result.lengths[0], static_cast<int32_t>(context - length));
    EXPECT_EQ(result.finish[0], DSRT_FINISH_LENGTH);
    EXPECT_EQ(result.row(0, 50), expectedGreedy(prompt, static_cast<int>(context - length)));
    EXPECT_EQ(result.tokens.back(), 0); // the padding of a model without pad and eos
  }
  std::vector<int32_t> tooLong(25, 3);
  Result result = run(loaded.model, batchOf(1, tooLong), settings(5));
  EXPECT_EQ(result.status, DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: row 0: a prompt of 25 tokens exceeds the context of 24");
  // A long row beside a short one: padding must not pass the end of the cache (the fake program aborts when it does).
  std::vector<int32_t> ids(48, 4), mask(48, 1);
  for (size_t i = 1; i < 24; ++i)
    mask[i] = 0;
  result = run(loaded.model, batchOf(2, ids, &mask), settings(30));
  EXPECT_EQ(result.status, DSRT_OK);
  EXPECT_EQ(result.lengths[0], 23);
  EXPECT_EQ(result.lengths[1], 0);
}

TEST(Generate, StopsAtEndTokensAndSequences) {
  Package package(Package::decoder);
  Loaded loaded(package.path());
  std::vector<int32_t> prompt = {5, 6}, expected = expectedGreedy(prompt, 8);
  dsrt_generation generation = settings(8);
  int32_t eos = expected[3];
  size_t first = std::find(expected.begin(), expected.end(), eos) - expected.begin();
  generation.eos = &eos;
  generation.eos_count = 1;
  Result result = run(loaded.model, batchOf(1, prompt), generation);
  EXPECT_EQ(result.finish[0], DSRT_FINISH_EOS);
  EXPECT_EQ(result.row(0, 8), std::vector<int32_t>(expected.begin(), expected.begin() + first + 1));
  EXPECT_EQ(result.tokens[7], eos); // padded with the end token
  generation = settings(8);
  std::vector<int32_t> stops = {31, 31, 31, expected[1], expected[2]}, lengths = {3, 2};
  generation.stop_tokens = stops.data();
  generation.stop_lengths = lengths.data();
  generation.stop_count = 2;
  result = run(loaded.model, batchOf(1, prompt), generation);
  EXPECT_EQ(result.finish[0], DSRT_FINISH_STOP);
  EXPECT_EQ(result.lengths[0], 3);
}

TEST(Generate, TheManifestsEndTokenEndsRowsOneByOne) {
  Package package(Package::decoder);
  std::vector<int32_t> ids, mask;
  padLeft(ids, mask);
  int32_t eos = expectedGreedy(prompts[2], 3)[2];
  package.replace("\"eos\": []", "\"eos\": [" + std::to_string(eos) + "]");
  Loaded loaded(package.path(), 2);
  Result result = run(loaded.model, batchOf(6, ids, &mask), settings(10));
  for (int32_t row = 0; row < 6; ++row) {
    std::vector<int32_t> expected = expectedGreedy(prompts[row], 10);
    auto end = std::find(expected.begin(), expected.end(), eos);
    if (end != expected.end())
      expected.erase(end + 1, expected.end());
    EXPECT_EQ(result.row(row, 10), expected) << row;
    EXPECT_EQ(result.finish[row], end != expected.end() || expected.back() == eos ? DSRT_FINISH_EOS : DSRT_FINISH_LENGTH);
  }
}

TEST(Generate, StreamsAndCancels) {
  Package package(Package::decoder);
  Loaded loaded(package.path());
  struct Log {
    std::vector<int32_t> rows, tokens;
    int32_t answerRow = -1, answer = 0;
  } log;
  auto callback = [](void *user, int32_t row, int32_t token, int32_t) -> int32_t {
    auto &log = *static_cast<Log *>(user);
    log.rows.push_back(row);
    log.tokens.push_back(token);
    return row == log.answerRow ? log.answer : 0;
  };
  std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6};
  Result result = run(loaded.model, batchOf(3, ids), settings(2), callback, &log);
  EXPECT_EQ(log.rows, (std::vector<int32_t>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(log.tokens[4], result.tokens[3]);
  log = Log();
  log.answerRow = 1;
  log.answer = 1;
  result = run(loaded.model, batchOf(3, ids), settings(3), callback, &log);
  EXPECT_EQ(result.finish, (std::vector<int32_t>{DSRT_FINISH_LENGTH, DSRT_FINISH_STOP, DSRT_FINISH_LENGTH}));
  EXPECT_EQ(result.lengths, (std::vector<int32_t>{3, 1, 3}));
  log = Log();
  log.answerRow = 1;
  log.answer = 2;
  result = run(loaded.model, batchOf(3, ids), settings(3), callback, &log);
  EXPECT_EQ(result.status, DSRT_OK);
  EXPECT_EQ(result.finish, std::vector<int32_t>(3, DSRT_FINISH_CANCELLED));
  EXPECT_EQ(result.lengths, (std::vector<int32_t>{1, 1, 0}));
}

TEST(Generate, SamplesTheSameAtAnyBatchSize) {
  Package package(Package::decoder);
  Loaded loaded(package.path(), 2);
  dsrt_generation generation = settings(12);
  generation.do_sample = 1;
  generation.temperature = 2;
  generation.top_p = 0.95f;
  generation.repetition_penalty = 1.2f;
  generation.seed = 99;
  std::vector<int32_t> pair = {1, 2, 3, 1, 2, 3}, single = {1, 2, 3};
  Result two = run(loaded.model, batchOf(2, pair), generation), one = run(loaded.model, batchOf(1, single), generation);
  EXPECT_EQ(one.row(0, 12), two.row(0, 12));
  EXPECT_NE(two.row(0, 12), two.row(1, 12)); // rows draw their own numbers
  EXPECT_EQ(run(loaded.model, batchOf(2, pair), generation).tokens, two.tokens);
  generation.seed = 100;
  EXPECT_NE(run(loaded.model, batchOf(2, pair), generation).tokens, two.tokens);
}

TEST(Generate, RefusesBadSettings) {
  Package package(Package::decoder);
  Loaded loaded(package.path());
  std::vector<int32_t> ids = {1, 2}, none = {0, 0};
  struct {
    void (*change)(dsrt_generation &);
    const char *word;
  } cases[] = {
      {[](dsrt_generation &g) { g.max_new_tokens = 0; }, "max_new_tokens"},
      {[](dsrt_generation &g) { g.do_sample = 1, g.temperature = 0; }, "temperature"},
      {[](dsrt_generation &g) { g.do_sample = 1, g.top_p = 1.5f; }, "top_p"},
      {[](dsrt_generation &g) { g.do_sample = 1, g.top_k = -1; }, "top_k"},
      {[](dsrt_generation &g) { g.do_sample = 1, g.min_p = __builtin_nanf(""); }, "min_p"},
      {[](dsrt_generation &g) { g.repetition_penalty = 0; }, "repetition_penalty"},
      {[](dsrt_generation &g) { g.stop_count = 1; }, "stop sequences"},
      {[](dsrt_generation &g) { g.eos_count = 2; }, "eos"},
      {[](dsrt_generation &g) { g.prefill_chunk = -1; }, "prefill_chunk"},
  };
  for (const auto &test : cases) {
    dsrt_generation generation = settings(4);
    test.change(generation);
    dsrt_batch batch = batchOf(1, ids);
    int32_t tokens[4], length;
    EXPECT_EQ(dsrt_generate(loaded.model, &batch, &generation, nullptr, nullptr, tokens, &length, nullptr), DSRT_INVALID_ARGUMENT);
    EXPECT_NE(std::string(dsrt_last_error()).find(test.word), std::string::npos) << dsrt_last_error();
  }
  Result result = run(loaded.model, batchOf(1, ids, &none), settings(2));
  EXPECT_EQ(result.status, DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: row 0: expects at least one token, got none");
}
