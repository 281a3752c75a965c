// The loss of rows of logits and its gradient against plain loops in f64.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

constexpr float scale = 3.0f;

struct Case {
  bool givesLoss, givesGrad;
  double smoothing;
};
const Case cases[] = {{true, false, 0}, {true, false, 0.1}, {false, true, 0}, {false, true, 0.1}, {true, true, 0}, {true, true, 0.25}};

std::string number(int64_t value) { return std::to_string(value); }

/// A kernel of a case over `selected` rows: logits, then the loss, then the gradient are outputs; `inPlace`, the gradient lies where the
/// logits do.
CompiledPlan lossKernel(const Case &of, int64_t width, const CpuLevel &level, bool inPlace = false) {
  OneLaunch plan;
  std::string x = plan.rows("selected", width), l = plan.rows("selected", 1), d = plan.rows("selected", width);
  std::string labels = plan.indices("selected"), s = plan.control(1);
  std::string t = "tensor<?x" + number(width) + "xf32>", i = "tensor<?xi32>", one = "tensor<?x1xf32>";
  std::string smoothing = " smoothing " + std::to_string(of.smoothing) + " : " + t + ", " + i;
  std::string region = "^bb0(%x: " + t + ", %i: " + i + (of.givesGrad ? ", %s: tensor<1xf32>" : "") + "):\n", names, types;
  std::vector<std::string> ins = {x, labels}, outs;
  if (of.givesGrad)
    ins.push_back(s);
  if (of.givesLoss) {
    region += "  %l = ds.cross_entropy %x, %i" + smoothing + " -> " + one + "\n";
    names = "%l", types = one;
    outs.push_back(l);
  }
  if (of.givesGrad) {
    region += "  %d = ds.cross_entropy_grad %x, %i, %s" + smoothing + ", tensor<1xf32>\n";
    names += names.empty() ? "%d" : ", %d", types += (types.empty() ? "" : ", ") + t;
    outs.push_back(inPlace ? x : d);
  }
  return CompiledPlan(plan.text("row", region + "  ds_plan.return " + names + " : " + types + "\n", ins, outs), level);
}

struct Exact {
  double loss = 0;
  std::vector<double> grad;
};
Exact exactLoss(const float *x, int64_t width, int32_t label, double smoothing) {
  Exact exact{0, std::vector<double>(width)};
  if (label < 0)
    return exact;
  double most = -HUGE_VAL, sum = 0;
  for (int64_t i = 0; i < width; ++i)
    most = std::max<double>(most, x[i]);
  for (int64_t i = 0; i < width; ++i)
    sum += std::exp(x[i] - most);
  for (int64_t i = 0; i < width; ++i) {
    double logP = x[i] - most - std::log(sum), part = (i == label ? 1 - smoothing : 0) + smoothing / width;
    if (part > 0) // a part of nothing has no say, not even of minus infinity
      exact.loss -= part * logP;
    exact.grad[i] = scale * (std::exp(logP) - part);
  }
  return exact;
}

class Loss : public OnLevel {
protected:
  void check(const Case &of, int64_t width, bool inPlace) {
    CompiledPlan code = lossKernel(of, width, level(), inPlace);
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {0, 1, 5, 18}) {
      Floats x(Numbers(width + rows).take(rows * width)), loss(rows), grad(rows * width);
      std::vector<int32_t> labels(rows + 1);
      for (int32_t r = 0; r < rows; ++r) {
        labels[r] = r == 1 ? -100 : r == 2 ? static_cast<int32_t>(width - 1) : static_cast<int32_t>(r * 37 % width);
        for (int64_t i = 0; i < width; ++i) // all sizes; the largest first, in the middle and last
          x[r * width + i] = x[r * width + i] * (r % 4 == 3 ? 20 : 2) + (r % 3) * 50.0f;
        if (r == 4)
          x[r * width + width / 2] += 30;
      }
      std::vector<float> before(x.as<float>(), x.as<float>() + rows * width);
      float control = scale;
      StepData step;
      step.batch = 2;
      step.tokens = 30; // have no say in selected rows
      step.rows = rows;
      step.inputs = {labels.data(), reinterpret_cast<const int32_t *>(&control)};
      step.outputs = {x.as<void>(), loss.as<void>(), grad.as<void>()};
      code.run("run", step, rows % 4 + 1);
      for (int64_t r = 0; r < rows; ++r) {
        Exact exact = exactLoss(before.data() + r * width, width, labels[r], of.smoothing);
        std::string where = "width " + number(width) + " row " + number(r) + " of " + number(rows);
        if (of.givesLoss)
          ASSERT_NEAR(loss[r], exact.loss, 1e-6 * (1 + exact.loss)) << where;
        for (int64_t i = 0; of.givesGrad && i < width; ++i)
          ASSERT_NEAR((inPlace ? x : grad)[r * width + i], exact.grad[i], 1e-6) << where << " at " << i;
      }
    }
  }
};

