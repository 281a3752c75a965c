#include "ds/Import/Json.h"
#include <chrono>
#include <gtest/gtest.h>

TEST(Json, MillionLevelsIsAnErrorAtOnce) {
  auto begin = std::chrono::steady_clock::now();
  for (const char *open : {"[", "{\"a\":"}) {
    std::string text;
    for (int i = 0; i < 1000000; ++i)
      text += open;
    EXPECT_FALSE(ds::Json::parse(text, "deep.json"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST(Json, Refuses) {
  for (const char *text : {"", "{", "{\"a\":1,\"a\":2}", "{\"a\":1e999}", "{\"a\":NaN}", "\"\xff\"", "{} {}", "{\"a\":1,}", "[1"}) {
    auto parsed = ds::Json::parse(text, "bad.json");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ds::ErrorCode::BadData);
    EXPECT_NE(parsed.error().message.find("bad.json"), std::string::npos);
  }
}

TEST(Json, DepthLimitIsExact) {
  EXPECT_TRUE(ds::Json::parse(std::string(64, '[') + std::string(64, ']'), "f"));
  EXPECT_FALSE(ds::Json::parse(std::string(65, '[') + std::string(65, ']'), "f"));
}

TEST(Json, TypedGetters) {
  auto parsed = ds::Json::parse(R"({"n": 3, "x": 0.5, "b": true, "s": "t", "z": null})", "c.json");
  ASSERT_TRUE(parsed);
  ds::JsonReader reader("c.json", *parsed);
  EXPECT_EQ(*reader.integer("n", 1, 3), 3);
  EXPECT_EQ(*reader.number("x", 0, 1), 0.5);
  EXPECT_TRUE(*reader.boolean("b"));
  EXPECT_EQ(*reader.string("s"), "t");
  EXPECT_EQ(*reader.integerOr("z", 7, 0, 9), 7);
  EXPECT_FALSE(reader.integer("x", 0, 9));
  EXPECT_FALSE(reader.string("n"));
  auto outside = reader.integer("n", 4, 9);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().message, "'c.json': key 'n': expects an integer of 4 to 9, found 3");
}
