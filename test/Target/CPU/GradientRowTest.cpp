// Gradients of element-wise ops, norms, the choice of rows and pooling, and `ds.scale`, against formulas in f64.
#include "OneLaunch.h"
#include <functional>

using namespace ds;
using namespace ds::test;

namespace {

using Row = std::vector<double>;

std::string number(int64_t value) { return std::to_string(value); }
std::string tensor(int64_t width) { return "tensor<?x?x" + number(width) + "xf32>"; }

double gate(double x) { return 1 / (1 + std::exp(-x)); }
double geluGrad(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }
double geluTanhGrad(double x) {
  const double k = std::sqrt(2 / M_PI), t = std::tanh(k * (x + 0.044715 * x * x * x));
  return (1 + t) / 2 + x * (1 - t * t) / 2 * k * (1 + 3 * 0.044715 * x * x);
}

struct Function {
  const char *op;
  std::function<double(double)> derivative; // at finite numbers
  double absolute, atInfinity, atMinusInfinity;
};
const Function functions[] = {
    {"gelu_grad erf", geluGrad, 5e-7, 1, 0},
    {"gelu_grad tanh", geluTanhGrad, 6e-7, 1, 0},
    {"silu_grad", [](double x) { return gate(x) * (1 + x * gate(-x)); }, 4e-7, 1, 0},
    {"quick_gelu_grad", [](double x) { return gate(1.702 * x) * (1 + 1.702 * x * gate(-1.702 * x)); }, 5e-7, 1, 0},
    {"relu_grad", [](double x) { return x > 0 ? 1 : 0; }, 0, 1, 0},
};

/// A kernel of `op` with two operands.
CompiledPlan binary(const std::string &op, int64_t width, const CpuLevel &level) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", width), d = plan.rows("tokens", width), y = plan.rows("tokens", width), t = tensor(width);
  return CompiledPlan(
      plan.text("row", "^bb0(%x: " + t + ", %d: " + t + "):\n  %y = ds." + op + " %x, %d : " + t + "\n  ds_plan.return %y : " + t + "\n",
                {x, d}, {y}),
      level);
}

class GradientRows : public OnLevel {};

TEST_P(GradientRows, derivatives) {
  std::vector<float> x = numbersOfAllSizes();
  x.insert(x.end(), {0.0f, -0.0f, infinite, -infinite, notANumber});
  const auto count = static_cast<int32_t>(x.size());
  for (const Function &f : functions) {
    CompiledPlan code = binary(f.op, 1, level());
    ASSERT_TRUE(code) << code.error();
    for (float grad : {1.0f, -0.75f}) {
      Floats in(x), given(std::vector<float>(count, grad)), out(count);
      StepData step;
      step.tokens = count;
      step.outputs = {in.as<void>(), given.as<void>(), out.as<void>()};
      code.run("run", step, 2);
      for (int32_t i = 0; i < count; ++i) {
        if (std::isnan(x[i])) {
          EXPECT_TRUE(std::isnan(out[i]) || f.absolute == 0) << f.op; // relu has no slope there
          continue;
        }
        double want = std::isfinite(x[i]) && std::abs(x[i]) < 1e4 ? f.derivative(x[i]) : x[i] > 0 ? f.atInfinity : f.atMinusInfinity;
        ASSERT_NEAR(out[i], grad * want, f.absolute) << f.op << " at " << x[i];
      }
    }
  }
}

TEST_P(GradientRows, tanhFromItsResult) {
  CompiledPlan code = binary("tanh_grad", 19, level());
  ASSERT_TRUE(code) << code.error();
  Floats y(Numbers(1).take(5 * 19)), d(Numbers(2).take(5 * 19)), out(5 * 19);
  for (int i = 0; i < 95; ++i)
    y[i] /= 2;
  StepData step;
  step.tokens = 5;
  step.outputs = {y.as<void>(), d.as<void>(), out.as<void>()};
  code.run("run", step, 3);
  for (int i = 0; i < 95; ++i)
    ASSERT_NEAR(out[i], d[i] * (1 - static_cast<double>(y[i]) * y[i]), 3e-7);
}

