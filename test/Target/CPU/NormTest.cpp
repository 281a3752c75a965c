// Norms and softmax against plain loops, and with element-wise ops around them.
#include "OneLaunch.h"
#include <functional>

using namespace ds;
using namespace ds::test;

namespace {

using Row = std::vector<double>;

Row layerNorm(const Row &x, const Row &gain, const Row &bias) {
  double mean = 0, var = 0;
  for (double v : x)
    mean += v / x.size();
  for (double v : x)
    var += (v - mean) * (v - mean) / x.size();
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = gain[i] * (x[i] - mean) / std::sqrt(var + 1e-5) + bias[i];
  return y;
}
double meanSquare(const Row &x) {
  double sum = 0;
  for (double v : x)
    sum += v * v / x.size();
  return sum;
}
Row softmax(const Row &x) {
  double most = -HUGE_VAL, sum = 0;
  Row y(x.size());
  for (double v : x)
    most = std::max(most, v);
  for (size_t i = 0; i < x.size(); ++i)
    sum += y[i] = std::exp(x[i] - most);
  for (double &v : y)
    v /= sum;
  return y;
}

struct Norm {
  std::string op; // with %x, %g, %b
  bool gain, bias;
  std::function<Row(const Row &, const Row &, const Row &)> exact;
};
const Norm norms[] = {
    {"layer_norm %x, %g bias %b eps 1.0e-5", true, true, layerNorm},
    {"layer_norm %x, %g eps 1.0e-5", true, false, [](auto &x, auto &g, auto &) { return layerNorm(x, g, Row(x.size(), 0)); }},
    {"rms_norm %x, %g eps 1.0e-6", true, false,
     [](auto &x, auto &g, auto &) {
       Row y(x);
       for (size_t i = 0; i < y.size(); ++i)
         y[i] *= g[i] / std::sqrt(meanSquare(x) + 1e-6);
       return y;
     }},
    {"l2_normalize %x eps 1.0e-12", false, false,
     [](auto &x, auto &, auto &) {
       Row y(x);
       for (double &v : y)
         v /= std::max(std::sqrt(meanSquare(x) * x.size()), 1e-12);
       return y;
     }},
    {"softmax %x", false, false, [](auto &x, auto &, auto &) { return softmax(x); }},
};

class Norms : public OnLevel {
protected:
  /// `before` and `after` are ops from %in to %x and from %n to %y; both may be empty. With `before`, %r is a second operand.
  void check(const Norm &norm, int64_t width, bool before, bool after) {
    OneLaunch plan;
    int64_t padded = (width + 31) / 32 * 32;
    std::string t = "tensor<?x?x" + std::to_string(width) + "xf32>", v = "tensor<" + std::to_string(width) + "xf32>";
    std::string vector = "memref<" + std::to_string(padded) + "xf32>";
    std::vector<std::string> ins = {plan.rows("tokens", width), plan.rows("tokens", width)}, outs;
    std::string region = "^bb0(%in: " + t + ", %r: " + t, types = " : " + t;
    if (norm.gain) {
      ins.push_back(plan.weight("vector", 0, vector));
      region += ", %g: " + v;
      types += ", " + v;
    }
    if (norm.bias) {
      ins.push_back(plan.weight("vector", padded * 4, vector));
      region += ", %b: " + v;
      types += ", " + v;
    }
    std::string op = norm.op;
    if (!before)
      op.replace(op.find("%x"), 2, "%in");
    region += "):\n";
    if (before)
      region += "  %x = ds.add %in, %r : " + t + "\n";
    region += "  %n = ds." + op + types + "\n";
    if (after)
      region += "  %q = ds.relu %n : " + t + "\n  %y = ds.add %q, %r : " + t + "\n";
    region += std::string("  ds_plan.return ") + (after ? "%y" : "%n") + (before ? ", %x : " + t : " : ") + (before ? ", " : "") + t + "\n";
    outs.push_back(plan.rows("tokens", width));
    if (before)
      outs.push_back(plan.rows("tokens", width));
    CompiledPlan code(plan.text("row", region, ins, outs), level());
    ASSERT_TRUE(code) << code.error() << region;
    for (int32_t rows : {1, 2, 5, 33}) {
      Numbers numbers(width + rows);
      Floats weights(2 * padded), x(numbers.take(rows * width)), r(numbers.take(rows * width)), y(rows * width), s(rows * width);
      for (int64_t i = 0; i < 2 * padded; ++i)
        weights[i] = i % padded < width ? numbers.next() : 0;
      for (int64_t i = 0; i < width; ++i)
        x[i] += 100; // a mean far from 0
      StepData step;
      step.batch = rows == 33 ? 3 : 1;
      step.tokens = rows / step.batch;
      step.outputs = {x.as<void>(), r.as<void>(), y.as<void>(), s.as<void>()};
      step.weights = weights.as<void>();
      code.run("run", step, rows % 3 + 1);
      Row gain(weights.as<float>(), weights.as<float>() + width), bias(weights.as<float>() + padded, weights.as<float>() + padded + width);
      for (int64_t row = 0; row < rows; ++row) {
        Row input(width);
        for (int64_t i = 0; i < width; ++i) {
          input[i] = before ? x[row * width + i] + r[row * width + i] : x[row * width + i];
          if (before) {
            ASSERT_EQ(s[row * width + i], static_cast<float>(input[i]));
            input[i] = static_cast<float>(input[i]);
          }
        }
        Row exact = norm.exact(input, gain, bias);
        for (int64_t i = 0; i < width; ++i) {
          double want = after ? std::max(exact[i], 0.0) + r[row * width + i] : exact[i];
          // With a mean of 100 its own rounding, 4e-6, counts.
          ASSERT_NEAR(y[row * width + i], want, row == 0 ? 1e-4 : 4e-6)
              << norm.op << " width " << width << " row " << row << " of " << rows;
        }
      }
    }
  }
};

TEST_P(Norms, agreeWithLoops) {
  for (const Norm &norm : norms)
    for (int64_t width : {2, 7, 16, 33, 64, 100, 384, 577})
      check(norm, width, false, false);
}

TEST_P(Norms, withElementwiseOpsAround) {
  for (const Norm &norm : norms)
    for (int64_t width : {5, 48, 130}) {
      check(norm, width, true, false);
      check(norm, width, false, true);
      check(norm, width, true, true);
    }
}

TEST_P(Norms, extremes) {
  for (const Norm &norm : norms) {
    if (norm.gain)
      continue;
    OneLaunch plan;
    std::string x = plan.rows("batch", 20), y = plan.rows("batch", 20), t = "tensor<?x20xf32>";
    CompiledPlan code(
        plan.text("row", "^bb0(%x: " + t + "):\n  %n = ds." + norm.op + " : " + t + "\n  ds_plan.return %n : " + t + "\n", {x}, {y}),
        level());
    ASSERT_TRUE(code) << code.error();
    Floats in(Numbers(9).take(100)), out(100);
    in[3] = notANumber;
    in[20 + 19] = 0;
    for (int i = 0; i < 20; ++i) {
      in[40 + i] = -1000.0f + static_cast<float>(i); // far below 0
      in[60 + i] = i == 7 ? 1.0f : -infinite;
      in[80 + i] = 0;
    }
    StepData step;
    step.batch = 5;
    step.tokens = 3; // has no say in batch rows
    step.outputs = {in.as<void>(), out.as<void>()};
    code.run("run", step, 2);
    double sum = 0;
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(std::isnan(out[i]));
      EXPECT_TRUE(std::isfinite(out[20 + i]));
      sum += out[40 + i];
    }
    if (norm.op.starts_with("softmax")) {
      EXPECT_NEAR(sum, 1, 1e-6);
      EXPECT_EQ(out[67], 1.0f);
      EXPECT_EQ(out[60], 0.0f);
      EXPECT_NEAR(out[80], 0.05, 1e-7);
    } else {
      EXPECT_EQ(out[80], 0.0f);
    }
  }
}

DS_ON_ALL_LEVELS(Norms);

} // namespace
