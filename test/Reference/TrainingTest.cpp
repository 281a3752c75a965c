// What training keeps from call to call, and optimizers against scalar code of their papers.
#include "ReferenceTest.h"
#include "ds/Analysis/TrainedParameters.h"
#include "ds/Reference/Interpreter.h"
#include <cmath>

using namespace ds;
using namespace ds::reference;
using Doubles = std::vector<double>;

namespace {
class TrainingTest : public ReferenceTest {
protected:
  mlir::Type f64() { return mlir::Float64Type::get(&context); }
};

/// One parameter as an optimizer of a textbook keeps it.
struct Scalars {
  Doubles p, m, v;
  double coefficient = 1;
};

struct Settings {
  double rate, decay, scale = 1, beta1 = 0.9, beta2 = 0.99, eps = 1e-6, minCoefficient = 0.01, maxCoefficient = 10;
  bool correctsBias = true;
};

double norm(const Doubles &x) {
  double square = 0;
  for (double value : x)
    square += value * value;
  return std::sqrt(square);
}

/// torch.optim.SGD, Adam and AdamW, and LAMB of DeepSpeed.
void textbook(OptimizerKind kind, const Settings &s, int step, Doubles g, Scalars &state) {
  const double correction1 = s.correctsBias ? 1 - std::pow(s.beta1, step) : 1,
               correction2 = s.correctsBias ? 1 - std::pow(s.beta2, step) : 1;
  Doubles update(g.size());
  for (size_t i = 0; i < g.size(); ++i) {
    g[i] *= s.scale;
    if (kind == OptimizerKind::sgd || kind == OptimizerKind::adam)
      g[i] += s.decay * state.p[i];
    if (kind == OptimizerKind::sgd) {
      state.m[i] = s.beta1 * state.m[i] + g[i];
      state.p[i] -= s.rate * state.m[i];
      continue;
    }
    state.m[i] += (1 - s.beta1) * (g[i] - state.m[i]);
    state.v[i] += (1 - s.beta2) * (g[i] * g[i] - state.v[i]);
    if (kind == OptimizerKind::lamb) {
      update[i] = state.m[i] / (std::sqrt(state.v[i]) + s.eps) + s.decay * state.p[i];
      continue;
    }
    if (kind == OptimizerKind::adamw)
      state.p[i] -= s.rate * s.decay * state.p[i];
    state.p[i] -= s.rate * (state.m[i] / correction1) / (std::sqrt(state.v[i] / correction2) + s.eps);
  }
  if (kind != OptimizerKind::lamb)
    return;
  state.coefficient = 1;
  if (norm(state.p) > 0 && norm(update) > 0)
    state.coefficient = std::clamp(norm(state.p) / norm(update), s.minCoefficient, s.maxCoefficient);
  for (size_t i = 0; i < g.size(); ++i)
    state.p[i] -= s.rate * std::sqrt(correction2) / correction1 * state.coefficient * update[i];
}
} // namespace

/// `@b` is accumulated first; the order is that of the module. `@fixed` is not trained.
static std::string moduleOf(llvm::StringRef kind) {
  return R"(
ds.parameter @a value dense<[[0.5, -1.0, 0.25], [2.0, 0.0, -0.75]]> : tensor<2x3xf64> : tensor<2x3xf64>
ds.parameter @fixed value dense<[7.0]> : tensor<1xf64> : tensor<1xf64>
ds.parameter @b from "model.b" : tensor<4xf64>
func.func @step(%a: tensor<2x3xf64>, %b: tensor<4xf64>, %gates: tensor<2xi32>) {
  ds.accumulate_gradient @b, %b gate 1 of %gates : tensor<4xf64>, tensor<2xi32>
  ds.accumulate_gradient @a, %a : tensor<2x3xf64>
  return
}
func.func @value() -> tensor<4xf64> {
  %b = ds.weight @b : tensor<4xf64>
  %y = ds.add %b, %b : tensor<4xf64>
  return %y : tensor<4xf64>
}
func.func @norms() -> tensor<1x2xf64> {
  %n = ds.gradient_norms : tensor<1x2xf64>
  return %n : tensor<1x2xf64>
}
func.func @update(%controls: tensor<1x10xf64>, %hyper: tensor<1x8xf64>) -> tensor<1x2xf64> {
  %c = ds.optimizer_update )" +
         kind.str() + R"( %controls, %hyper : tensor<1x10xf64>, tensor<1x8xf64> -> tensor<1x2xf64>
  return %c : tensor<1x2xf64>
})";
}

static const WeightLoader zeros = [](ParameterOp) { return Result<Doubles>(Doubles(4)); };

TEST_F(TrainingTest, ParametersAreInTheOrderOfTheModule) {
  auto module = parse(moduleOf("sgd"));
  llvm::SmallVector<ParameterOp> parameters = trainedParameters(*module);
  ASSERT_EQ(parameters.size(), 2u);
  EXPECT_EQ(parameters[0].getSymName(), "a");
  EXPECT_EQ(parameters[1].getSymName(), "b");
}

