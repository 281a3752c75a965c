// Every gradient op against central differences of its forward op, through the interpreter.
#include "ReferenceTest.h"
#include "ds/Reference/Interpreter.h"
#include <cmath>
#include <random>

using namespace ds;
using namespace ds::reference;

namespace {

class GradientTest : public ReferenceTest {
protected:
  mlir::Type f64() { return mlir::Float64Type::get(&context); }
  int64_t size(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random); }

  TensorPtr floats(std::vector<int64_t> shape) {
    Tensor values = Tensor::zeros(f64(), std::move(shape));
    for (double &value : values.values)
      value = std::normal_distribution<double>()(random);
    return std::make_shared<Tensor>(std::move(values));
  }

  TensorPtr integers(std::vector<int64_t> shape, int64_t low, int64_t high) {
    Tensor values = Tensor::zeros(i32(), std::move(shape));
    for (double &value : values.values)
      value = static_cast<double>(size(low, high));
    return std::make_shared<Tensor>(std::move(values));
  }

  /// Holds what @backward returns, given the arguments of @forward and the gradient of its result, to differences of @forward by each
  /// element of the arguments `wanted`.
  void check(llvm::StringRef text, std::vector<TensorPtr> arguments, std::vector<size_t> wanted) {
    auto module = parse(text);
    ASSERT_TRUE(module) << message;
    Interpreter interpreter(*module);
    auto output = interpreter.call("forward", arguments);
    ASSERT_TRUE(succeeded(output)) << message;
    TensorPtr grad = floats((*output)[0]->shape);
    std::vector<TensorPtr> given = arguments;
    given.push_back(grad);
    auto gradients = interpreter.call("backward", given);
    ASSERT_TRUE(succeeded(gradients)) << message;
    ASSERT_EQ(gradients->size(), wanted.size());
    const auto loss = [&](const std::vector<TensorPtr> &at) {
      auto result = interpreter.call("forward", at);
      double sum = 0;
      for (int64_t i = 0; i < grad->elements(); ++i)
        sum += grad->values[i] * (*result)[0]->values[i];
      return sum;
    };
    for (size_t index = 0; index < wanted.size(); ++index) {
      const TensorPtr original = arguments[wanted[index]];
      ASSERT_EQ((*gradients)[index]->shape, original->shape);
      std::vector<double> slopes;
      double largest = 0;
      for (int64_t i = 0; i < original->elements(); ++i) {
        slopes.push_back(slope(original, i, [&](TensorPtr moved) {
          std::vector<TensorPtr> at = arguments;
          at[wanted[index]] = std::move(moved);
          return loss(at);
        }));
        largest = std::max(largest, std::fabs(slopes.back()));
      }
      EXPECT_GT(largest, 0);
      for (int64_t i = 0; i < original->elements(); ++i)
        EXPECT_NEAR((*gradients)[index]->values[i], slopes[i], 1e-7 * largest) << "argument " << wanted[index] << ", element " << i;
    }
  }

  /// The derivative of `loss` by element `i` of `original`.
  template <typename Loss> static double slope(const TensorPtr &original, int64_t i, Loss loss) {
    constexpr double step = 1e-5;
    Tensor above = *original, below = *original;
    above.values[i] += step;
    below.values[i] -= step;
    return (loss(std::make_shared<Tensor>(std::move(above))) - loss(std::make_shared<Tensor>(std::move(below)))) / (2 * step);
  }

  /// An op with one operand of rank 2, and the op of its gradient.
  void checkRows(const std::string &op, const std::string &forward, const std::string &backward, bool fromValue, TensorPtr input) {
    const std::string type = "tensor<?x5xf64>", value = "  %y = ds." + op + " " + forward + " : " + type + "\n";
    check("func.func @forward(%x: " + type + ") -> " + type + " {\n" + value + "  return %y : " + type +
              "\n}\nfunc.func @backward(%x: " + type + ", %dy: " + type + ") -> " + type + " {\n" + (fromValue ? value : "") +
              "  %dx = ds." + op + "_grad " + backward + " : " + type + "\n  return %dx : " + type + "\n}",
          {std::move(input)}, {0});
  }

