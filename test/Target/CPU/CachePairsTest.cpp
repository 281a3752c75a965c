// Keys and values of a step without a cache in pairs of bf16: each bit of what is stored, and that nothing else is touched.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

struct Shape {
  bool keys;
  int64_t heads, size;
  int64_t depth = 0; // of a product that computes the rows; 0: they are given

  int64_t width() const { return heads * size; }
  int64_t panels() const { return (width() + 31) / 32; }
  static int64_t capacity(int64_t tokens) { return (tokens + 15) / 16 * 16; }
  /// Which element of a sequence a value is.
  int64_t place(int64_t tokens, int64_t slot, int64_t column) const {
    const int64_t head = column / size, d = column % size, first = head * capacity(tokens);
    return keys ? ((first / 16 + slot / 16) * size + d / 2 * 2) * 16 + slot % 16 * 2 + d % 2
                : ((first + slot) / 2 * size + d) * 2 + slot % 2;
  }
};

std::string plan(const Shape &s) {
  OneLaunch plan;
  const std::string kind = s.keys ? "keys" : "values", rows = "tensor<?x?x" + number(s.width()) + "xf32>";
  std::vector<std::string> ins = {plan.rows("tokens", s.depth ? s.depth : s.width())};
  std::string region = "^bb0(%x: " + rows + "):\n", stored = "%x";
  if (s.depth) {
    const std::string x = "tensor<?x?x" + number(s.depth) + "xf32>", w = "tensor<" + number(s.width()) + "x" + number(s.depth) + "xf32>";
    ins.push_back(plan.weight("panels", 0, "memref<" + number(s.panels()) + "x" + number(s.depth) + "x32xf32>"));
    region = "^bb0(%x: " + x + ", %w: " + w + "):\n  %l = ds.linear %x, %w : " + x + ", " + w + "\n";
    stored = "%l";
  }
  region += "  %y = ds_plan.store_cache " + kind + " heads " + number(s.heads) + " " + stored + " : " + rows + " -> " + rows +
            "\n  ds_plan.return %y : " + rows + "\n";
  return plan.text(s.depth ? "gemm" : "store_cache", region, ins, {plan.buffer("packed", s.width(), "bf16", 0)});
}

class CachePairs : public OnLevel {
protected:
  /// Stores `rows`, [batch, tokens, width] or with a depth [batch, tokens, depth], and compares every byte.
  void check(const CompiledPlan &code, const Shape &s, const std::vector<float> &rows, int64_t batch, int64_t tokens, int32_t threads) {
    // Column j of the product is column j % depth of the rows.
    Floats input(rows), weights(s.panels() * s.depth * 32);
    for (int64_t i = 0; i < weights.count; ++i)
      weights[i] = 0;
    for (int64_t column = 0; column < s.width() && s.depth; ++column)
      weights[(column / 32 * s.depth + column % s.depth) * 32 + column % 32] = 1;
    const int64_t sequence = s.capacity(tokens) * s.width();
    GuardedBytes arena(batch * sequence * 2);
    memset(arena.as<uint8_t>(), 0xa5, arena.size());
    StepData step;
    step.batch = static_cast<int32_t>(batch);
    step.tokens = static_cast<int32_t>(tokens);
    step.outputs = {input.as<void>()};
    step.arena = arena.as<void>();
    step.weights = weights.as<void>();
    code.run("run", step, threads);
    std::vector<uint16_t> want(batch * sequence, 0xa5a5);
    const int64_t columns = s.depth ? s.depth : s.width();
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t column = 0; column < s.width(); ++column) {
        for (int64_t t = 0; t < tokens; ++t)
          want[b * sequence + s.place(tokens, t, column)] = toBits(rows[(b * tokens + t) * columns + column % columns], false);
        if (tokens % 2 == 1 && !s.keys) // what stands in a pair with the last token is multiplied by 0
          want[b * sequence + s.place(tokens, tokens, column)] = 0;
      }
    for (int64_t i = 0; i < batch * sequence; ++i)
      ASSERT_EQ(arena.as<uint16_t>()[i], want[i]) << (s.keys ? "keys " : "values ") << s.heads << "x" << s.size << " depth " << s.depth
                                                  << " B " << batch << " T " << tokens << " at " << i;
  }

  void checkAll(const Shape &s) {
    CompiledPlan code(plan(s), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t tokens : {1, 2, 3, 11, 12, 13, 15, 16, 17, 33, 70, 75})
      for (int64_t batch : {1, 2, 5})
        ASSERT_NO_FATAL_FAILURE(check(code, s, Numbers(tokens).take(batch * tokens * (s.depth ? s.depth : s.width())), batch, tokens,
                                      static_cast<int32_t>(tokens % 3 + 1)));
  }
};

TEST_P(CachePairs, rows) {
  for (bool keys : {true, false})
    for (int64_t size : {16, 32, 64, 80})
      for (int64_t heads : {1, 3})
        checkAll({keys, heads, size});
}

/// Blocks of a product end anywhere in a sequence, also between the two of a pair.
TEST_P(CachePairs, products) {
  for (bool keys : {true, false})
    for (int64_t size : {16, 32, 64})
      for (int64_t heads : {2, 3})
        checkAll({keys, heads, size, 24});
}

TEST_P(CachePairs, refusesOtherHeads) {
  for (int64_t depth : {0, 24}) {
    CompiledPlan code(plan({true, 2, 24, depth}), level());
    EXPECT_FALSE(code);
    EXPECT_NE(code.error().find("expects packed bf16 of heads of a multiple of 16, got 24"), std::string::npos) << code.error();
  }
}

DS_ON_ALL_LEVELS(CachePairs);

} // namespace