TEST_P(Loss, agreesWithLoops) {
  for (const Case &of : cases)
    for (int64_t width : {1, 2, 7, 16, 33, 128, 577, 1000})
      check(of, width, /*inPlace=*/false);
}

TEST_P(Loss, gradientOverItsLogits) {
  for (const Case &of : cases)
    if (of.givesGrad)
      for (int64_t width : {3, 48, 131})
        check(of, width, /*inPlace=*/true);
}

/// Logits of 16 bits, and in their place their gradient, rounded.
TEST_P(Loss, rowsOf16Bits) {
  for (bool half : {false, true})
    for (double smoothing : {0.0, 0.1})
      for (int64_t width : {1, 7, 16, 48, 131, 1000}) {
        const std::string type = half ? "f16" : "bf16", t = "tensor<?x" + number(width) + "xf32>";
        OneLaunch plan;
        const std::string x = plan.buffer("selected", width, type, 0), l = plan.rows("selected", 1);
        const std::string labels = plan.indices("selected"), s = plan.control(1);
        const std::string of = " smoothing " + std::to_string(smoothing) + " : " + t + ", tensor<?xi32>";
        CompiledPlan code(plan.text("row",
                                    "^bb0(%x: " + t + ", %i: tensor<?xi32>, %s: tensor<1xf32>):\n  %l = ds.cross_entropy %x, %i" + of +
                                        " -> tensor<?x1xf32>\n  %d = ds.cross_entropy_grad %x, %i, %s" + of +
                                        ", tensor<1xf32>\n  %r = ds.round %d to " + type + " : " + t +
                                        "\n  ds_plan.return %l, %r : tensor<?x1xf32>, " + t + "\n",
                                    {x, labels, s}, {l, x}),
                          level());
        ASSERT_TRUE(code) << code.error();
        const int32_t rows = 6;
        GuardedBytes arena(rows * width * 2);
        Floats loss(rows);
        std::vector<float> logits;
        Numbers numbers(width);
        auto valueAt = [&](int64_t i) { return fromBits(arena.as<uint16_t>()[i], half); };
        for (int64_t i = 0; i < rows * width; ++i) { // eighths, which 16 bits hold
          const float value = static_cast<float>(numbers.below(129) - 64) / 8;
          arena.as<uint16_t>()[i] = toBits(value, half);
          logits.push_back(value);
          ASSERT_EQ(valueAt(i), value);
        }
        std::vector<int32_t> chosen;
        for (int32_t r = 0; r < rows; ++r)
          chosen.push_back(r == 1 ? -100 : static_cast<int32_t>((width - 1 + r * 37) % width));
        float control = scale;
        StepData step;
        step.rows = rows;
        step.inputs = {chosen.data(), reinterpret_cast<const int32_t *>(&control)};
        step.outputs = {loss.as<void>()};
        step.arena = arena.as<void>();
        code.run("run", step, 2);
        for (int64_t r = 0; r < rows; ++r) {
          const Exact exact = exactLoss(logits.data() + r * width, width, chosen[r], smoothing);
          ASSERT_NEAR(loss[r], exact.loss, 1e-6 * (1 + exact.loss)) << type << " " << width;
          for (int64_t i = 0; i < width; ++i) // half a unit of the last place
            ASSERT_NEAR(valueAt(r * width + i), exact.grad[i], std::abs(exact.grad[i]) * (half ? 0x1p-11 : 0x1p-8) + 1e-6)
                << type << " width " << width << " row " << r << " at " << i;
        }
      }
}