/// Controls between element-wise ops; their number is the width of the rows once.
TEST_P(GradientRows, scale) {
  for (int64_t width : {1, 5, 37, 64}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), s = plan.control(5), t = tensor(width);
    CompiledPlan code(plan.text("row",
                                "^bb0(%x: " + t + ", %s: tensor<5xf32>):\n  %a = ds.scale %x by %s at 3 : " + t +
                                    ", tensor<5xf32>\n  %b = ds.add %a, %x : " + t + "\n  %y = ds.scale %b by %s at 4 : " + t +
                                    ", tensor<5xf32>\n  ds_plan.return %y : " + t + "\n",
                                {x, s}, {y}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {1, 4, 31}) {
      Floats in(Numbers(rows).take(rows * width)), out(rows * width);
      GuardedBytes controls(64);
      const float values[] = {9, 9, 9, 1.5f, -2.0f};
      memcpy(controls.as<float>() + 11, values, sizeof(values)); // nothing behind them
      StepData step;
      step.tokens = rows;
      step.inputs = {controls.as<int32_t>() + 11};
      step.outputs = {in.as<void>(), out.as<void>()};
      code.run("run", step, rows % 4 + 1);
      for (int64_t i = 0; i < rows * width; ++i)
        ASSERT_NEAR(out[i], -5.0 * in[i], 2e-6);
    }
  }
}

TEST_P(GradientRows, refusesControlsThatAreNone) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", 8), y = plan.rows("tokens", 8), s = plan.rows("tokens", 8), t = tensor(8);
  CompiledPlan code(plan.text("row",
                              "^bb0(%x: " + t + ", %s: tensor<8xf32>):\n  %y = ds.scale %x by %s at 3 : " + t +
                                  ", tensor<8xf32>\n  ds_plan.return %y : " + t + "\n",
                              {x, s}, {y}),
                    level());
  EXPECT_FALSE(code);
}

/// The scale of a layer behind its product.
TEST_P(GradientRows, scaleBehindAProduct) {
  const int64_t depth = 20, width = 40;
  OneLaunch plan;
  std::string x = plan.rows("tokens", depth), r = plan.rows("tokens", width), y = plan.rows("tokens", width), s = plan.control(2);
  std::string w = plan.weight("panels", 0, "memref<2x20x32xf32>"), in = tensor(depth), t = tensor(width);
  CompiledPlan code(plan.text("gemm",
                              "^bb0(%x: " + in + ", %w: tensor<40x20xf32>, %s: tensor<2xf32>, %r: " + t +
                                  "):\n  %m = ds.linear %x, %w : " + in + ", tensor<40x20xf32>\n  %a = ds.scale %m by %s at 1 : " + t +
                                  ", tensor<2xf32>\n  %y = ds.add %a, %r : " + t + "\n  ds_plan.return %y : " + t + "\n",
                              {x, w, s, r}, {y}),
                    level());
  ASSERT_TRUE(code) << code.error();
  for (int32_t rows : {1, 17, 70}) {
    Floats a(Numbers(rows).take(rows * depth)), b(Numbers(2).take(rows * width)), out(rows * width),
        weights(Numbers(3).take(2 * depth * 32));
    const float controls[] = {notANumber, 0.5f};
    StepData step;
    step.tokens = rows;
    step.inputs = {reinterpret_cast<const int32_t *>(controls)};
    step.outputs = {a.as<void>(), b.as<void>(), out.as<void>()};
    step.weights = weights.as<void>();
    code.run("run", step, rows % 3 + 1);
    for (int64_t i = 0; i < rows * width; ++i) {
      double sum = 0;
      int64_t n = i % width;
      for (int64_t k = 0; k < depth; ++k)
        sum += static_cast<double>(a[i / width * depth + k]) * weights[(n / 32 * depth + k) * 32 + n % 32];
      ASSERT_NEAR(out[i], 0.5 * sum + b[i], 2e-5);
    }
  }
}

/// `y` of the gradient's input (or softmax), `gain` and `grad`; for norms of two results also the normalized row.
struct NormGradient {
  std::string op; // of %x, with %g, and %d
  bool gain;
  std::function<Row(const Row &x, const Row &g, const Row &d, Row &normalized)> exact;
};

