// Element-wise kernels over all of f32's range, alone and in chains.
#include "OneLaunch.h"
#include <functional>

using namespace ds;
using namespace ds::test;

namespace {

std::string tensor(int64_t width) { return "tensor<?x?x" + std::to_string(width) + "xf32>"; }

/// `op` of one argument, with what follows it: `ds.silu %x`, `ds.round %x to bf16`.
CompiledPlan unary(const std::string &op, const std::string &suffix, int64_t width, const CpuLevel &level) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), type = tensor(width);
  std::string body = "^bb0(%x: " + type + "):\n  %y = ds." + op + " %x" + suffix + " : " + type + "\n  ds_plan.return %y : " + type + "\n";
  return CompiledPlan(plan.text("row", body, {x}, {y}), level);
}

std::vector<float> run(const CompiledPlan &code, const std::vector<float> &values, int32_t rows, int32_t threads) {
  Floats x(values), y(static_cast<int64_t>(values.size()));
  StepData step;
  step.tokens = rows;
  step.outputs = {x.as<void>(), y.as<void>()};
  code.run("run", step, threads);
  return std::vector<float>(y.as<float>(), y.as<float>() + values.size());
}

double gelu(double x) { return std::isinf(x) && x < 0 ? 0 : 0.5 * x * std::erfc(-x / std::sqrt(2.0)); } // 0 in the limit
double geluTanh(double x) {
  return std::isinf(x) && x < 0 ? NAN : 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

struct Function {
  const char *op;
  std::function<double(double)> exact;
  double relative, absolute; // bounds of the error
  const char *suffix = "";
  double atMinusInfinity = 0; // bound of the error there
};
const Function functions[] = {
    {"tanh", [](double x) { return std::tanh(x); }, 2e-7, 0},
    {"gelu erf", gelu, 2e-7, 1e-7},
    {"gelu tanh", geluTanh, 4e-7, 2e-7},
    {"gelu erf", gelu, 2e-6, 9e-5, " {coarse}", 9e-5},
    {"gelu tanh", [](double x) { return x < -100 ? 0 : geluTanh(x); }, 2e-6, 9e-5, " {coarse}", 9e-5},
    {"silu", [](double x) { return x / (1 + std::exp(-x)); }, 4e-7, 3e-37}, // e^-x overflows from -88.7 on
    {"quick_gelu", [](double x) { return x / (1 + std::exp(-1.702 * x)); }, 1e-6, 1e-7},
    {"relu", [](double x) { return x > 0 ? x : 0; }, 0, 0},
};

class Elementwise : public OnLevel {};

TEST_P(Elementwise, functionsAreExactEnough) {
  std::vector<float> x = numbersOfAllSizes();
  for (const Function &f : functions) {
    CompiledPlan code = unary(f.op, f.suffix, 1, level());
    ASSERT_TRUE(code) << code.error();
    std::vector<float> y = run(code, x, static_cast<int32_t>(x.size()), 2);
    for (size_t i = 0; i < x.size(); ++i) {
      double exact = f.exact(x[i]);
      ASSERT_LE(std::abs(y[i] - exact), f.absolute + f.relative * std::abs(exact) + 2e-45) << f.op << " of " << x[i] << " is " << y[i];
    }
  }
}

TEST_P(Elementwise, limitsAndNotANumber) {
  for (const Function &f : functions) {
    CompiledPlan code = unary(f.op, f.suffix, 5, level());
    ASSERT_TRUE(code) << code.error();
    std::vector<float> y = run(code, {infinite, -infinite, notANumber, 0.0f, -0.0f}, 1, 1);
    EXPECT_EQ(y[0], f.exact(infinite)) << f.op;
    double low = f.exact(-infinite);
    EXPECT_TRUE(std::abs(y[1] - low) <= f.atMinusInfinity || y[1] == low || (std::isnan(y[1]) && std::isnan(low))) << f.op << " " << y[1];
    EXPECT_TRUE(std::isnan(y[2])) << f.op;
    EXPECT_EQ(y[3], 0.0f) << f.op;
    EXPECT_EQ(y[4], 0.0f) << f.op;
  }
}

/// All of f32's range, ties, and what has no place in the narrow type.
TEST_P(Elementwise, rounding) {
  std::vector<float> x = numbersOfAllSizes();
  for (float value : {1.00390625f, 1.01171875f, 1.0004882812f, 1.0014648438f, 65519.0f, 65519.99f, 65520.0f, 3.39e38f, 3.3961e38f, 2.98e-8f,
                      2.9802322e-8f, 2.9802326e-8f, 6.1e-5f, 6.0975e-5f, 0.0f, infinite})
    x.insert(x.end(), {value, -value});
  for (int i = 0; i < 4096; ++i) // every f16 below 2^-12, and what lies between
    x.push_back(static_cast<float>(i) * 0x1p-25f);
  CompiledPlan bf16 = unary("round", " to bf16", 1, level()), f16 = unary("round", " to f16", 1, level());
  ASSERT_TRUE(bf16) << bf16.error();
  ASSERT_TRUE(f16) << f16.error();
  std::vector<float> b = run(bf16, x, static_cast<int32_t>(x.size()), 1), h = run(f16, x, static_cast<int32_t>(x.size()), 2);
  for (size_t i = 0; i < x.size(); ++i) {
    uint32_t word;
    memcpy(&word, &x[i], 4);
    word = (word + 0x7fff + (word >> 16 & 1)) & 0xffff0000;
    float nearest;
    memcpy(&nearest, &word, 4);
    ASSERT_EQ(b[i], nearest) << x[i];
    ASSERT_EQ(std::signbit(b[i]), std::signbit(x[i])) << x[i];
    ASSERT_EQ(h[i], static_cast<float>(static_cast<_Float16>(x[i]))) << x[i];
    ASSERT_EQ(std::signbit(h[i]), std::signbit(x[i])) << x[i];
  }
  for (const CompiledPlan *code : {&bf16, &f16})
    EXPECT_TRUE(std::isnan(run(*code, {notANumber}, 1, 1)[0]));
}

TEST_P(Elementwise, everySize) {
  for (int64_t width : {1, 3, 7, 16, 31, 64, 100}) {
    CompiledPlan code = unary("relu", "", width, level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {1, 2, 3, 5, 8, 70}) {
      std::vector<float> x = Numbers(rows).take(rows * width);
      for (int32_t threads = 1; threads <= 3; ++threads) {
        std::vector<float> y = run(code, x, rows, threads);
        for (size_t i = 0; i < x.size(); ++i)
          ASSERT_EQ(y[i], std::max(x[i], 0.0f));
      }
    }
  }
}

/// Several ops, several results, an operand that is read twice: what fusion makes.
TEST_P(Elementwise, chains) {
  const int64_t width = 37;
  OneLaunch plan;
  std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), sum = plan.rows("tokens", width),
              out = plan.rows("tokens", width);
  std::string t = tensor(width);
  CompiledPlan code(plan.text("row",
                              "^bb0(%x: " + t + ", %y: " + t + "):\n  %s = ds.add %x, %y : " + t + "\n  %g = ds.silu %s : " + t +
                                  "\n  %m = ds.mul %g, %x : " + t + "\n  ds_plan.return %s, %m : " + t + ", " + t + "\n",
                              {x, y}, {sum, out}),
                    level());
  ASSERT_TRUE(code) << code.error();
  for (int32_t rows : {1, 6, 50}) {
    Floats a(Numbers(2).take(rows * width)), b(Numbers(3).take(rows * width)), s(rows * width), m(rows * width);
    StepData step;
    step.batch = rows % 2 ? 1 : 2;
    step.tokens = rows / step.batch;
    step.outputs = {a.as<void>(), b.as<void>(), s.as<void>(), m.as<void>()};
    code.run("run", step, 2);
    for (int64_t i = 0; i < rows * width; ++i) {
      double total = static_cast<double>(a[i]) + b[i];
      ASSERT_NEAR(s[i], total, 1e-6);
      ASSERT_NEAR(m[i], total / (1 + std::exp(-total)) * a[i], 3e-6);
    }
  }
}

TEST_P(Elementwise, refusesWhatItCannotCompute) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", 8), y = plan.rows("tokens", 8), t = tensor(8);
  CompiledPlan code(plan.text("row",
                              "^bb0(%x: " + t + "):\n  %a = ds.softmax %x : " + t + "\n  %b = ds.softmax %a : " + t +
                                  "\n  ds_plan.return %b : " + t + "\n",
                              {x}, {y}),
                    level());
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("kernel 'k': row cannot serve the region: two norms in one region"), std::string::npos) << code.error();
}

DS_ON_ALL_LEVELS(Elementwise);

} // namespace
