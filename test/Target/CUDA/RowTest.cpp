// Norms, softmax and element-wise kernels against plain loops.
#include "EmulatedPlan.h"
#include <functional>

using namespace ds;
using namespace ds::test;

namespace {

using Row = std::vector<double>;

double meanSquare(const Row &x) {
  double sum = 0;
  for (double v : x)
    sum += v * v / x.size();
  return sum;
}
Row layerNorm(const Row &x, const Row &gain, const Row &bias) {
  Row y(x);
  double mean = 0;
  for (double v : x)
    mean += v / x.size();
  for (double &v : y)
    v -= mean;
  double scale = 1 / std::sqrt(meanSquare(y) + 1e-5);
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = gain[i] * y[i] * scale + bias[i];
  return y;
}
Row softmax(const Row &x) {
  double most = *std::max_element(x.begin(), x.end()), sum = 0;
  Row y(x);
  for (double &v : y)
    sum += v = std::exp(v - most);
  for (double &v : y)
    v /= sum;
  return y;
}
Row scaled(Row x, const Row &gain, double scale) {
  for (size_t i = 0; i < x.size(); ++i)
    x[i] *= scale * (gain.empty() ? 1 : gain[i]);
  return x;
}

struct Norm {
  std::string op; // with %x, %g, %b
  bool gain, bias;
  std::function<Row(const Row &, const Row &, const Row &)> exact;
};
const Norm norms[] = {
    {"layer_norm %x, %g bias %b eps 1.0e-5", true, true, layerNorm},
    {"layer_norm %x, %g eps 1.0e-5", true, false, [](auto &x, auto &g, auto &) { return layerNorm(x, g, Row(x.size(), 0)); }},
    {"rms_norm %x, %g eps 1.0e-6", true, false, [](auto &x, auto &g, auto &) { return scaled(x, g, 1 / std::sqrt(meanSquare(x) + 1e-6)); }},
    {"l2_normalize %x eps 1.0e-12", false, false,
     [](auto &x, auto &, auto &) { return scaled(x, {}, 1 / std::max(std::sqrt(meanSquare(x) * x.size()), 1e-12)); }},
    {"softmax %x", false, false, [](auto &x, auto &, auto &) { return softmax(x); }},
};

std::string tensor(int64_t width) { return "tensor<?x?x" + std::to_string(width) + "xf32>"; }

/// `before` and `after` are ops from %in to %x and from %n to %y; both may be missing. With `before` what the norm reads is a result too.
class NormKernel {
public:
  NormKernel(const Norm &norm, int64_t width, bool before, bool after)
      : norm(norm), width(width), padded((width + 31) / 32 * 32), before(before), after(after) {}