double meanOf(const Row &x) {
  double sum = 0;
  for (double v : x)
    sum += v / static_cast<double>(x.size());
  return sum;
}
Row times(const Row &a, const Row &b) {
  Row c(a);
  for (size_t i = 0; i < c.size(); ++i)
    c[i] *= b[i];
  return c;
}

Row affineGrad(const Row &x, const Row &g, const Row &d, Row &n, bool centers, double eps) {
  n = x;
  double mean = centers ? meanOf(x) : 0;
  for (double &v : n)
    v -= mean;
  double scale = 1 / std::sqrt(meanOf(times(n, n)) + eps);
  for (double &v : n)
    v *= scale;
  Row y = times(d, g);
  double meanGrad = centers ? meanOf(y) : 0, along = meanOf(times(y, n));
  for (size_t i = 0; i < y.size(); ++i)
    y[i] = (y[i] - meanGrad - n[i] * along) * scale;
  return y;
}

const NormGradient gradients[] = {
    {"layer_norm_grad %x, %g, %d eps 1.0e-5", true, [](auto &x, auto &g, auto &d, Row &n) { return affineGrad(x, g, d, n, true, 1e-5); }},
    {"rms_norm_grad %x, %g, %d eps 1.0e-6", true, [](auto &x, auto &g, auto &d, Row &n) { return affineGrad(x, g, d, n, false, 1e-6); }},
    {"l2_normalize_grad %x, %d eps 0.5", false, // short rows at small widths
     [](auto &x, auto &, auto &d, Row &) {
       double length = std::sqrt(meanOf(times(x, x)) * static_cast<double>(x.size()));
       Row y(d);
       for (size_t i = 0; i < y.size(); ++i)
         y[i] = length > 0.5 ? (d[i] - x[i] * meanOf(times(x, d)) * static_cast<double>(x.size()) / length / length) / length : d[i] / 0.5;
       return y;
     }},
    {"softmax_grad %x, %d", false,
     [](auto &x, auto &, auto &d, Row &) {
       Row y(x);
       for (size_t i = 0; i < y.size(); ++i)
         y[i] *= d[i] - meanOf(times(x, d)) * static_cast<double>(x.size());
       return y;
     }},
};

/// Which results a kernel gives, and which ops stand around the gradient.
struct Around {
  bool output, normalized;
  bool inputIsComputed = false; // %in + %r
  bool gradIsComputed = false;  // %grad * %r, which is a result as well
  bool follows = false;         // output + %r
};

