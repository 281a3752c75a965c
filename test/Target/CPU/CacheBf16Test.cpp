// Caches of bf16: each bit of what is stored, at any place, in steps of any size, and that nothing else is touched.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

/// To the nearest, ties to even; a NaN stays a NaN.
uint16_t nearestBf16(float value) {
  uint32_t bits = 0;
  memcpy(&bits, &value, 4);
  if (std::isnan(value))
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  const uint32_t rest = bits & 0xffff, top = bits >> 16;
  return static_cast<uint16_t>(top + (rest > 0x8000 || (rest == 0x8000 && top % 2 == 1)));
}

/// A cache of `heads` heads at byte 128 of each sequence's block.
struct Shape {
  bool keys;
  int64_t heads, size, context = 64;

  int64_t width() const { return heads * size; }
  int64_t bytes() const { return 128 + context * width() * 2; }
  /// Which element of the cache a value is.
  int64_t place(int64_t slot, int64_t column) const {
    const int64_t head = column / size, d = column % size;
    return keys ? ((head * context / 16 + slot / 16) * size + d) * 16 + slot % 16 : (head * context + slot) * size + d;
  }
};

std::string plan(const Shape &s) {
  OneLaunch plan;
  const std::string kind = s.keys ? "keys" : "values", rows = "tensor<?x?x" + number(s.width()) + "xf32>";
  const std::string cache = "tensor<?x" + number(s.context) + "x" + number(s.width()) + "xbf16>";
  const std::vector<std::string> ins = {plan.rows("tokens", s.width()), plan.indices("batch")};
  const std::string region = "^bb0(%x: " + rows + ", %p: tensor<?xi32>):\n  %y = ds_plan.store_cache " + kind + " heads " +
                             number(s.heads) + " %x past %p : " + rows + ", tensor<?xi32> -> " + cache +
                             "\n  ds_plan.return %y : " + cache + "\n";
  return plan.text("store_cache", region, ins, {plan.cache(kind, s.heads, 128, s.context, s.width(), "bf16")});
}

class CacheBf16 : public OnLevel {
protected:
  /// Appends `tokens` tokens to batches of caches of 0xa5 and compares every byte.
  void check(const CompiledPlan &code, const Shape &s, const std::vector<float> &rows, int64_t tokens, std::vector<int32_t> past) {
    Floats input(rows);
    std::vector<std::unique_ptr<GuardedBytes>> blocks;
    StepData step;
    step.batch = static_cast<int32_t>(past.size());
    step.tokens = static_cast<int32_t>(tokens);
    step.inputs = {past.data()};
    step.outputs = {input.as<void>()};
    for (size_t b = 0; b < past.size(); ++b) {
      blocks.push_back(std::make_unique<GuardedBytes>(s.bytes()));
      memset(blocks[b]->as<uint8_t>(), 0xa5, s.bytes());
      step.kv.push_back(blocks[b]->as<uint8_t>());
    }
    code.run("run", step, static_cast<int32_t>(tokens % 3 + 1));
    for (size_t b = 0; b < past.size(); ++b) {
      std::vector<uint16_t> want(s.bytes() / 2, 0xa5a5);
      for (int64_t t = 0; t < tokens && past[b] + t < s.context; ++t)
        for (int64_t column = 0; column < s.width(); ++column)
          want[64 + s.place(past[b] + t, column)] = nearestBf16(rows[(static_cast<int64_t>(b) * tokens + t) * s.width() + column]);
      ASSERT_EQ(memcmp(blocks[b]->as<uint8_t>(), want.data(), s.bytes()), 0)
          << (s.keys ? "keys " : "values ") << s.heads << "x" << s.size << " T " << tokens << " past " << past[b];
    }
  }
};

TEST_P(CacheBf16, nearestAtAnyPlace) {
  for (bool keys : {true, false})
    for (int64_t size : {64, 80, 16, 12, 20, 3, 1})
      for (int64_t heads : {1, 3}) {
        const Shape s{keys, heads, size};
        CompiledPlan code(plan(s), level());
        ASSERT_TRUE(code) << code.error();
        for (int64_t tokens : {1, 2, 15, 16, 17, 33, 70})
          for (int32_t past : {0, 1, 15, 16, 30, 63, 64, 100})
            ASSERT_NO_FATAL_FAILURE(
                check(code, s, Numbers(past + tokens).take(2 * tokens * s.width()), tokens, {past, (past * 7 + 5) % 40}));
      }
}

/// Ties either way, subnormals, what rounds to infinity, and what is no number.
TEST_P(CacheBf16, numbersOfAllKinds) {
  std::vector<float> rows = specialNumbers();
  for (bool keys : {true, false}) {
    const Shape s{keys, 1, 16};
    CompiledPlan code(plan(s), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t tokens : {1, 16}) { // with the whole block of slots as well
      std::vector<float> all;
      for (int64_t t = 0; t < tokens; ++t)
        all.insert(all.end(), rows.begin(), rows.end());
      ASSERT_NO_FATAL_FAILURE(check(code, s, all, tokens, {0}));
    }
  }
}

DS_ON_ALL_LEVELS(CacheBf16);

} // namespace