  std::mt19937 random{7};
};

} // namespace

TEST_F(GradientTest, Linear) {
  check(R"(
func.func @forward(%x: tensor<?x?x5xf64>, %w: tensor<7x5xf64>, %b: tensor<7xf64>) -> tensor<?x?x7xf64> {
  %y = ds.linear %x, %w bias %b : tensor<?x?x5xf64>, tensor<7x5xf64>, tensor<7xf64>
  return %y : tensor<?x?x7xf64>
}
func.func @backward(%x: tensor<?x?x5xf64>, %w: tensor<7x5xf64>, %b: tensor<7xf64>, %dy: tensor<?x?x7xf64>)
    -> (tensor<?x?x5xf64>, tensor<7x5xf64>, tensor<7xf64>) {
  %dx = ds.linear %dy, %w transposed : tensor<?x?x7xf64>, tensor<7x5xf64>
  %dw = ds.linear_weight_grad %x, %dy : tensor<?x?x5xf64>, tensor<?x?x7xf64> -> tensor<7x5xf64>
  %db = ds.column_sum %dy : tensor<?x?x7xf64> -> tensor<7xf64>
  return %dx, %dw, %db : tensor<?x?x5xf64>, tensor<7x5xf64>, tensor<7xf64>
})",
        {floats({size(1, 3), size(1, 4), 5}), floats({7, 5}), floats({7})}, {0, 1, 2});
}

TEST_F(GradientTest, TransposedLinear) {
  check(R"(
func.func @forward(%x: tensor<?x5xf64>, %w: tensor<5x7xf64>, %b: tensor<7xf64>) -> tensor<?x7xf64> {
  %y = ds.linear %x, %w transposed bias %b : tensor<?x5xf64>, tensor<5x7xf64>, tensor<7xf64>
  return %y : tensor<?x7xf64>
}
func.func @backward(%x: tensor<?x5xf64>, %w: tensor<5x7xf64>, %b: tensor<7xf64>, %dy: tensor<?x7xf64>)
    -> (tensor<?x5xf64>, tensor<5x7xf64>) {
  %dx = ds.linear %dy, %w : tensor<?x7xf64>, tensor<5x7xf64>
  %dw = ds.linear_weight_grad %dy, %x : tensor<?x7xf64>, tensor<?x5xf64> -> tensor<5x7xf64>
  return %dx, %dw : tensor<?x5xf64>, tensor<5x7xf64>
})",
        {floats({size(2, 5), 5}), floats({5, 7}), floats({7})}, {0, 1});
}

TEST_F(GradientTest, Embedding) {
  // More indices than rows: some row is read twice.
  check(R"(
func.func @forward(%ids: tensor<?x?xi32>, %w: tensor<4x3xf64>) -> tensor<?x?x3xf64> {
  %y = ds.embedding %ids, %w : tensor<?x?xi32>, tensor<4x3xf64>
  return %y : tensor<?x?x3xf64>
}
func.func @backward(%ids: tensor<?x?xi32>, %w: tensor<4x3xf64>, %dy: tensor<?x?x3xf64>) -> tensor<4x3xf64> {
  %dw = ds.embedding_grad %ids, %dy : tensor<?x?xi32>, tensor<?x?x3xf64> -> tensor<4x3xf64>
  return %dw : tensor<4x3xf64>
})",
        {integers({2, size(3, 5)}, 0, 3), floats({4, 3})}, {1});
}

TEST_F(GradientTest, GatherRows) {
  check(R"(
func.func @forward(%x: tensor<?x?x3xf64>, %rows: tensor<?xi32>) -> tensor<?x3xf64> {
  %y = ds.gather_rows %x, %rows : tensor<?x?x3xf64>, tensor<?xi32>
  return %y : tensor<?x3xf64>
}
func.func @backward(%x: tensor<?x?x3xf64>, %rows: tensor<?xi32>, %dy: tensor<?x3xf64>) -> tensor<?x?x3xf64> {
  %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<?x?x3xf64>, tensor<?xi32>, tensor<?x3xf64>
  return %dx : tensor<?x?x3xf64>
})",
        {floats({2, 3, 3}), tensor(i32(), {4}, {5, 0, 5, 2})}, {0});
}