  std::string text() const;
  void check(const EmulatedPlan &code, int32_t rows) const;

private:
  const Norm &norm;
  int64_t width, padded;
  bool before, after;
};

std::string NormKernel::text() const {
  OneLaunch plan;
  std::string t = tensor(width), v = "tensor<" + std::to_string(width) + "xf32>", vector = "memref<" + std::to_string(padded) + "xf32>";
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
  return plan.text("row", region, ins, outs);
}

void NormKernel::check(const EmulatedPlan &code, int32_t rows) const {
  Numbers numbers(width + rows);
  Floats weights(2 * padded), x(numbers.take(rows * width)), r(numbers.take(rows * width)), y(rows * width), s(rows * width);
  for (int64_t i = 0; i < 2 * padded; ++i)
    weights[i] = i % padded < width ? numbers.next() : 0;
  for (int64_t i = 0; i < width; ++i)
    x[i] += 100; // a mean far from 0
  EmulatedStep step;
  step.batch = rows == 33 ? 3 : 1;
  step.tokens = rows / step.batch;
  step.outputs = {all(x), all(r), all(y), all(s)};
  step.weights = bytesOf(weights);
  ASSERT_EQ(code.run(step), "") << norm.op << " width " << width << " rows " << rows;
  Row gain(weights.as<float>(), weights.as<float>() + width), bias(weights.as<float>() + padded, weights.as<float>() + padded + width);
  for (int64_t row = 0; row < rows; ++row) {
    Row input(width);
    for (int64_t i = 0; i < width; ++i) {
      float sum = x[row * width + i] + r[row * width + i];
      input[i] = before ? sum : x[row * width + i];
      if (before)
        ASSERT_EQ(s[row * width + i], sum);
    }
    Row exact = norm.exact(input, gain, bias);
    for (int64_t i = 0; i < width; ++i) {
      double want = after ? std::max(exact[i], 0.0) + r[row * width + i] : exact[i];
      // With a mean of 100 its own rounding, 4e-6, counts.
      ASSERT_NEAR(y[row * width + i], want, row == 0 ? 1e-4 : 4e-6) << norm.op << " width " << width << " row " << row << " of " << rows;
    }
  }
}

void checkNorm(const Norm &norm, int64_t width, bool before, bool after, const std::vector<int32_t> &rows) {
  NormKernel kernel(norm, width, before, after);
  EmulatedPlan code(kernel.text());
  ASSERT_TRUE(code) << code.error() << kernel.text();
  for (int32_t count : rows)
    kernel.check(code, count);
}

/// A warp has a row: vectors and scalars, whole and with a tail.
TEST(GpuNorms, shortRows) {
  for (const Norm &norm : norms)
    for (int64_t width : {2, 7, 16, 33, 64, 100, 384, 577, 1024})
      checkNorm(norm, width, false, false, {1, 2, 5, 33});
}

/// A block has a row.
TEST(GpuNorms, longRows) {
  for (const Norm &norm : norms)
    for (int64_t width : {1025, 1028, 2048, 3002, 5000})
      checkNorm(norm, width, false, false, {1, 3});
}

/// Rows that a block does not keep in registers.
TEST(GpuNorms, rowsReadAgain) {
  for (const Norm &norm : norms)
    if (!norm.op.starts_with("softmax")) // no kernel has them
      for (int64_t width : {16388, 16389})
        checkNorm(norm, width, false, false, {1, 2});
}

TEST(GpuNorms, withElementwiseOpsAround) {
  for (const Norm &norm : norms)
    for (int64_t width : {5, 48, 130, 1100, 2051}) {
      checkNorm(norm, width, true, false, {2});
      checkNorm(norm, width, false, true, {2});
      checkNorm(norm, width, true, true, {1, 5});
    }
}

TEST(GpuNorms, extremes) {
  for (const Norm &norm : norms)
    for (int64_t width : {20, 2000}) {
      if (norm.gain)
        continue;
      OneLaunch plan;
      std::string x = plan.rows("batch", width), y = plan.rows("batch", width), t = "tensor<?x" + std::to_string(width) + "xf32>";
      EmulatedPlan code(
          plan.text("row", "^bb0(%x: " + t + "):\n  %n = ds." + norm.op + " : " + t + "\n  ds_plan.return %n : " + t + "\n", {x}, {y}));
      ASSERT_TRUE(code) << code.error();
      Floats in(Numbers(9).take(5 * width)), out(5 * width);
      in[3] = notANumber;
      in[width + 19] = 0;
      for (int64_t i = 0; i < width; ++i) {
        in[2 * width + i] = -1000.0f + static_cast<float>(i % 20); // far below 0
        in[3 * width + i] = i == 7 ? 1.0f : -infinite;
        in[4 * width + i] = 0;
      }
      EmulatedStep step;
      step.batch = 5;
      step.tokens = 3; // has no say in batch rows
      step.outputs = {all(in), all(out)};
      ASSERT_EQ(code.run(step), "");
      double sum = 0;
      for (int64_t i = 0; i < width; ++i) {
        ASSERT_TRUE(std::isnan(out[i]));
        ASSERT_TRUE(std::isfinite(out[width + i]));
        sum += out[2 * width + i];
      }
      if (norm.op.starts_with("softmax")) {
        EXPECT_NEAR(sum, 1, 1e-5);
        EXPECT_EQ(out[3 * width + 7], 1.0f);
        EXPECT_EQ(out[3 * width], 0.0f);
        EXPECT_NEAR(out[4 * width], 1.0 / width, 1e-7);
      } else {
        EXPECT_EQ(out[4 * width], 0.0f);
      }
    }
}

/// `op` of one argument: `ds.silu %x`.
EmulatedPlan unary(const std::string &op, int64_t width) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), t = tensor(width);
  return EmulatedPlan(
      plan.text("row", "^bb0(%x: " + t + "):\n  %y = ds." + op + " %x : " + t + "\n  ds_plan.return %y : " + t + "\n", {x}, {y}));
}

std::vector<float> run(const EmulatedPlan &code, const std::vector<float> &values, int32_t rows) {
  Floats x(values), y(static_cast<int64_t>(values.size()));
  EmulatedStep step;
  step.tokens = rows;
  step.outputs = {all(x), all(y)};
  EXPECT_EQ(code.run(step), "");
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
};
const Function functions[] = {
    {"tanh", [](double x) { return std::tanh(x); }, 2e-7, 0},
    {"gelu erf", gelu, 2e-7, 1e-7},
    {"gelu tanh", geluTanh, 4e-7, 2e-7},
    {"silu", [](double x) { return x / (1 + std::exp(-x)); }, 4e-7, 3e-37}, // e^-x overflows from -88.7 on
    {"quick_gelu", [](double x) { return x / (1 + std::exp(-1.702 * x)); }, 1e-6, 1e-7},
    {"relu", [](double x) { return x > 0 ? x : 0; }, 0, 0},
};

