// Gradients of weights against plain loops.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string rowsOf(int64_t width) { return "tensor<?x?x" + std::to_string(width) + "xf32>"; }

/// The gradient of a weight [columns, depth] at byte `offset` of the state.
std::string plan(int64_t columns, int64_t depth, int64_t offset, const std::string &rows = "tokens") {
  OneLaunch launch;
  const std::string shape = std::to_string(columns) + "x" + std::to_string(depth), weight = "tensor<" + shape + "xf32>";
  std::vector<std::string> ins{launch.rows(rows, depth), launch.rows(rows, columns)};
  std::string out = launch.state("gradient", "rows", offset, shape);
  return launch.text("gemm_gradient",
                     "^bb0(%x: " + rowsOf(depth) + ", %dy: " + rowsOf(columns) +
                         "):\n  %w = ds.linear_weight_grad %x, %dy : " + rowsOf(depth) + ", " + rowsOf(columns) + " -> " + weight +
                         "\n  %g = ds_plan.accumulate %w : " + weight + "\n  ds_plan.return %g : " + weight,
                     ins, {out});
}

class GemmGradient : public OnLevel {
protected:
  static constexpr int64_t before = 64; // bytes of the state that belong to others

  std::vector<float> run(const CompiledPlan &code, Floats &x, Floats &dy, const std::vector<float> &start, int64_t rows, int32_t threads,
                         bool selected = false) {
    Floats state(before / 4 + static_cast<int64_t>(start.size()));
    memcpy(state.as<uint8_t>() + before, start.data(), start.size() * 4);
    StepData step;
    step.tokens = static_cast<int32_t>(selected ? rows + 7 : rows);
    step.rows = static_cast<int32_t>(selected ? rows : 0);
    step.outputs = {x.as<void>(), dy.as<void>()};
    step.state = state.as<void>();
    code.run("run", step, threads);
    for (int64_t i = 0; i < before / 4; ++i)
      EXPECT_TRUE(std::isnan(state[i]));
    return std::vector<float>(state.as<float>() + before / 4, state.as<float>() + state.count);
  }

  void check(int64_t columns, int64_t depth, const std::vector<int64_t> &rowCounts, bool selected = false) {
    CompiledPlan code(plan(columns, depth, before, selected ? "selected" : "tokens"), level());
    ASSERT_TRUE(code) << code.error();
    Numbers numbers(columns * 1000 + depth);
    for (int64_t rows : rowCounts) {
      Floats x(numbers.take(rows * depth)), dy(numbers.take(rows * columns));
      std::vector<float> start = numbers.take(columns * depth), one = run(code, x, dy, start, rows, 1, selected);
      for (int64_t n = 0; n < columns; ++n)
        for (int64_t k = 0; k < depth; ++k) {
          double sum = start[n * depth + k];
          for (int64_t m = 0; m < rows; ++m)
            sum += double(dy[m * columns + n]) * x[m * depth + k];
          ASSERT_NEAR(one[n * depth + k], sum, 4e-6 * rows + 1e-5) << columns << "x" << depth << " [" << n << ", " << k << "] of " << rows;
        }
      for (int32_t threads : {2, 3, 4})
        ASSERT_EQ(memcmp(run(code, x, dy, start, rows, threads, selected).data(), one.data(), one.size() * 4), 0)
            << threads << " threads change " << columns << "x" << depth << " of " << rows;
    }
  }
};

TEST_P(GemmGradient, agreesWithLoops) {
  const int64_t columns[] = {1, 2, 6, 7, 8, 13, 31, 48, 127, 130, 260}, depths[] = {1, 5, 16, 32, 33, 47, 48, 64, 100, 200};
  for (int64_t n : columns)
    for (int64_t k : depths) {
      if (n * k > 3000 && (n + k) % 3)
        continue;
      check(n, k, {1, 5, 129});
      if (HasFatalFailure())
        return;
    }
}

TEST_P(GemmGradient, manyRowsAndPanels) {
  check(150, 900, {2, 130});
  check(33, 50, {128, 256, 300, 1000});
  check(384, 384, {96});
}

TEST_P(GemmGradient, rowsThatWereSelected) { check(40, 60, {1, 3, 70}, /*selected=*/true); }

TEST_P(GemmGradient, aStepWithoutRowsAddsNothing) {
  CompiledPlan code(plan(9, 17, before, "selected"), level());
  ASSERT_TRUE(code) << code.error();
  Floats x(17), dy(9);
  std::vector<float> start = Numbers().take(9 * 17);
  EXPECT_EQ(run(code, x, dy, start, 0, 2, /*selected=*/true), start);
}

TEST_P(GemmGradient, refusesAnotherShape) {
  std::string text = plan(9, 17, before);
  for (size_t at; (at = text.find("memref<9x17")) != std::string::npos;)
    text.replace(at, 11, "memref<17x9");
  EXPECT_FALSE(CompiledPlan(text, level()));
}

/// Not run by default: GFLOP/s of one thread.
TEST_P(GemmGradient, DISABLED_speed) {
  struct Case {
    int64_t rows, columns, depth;
  };
  for (Case c : {Case{1024, 1024, 256}, {512, 3072, 768}, {1024, 768, 768}, {512, 768, 3072}, {1024, 384, 384}, {1024, 384, 1536}}) {
    CompiledPlan code(plan(c.columns, c.depth, 0), level());
    ASSERT_TRUE(code) << code.error();
    Numbers numbers;
    Floats x(numbers.take(c.rows * c.depth)), dy(numbers.take(c.rows * c.columns)), state(numbers.take(c.columns * c.depth));
    std::vector<float> other(16 << 20);
    double best = 1e9;
    for (int turn = 0; turn < 20; ++turn) {
      for (size_t i = 0; i < other.size(); i += 16)
        other[i] += 1;
      StepData step;
      step.tokens = static_cast<int32_t>(c.rows);
      step.outputs = {x.as<void>(), dy.as<void>()};
      step.state = state.as<void>();
      const double begin = secondsOfThread();
      code.run("run", step, 1);
      best = std::min(best, secondsOfThread() - begin);
    }
    printf("%s M=%ld N=%ld K=%ld GFLOP/s, best: gradient %.1f\n", level().name.str().c_str(), c.rows, c.columns, c.depth,
           2e-9 * c.rows * c.columns * c.depth / best);
    fflush(stdout);
  }
}

DS_ON_ALL_LEVELS(GemmGradient);

} // namespace