TEST_F(GradientTest, LayerNorm) {
  check(R"(
func.func @forward(%x: tensor<?x?x6xf64>, %g: tensor<6xf64>, %b: tensor<6xf64>) -> tensor<?x?x6xf64> {
  %y = ds.layer_norm %x, %g bias %b eps 0.01 : tensor<?x?x6xf64>, tensor<6xf64>, tensor<6xf64>
  return %y : tensor<?x?x6xf64>
}
func.func @backward(%x: tensor<?x?x6xf64>, %g: tensor<6xf64>, %b: tensor<6xf64>, %dy: tensor<?x?x6xf64>)
    -> (tensor<?x?x6xf64>, tensor<6xf64>, tensor<6xf64>) {
  %dx, %n = ds.layer_norm_grad %x, %g, %dy eps 0.01 : tensor<?x?x6xf64>, tensor<6xf64>
  %p = ds.mul %dy, %n : tensor<?x?x6xf64>
  %dg = ds.column_sum %p : tensor<?x?x6xf64> -> tensor<6xf64>
  %db = ds.column_sum %dy : tensor<?x?x6xf64> -> tensor<6xf64>
  return %dx, %dg, %db : tensor<?x?x6xf64>, tensor<6xf64>, tensor<6xf64>
})",
        {floats({size(1, 3), size(1, 3), 6}), floats({6}), floats({6})}, {0, 1, 2});
}

TEST_F(GradientTest, RmsNorm) {
  check(R"(
func.func @forward(%x: tensor<?x6xf64>, %g: tensor<6xf64>) -> tensor<?x6xf64> {
  %y = ds.rms_norm %x, %g eps 0.01 : tensor<?x6xf64>, tensor<6xf64>
  return %y : tensor<?x6xf64>
}
func.func @backward(%x: tensor<?x6xf64>, %g: tensor<6xf64>, %dy: tensor<?x6xf64>) -> (tensor<?x6xf64>, tensor<6xf64>) {
  %dx, %n = ds.rms_norm_grad %x, %g, %dy eps 0.01 : tensor<?x6xf64>, tensor<6xf64>
  %p = ds.mul %dy, %n : tensor<?x6xf64>
  %dg = ds.column_sum %p : tensor<?x6xf64> -> tensor<6xf64>
  return %dx, %dg : tensor<?x6xf64>, tensor<6xf64>
})",
        {floats({size(2, 4), 6}), floats({6})}, {0, 1});
}

TEST_F(GradientTest, L2Normalize) {
  // The second row is shorter than eps.
  checkRows("l2_normalize", "%x eps 0.5", "%x, %dy eps 0.5", /*fromValue=*/false,
            tensor(f64(), {2, 5}, {1.1, -0.3, 0.7, 2.0, -1.4, 0.1, -0.2, 0.05, 0.15, 0.02}));
}

TEST_F(GradientTest, Softmax) { checkRows("softmax", "%x", "%y, %dy", /*fromValue=*/true, floats({size(2, 4), 5})); }

TEST_F(GradientTest, Activations) {
  for (double spread : {1.0, 4.0}) {
    Tensor input = *floats({6, 5});
    for (double &value : input.values)
      value *= spread;
    TensorPtr x = std::make_shared<Tensor>(input);
    checkRows("gelu", "erf %x", "erf %x, %dy", false, x);
    checkRows("gelu", "tanh %x", "tanh %x, %dy", false, x);
    checkRows("silu", "%x", "%x, %dy", false, x);
    checkRows("quick_gelu", "%x", "%x, %dy", false, x);
    checkRows("relu", "%x", "%x, %dy", false, x);
    checkRows("tanh", "%x", "%y, %dy", /*fromValue=*/true, x);
  }
}