TEST(GpuElementwise, functionsAreExactEnough) {
  std::vector<float> x = {infinite, -infinite, notANumber, 0.0f, -0.0f};
  for (float value = 1e-42f; value < 3e38f; value *= 1.2f)
    x.insert(x.end(), {value, -value});
  for (int i = -2000; i <= 2000; ++i)
    x.push_back(static_cast<float>(i) * 6e-3f);
  for (int i = -500; i <= 500; ++i)
    x.push_back(static_cast<float>(i) * 0.24f);
  for (const Function &f : functions) {
    EmulatedPlan code = unary(f.op, 1);
    ASSERT_TRUE(code) << code.error();
    std::vector<float> y = run(code, x, static_cast<int32_t>(x.size()));
    EXPECT_EQ(y[0], f.exact(infinite)) << f.op;
    double low = f.exact(-infinite);
    EXPECT_TRUE(y[1] == low || (std::isnan(y[1]) && std::isnan(low))) << f.op << " " << y[1];
    EXPECT_TRUE(std::isnan(y[2])) << f.op;
    for (size_t i = 3; i < x.size(); ++i) {
      double exact = f.exact(x[i]);
      ASSERT_LE(std::abs(y[i] - exact), f.absolute + f.relative * std::abs(exact) + 2e-45) << f.op << " of " << x[i] << " is " << y[i];
    }
  }
}

TEST(GpuElementwise, everySize) {
  for (int64_t width : {1, 3, 7, 16, 31, 100, 1022, 1024, 1500, 2049}) {
    EmulatedPlan code = unary("relu", width);
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {1, 2, 3, 5, 8, 70}) {
      if (rows > 8 && width > 100)
        continue;
      std::vector<float> x = Numbers(rows).take(rows * width);
      std::vector<float> y = run(code, x, rows);
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_EQ(y[i], std::max(x[i], 0.0f)) << width << " " << rows << " " << i;
    }
  }
}

/// Several ops, several results, an operand that is read twice: what fusion makes.
TEST(GpuElementwise, chains) {
  const int64_t width = 37;
  OneLaunch plan;
  std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width), sum = plan.rows("tokens", width),
              out = plan.rows("tokens", width);
  std::string t = tensor(width);
  EmulatedPlan code(plan.text("row",
                              "^bb0(%x: " + t + ", %y: " + t + "):\n  %s = ds.add %x, %y : " + t + "\n  %g = ds.silu %s : " + t +
                                  "\n  %m = ds.mul %g, %x : " + t + "\n  ds_plan.return %s, %m : " + t + ", " + t + "\n",
                              {x, y}, {sum, out}));
  ASSERT_TRUE(code) << code.error();
  for (int32_t rows : {1, 6, 50}) {
    Floats a(Numbers(2).take(rows * width)), b(Numbers(3).take(rows * width)), s(rows * width), m(rows * width);
    EmulatedStep step;
    step.batch = rows % 2 ? 1 : 2;
    step.tokens = rows / step.batch;
    step.outputs = {all(a), all(b), all(s), all(m)};
    ASSERT_EQ(code.run(step), "");
    for (int64_t i = 0; i < rows * width; ++i) {
      double total = static_cast<double>(a[i]) + b[i];
      ASSERT_NEAR(s[i], total, 1e-6);
      ASSERT_NEAR(m[i], total / (1 + std::exp(-total)) * a[i], 3e-6);
    }
  }
}

TEST(GpuElementwise, refusesWhatItCannotCompute) {
  OneLaunch plan;
  std::string x = plan.rows("tokens", 8), y = plan.rows("tokens", 8), t = tensor(8);
  EmulatedPlan code(plan.text(
      "row", "^bb0(%x: " + t + "):\n  %a = ds.softmax %x : " + t + "\n  %b = ds.softmax %a : " + t + "\n  ds_plan.return %b : " + t + "\n",
      {x}, {y}));
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("kernel 'k' on CUDA: row cannot serve the region: two norms in one region"), std::string::npos)
      << code.error();
}

/// Buffer to buffer, then to two outputs, of which the caller wants one.
TEST(GpuCopy, rowsOfEverySize) {
  EmulatedPlan code(R"(
ds_plan.kernel @copy "copy" schedule {} {
^bb0(%x: tensor<?x?x7xf32>):
  ds_plan.return %x : tensor<?x?x7xf32>
}
ds_plan.program @run max_batch 64 max_rows 64 arena 4096 kv_bytes 0 {
  %x = ds_plan.output "hidden" 0 tokens : memref<?x7xf32>
  %y = ds_plan.buffer tokens offset 64 : memref<?x7xf32>
  %a = ds_plan.output "logits" 1 tokens : memref<?x7xf32>
  %b = ds_plan.output "other" 2 tokens : memref<?x7xf32>
  ds_plan.launch @copy ins(%x : memref<?x7xf32>) outs(%y : memref<?x7xf32>)
  ds_plan.barrier
  ds_plan.launch @copy ins(%y : memref<?x7xf32>) outs(%a : memref<?x7xf32>)
  ds_plan.launch @copy ins(%y : memref<?x7xf32>) outs(%b : memref<?x7xf32>)
}
)");
  ASSERT_TRUE(code) << code.error();
  for (int32_t rows : {1, 2, 3, 8, 63, 64}) {
    Floats x(Numbers(rows).take(rows * 7)), a(rows * 7);
    EmulatedStep step;
    step.tokens = rows;
    step.outputs = {all(x), all(a), {}};
    ASSERT_EQ(code.run(step), "");
    for (int32_t i = 0; i < rows * 7; ++i)
      ASSERT_EQ(a[i], x[i]);
  }
}

} // namespace
