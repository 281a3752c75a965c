// Sums over all rows that are added to gradients of vectors, against sums in f64.
#include "OneLaunch.h"
#include <chrono>
#include <cstdio>

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

/// What a norm needs: column sums of `grad * normalized` and of `grad`; or the second alone.
struct SumPlan {
  SumPlan(const std::string &rows, int64_t width, bool both, const CpuLevel &level) : padded((width + 31) / 32 * 32) {
    OneLaunch plan;
    std::string t = rows == "tokens" ? "tensor<?x?x" + number(width) + "xf32>" : "tensor<?x" + number(width) + "xf32>";
    std::string v = "tensor<" + number(width) + "xf32>";
    std::vector<std::string> ins = {plan.rows(rows, width)}, outs = {plan.state("gradient", "vector", 0, number(padded))};
    std::string region = "  %s = ds.column_sum %d : " + t + " -> " + v + "\n  %a = ds_plan.accumulate %s : " + v + "\n";
    if (both) {
      ins.push_back(plan.rows(rows, width));
      outs.push_back(plan.state("gradient", "vector", padded * 4, number(padded)));
      region +=
          "  %m = ds.mul %d, %n : " + t + "\n  %q = ds.column_sum %m : " + t + " -> " + v + "\n  %b = ds_plan.accumulate %q : " + v + "\n";
    }
    text = plan.text("column_sum",
                     "^bb0(%d: " + t + (both ? ", %n: " + t : "") + "):\n" + region + "  ds_plan.return %a" +
                         (both ? ", %b : " + v + ", " : " : ") + v + "\n",
                     ins, outs);
    code = std::make_unique<CompiledPlan>(text, level);
  }
  int64_t padded;
  std::string text;
  std::unique_ptr<CompiledPlan> code;
};

class ColumnSums : public OnLevel {
protected:
  void check(const std::string &kind, int64_t width, bool both) {
    SumPlan plan(kind, width, both, level());
    ASSERT_TRUE(*plan.code) << plan.code->error() << plan.text;
    for (int32_t rows : {1, 2, 63, 64, 65, 131, 300}) {
      Numbers numbers(width * 7 + rows);
      Floats grad(numbers.take(rows * width)), normalized(numbers.take(rows * width));
      std::vector<float> before(2 * plan.padded);
      for (int64_t i = 0; i < 2 * plan.padded; ++i)
        before[i] = i % plan.padded < width ? numbers.next() : 0;
      std::vector<double> want(before.begin(), before.end());
      for (int64_t i = 0; i < rows * width; ++i) {
        want[i % width] += grad[i];
        if (both)
          want[plan.padded + i % width] += static_cast<double>(grad[i]) * normalized[i];
      }
      std::vector<float> alone;
      for (int32_t threads = 1; threads <= 4; ++threads) {
        Floats state(before);
        StepData step;
        step.batch = kind == "batch" ? rows : 1;
        step.tokens = kind == "tokens" ? rows : 3;
        step.rows = kind == "selected" ? rows : 5;
        step.outputs = {grad.as<void>(), normalized.as<void>()};
        step.state = state.as<void>();
        plan.code->run("run", step, threads);
        std::vector<float> all(state.as<float>(), state.as<float>() + state.count);
        if (threads == 1)
          alone = all;
        ASSERT_EQ(memcmp(alone.data(), all.data(), all.size() * 4), 0) << width << " wide, " << threads << " threads";
        for (int64_t i = 0; i < 2 * plan.padded; ++i) {
          if (i % plan.padded >= width)
            ASSERT_EQ(all[i], 0.0f) << "behind a vector of " << width;
          else
            ASSERT_NEAR(all[i], want[i], 2e-6 * rows + 1e-6) << width << " wide, " << rows << " rows of " << kind << ", at " << i;
        }
      }
    }
  }
};

TEST_P(ColumnSums, agreeWithLoops) {
  for (int64_t width : {1, 7, 16, 20, 64, 75, 130, 2075})
    check("tokens", width, false);
}

TEST_P(ColumnSums, ofTwoValues) {
  for (int64_t width : {5, 64, 100, 1123})
    check("tokens", width, true);
}

TEST_P(ColumnSums, ofOtherRows) {
  for (const char *kind : {"selected", "batch"})
    for (int64_t width : {3, 96})
      check(kind, width, false);
}