class NormGradients : public OnLevel {
protected:
  void check(const NormGradient &gradient, int64_t width, Around around) {
    OneLaunch plan;
    const int64_t padded = (width + 31) / 32 * 32;
    std::string t = tensor(width), v = "tensor<" + number(width) + "xf32>";
    std::vector<std::string> ins = {plan.rows("tokens", width), plan.rows("tokens", width), plan.rows("tokens", width)}, outs;
    std::string region = "^bb0(%in: " + t + ", %grad: " + t + ", %r: " + t;
    if (gradient.gain) {
      ins.push_back(plan.weight("vector", 0, "memref<" + number(padded) + "xf32>"));
      region += ", %g: " + v;
    }
    region += "):\n";
    if (around.inputIsComputed)
      region += "  %x = ds.add %in, %r : " + t + "\n";
    if (around.gradIsComputed)
      region += "  %d = ds.mul %grad, %r : " + t + "\n";
    std::string op = gradient.op;
    if (!around.inputIsComputed)
      op.replace(op.find("%x"), 2, "%in");
    if (!around.gradIsComputed)
      op.replace(op.find("%d"), 2, "%grad");
    region += std::string("  %y") + (gradient.gain ? ", %n" : "") + " = ds." + op + " : " + t + (gradient.gain ? ", " + v : "") + "\n";
    if (around.follows)
      region += "  %z = ds.add %y, %r : " + t + "\n";
    std::string names, types;
    auto give = [&](const std::string &name) {
      names += (names.empty() ? "" : ", ") + name;
      types += (types.empty() ? "" : ", ") + t;
    };
    for (int i = 0; i < 3; ++i)
      outs.push_back(plan.rows("tokens", width));
    std::vector<std::string> given;
    auto out = [&](bool wanted, const std::string &name, const std::string &place) {
      if (wanted) {
        give(name);
        given.push_back(place);
      }
    };
    out(around.output, around.follows ? "%z" : "%y", outs[0]);
    out(around.normalized, "%n", outs[1]);
    out(around.gradIsComputed, "%d", outs[2]);
    CompiledPlan code(plan.text("row", region + "  ds_plan.return " + names + " : " + types + "\n", ins, given), level());
    ASSERT_TRUE(code) << code.error() << region;
    for (int32_t rows : {1, 2, 5, 33})
      compare(code, gradient, width, around, rows);
  }

private:
  void compare(const CompiledPlan &code, const NormGradient &gradient, int64_t width, Around around, int32_t rows) {
    Numbers numbers(width + rows);
    Floats in(numbers.take(rows * width)), grad(numbers.take(rows * width)), r(numbers.take(rows * width)),
        gain(numbers.take((width + 31) / 32 * 32));
    Floats y(rows * width), n(rows * width), d(rows * width);
    for (int64_t i = width; i < gain.count; ++i)
      gain[i] = 0;
    for (int64_t i = 0; i < width; ++i)
      in[i] += 10; // a mean far from 0
    if (rows > 1)
      for (int64_t i = 0; i < width; ++i)
        in[width + i] *= 0.01f;
    StepData step;
    step.batch = rows == 33 ? 3 : 1;
    step.tokens = rows / step.batch;
    step.outputs = {in.as<void>(), grad.as<void>(), r.as<void>(), y.as<void>(), n.as<void>(), d.as<void>()};
    step.weights = gain.as<void>();
    code.run("run", step, rows % 4 + 1);
    for (int64_t row = 0; row < rows; ++row) {
      Row x(width), g(width), dy(width), normalized;
      for (int64_t i = 0; i < width; ++i) {
        const int64_t at = row * width + i;
        x[i] = around.inputIsComputed ? in[at] + r[at] : in[at];
        dy[i] = around.gradIsComputed ? grad[at] * r[at] : grad[at];
        g[i] = gain[i];
        if (around.gradIsComputed)
          ASSERT_EQ(d[at], static_cast<float>(dy[i]));
      }
      Row exact = gradient.exact(x, g, dy, normalized);
      double most = 0;
      for (double value : exact)
        most = std::max(most, std::abs(value));
      // Two values around 10, or of 0.01 beside each other, leave little of what a layer norm reads.
      double tolerance = (row == 0 || width < 5 ? 2e-4 : 1e-5) * (1 + most);
      for (int64_t i = 0; i < width; ++i) {
        std::string where = gradient.op + " width " + number(width) + " row " + number(row) + " of " + number(rows);
        const int64_t at = row * width + i;
        if (around.output)
          ASSERT_NEAR(y[at], exact[i] + (around.follows ? r[at] : 0), tolerance) << where;
        if (around.normalized)
          ASSERT_NEAR(n[at], normalized[i], row == 0 ? 1e-4 : 1e-5) << where;
      }
    }
  }
};

TEST_P(NormGradients, agreeWithFormulas) {
  for (const NormGradient &gradient : gradients)
    for (int64_t width : {2, 7, 16, 33, 64, 100, 384, 577})
      check(gradient, width, {true, false});
}

TEST_P(NormGradients, normalized) {
  for (const NormGradient &gradient : gradients)
    for (int64_t width : {5, 48, 130})
      if (gradient.gain) {
        check(gradient, width, {true, true});
        check(gradient, width, {false, true});
        check(gradient, width, {true, true, true, true, true});
      }
}

TEST_P(NormGradients, withElementwiseOpsAround) {
  for (const NormGradient &gradient : gradients)
    for (int64_t width : {5, 48, 130}) {
      check(gradient, width, {true, false, true, false, false});
      check(gradient, width, {true, false, false, true, false});
      check(gradient, width, {true, false, false, false, true});
      check(gradient, width, {true, false, true, true, true});
    }
}