TEST_F(TrainingTest, GradientsAreSummedUntilTheyAreReset) {
  auto module = parse(moduleOf("sgd"));
  Interpreter interpreter(*module, zeros);
  EXPECT_EQ(interpreter.gradient("none"), nullptr);
  EXPECT_EQ(interpreter.gradient("a")->values, Doubles(6));
  const TensorPtr a = tensor(f64(), {2, 3}, {1, 2, 3, 4, 5, 6}), b = tensor(f64(), {4}, {1, 0, -1, 2});
  for (double gate : {1, 1, 0})
    ASSERT_TRUE(succeeded(interpreter.call("step", {a, b, tensor(i32(), {2}, {0, gate})})));
  EXPECT_EQ(interpreter.gradient("a")->values, (Doubles{3, 6, 9, 12, 15, 18}));
  EXPECT_EQ(interpreter.gradient("b")->values, (Doubles{2, 0, -2, 4}));
  EXPECT_EQ((*interpreter.call("norms", {}))[0]->values, (Doubles{9 * 91, 24}));
  interpreter.resetGradients();
  EXPECT_EQ((*interpreter.call("norms", {}))[0]->values, (Doubles{0, 0}));
}

TEST_F(TrainingTest, ParametersCanBeReplaced) {
  auto module = parse(moduleOf("sgd"));
  for (bool keep : {true, false}) {
    Interpreter interpreter(*module, zeros, {/*keepWeights=*/keep});
    EXPECT_EQ(interpreter.parameter("b")->values, Doubles(4));
    EXPECT_TRUE(succeeded(interpreter.setParameter("b", *tensor(f64(), {4}, {1, 2, 3, 4}))));
    EXPECT_EQ((*interpreter.call("value", {}))[0]->values, (Doubles{2, 4, 6, 8}));
    EXPECT_TRUE(failed(interpreter.setParameter("b", *tensor(f64(), {3}, {1, 2, 3}))));
    EXPECT_EQ(message, "'ds.parameter' op expects a value of type 'tensor<4xf64>', got tensor<3xf64>");
    EXPECT_TRUE(failed(interpreter.setParameter("none", Tensor())));
    EXPECT_EQ(message, "expects a ds.parameter named @none");
  }
}

TEST_F(TrainingTest, UpdatedParametersHaveTheirElementType) {
  auto module = parse(R"(
ds.parameter @w value dense<1.0> : tensor<1xf32> : tensor<1xf32>
func.func @step(%g: tensor<1xf32>, %controls: tensor<1x5xf32>, %hyper: tensor<1x8xf32>) {
  ds.accumulate_gradient @w, %g : tensor<1xf32>
  %c = ds.optimizer_update sgd %controls, %hyper : tensor<1x5xf32>, tensor<1x8xf32> -> tensor<1x1xf32>
  return
})");
  Interpreter interpreter(*module);
  ASSERT_TRUE(succeeded(interpreter.call(
      "step", {tensor(f32(), {1}, {1}), tensor(f32(), {1, 5}, {0.1, 0, 1, 1, 1}), tensor(f32(), {1, 8}, {1, 0, 0, 0, 0, 0, 0, 0})})));
  EXPECT_EQ(interpreter.parameter("w")->values, Doubles{static_cast<double>(0.9f)});
  EXPECT_EQ(interpreter.gradient("w")->values, Doubles{0});
}