TEST_F(GradientTest, Rope) {
  for (const char *style : {"half", "interleaved"})
    for (const char *rotary : {"4", "6"}) {
      const std::string turn = std::string(" heads 2 rotary ") + rotary + " base 100.0", type = "tensor<?x?x12xf64>";
      const std::string body = type + ", %p: tensor<?x?xi32>", types = " : " + type + ", tensor<?x?xi32>\n";
      check("func.func @forward(%x: " + body + ") -> " + type + " {\n  %y = ds.rope " + style + " %x, %p" + turn + types +
                "  return %y : " + type + "\n}\nfunc.func @backward(%x: " + body + ", %dy: " + type + ") -> " + type +
                " {\n  %dx = ds.rope " + style + " %dy, %p" + turn + " inverse" + types + "  return %dx : " + type + "\n}",
            {floats({2, 3, 12}), integers({2, 3}, 0, 9)}, {0});
    }
}

TEST_F(GradientTest, Pool) {
  // The last token that counts of the third sequence is none: `last` takes token 0.
  TensorPtr mask = tensor(i32(), {3, 4}, {1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0});
  for (const char *kind : {"cls", "mean", "last"}) {
    const std::string arguments = "(%x: tensor<?x?x3xf64>, %m: tensor<?x?xi32>";
    check("func.func @forward" + arguments + ") -> tensor<?x3xf64> {\n  %y = ds.pool " + kind +
              " %x mask %m : tensor<?x?x3xf64>, tensor<?x?xi32>\n  return %y : tensor<?x3xf64>\n}\nfunc.func @backward" + arguments +
              ", %dy: tensor<?x3xf64>) -> tensor<?x?x3xf64> {\n  %dx = ds.pool_grad " + kind +
              " %x, %dy mask %m : tensor<?x?x3xf64>, tensor<?x3xf64>, tensor<?x?xi32>\n  return %dx : tensor<?x?x3xf64>\n}",
          {floats({3, 4, 3}), mask}, {0});
  }
}

TEST_F(GradientTest, CrossEntropy) {
  // The sum of the rows' losses: its gradient is the `scale` of all of them.
  for (const char *smoothing : {"0.0", "0.1"}) {
    const std::string arguments = "(%x: tensor<?x7xf64>, %l: tensor<?xi32>", tail = std::string(" smoothing ") + smoothing;
    check("func.func @forward" + arguments + ") -> tensor<1xf64> {\n  %y = ds.cross_entropy %x, %l" + tail +
              " : tensor<?x7xf64>, tensor<?xi32> -> tensor<?x1xf64>\n  %s = ds.column_sum %y : tensor<?x1xf64> -> tensor<1xf64>\n"
              "  return %s : tensor<1xf64>\n}\nfunc.func @backward" +
              arguments + ", %s: tensor<1xf64>) -> tensor<?x7xf64> {\n  %dx = ds.cross_entropy_grad %x, %l, %s" + tail +
              " : tensor<?x7xf64>, tensor<?xi32>, tensor<1xf64>\n  return %dx : tensor<?x7xf64>\n}",
          {floats({4, 7}), tensor(i32(), {4}, {6, -1, 0, 3})}, {0});
  }
}

