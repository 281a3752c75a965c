// ds.dropout alone, between other ops of rows, behind norms and products and before column sums: the elements that Philox says.
#include "OneLaunch.h"
#include "ds/Reference/Philox.h"

using namespace ds;
using namespace ds::test;

namespace {
constexpr int32_t seedWords[2] = {-1234567, 0x7fffffff};
constexpr double rate = 0.3;
constexpr uint32_t site = 0xfedcba98;

/// What element `i` of the tensor is multiplied by.
double factor(int64_t i) {
  const auto block = static_cast<uint32_t>(i / 4);
  const uint32_t word = reference::philox4x32({block, 0, site, 0}, {uint32_t(seedWords[0]), uint32_t(seedWords[1])})[i % 4];
  return word >= rate * 4294967296.0 ? 1 / (1 - rate) : 0;
}

std::string tensor(int64_t width) { return "tensor<?x" + std::to_string(width) + "xf32>"; }

std::string dropout(const std::string &result, const std::string &of, int64_t width) {
  return "  " + result + " = ds.dropout " + of + ", %s rate " + std::to_string(rate) + " site " + std::to_string(site) + " : " +
         tensor(width) + ", tensor<2xi32>\n";
}

class Dropout : public OnLevel {
protected:
  /// Nothing lies behind the seed.
  const int32_t *seedAtEnd() {
    memcpy(given.as<int32_t>() + 14, seedWords, sizeof(seedWords));
    return given.as<int32_t>() + 14;
  }
  GuardedBytes given{64};
};
} // namespace

TEST_P(Dropout, betweenElementwiseOps) {
  for (int64_t width : {1, 5, 19, 64, 258}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), s = plan.seed(), t = tensor(width);
    CompiledPlan code(plan.text("row",
                                "^bb0(%x: " + t + ", %s: tensor<2xi32>):\n" + dropout("%a", "%x", width) + "  %b = ds.add %a, %x : " + t +
                                    "\n" + dropout("%y", "%b", width) + "  ds_plan.return %y : " + t + "\n",
                                {x, s}, {y}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {1, 4, 31, 333}) {
      Floats in(Numbers(rows).take(rows * width)), out(rows * width);
      StepData step;
      step.tokens = rows;
      step.inputs = {seedAtEnd()};
      step.outputs = {in.as<void>(), out.as<void>()};
      code.run("run", step, rows % 4 + 1);
      for (int64_t i = 0; i < rows * width; ++i)
        ASSERT_NEAR(out[i], factor(i) * (factor(i) + 1) * in[i], 2e-6) << i << " of rows of " << width;
    }
  }
}

/// Rows of a norm are counted one by one: blocks of four begin anywhere.
TEST_P(Dropout, beforeAndBehindANorm) {
  for (int64_t width : {3, 21, 48}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), s = plan.seed(), t = tensor(width);
    CompiledPlan code(plan.text("row",
                                "^bb0(%x: " + t + ", %s: tensor<2xi32>):\n" + dropout("%a", "%x", width) +
                                    "  %b = ds.l2_normalize %a eps 1.0e-12 : " + t + "\n" + dropout("%y", "%b", width) +
                                    "  ds_plan.return %y : " + t + "\n",
                                {x, s}, {y}),
                      level());
    ASSERT_TRUE(code) << code.error();
    const int32_t rows = 29;
    Floats in(Numbers(7).take(rows * width)), out(rows * width);
    StepData step;
    step.tokens = rows;
    step.inputs = {seedAtEnd()};
    step.outputs = {in.as<void>(), out.as<void>()};
    code.run("run", step, 3);
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (int64_t i = r * width; i < (r + 1) * width; ++i)
        squares += std::pow(factor(i) * in[i], 2);
      for (int64_t i = r * width; i < (r + 1) * width; ++i)
        ASSERT_NEAR(out[i], factor(i) * factor(i) * in[i] / std::max(std::sqrt(squares), 1e-12), 3e-6) << i << " of rows of " << width;
    }
  }
}