TEST_P(ColumnSums, scaledByAControl) {
  OneLaunch plan;
  const std::string t = "tensor<?x?x40xf32>", c = "tensor<3xf32>", v = "tensor<40xf32>";
  std::string x = plan.rows("tokens", 40), controls = plan.rows("single", 3), out = plan.state("gradient", "vector", 0, "64");
  CompiledPlan code(plan.text("column_sum",
                              "^bb0(%x: " + t + ", %c: " + c + "):\n  %y = ds.scale %x by %c at 1 : " + t + ", " + c +
                                  "\n  %s = ds.column_sum %y : " + t + " -> " + v + "\n  %a = ds_plan.accumulate %s : " + v +
                                  "\n  ds_plan.return %a : " + v + "\n",
                              {x, controls}, {out}),
                    level());
  ASSERT_TRUE(code) << code.error();
  Floats rows(Numbers(5).take(7 * 40)), scales(std::vector<float>{9, 0.5f, 9}), state(std::vector<float>(64, 0));
  StepData step;
  step.tokens = 7;
  step.outputs = {rows.as<void>(), scales.as<void>()};
  step.state = state.as<void>();
  code.run("run", step, 2);
  for (int i = 0; i < 64; ++i) {
    double want = 0;
    for (int row = 0; row < 7 && i < 40; ++row)
      want += 0.5 * rows[row * 40 + i];
    ASSERT_NEAR(state[i], want, 2e-6) << i;
  }
}

TEST_P(ColumnSums, noRows) {
  SumPlan plan("selected", 40, false, level());
  ASSERT_TRUE(*plan.code) << plan.code->error();
  Floats rows(40), state(std::vector<float>(64, 3.0f));
  StepData step;
  step.outputs = {rows.as<void>()};
  step.state = state.as<void>();
  plan.code->run("run", step, 2);
  for (int i = 0; i < 64; ++i)
    ASSERT_EQ(state[i], 3.0f);
}

/// One sum of 4096 values one after another would be off by several 1e-6.
TEST_P(ColumnSums, keepTheirPrecision) {
  const int64_t rows = 4096, width = 64;
  SumPlan plan("tokens", width, false, level());
  ASSERT_TRUE(*plan.code) << plan.code->error();
  Floats values(Numbers(11).take(rows * width)), state(std::vector<float>(width, 0));
  std::vector<double> want(width);
  for (int64_t i = 0; i < rows * width; ++i)
    want[i % width] += values[i] += 3.1f;
  StepData step;
  step.tokens = rows;
  step.outputs = {values.as<void>()};
  step.state = state.as<void>();
  plan.code->run("run", step, 2);
  for (int64_t i = 0; i < width; ++i)
    ASSERT_NEAR(state[i] / want[i], 1, 4e-7);
}

TEST_P(ColumnSums, refusesWhatItCannot) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", 64), out = plan.state("gradient", "vector", 0, "64");
  const std::string t = "tensor<?x?x64xf32>", v = "tensor<64xf32>";
  CompiledPlan code(plan.text("column_sum",
                              "^bb0(%x: " + t + "):\n  %n = ds.l2_normalize %x eps 1.0e-12 : " + t + "\n  %s = ds.column_sum %n : " + t +
                                  " -> " + v + "\n  %a = ds_plan.accumulate %s : " + v + "\n  ds_plan.return %a : " + v + "\n",
                              {x}, {out}),
                    level());
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("expects element-wise ops and column sums, got ds.l2_normalize"), std::string::npos) << code.error();
}

/// Prints GB/s; run with --gtest_also_run_disabled_tests.
TEST_P(ColumnSums, DISABLED_bandwidth) {
  for (int64_t width : {384, 768, 1024, 3072})
    for (bool both : {false, true}) {
      SumPlan plan("tokens", width, both, level());
      ASSERT_TRUE(*plan.code) << plan.code->error();
      for (int64_t rows : {256, 4096}) {
        Floats grad(Numbers(1).take(rows * width)), normalized(Numbers(2).take(rows * width));
        Floats state(std::vector<float>(2 * plan.padded, 0));
        StepData step;
        step.tokens = static_cast<int32_t>(rows);
        step.outputs = {grad.as<void>(), normalized.as<void>()};
        step.state = state.as<void>();
        for (int32_t threads : {1, 2}) {
          double best = 1e9;
          for (int i = 0; i < 20; ++i) {
            auto start = std::chrono::steady_clock::now();
            plan.code->run("run", step, threads);
            best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
          }
          std::printf("%s %5ld x %4ld, %d of rows, %d threads: %7.1f us, %5.1f GB/s\n", level().name.str().c_str(), rows, width, both + 1,
                      threads, best * 1e6, rows * width * 4.0 * (both + 1) / best * 1e-9);
        }
      }
    }
}

DS_ON_ALL_LEVELS(ColumnSums);

} // namespace