TEST_F(GradientTest, Attention) {
  struct Case {
    int64_t heads, kvHeads;
    bool isCausal, hasMask, hasSlopes;
    int64_t window; // 0: none
    bool hasDropout = false;
  };
  const Case cases[] = {{2, 2, false, false, false, 0},    {2, 2, true, false, false, 0}, {4, 2, true, true, false, 0},
                        {4, 1, false, true, true, 0},      {6, 2, true, true, true, 2},   {3, 3, true, false, true, 3},
                        {4, 2, true, true, false, 0, true}};
  constexpr int64_t headSize = 3;
  for (const Case &c : cases) {
    SCOPED_TRACE("heads " + std::to_string(c.heads) + " of " + std::to_string(c.kvHeads) + ", window " + std::to_string(c.window));
    const int64_t batch = 2, tokens = size(3, 5), keys = c.isCausal ? tokens : size(3, 6);
    const std::string query = "tensor<?x?x" + std::to_string(c.heads * headSize) + "xf64>";
    const std::string key = "tensor<?x?x" + std::to_string(c.kvHeads * headSize) + "xf64>";
    const std::string slopes = "tensor<" + std::to_string(c.heads) + "xf64>";
    const std::string arguments =
        "(%q: " + query + ", %k: " + key + ", %v: " + key + ", %m: tensor<?x?xi32>, %s: " + slopes + ", %r: tensor<2xi32>";
    const std::string tail = std::string(c.hasMask ? " mask %m : tensor<?x?xi32>" : "") + (c.hasSlopes ? " slopes %s : " + slopes : "") +
                             (c.hasDropout ? " dropout %r : tensor<2xi32> rate 0.25 site 3" : "") + " heads " + std::to_string(c.heads) +
                             " kv_heads " + std::to_string(c.kvHeads) + " scale 0.7" + (c.isCausal ? " causal" : "") +
                             (c.window ? " window " + std::to_string(c.window) : "") + " : " + query + ", " + key + "\n";
    // The first sequence begins with keys that are not there, so that causal tokens see none; the second has none at all.
    Tensor mask = Tensor::zeros(i32(), {batch, keys});
    for (int64_t s = 1; s < keys; ++s)
      mask.values[s] = 1;
    check("func.func @forward" + arguments + ") -> " + query + " {\n  %y = ds.attention %q, %k, %v" + tail + "  return %y : " + query +
              "\n}\nfunc.func @backward" + arguments + ", %dy: " + query + ") -> (" + query + ", " + key + ", " + key +
              ") {\n  %dq, %dk, %dv = ds.attention_grad %q, %k, %v, %dy" + tail + "  return %dq, %dk, %dv : " + query + ", " + key + ", " +
              key + "\n}",
          {floats({batch, tokens, c.heads * headSize}), floats({batch, keys, c.kvHeads * headSize}),
           floats({batch, keys, c.kvHeads * headSize}), std::make_shared<Tensor>(mask), floats({c.heads}), tensor(i32(), {2}, {-7, 9})},
          {0, 1, 2});
  }
}

