// JSON from outside: what is read, and what is refused without harm.
#include "runtime/lib/Json.h"
#include <gtest/gtest.h>

using namespace dsrt;

TEST(Json, ReadsATree) {
  JsonValue value;
  ASSERT_TRUE(parseJson(R"({"a": [1, -2, 2.5, "x", null, true], "b": {"c": 18446744073709551615}})", "f", value).ok());
  ASSERT_EQ(value.kind, JsonKind::object);
  const JsonValue *a = value.find("a");
  ASSERT_TRUE(a);
  ASSERT_EQ(a->elements.size(), 6u);
  EXPECT_EQ(a->elements[1].integer, -2);
  EXPECT_EQ(a->elements[2].number, 2.5);
  EXPECT_EQ(a->elements[3].string, "x");
  EXPECT_EQ(a->elements[4].kind, JsonKind::null);
  EXPECT_TRUE(a->elements[5].boolean);
  EXPECT_EQ(value.find("b")->find("c")->kind, JsonKind::number); // beyond int64
  EXPECT_EQ(value.find("c"), nullptr);
}

TEST(Json, Refuses) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "bad data: f: expects JSON, stops making sense at byte 1"},
      {"{\"a\": 1} x", "bad data: f: expects JSON, stops making sense at byte 10"},
      {"{\"a\": 1, \"a\": 2}", "bad data: f: key 'a' occurs twice"},
      {"[1, 1e999]", "bad data: f: expects JSON, stops making sense at byte 9"},
      {"[NaN]", "bad data: f: expects JSON, stops making sense at byte 2"},
      {"\"\xff\"", "bad data: f: expects JSON, stops making sense at byte 2"},
      {std::string(65, '[') + std::string(65, ']'), "bad data: f: nested deeper than 64 levels"},
      {std::string(1000000, '['), "bad data: f: nested deeper than 64 levels"},
  };
  for (const auto &[text, message] : cases) {
    JsonValue value;
    EXPECT_EQ(parseJson(text, "f", value).message(), message);
  }
  std::string deep;
  for (int i = 0; i < 1000000; ++i)
    deep += "{\"a\":";
  JsonValue value;
  EXPECT_EQ(parseJson(deep, "f", value).message(), "bad data: f: nested deeper than 64 levels");
  EXPECT_TRUE(parseJson(std::string(64, '[') + std::string(64, ']'), "f", value).ok());
}
