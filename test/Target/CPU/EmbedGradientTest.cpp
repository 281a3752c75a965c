// Rows added to the gradient of a table: exactly what a loop over the rows gives.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

class EmbedGradient : public OnLevel {};

TEST_P(EmbedGradient, addsInOrder) {
  const int64_t entries = 70;
  for (int64_t width : {1, 16, 20, 64, 75, 100, 384}) {
    OneLaunch plan;
    std::string t = "tensor<?x?x" + number(width) + "xf32>", w = "tensor<70x" + number(width) + "xf32>";
    std::string ids = plan.indices("tokens"), grad = plan.rows("tokens", width),
                out = plan.state("gradient", "rows", 128, "70x" + number(width));
    CompiledPlan code(plan.text("embed_gradient",
                                "^bb0(%i: tensor<?x?xi32>, %d: " + t + "):\n  %w = ds.embedding_grad %i, %d : tensor<?x?xi32>, " + t +
                                    " -> " + w + "\n  %a = ds_plan.accumulate %w : " + w + "\n  ds_plan.return %a : " + w + "\n",
                                {ids, grad}, {out}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t tokens : {1, 7, 150}) {
      const int32_t rows = 2 * tokens;
      Numbers numbers(width + tokens);
      Floats values(numbers.take(rows * width));
      std::vector<float> before = numbers.take(32 + entries * width);
      std::vector<int32_t> index(rows);
      for (int32_t i = 0; i < rows; ++i) // entries that occur once, often and never
        index[i] = i == 0 ? entries - 1 : i % 3 == 0 ? 5 : static_cast<int32_t>(numbers.below(entries / 2));
      std::vector<float> want = before;
      for (int32_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < width; ++i)
          want[32 + index[row] * width + i] += values[row * width + i];
      for (int32_t threads = 1; threads <= 4; ++threads) {
        Floats state(before);
        StepData step;
        step.batch = 2;
        step.tokens = tokens;
        step.inputs = {index.data()};
        step.outputs = {values.as<void>()};
        step.state = state.as<void>();
        code.run("run", step, threads);
        for (int64_t i = 0; i < state.count; ++i)
          ASSERT_EQ(state[i], want[i]) << "width " << width << ", " << rows << " rows, " << threads << " threads, at " << i;
      }
    }
  }
}

TEST_P(EmbedGradient, refusesWhatIsNotAccumulated) {
  OneLaunch plan;
  std::string ids = plan.indices("tokens"), grad = plan.rows("tokens", 64), out = plan.state("gradient", "rows", 0, "70x64");
  const std::string t = "tensor<?x?x64xf32>", w = "tensor<70x64xf32>";
  CompiledPlan code(plan.text("embed_gradient",
                              "^bb0(%i: tensor<?x?xi32>, %d: " + t + "):\n  %w = ds.embedding_grad %i, %d : tensor<?x?xi32>, " + t +
                                  " -> " + w + "\n  ds_plan.return %w : " + w + "\n",
                              {ids, grad}, {out}),
                    level());
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("expects one gradient of an embedding, which is accumulated"), std::string::npos) << code.error();
}

DS_ON_ALL_LEVELS(EmbedGradient);

} // namespace