/// Parameters move one after the other; the gradients are those that a step kept. The second layer is off where its gate is 0.
TEST_F(GradientTest, StepOfASmallModel) {
  const std::string forward = R"(
  %e = ds.weight @e : tensor<3x3xf64>
  %w = ds.weight @w : tensor<3x3xf64>
  %b = ds.weight @b : tensor<3xf64>
  %rows = ds.constant dense<[0, 1, 3]> : tensor<3xi32>
  %x = ds.embedding %ids, %e : tensor<?x?xi32>, tensor<3x3xf64>
  %h = ds.linear %x, %w bias %b : tensor<?x?x3xf64>, tensor<3x3xf64>, tensor<3xf64>
  %a = ds.tanh %h : tensor<?x?x3xf64>
  %s = ds.scale %a by %scales at 1 : tensor<?x?x3xf64>, tensor<2xf64>
  %r = ds.add %x, %s : tensor<?x?x3xf64>
  %y = ds.switch %gates at 1, %r, %x : tensor<2xi32>, tensor<?x?x3xf64>
  %c = ds.gather_rows %y, %rows : tensor<?x?x3xf64>, tensor<3xi32>
  %z = ds.linear %c, %e : tensor<3x3xf64>, tensor<3x3xf64>
)";
  auto module = parse(R"(
ds.parameter @e value dense<[[0.3, -0.2, 0.9], [1.1, 0.4, -0.7], [-0.5, 0.8, 0.2]]> : tensor<3x3xf64> : tensor<3x3xf64>
ds.parameter @w value dense<[[0.2, -0.6, 0.1], [0.5, 0.3, -0.4], [-0.1, 0.7, 0.6]]> : tensor<3x3xf64> : tensor<3x3xf64>
ds.parameter @b value dense<[0.1, -0.2, 0.3]> : tensor<3xf64> : tensor<3xf64>
func.func @evaluate(%ids: tensor<?x?xi32>, %labels: tensor<?xi32>, %gates: tensor<2xi32>, %scales: tensor<2xf64>) -> tensor<1xf64> {
)" + forward + R"(  %l = ds.cross_entropy %z, %labels smoothing 0.1 : tensor<3x3xf64>, tensor<?xi32> -> tensor<?x1xf64>
  %sum = ds.column_sum %l : tensor<?x1xf64> -> tensor<1xf64>
  return %sum : tensor<1xf64>
}
func.func @step(%ids: tensor<?x?xi32>, %labels: tensor<?xi32>, %gates: tensor<2xi32>, %scales: tensor<2xf64>, %loss_scale: tensor<1xf64>) {
)" + forward + R"(  %dz = ds.cross_entropy_grad %z, %labels, %loss_scale smoothing 0.1 : tensor<3x3xf64>, tensor<?xi32>, tensor<1xf64>
  %de0 = ds.linear_weight_grad %c, %dz : tensor<3x3xf64>, tensor<3x3xf64> -> tensor<3x3xf64>
  ds.accumulate_gradient @e, %de0 : tensor<3x3xf64>
  %dc = ds.linear %dz, %e transposed : tensor<3x3xf64>, tensor<3x3xf64>
  %dy = ds.gather_rows_grad %y, %rows, %dc : tensor<?x?x3xf64>, tensor<3xi32>, tensor<3x3xf64>
  %da = ds.scale %dy by %scales at 1 : tensor<?x?x3xf64>, tensor<2xf64>
  %dh = ds.tanh_grad %a, %da : tensor<?x?x3xf64>
  %dw = ds.linear_weight_grad %x, %dh : tensor<?x?x3xf64>, tensor<?x?x3xf64> -> tensor<3x3xf64>
  ds.accumulate_gradient @w, %dw gate 1 of %gates : tensor<3x3xf64>, tensor<2xi32>
  %db = ds.column_sum %dh : tensor<?x?x3xf64> -> tensor<3xf64>
  ds.accumulate_gradient @b, %db gate 1 of %gates : tensor<3xf64>, tensor<2xi32>
  %dl = ds.linear %dh, %w transposed : tensor<?x?x3xf64>, tensor<3x3xf64>
  %on = ds.add %dy, %dl : tensor<?x?x3xf64>
  %dx = ds.switch %gates at 1, %on, %dy : tensor<2xi32>, tensor<?x?x3xf64>
  %de1 = ds.embedding_grad %ids, %dx : tensor<?x?xi32>, tensor<?x?x3xf64> -> tensor<3x3xf64>
  ds.accumulate_gradient @e, %de1 : tensor<3x3xf64>
  return
})");
  ASSERT_TRUE(module) << message;
  for (double gate : {1.0, 0.0}) {
    Interpreter interpreter(*module);
    const std::vector<TensorPtr> inputs = {tensor(i32(), {2, 2}, {2, 0, 1, 0}), tensor(i32(), {3}, {1, 2, 0}),
                                           tensor(i32(), {2}, {0, gate}), tensor(f64(), {2}, {9, 1.25})};
    std::vector<TensorPtr> given = inputs;
    given.push_back(tensor(f64(), {1}, {2}));
    ASSERT_TRUE(succeeded(interpreter.call("step", given))) << message;
    for (const char *name : {"e", "w", "b"}) {
      const TensorPtr original = interpreter.parameter(name), gradient = interpreter.gradient(name);
      for (int64_t i = 0; i < original->elements(); ++i) {
        double wanted = 2 * slope(original, i, [&](TensorPtr moved) {
                          EXPECT_TRUE(succeeded(interpreter.setParameter(name, *moved)));
                          return (*interpreter.call("evaluate", inputs))[0]->values[0];
                        });
        EXPECT_NEAR(gradient->values[i], wanted, 1e-8) << name << ", element " << i << ", gate " << gate;
        EXPECT_EQ(wanted != 0, gate != 0 || *name == 'e') << name;
      }
      EXPECT_TRUE(succeeded(interpreter.setParameter(name, *original)));
    }
  }
}