TEST_P(GradientRows, gather) {
  const int32_t batch = 3, tokens = 7;
  for (int64_t width : {1, 20, 64, 577}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", width), d = plan.rows("selected", width), y = plan.rows("tokens", width);
    std::string r = plan.indices("selected"), t = tensor(width), o = "tensor<?x" + number(width) + "xf32>";
    CompiledPlan code(plan.text("gather_gradient",
                                "^bb0(%x: " + t + ", %r: tensor<?xi32>, %d: " + o + "):\n  %y = ds.gather_rows_grad %x, %r, %d : " + t +
                                    ", tensor<?xi32>, " + o + "\n  ds_plan.return %y : " + t + "\n",
                                {x, r, d}, {y}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {0, 1, 3, 10, 60})
      for (int32_t threads = 1; threads <= 4; ++threads) {
        Floats in(0), grad(Numbers(rows).take(rows * width)), out(batch * tokens * width);
        std::vector<int32_t> index(rows + 1);
        std::vector<float> want(batch * tokens * width);
        for (int32_t i = 0; i < rows; ++i) {
          index[i] = i == 0 ? batch * tokens - 1 : (i * 5 + i / 7) % (batch * tokens);
          for (int64_t c = 0; c < width; ++c)
            want[index[i] * width + c] += grad[i * width + c]; // in the order of the indices
        }
        StepData step;
        step.batch = batch;
        step.tokens = tokens;
        step.rows = rows;
        step.inputs = {index.data()};
        step.outputs = {in.as<void>(), grad.as<void>(), out.as<void>()};
        code.run("run", step, threads);
        for (int64_t i = 0; i < out.count; ++i)
          ASSERT_EQ(out[i], want[i]) << width << " " << rows;
      }
  }
}

TEST_P(GradientRows, pool) {
  for (std::string kind : {"cls", "mean", "last"})
    for (int64_t width : {1, 20, 64, 577}) {
      OneLaunch plan;
      const bool masked = kind != "cls";
      std::string x = plan.rows("tokens", width), d = plan.rows("batch", width), y = plan.rows("tokens", width), t = tensor(width);
      std::string o = "tensor<?x" + number(width) + "xf32>", m = "tensor<?x?xi32>";
      std::vector<std::string> ins = {x, d};
      if (masked)
        ins.push_back(plan.indices("tokens"));
      CompiledPlan code(plan.text("pool_gradient",
                                  "^bb0(%x: " + t + ", %d: " + o + (masked ? ", %m: " + m : "") + "):\n  %y = ds.pool_grad " + kind +
                                      " %x, %d" + (masked ? " mask %m" : "") + " : " + t + ", " + o + (masked ? ", " + m : "") +
                                      "\n  ds_plan.return %y : " + t + "\n",
                                  ins, {y}),
                        level());
      ASSERT_TRUE(code) << code.error();
      const int32_t batch = 4;
      for (int32_t tokens : {1, 5, 33})
        for (int32_t threads : {1, 3, 4}) {
          Floats in(0), grad(Numbers(tokens).take(batch * width)), out(batch * tokens * width);
          std::vector<int32_t> mask(batch * tokens);
          for (int32_t i = 0; i < batch * tokens; ++i) {
            int32_t b = i / tokens, t = i % tokens;
            mask[i] = b == 1 ? t <= tokens / 2 : b == 2 ? 0 : b == 3 ? t % 3 == 1 : 2;
          }
          StepData step;
          step.batch = batch;
          step.tokens = tokens;
          step.inputs = {mask.data()};
          step.outputs = {in.as<void>(), grad.as<void>(), out.as<void>()};
          code.run("run", step, threads);
          for (int32_t b = 0; b < batch; ++b) {
            int32_t last = 0, count = 0;
            for (int32_t t = 0; t < tokens; ++t)
              if (mask[b * tokens + t])
                last = t, ++count;
            for (int64_t i = 0; i < tokens * width; ++i) {
              const int64_t t = i / width;
              const double whole = grad[b * width + i % width];
              double want = kind == "mean" ? (mask[b * tokens + t] ? whole / count : 0) : t == (masked ? last : 0) ? whole : 0;
              ASSERT_NEAR(out[b * tokens * width + i], want, 3e-7) << kind << " width " << width << " T " << tokens << " sequence " << b;
            }
          }
        }
    }
}

DS_ON_ALL_LEVELS(GradientRows);
DS_ON_ALL_LEVELS(NormGradients);

} // namespace