/// The sum of a vocabulary's powers and logits, in f32.
TEST_P(Loss, wideRows) {
  const int64_t width = 50257;
  for (double smoothing : {0.0, 0.1}) {
    CompiledPlan code = lossKernel({true, true, smoothing}, width, level());
    ASSERT_TRUE(code) << code.error();
    Floats x(Numbers(5).take(2 * width)), loss(2), grad(2 * width);
    std::vector<int32_t> labels = {50256, 17};
    float control = scale;
    StepData step;
    step.rows = 2;
    step.inputs = {labels.data(), reinterpret_cast<const int32_t *>(&control)};
    step.outputs = {x.as<void>(), loss.as<void>(), grad.as<void>()};
    code.run("run", step, 2);
    for (int64_t r = 0; r < 2; ++r) {
      Exact exact = exactLoss(x.as<float>() + r * width, width, labels[r], smoothing);
      ASSERT_NEAR(loss[r], exact.loss, 1e-6 * exact.loss);
      for (int64_t i = 0; i < width; ++i)
        ASSERT_NEAR(grad[r * width + i], exact.grad[i], 1e-6 * (std::abs(exact.grad[i]) + scale * smoothing / width)) << i;
    }
  }
}

TEST_P(Loss, extremes) {
  const int64_t width = 20;
  CompiledPlan code = lossKernel({true, true, 0}, width, level());
  ASSERT_TRUE(code) << code.error();
  Floats x(Numbers(9).take(5 * width)), loss(5), grad(5 * width);
  std::vector<int32_t> labels = {3, 3, 3, 3, -1};
  for (int64_t i = 0; i < width; ++i) {
    x[i] = i == 3 ? 1.0f : -infinite;
    x[width + i] = i == 2 ? 0.0f : -1000.0f; // the label is as good as impossible
    x[3 * width + i] = 3e38f;
    x[4 * width + i] = notANumber;
  }
  x[2 * width + 19] = notANumber;
  float control = scale;
  StepData step;
  step.rows = 5;
  step.inputs = {labels.data(), reinterpret_cast<const int32_t *>(&control)};
  step.outputs = {x.as<void>(), loss.as<void>(), grad.as<void>()};
  code.run("run", step, 1);
  EXPECT_EQ(loss[0], 0.0f);
  EXPECT_EQ(loss[1], 1000.0f);
  EXPECT_TRUE(std::isnan(loss[2]));
  EXPECT_NEAR(loss[3], std::log(20.0), 1e-6);
  EXPECT_EQ(loss[4], 0.0f);
  for (int64_t i = 0; i < width; ++i) {
    EXPECT_EQ(grad[i], 0.0f);
    EXPECT_EQ(grad[width + i], i == 2 ? scale : i == 3 ? -scale : 0.0f);
    EXPECT_TRUE(std::isnan(grad[2 * width + i]));
    EXPECT_NEAR(grad[3 * width + i], scale * (0.05 - (i == 3)), 1e-6);
    EXPECT_EQ(grad[4 * width + i], 0.0f);
  }
}

TEST_P(Loss, refusesWhatItCannotCompute) {
  OneLaunch plan;
  std::string x = plan.rows("selected", 8), y = plan.rows("selected", 8), i = plan.indices("selected");
  std::string t = "tensor<?x8xf32>", types = " : " + t + ", tensor<?xi32>, tensor<1xf32>\n";
  CompiledPlan code(plan.text("row",
                              "^bb0(%x: " + t + ", %i: tensor<?xi32>, %s: tensor<1xf32>):\n  %r = ds.relu %x : " + t +
                                  "\n  %d = ds.cross_entropy_grad %r, %i, %s smoothing 0.0" + types + "  ds_plan.return %d : " + t + "\n",
                              {x, i, plan.control(1)}, {y}),
                    level());
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("ds.relu has no place beside a loss"), std::string::npos) << code.error();
}

DS_ON_ALL_LEVELS(Loss);

} // namespace