TEST_P(Dropout, behindAProduct) {
  const int64_t depth = 20;
  for (int64_t width : {37, 64, 90}) {
    const int64_t panels = (width + 31) / 32;
    OneLaunch plan;
    std::string x = plan.rows("tokens", depth), r = plan.rows("tokens", width), y = plan.rows("tokens", width), s = plan.seed();
    std::string w = plan.weight("panels", 0, "memref<" + std::to_string(panels) + "x20x32xf32>"), in = tensor(depth), t = tensor(width);
    std::string matrix = "tensor<" + std::to_string(width) + "x20xf32>";
    CompiledPlan code(plan.text("gemm",
                                "^bb0(%x: " + in + ", %w: " + matrix + ", %s: tensor<2xi32>, %r: " + t +
                                    "):\n  %m = ds.linear %x, %w : " + in + ", " + matrix + "\n" + dropout("%a", "%m", width) +
                                    "  %y = ds.add %a, %r : " + t + "\n  ds_plan.return %y : " + t + "\n",
                                {x, w, s, r}, {y}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {1, 17, 70, 300}) {
      Floats a(Numbers(rows).take(rows * depth)), b(Numbers(2).take(rows * width)), out(rows * width),
          weights(Numbers(3).take(panels * depth * 32));
      StepData step;
      step.tokens = rows;
      step.inputs = {seedAtEnd()};
      step.outputs = {a.as<void>(), b.as<void>(), out.as<void>()};
      step.weights = weights.as<void>();
      code.run("run", step, rows % 3 + 1);
      for (int64_t i = 0; i < rows * width; ++i) {
        double sum = 0;
        int64_t n = i % width;
        for (int64_t k = 0; k < depth; ++k)
          sum += static_cast<double>(a[i / width * depth + k]) * weights[(n / 32 * depth + k) * 32 + n % 32];
        ASSERT_NEAR(out[i], factor(i) * sum + b[i], 4e-5) << i << " of rows of " << width;
      }
    }
  }
}

TEST_P(Dropout, beforeAColumnSum) {
  for (int64_t width : {6, 115}) {
    OneLaunch plan;
    const std::string t = tensor(width), v = "tensor<" + std::to_string(width) + "xf32>";
    std::string x = plan.rows("tokens", width), s = plan.seed(), out = plan.state("gradient", "vector", 0, "128");
    CompiledPlan code(plan.text("column_sum",
                                "^bb0(%x: " + t + ", %s: tensor<2xi32>):\n" + dropout("%y", "%x", width) + "  %c = ds.column_sum %y : " +
                                    t + " -> " + v + "\n  %a = ds_plan.accumulate %c : " + v + "\n  ds_plan.return %a : " + v + "\n",
                                {x, s}, {out}),
                      level());
    ASSERT_TRUE(code) << code.error();
    const int64_t rows = 9;
    Floats in(Numbers(5).take(rows * width)), state(std::vector<float>(128, 0));
    StepData step;
    step.tokens = static_cast<int32_t>(rows);
    step.inputs = {seedAtEnd()};
    step.outputs = {in.as<void>()};
    step.state = state.as<void>();
    code.run("run", step, 2);
    for (int64_t column = 0; column < width; ++column) {
      double want = 0;
      for (int64_t row = 0; row < rows; ++row)
        want += factor(row * width + column) * in[row * width + column];
      ASSERT_NEAR(state[column], want, 5e-6) << column << " of " << width;
    }
  }
}

TEST_P(Dropout, refusesSeedsThatAreNone) {
  const std::string t = tensor(8);
  for (bool behindProduct : {false, true}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", 8), y = plan.rows("tokens", 8), s = plan.indices("tokens");
    std::string w = plan.weight("panels", 0, "memref<1x8x32xf32>");
    std::string product = "  %m = ds.linear %x, %w : " + t + ", tensor<8x8xf32>\n" + dropout("%y", "%m", 8);
    CompiledPlan code(plan.text(behindProduct ? "gemm" : "row",
                                "^bb0(%x: " + t + (behindProduct ? ", %w: tensor<8x8xf32>" : "") + ", %s: tensor<2xi32>):\n" +
                                    (behindProduct ? product : dropout("%y", "%x", 8)) + "  ds_plan.return %y : " + t + "\n",
                                behindProduct ? std::vector<std::string>{x, w, s} : std::vector<std::string>{x, s}, {y}),
                      level());
    EXPECT_FALSE(code);
    EXPECT_NE(code.error().find("seeds in a single row"), std::string::npos) << code.error();
  }
}

DS_ON_ALL_LEVELS(Dropout);