TEST_F(TrainingTest, OptimizersFollowTheirPapers) {
  struct Case {
    const char *name;
    OptimizerKind kind;
    Settings settings;
  };
  const Case cases[] = {
      {"sgd", OptimizerKind::sgd, {.rate = 0.1, .decay = 0.01, .scale = 0.5, .beta1 = 0.8}},
      {"sgd", OptimizerKind::sgd, {.rate = 0.1, .decay = 0, .beta1 = 0}},
      {"adam", OptimizerKind::adam, {.rate = 0.02, .decay = 0.1, .scale = 0.25}},
      {"adam", OptimizerKind::adam, {.rate = 0.02, .decay = 0, .correctsBias = false}},
      {"adamw", OptimizerKind::adamw, {.rate = 0.02, .decay = 0.1, .scale = 0.25}},
      {"lamb", OptimizerKind::lamb, {.rate = 0.01, .decay = 0.01}},
      {"lamb", OptimizerKind::lamb, {.rate = 0.01, .decay = 0, .scale = 2, .minCoefficient = 0.9, .maxCoefficient = 1.1}},
      {"lamb", OptimizerKind::lamb, {.rate = 0.011, .decay = 0.01, .maxCoefficient = 0.3, .correctsBias = false}},
  };
  for (const auto &[name, kind, s] : cases) {
    SCOPED_TRACE(std::string(name) + " rate " + std::to_string(s.rate) + " scale " + std::to_string(s.scale));
    auto module = parse(moduleOf(name));
    Interpreter interpreter(*module, zeros); // b begins as zeros: a norm of 0
    Scalars a{{0.5, -1.0, 0.25, 2.0, 0.0, -0.75}, Doubles(6), Doubles(6)}, b{Doubles(4), Doubles(4), Doubles(4)};
    const TensorPtr hyper =
        tensor(f64(), {1, 8}, {s.scale, s.beta1, s.beta2, s.eps, s.minCoefficient, s.maxCoefficient, 1 - s.beta1, 1 - s.beta2});
    int stepsOfB = 0;
    for (int step = 1; step <= 4; ++step) {
      const bool bIsOn = step != 2;
      Doubles ga, gb;
      for (int i = 0; i < 6; ++i)
        ga.push_back(std::sin(3.0 * step + i));
      for (int i = 0; i < 4; ++i)
        gb.push_back(std::cos(2.0 * step + i));
      ASSERT_TRUE(succeeded(interpreter.call(
          "step", {tensor(f64(), {2, 3}, ga), tensor(f64(), {4}, gb), tensor(i32(), {2}, {0, static_cast<double>(bIsOn)})})));
      stepsOfB += bIsOn;
      const auto correction = [&](double beta, int count) { return s.correctsBias ? 1 - std::pow(beta, count) : 1; };
      // b has its own rate and decay, and its own count of steps.
      const TensorPtr controls = tensor(f64(), {1, 10},
                                        {s.rate, 2 * s.rate, s.decay, 0, correction(s.beta1, step), correction(s.beta1, stepsOfB),
                                         correction(s.beta2, step), correction(s.beta2, stepsOfB), 1, static_cast<double>(bIsOn)});
      auto coefficients = interpreter.call("update", {controls, hyper});
      ASSERT_TRUE(succeeded(coefficients)) << message;
      textbook(kind, s, step, ga, a);
      Settings ofB = s;
      ofB.rate = 2 * s.rate, ofB.decay = 0;
      if (bIsOn)
        textbook(kind, ofB, stepsOfB, gb, b);
      EXPECT_NEAR((*coefficients)[0]->values[0], a.coefficient, 1e-13);
      EXPECT_NEAR((*coefficients)[0]->values[1], bIsOn ? b.coefficient : 1, 1e-13);
      for (const auto &[parameter, wanted] : {std::pair("a", &a), std::pair("b", &b)}) {
        for (size_t i = 0; i < wanted->p.size(); ++i) {
          EXPECT_NEAR(interpreter.parameter(parameter)->values[i], wanted->p[i], 1e-13) << parameter << i << " of step " << step;
          EXPECT_NEAR(interpreter.moment1(parameter)->values[i], wanted->m[i], 1e-13);
          EXPECT_NEAR(interpreter.moment2(parameter)->values[i], wanted->v[i], 1e-13);
        }
        EXPECT_EQ(interpreter.gradient(parameter)->values, Doubles(wanted->p.size()));
      }
    }
    if (kind == OptimizerKind::lamb)
      EXPECT_NE(a.coefficient, 1);
    EXPECT_EQ(interpreter.parameter("fixed")->values, Doubles{7});
  }
}

TEST_F(TrainingTest, AGradientThatWasNotUsedStays) {
  auto module = parse(moduleOf("adam"));
  Interpreter interpreter(*module, zeros);
  ASSERT_TRUE(succeeded(
      interpreter.call("step", {tensor(f64(), {2, 3}, Doubles(6, 1)), tensor(f64(), {4}, Doubles(4, 2)), tensor(i32(), {2}, {0, 1})})));
  ASSERT_TRUE(succeeded(interpreter.call(
      "update", {tensor(f64(), {1, 10}, {1, 1, 0, 0, 1, 1, 1, 1, 1, 0}), tensor(f64(), {1, 8}, {1, 0.9, 0.99, 1e-8, 0, 0, 0, 0})})));
  EXPECT_EQ(interpreter.gradient("a")->values, Doubles(6));
  EXPECT_EQ(interpreter.gradient("b")->values, Doubles(4, 2));
  EXPECT_EQ(interpreter.parameter("b")->values, Doubles(4));
  EXPECT_EQ(interpreter.moment2("b")->values, Doubles(4));
}

TEST_F(TrainingTest, RefusesAnotherNumberOfParameters) {
  auto module = parse(R"(
ds.parameter @w value dense<1.0> : tensor<1xf64> : tensor<1xf64>
func.func @norms(%g: tensor<1xf64>) {
  ds.accumulate_gradient @w, %g : tensor<1xf64>
  %n = ds.gradient_norms : tensor<1x2xf64>
  return
})");
  Interpreter interpreter(*module);
  EXPECT_TRUE(failed(interpreter.call("norms", {tensor(f64(), {1}, {1})})));
  EXPECT_EQ(message, "'ds.gradient_norms' op expects a result for each of 1 parameters that are trained, got 2");
}
