// Sequences that keep their cache: appending in pieces equals appending at once.
#include "FakePackage.h"
#include <gtest/gtest.h>

using namespace fake;

static std::vector<float> appended(dsrt_session *session, int32_t rows, const std::vector<int32_t> &ids,
                                   const std::vector<int32_t> *mask = nullptr) {
  dsrt_batch batch = batchOf(rows, ids, mask);
  std::vector<float> logits(static_cast<size_t>(rows) * vocab, -1);
  EXPECT_EQ(dsrt_session_forward(session, &batch, logits.data(), logits.size()), DSRT_OK) << dsrt_last_error();
  return logits;
}

TEST(Session, AppendsInPieces) {
  Package package(Package::decoder);
  Loaded loaded(package.path(), 2);
  dsrt_session *session = nullptr;
  ASSERT_EQ(dsrt_session_create(loaded.model, 1, &session), DSRT_OK) << dsrt_last_error();
  std::vector<int32_t> all = {4, 9, 1, 7, 7, 2}, positions = {0, 1, 2, 3, 4, 5};
  appended(session, 1, {4, 9, 1});
  appended(session, 1, {7});
  EXPECT_EQ(appended(session, 1, {7, 2}), expectedLogits(all, positions));
  EXPECT_EQ(dsrt_session_length(session, 0), 6);
  EXPECT_EQ(dsrt_session_length(session, 1), -1);
  EXPECT_EQ(dsrt_session_truncate(session, 0, 7), DSRT_INVALID_ARGUMENT);
  ASSERT_EQ(dsrt_session_truncate(session, 0, 3), DSRT_OK);
  EXPECT_EQ(appended(session, 1, {7, 7, 2}), expectedLogits(all, positions));
  ASSERT_EQ(dsrt_session_reset(session), DSRT_OK);
  EXPECT_EQ(appended(session, 1, all), expectedLogits(all, positions));
  dsrt_batch batch = batchOf(1, {});
  std::vector<int32_t> rest(19, 1);
  batch = batchOf(1, rest);
  EXPECT_EQ(dsrt_session_forward(session, &batch, nullptr, 0), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: sequence 0: 6 tokens and 19 more exceed the context of 24");
  dsrt_memory memory = {};
  memory.size = sizeof(memory);
  ASSERT_EQ(dsrt_get_memory(loaded.model, &memory), DSRT_OK);
  EXPECT_EQ(memory.kv, kvBytes);
  EXPECT_EQ(memory.arena, arenaBytes);
  EXPECT_EQ(memory.weights, static_cast<int64_t>(vocab * sizeof(float)));
  dsrt_session_free(session);
}

TEST(Session, RowsGrowApart) {
  Package package(Package::decoder);
  Loaded loaded(package.path());
  constexpr int32_t rows = 6; // more than a step takes
  dsrt_session *session = nullptr;
  ASSERT_EQ(dsrt_session_create(loaded.model, rows, &session), DSRT_OK) << dsrt_last_error();
  std::vector<std::vector<int32_t>> tokens(rows);
  for (int round = 0; round < 3; ++round) {
    std::vector<int32_t> ids, mask;
    for (int32_t row = 0; row < rows; ++row)
      for (int32_t column = 0; column < 6; ++column) {
        bool real = (row * 7 + column * 3 + round) % 5 < 2 && !(row == 3 && round < 2);
        ids.push_back((row + column + round * 3) % vocab);
        mask.push_back(real);
        if (real)
          tokens[row].push_back(ids.back());
      }
    std::vector<float> logits = appended(session, rows, ids, &mask);
    for (int32_t row = 0; row < rows; ++row) {
      std::vector<int32_t> positions;
      for (size_t i = 0; i < tokens[row].size(); ++i)
        positions.push_back(static_cast<int32_t>(i));
      std::vector<float> got(logits.begin() + row * vocab, logits.begin() + (row + 1) * vocab);
      bool any = std::count(mask.begin() + row * 6, mask.begin() + (row + 1) * 6, 1) > 0;
      EXPECT_EQ(got, any ? expectedLogits(tokens[row], positions) : std::vector<float>(vocab, 0)) << row << ' ' << round;
      EXPECT_EQ(dsrt_session_length(session, row), static_cast<int32_t>(tokens[row].size()));
    }
  }
  dsrt_session_free(session);
}
