// Forward of an encoder: batches larger than a step, masks, segments, bounds.
#include "FakePackage.h"
#include <gtest/gtest.h>

using namespace fake;

static float value(int32_t id, int32_t type, int32_t position) { return static_cast<float>(id * 100 + type * 10 + position); }

TEST(Encoder, SplitsLargeBatches) {
  Package package(Package::encoder);
  for (int threads : {1, 3}) {
    Loaded loaded(package.path(), threads);
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    constexpr int32_t rows = 11, tokens = 6; // steps take 2 rows of 6 tokens
    std::vector<int32_t> ids, mask, types;
    for (int32_t row = 0; row < rows; ++row)
      for (int32_t column = 0; column < tokens; ++column) {
        ids.push_back((row * 5 + column) % vocab);
        mask.push_back(column <= row % tokens);
        types.push_back(column % 2);
      }
    dsrt_batch batch = batchOf(rows, ids, &mask);
    batch.token_type_ids = types.data();
    std::vector<float> embedding(rows * hidden), hiddenOut(rows * tokens * hidden), logits(rows * tokens * vocab);
    ASSERT_EQ(dsrt_forward(loaded.model, &batch, "embedding", embedding.data(), embedding.size()), DSRT_OK) << dsrt_last_error();
    ASSERT_EQ(dsrt_forward(loaded.model, &batch, "hidden", hiddenOut.data(), hiddenOut.size()), DSRT_OK) << dsrt_last_error();
    ASSERT_EQ(dsrt_forward(loaded.model, &batch, "logits", logits.data(), logits.size()), DSRT_OK) << dsrt_last_error();
    for (int32_t row = 0; row < rows; ++row) {
      float sum = 0;
      for (int32_t column = 0; column < tokens; ++column) {
        int32_t at = row * tokens + column;
        float expected = value(ids[at], mask[at] ? types[at] : 0, column);
        sum += mask[at] ? expected : 0;
        EXPECT_EQ(hiddenOut[at * hidden + 2], expected + 2);
        EXPECT_EQ(logits[at * vocab + 5], expected + 5);
      }
      EXPECT_EQ(embedding[row * hidden], sum) << row;
    }
  }
}

TEST(Encoder, PositionsByRule) {
  std::vector<int32_t> ids = {1, 1, 5, 6, 1, 7}, mask = {0, 0, 1, 1, 0, 1};
  struct {
    const char *rule;
    int offset;
    std::vector<int32_t> positions;
  } cases[] = {{"arange", 0, {0, 1, 2, 3, 4, 5}}, {"from_mask", 2, {1, 1, 2, 3, 1, 4}}, {"from_ids", 0, {1, 1, 2, 3, 1, 4}}};
  for (const auto &test : cases) {
    Package package(Package::encoder, test.rule, test.offset);
    Loaded loaded(package.path());
    ASSERT_EQ(loaded.status, DSRT_OK) << dsrt_last_error();
    dsrt_batch batch = batchOf(1, ids, &mask);
    std::vector<float> out(ids.size() * hidden);
    ASSERT_EQ(dsrt_forward(loaded.model, &batch, "hidden", out.data(), out.size()), DSRT_OK) << dsrt_last_error();
    for (size_t i = 0; i < ids.size(); ++i)
      EXPECT_EQ(out[i * hidden], value(ids[i], 0, test.positions[i])) << test.rule << ' ' << i;
  }
}

TEST(Encoder, NamesBothNumbersOfALongSequence) {
  Package package(Package::encoder);
  std::vector<int32_t> ids(17, 2);
  std::vector<float> out(17 * hidden);
  dsrt_batch batch = batchOf(1, ids);
  {
    Loaded loaded(package.path());
    EXPECT_EQ(dsrt_forward(loaded.model, &batch, "hidden", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
    EXPECT_STREQ(dsrt_last_error(), "invalid argument: a sequence of 17 tokens exceeds the 16 rows of a step");
    // Padding that all rows share needs no rows when the output is pooled.
    std::vector<int32_t> mask(17, 1);
    mask[16] = 0;
    batch.attention_mask = mask.data();
    EXPECT_EQ(dsrt_forward(loaded.model, &batch, "embedding", out.data(), hidden), DSRT_OK) << dsrt_last_error();
    batch.attention_mask = nullptr;
  }
  package.replace("\"max_positions\": 40", "\"max_positions\": 12");
  ids.resize(13);
  batch = batchOf(1, ids);
  Loaded loaded(package.path());
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "hidden", out.data(), 13 * hidden), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: row 0: a sequence of 13 tokens exceeds the model's 12 positions");
}

TEST(Encoder, PositionsBehindThePaddingsOwn) {
  Package package(Package::encoder, "from_ids");
  package.replace("\"max_positions\": 40", "\"max_positions\": 3");
  Loaded loaded(package.path());
  std::vector<int32_t> fits = {5, 1, 6, 7}, exceeds = {5, 6, 7, 8};
  std::vector<float> out(4 * hidden);
  dsrt_batch batch = batchOf(1, fits);
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "hidden", out.data(), out.size()), DSRT_OK) << dsrt_last_error();
  batch = batchOf(1, exceeds);
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "hidden", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: row 0: a sequence of 4 tokens exceeds the model's 3 positions");
}

TEST(Encoder, ChecksSegmentsAndShapes) {
  Package package(Package::encoder);
  Loaded loaded(package.path());
  std::vector<int32_t> ids = {1, 2}, types = {0, 2};
  dsrt_batch batch = batchOf(1, ids);
  batch.token_type_ids = types.data();
  std::vector<float> out(2 * hidden);
  EXPECT_EQ(dsrt_forward(loaded.model, &batch, "hidden", out.data(), out.size()), DSRT_INVALID_ARGUMENT);
  EXPECT_STREQ(dsrt_last_error(), "invalid argument: token_type_ids[0][1]: expects a segment in 0..1, got 2");
  int64_t shape[3];
  int32_t rank;
  ASSERT_EQ(dsrt_output_shape(loaded.model, "embedding", 3, 5, shape, &rank), DSRT_OK);
  EXPECT_EQ(rank, 2);
  EXPECT_EQ(shape[1], hidden);
  ASSERT_EQ(dsrt_output_shape(loaded.model, "logits", 3, 5, shape, &rank), DSRT_OK);
  EXPECT_EQ(rank, 3);
  EXPECT_EQ(shape[1], 5);
  EXPECT_EQ(shape[2], vocab);
  dsrt_info info = {};
  info.size = sizeof(info);
  ASSERT_EQ(dsrt_get_info(loaded.model, &info), DSRT_OK);
  EXPECT_EQ(info.is_decoder, 0);
  EXPECT_EQ(info.context, maxRows);
  dsrt_session *session = nullptr;
  EXPECT_EQ(dsrt_session_create(loaded.model, 1, &session), DSRT_INVALID_ARGUMENT);
}
