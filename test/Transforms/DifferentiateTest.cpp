// Gradients that `ds-differentiate` makes, held to central differences of the loss, in f64.
#include "../Numerics/RandomGraph.h"
#include "TrainedModel.h"
#include "gtest/gtest.h"
#include <cmath>
#include <fstream>
#include <sstream>

using namespace mlir;
using namespace ds;
using namespace ds::test;
using reference::Tensor;

/// What the importer makes of a tiny model.
static std::string tinyModel(const std::string &name) {
  std::ifstream file(std::string(DS_SOURCE_DIR) + "/test/Transforms/Inputs/tiny-" + name + ".mlir");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Moves `parameter` along a direction of ones and minus ones, and compares the slope of the loss with its gradient's. Returns whether that
/// is not zero.
static bool expectSlope(TrainedModel &model, const std::string &parameter, const Tensor &gradient) {
  const Tensor value = *model.state().parameter(parameter);
  Random random(value.values.size());
  std::vector<double> direction(value.values.size());
  double expected = 0, norm = 0;
  for (size_t i = 0; i < direction.size(); ++i) {
    direction[i] = random.chance(1, 2) ? 1 : -1;
    expected += direction[i] * gradient.values[i];
    norm += gradient.values[i] * gradient.values[i];
  }
  auto slope = [&](double step) {
    double losses[2];
    for (int side : {0, 1}) {
      Tensor moved = value;
      for (size_t i = 0; i < direction.size(); ++i)
        moved.values[i] += (side ? step : -step) * direction[i];
      EXPECT_TRUE(succeeded(model.state().setParameter(parameter, std::move(moved))));
      losses[side] = model.loss();
    }
    return (losses[1] - losses[0]) / (2 * step);
  };
  // Two steps take out what the third derivative adds.
  const double found = (4 * slope(0x1p-18) - slope(0x1p-17)) / 3;
  EXPECT_TRUE(succeeded(model.state().setParameter(parameter, value)));
  EXPECT_NEAR(found, expected, 1e-8 + 1e-7 * std::sqrt(norm)) << parameter;
  return norm > 1e-16;
}

/// Runs a step and holds the gradient of each parameter to the loss. Returns how many are not zero, of all.
static std::pair<int, int> expectSlopes(TrainedModel &model) {
  std::map<std::string, Tensor> gradients;
  EXPECT_TRUE(std::isfinite(model.loss())) << model.error();
  for (auto parameter : model.get().getOps<ParameterOp>())
    gradients[parameter.getSymName().str()] = *model.state().gradient(parameter.getSymName());
  std::pair<int, int> counts{0, static_cast<int>(gradients.size())};
  for (const auto &[name, gradient] : gradients)
    counts.first += expectSlope(model, name, gradient);
  return counts;
}

namespace {
struct Case {
  const char *model;
  int withoutGradient; // parameters whose gradient is zero, as softmax does not see a constant added to all scores
};
class DifferentiateTest : public ::testing::TestWithParam<Case> {};
} // namespace

TEST_P(DifferentiateTest, GradientsAreSlopesOfTheLoss) {
  TrainedModel model(tinyModel(GetParam().model), {});
  ASSERT_EQ(model.error(), "");
  if (std::string(GetParam().model) == "bert-classifier")
    model.given["labels"] = {2, 0};
  auto [nonZero, all] = expectSlopes(model);
  EXPECT_EQ(nonZero, all - GetParam().withoutGradient);
  EXPECT_EQ(model.loss("step"), model.loss("evaluate"));
  EXPECT_EQ(model.error(), "");
}

TEST_P(DifferentiateTest, GradientsFollowGatesAndScales) {
  TrainedModel model(tinyModel(GetParam().model), {/*layerDrop=*/true, "1", /*smoothing=*/0.125});
  ASSERT_EQ(model.error(), "");
  if (std::string(GetParam().model) == "bert-classifier")
    model.given["labels"] = {2, 0};
  EXPECT_EQ(model.loss("step"), model.loss("evaluate")); // all gates and scales 1
  model.given["layer_scales"] = {1.25, 1.5};
  for (const std::vector<double> &gates : std::vector<std::vector<double>>{{1, 1}, {0, 1}, {1, 0}, {0, 0}}) {
    model.given["layer_gates"] = gates;
    model.state().resetGradients();
    expectSlopes(model);
    for (auto parameter : model.get().getOps<ParameterOp>()) {
      const reference::TensorPtr gradient = model.state().gradient(parameter.getSymName());
      for (size_t layer : {0, 1})
        if (gates[layer] == 0 && parameter.getSymName().contains("." + std::to_string(layer) + "."))
          EXPECT_EQ(gradient->values, std::vector<double>(gradient->values.size())) << parameter.getSymName().str();
    }
  }
  EXPECT_EQ(model.error(), "");
}

/// Of one seed the elements that stay are the same in every step, and where they are computed again.
TEST_P(DifferentiateTest, GradientsFollowDropout) {
  std::map<std::string, std::vector<double>> expected;
  for (const char *recompute : {"none", "all"}) {
    TrainedModel model(tinyModel(GetParam().model), {/*layerDrop=*/true, recompute, /*smoothing=*/0, /*dropout=*/0.25});
    ASSERT_EQ(model.error(), "");
    if (std::string(GetParam().model) == "bert-classifier")
      model.given["labels"] = {2, 0};
    const double whole = model.loss("evaluate");
    model.given["dropout_seed"] = {5, -3};
    const double loss = model.loss();
    model.given["dropout_seed"] = {6, -3};
    EXPECT_NE(model.loss(), loss);
    EXPECT_NE(loss, whole);
    EXPECT_EQ(model.loss("evaluate"), whole);
    model.given["dropout_seed"] = {5, -3};
    EXPECT_EQ(model.loss(), loss);
    model.state().resetGradients();
    expectSlopes(model);
    for (auto parameter : model.get().getOps<ParameterOp>())
      if (reference::TensorPtr gradient = model.state().gradient(parameter.getSymName())) {
        auto [found, isNew] = expected.insert({parameter.getSymName().str(), gradient->values});
        EXPECT_EQ(found->second, gradient->values) << parameter.getSymName().str();
      }
    EXPECT_EQ(model.error(), "");
  }
}

/// The order of sums is the same, so every bit is.
TEST_P(DifferentiateTest, RecomputingChangesNoGradient) {
  std::map<std::string, std::vector<double>> expected;
  for (const char *recompute : {"none", "1", "all"}) {
    TrainedModel model(tinyModel(GetParam().model), {/*layerDrop=*/true, recompute});
    ASSERT_EQ(model.error(), "");
    if (std::string(GetParam().model) == "bert-classifier")
      model.given["labels"] = {2, 0};
    model.given["layer_scales"] = {1.25, 1.5};
    ASSERT_TRUE(std::isfinite(model.loss())) << model.error();
    for (auto parameter : model.get().getOps<ParameterOp>()) {
      std::vector<double> values = model.state().gradient(parameter.getSymName())->values;
      auto [found, isNew] = expected.insert({parameter.getSymName().str(), values});
      EXPECT_EQ(found->second, values) << parameter.getSymName().str() << " with recompute=" << recompute;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DifferentiateTest,
                         ::testing::Values(Case{"bert-mlm", 2}, Case{"bert-classifier", 2}, Case{"gpt2", 2}, Case{"llama", 0},
                                           Case{"opt-postnorm", 2}, Case{"gptj", 0}, Case{"bloom", 2}),
                         [](const auto &info) {
                           std::string name = info.param.model;
                           std::erase(name, '-');
                           return name;
                         });

/// Two steps add up; a loss scale of another size scales what they add.
TEST(Differentiate, GradientsAccumulate) {
  TrainedModel model(tinyModel("llama"), {});
  ASSERT_EQ(model.error(), "");
  model.loss();
  std::vector<double> once = model.state().gradient("model.norm.weight")->values;
  model.given["loss_scale"] = {2 * TrainedModel::lossScale};
  model.loss();
  std::vector<double> both = model.state().gradient("model.norm.weight")->values;
  for (size_t i = 0; i < once.size(); ++i)
    EXPECT_NEAR(both[i], 3 * once[i], 1e-12);
}

/// Why a random graph is not trained at all: slopes of attention that are parameters, layers that cannot be left out.
static bool isRefusal(const std::string &error) {
  for (const char *reason : {"'ds.attention' op has no gradient of operand", "expects a layer of one input", "expects a sum of the layer's",
                             "expects layers (ds.layer)", "expects a layer with a gate to read nothing"})
    if (error.find(reason) == 0)
      return true;
  return false;
}

/// Layers no model has: of several streams, with values from outside, with products of products.
TEST(Differentiate, GradientsOfRandomGraphsAreSlopes) {
  for (uint64_t seed = 0, graphs = 0; graphs < 40; ++seed) {
    RandomGraph graph = makeRandomGraph(seed);
    bool hasLogits = false, isLarge = false;
    for (const GraphResult &result : graph.results)
      hasLogits |= result.name == "logits" && (graph.isCausal || result.rows == ResultRows::tokens);
    for (const GraphParameter &parameter : graph.parameters)
      isLarge |= parameter.shape.size() == 2 && parameter.shape[0] * parameter.shape[1] > 6000;
    if (!hasLogits || isLarge)
      continue;
    TrainedModel model(graph.text(), {/*layerDrop=*/seed % 3 == 0, seed % 2 ? "all" : "none"});
    if (isRefusal(model.error()))
      continue;
    ++graphs;
    ASSERT_EQ(model.error(), "") << "seed " << seed;
    if (graphs % 2) // layers are one or two
      model.given["layer_scales"] = {1.25, 0.75}, model.given["layer_gates"] = {1, 0};
    expectSlopes(model);
    ASSERT_EQ(model.error(), "") << "seed " << seed;
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}
