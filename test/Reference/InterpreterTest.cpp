// What the interpreter keeps from call to call, and what it refuses.
#include "ds/Reference/Interpreter.h"
#include "ReferenceTest.h"

using namespace ds;
using namespace ds::reference;
using Doubles = std::vector<double>;

namespace {
class InterpreterTest : public ReferenceTest {};
} // namespace

static constexpr const char *cacheModule = R"(
ds.cache @k : tensor<?x3x1xf32>
func.func @step(%x: tensor<?x?x1xf32>, %past: tensor<?xi32>) -> tensor<?x3x1xf32> {
  %y = ds.cache_append @k, %x past %past : tensor<?x?x1xf32>, tensor<?xi32> -> tensor<?x3x1xf32>
  return %y : tensor<?x3x1xf32>
})";

TEST_F(InterpreterTest, CachesLiveUntilTheyAreReset) {
  auto module = parse(cacheModule);
  Interpreter interpreter(*module);
  EXPECT_EQ(interpreter.cache("k"), nullptr);
  ASSERT_TRUE(succeeded(interpreter.call("step", {tensor(f32(), {1, 2, 1}, {1, 2}), tensor(i32(), {1}, {0})})));
  auto results = interpreter.call("step", {tensor(f32(), {1, 1, 1}, {3}), tensor(i32(), {1}, {2})});
  ASSERT_TRUE(succeeded(results));
  EXPECT_EQ((*results)[0]->shape, (std::vector<int64_t>{1, 3, 1}));
  EXPECT_EQ((*results)[0]->values, (Doubles{1, 2, 3}));
  EXPECT_EQ(interpreter.cache("k")->values, (Doubles{1, 2, 3}));
  interpreter.resetCaches();
  results = interpreter.call("step", {tensor(f32(), {2, 1, 1}, {4, 5}), tensor(i32(), {2}, {0, 1})});
  ASSERT_TRUE(succeeded(results));
  EXPECT_EQ((*results)[0]->values, (Doubles{4, 0, 0, 0, 5, 0}));
}

TEST_F(InterpreterTest, AFailedCallLeavesTheInterpreterUsable) {
  auto module = parse(cacheModule);
  Interpreter interpreter(*module);
  EXPECT_TRUE(failed(interpreter.call("step", {tensor(f32(), {1, 1, 1}, {1}), tensor(i32(), {1}, {-1})})));
  EXPECT_EQ(interpreter.cache("k"), nullptr);
  EXPECT_TRUE(succeeded(interpreter.call("step", {tensor(f32(), {1, 1, 1}, {1}), tensor(i32(), {1}, {0})})));
}

TEST_F(InterpreterTest, RefusesArgumentsOfAnotherType) {
  auto module = parse(cacheModule);
  Interpreter interpreter(*module);
  TensorPtr past = tensor(i32(), {1}, {0});
  EXPECT_TRUE(failed(interpreter.call("none", {})));
  EXPECT_EQ(message, "expects a function @none");
  EXPECT_TRUE(failed(interpreter.call("step", {past})));
  EXPECT_EQ(message, "expects 2 arguments, got 1");
  EXPECT_TRUE(failed(interpreter.call("step", {past, past})));
  EXPECT_EQ(message, "expects argument 0 of type 'tensor<?x?x1xf32>', got tensor<1xi32>");
  EXPECT_TRUE(failed(interpreter.call("step", {tensor(f32(), {1, 1, 2}, {0, 0}), past})));
  EXPECT_EQ(message, "expects argument 0 of type 'tensor<?x?x1xf32>', got tensor<1x1x2xf32>");
  EXPECT_TRUE(failed(interpreter.call("step", {nullptr, past})));
  EXPECT_EQ(message, "expects argument 0 of type 'tensor<?x?x1xf32>', got nothing");
}

static constexpr const char *weightModule = R"(
ds.parameter @w from "model.w" : tensor<2xf32>
func.func @sum() -> tensor<2xf32> {
  %w = ds.weight @w : tensor<2xf32>
  %v = ds.weight @w : tensor<2xf32>
  %y = ds.add %w, %v : tensor<2xf32>
  return %y : tensor<2xf32>
})";

TEST_F(InterpreterTest, LoadsAWeightOnceUnlessToldNotToKeepIt) {
  auto module = parse(weightModule);
  for (bool keep : {true, false}) {
    int loads = 0;
    WeightLoader loader = [&](ParameterOp parameter) {
      EXPECT_EQ(*parameter.getSource(), "model.w");
      ++loads;
      return Result<Doubles>(Doubles{0.1, 2});
    };
    Interpreter interpreter(*module, loader, {/*keepWeights=*/keep});
    auto results = interpreter.call("sum", {});
    ASSERT_TRUE(succeeded(results));
    // A weight has its parameter's type: 0.1 is rounded to f32.
    EXPECT_EQ((*results)[0]->values, (Doubles{2 * static_cast<double>(0.1f), 4}));
    EXPECT_EQ(loads, keep ? 1 : 2);
  }
}

TEST_F(InterpreterTest, ReportsWhatTheLoaderSays) {
  auto module = parse(weightModule);
  Interpreter missing(*module, [](ParameterOp) { return Result<Doubles>(Error::missing("no file")); });
  EXPECT_TRUE(failed(missing.call("sum", {})));
  EXPECT_EQ(message, "'ds.weight' op cannot read parameter @w: no file");
  Interpreter tooShort(*module, [](ParameterOp) { return Result<Doubles>(Doubles{1}); });
  EXPECT_TRUE(failed(tooShort.call("sum", {})));
  EXPECT_EQ(message, "'ds.weight' op expects 2 elements of parameter @w, got 1");
}

TEST_F(InterpreterTest, TakesEmptyTensors) {
  auto module = parse(R"(
func.func @identity(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %y = ds.layer "h"(%x) : (tensor<?x2xf32>) -> tensor<?x2xf32> {
  ^bb0(%h: tensor<?x2xf32>):
    ds.yield %h : tensor<?x2xf32>
  }
  return %y : tensor<?x2xf32>
})");
  Interpreter interpreter(*module);
  auto results = interpreter.call("identity", {tensor(f32(), {0, 2}, {})});
  ASSERT_TRUE(succeeded(results));
  EXPECT_EQ((*results)[0]->shape, (std::vector<int64_t>{0, 2}));
}
