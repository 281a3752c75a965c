// Products with row-major weights of the state, as they are and transposed, against plain loops.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

struct Shape {
  int64_t columns, depth;
  bool transposed, bias;
  std::string rounded = ""; // bf16, f16
  std::string type() const { return std::to_string(transposed ? depth : columns) + "x" + std::to_string(transposed ? columns : depth); }
  int64_t placeOf(int64_t n, int64_t k) const { return transposed ? k * columns + n : n * depth + k; }
};

std::string tensor(const std::string &shape) { return "tensor<" + shape + "xf32>"; }
std::string rowsOf(int64_t width) { return tensor("?x?x" + std::to_string(width)); }
int64_t vectorBytes(int64_t size) { return (size + 31) / 32 * 128; }

/// `%name = ds.linear %from, %weight`
std::string linear(const Shape &s, const std::string &name, const std::string &from, const std::string &weight) {
  return "  %" + name + " = ds.linear %" + from + ", %" + weight + (s.transposed ? " transposed" : "") +
         (s.rounded.empty() ? "" : " rounded " + s.rounded) + (s.bias ? " bias %b" : "") + " : " + rowsOf(s.depth) + ", " +
         tensor(s.type()) + (s.bias ? ", " + tensor(std::to_string(s.columns)) : "") + "\n";
}

/// The bias and behind it, at the end of the state, the weight.
std::string plan(const Shape &s) {
  OneLaunch launch;
  std::string n = std::to_string(s.columns);
  std::vector<std::string> ins{launch.rows("tokens", s.depth), launch.state("parameter", "rows", vectorBytes(s.columns), s.type())};
  if (s.bias)
    ins.push_back(launch.state("parameter", "vector", 0, std::to_string(vectorBytes(s.columns) / 4)));
  std::string y = launch.rows("tokens", s.columns);
  return launch.text("gemm",
                     "^bb0(%x: " + rowsOf(s.depth) + ", %w: " + tensor(s.type()) + (s.bias ? ", %b: " + tensor(n) : "") + "):\n" +
                         linear(s, "y", "x", "w") + "  ds_plan.return %y : " + rowsOf(s.columns),
                     ins, {y});
}

struct Matrix {
  Matrix(const Shape &s, Numbers &numbers) : shape(s), values(numbers.take(s.columns * s.depth)) {}
  double at(int64_t n, int64_t k) const {
    const float value = values[shape.placeOf(n, k)];
    const bool half = shape.rounded == "f16";
    return shape.rounded.empty() ? value : fromBits(toBits(value, half), half);
  }
  double product(const float *x, int64_t n) const {
    double sum = 0;
    for (int64_t k = 0; k < shape.depth; ++k)
      sum += x[k] * at(n, k);
    return sum;
  }
  Shape shape;
  std::vector<float> values;
};

class GemmRows : public OnLevel {
protected:
  void check(const Shape &s, const std::vector<int64_t> &rowCounts, int32_t turn) {
    Numbers numbers(s.columns * 1000 + s.depth);
    Matrix w(s, numbers);
    std::vector<float> bias = numbers.take(s.columns);
    Floats state(vectorBytes(s.columns) / 4 + s.columns * s.depth);
    memcpy(state.as<float>(), bias.data(), bias.size() * 4);
    memcpy(state.as<uint8_t>() + vectorBytes(s.columns), w.values.data(), w.values.size() * 4);
    CompiledPlan code(plan(s), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : rowCounts) {
      Floats x(numbers.take(rows * s.depth)), y(rows * s.columns);
      StepData step;
      step.tokens = static_cast<int32_t>(rows);
      step.outputs = {x.as<void>(), y.as<void>()};
      step.state = state.as<void>();
      const int32_t threads = (turn + rows) % 4 + 1;
      code.run("run", step, threads);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t n = 0; n < s.columns; ++n)
          ASSERT_NEAR(y[r * s.columns + n], w.product(&x[r * s.depth], n) + (s.bias ? bias[n] : 0), 4e-6 * s.depth + 1e-5)
              << s.type() << (s.transposed ? " transposed" : "") << ", row " << r << " of " << rows << ", column " << n << ", threads "
              << threads;
    }
  }
};

TEST_P(GemmRows, agreeWithLoops) {
  const int64_t columns[] = {1, 2, 7, 16, 31, 32, 33, 48, 50, 96, 100, 200},
                depths[] = {1, 3, 4, 15, 16, 17, 64, 100, 128, 129, 130, 256, 300};
  int32_t turn = 0;
  for (int64_t n : columns)
    for (int64_t k : depths)
      if (++turn % 2 || n * k < 1000) {
        check({n, k, turn % 4 == 1, turn % 3 == 0}, {1, 5, 129}, turn);
        check({n, k, turn % 4 != 1, turn % 3 == 1}, {2, 16, 37}, turn);
        if (HasFatalFailure())
          return;
      }
}

TEST_P(GemmRows, slabsOfManyRowsAndDeepProducts) {
  for (bool transposed : {false, true}) {
    check({40, 2048, transposed, true}, {251, 300}, 1);
    check({60, 64, transposed, false}, {700}, 2);
    check({384, 384, transposed, true}, {96}, 3);
  }
}

/// Rows that are too deep for the stack, whose passes several panels share: one slab or more, panels that are or are no multiple of eight.
TEST_P(GemmRows, productsDeeperThanTheStack) {
  for (bool transposed : {false, true}) {
    check({450, 16512, transposed, true}, {1, 29}, 1);
    check({384, 16390, transposed, false}, {14}, 2);
    check({33, 16401, transposed, true}, {270}, 3);
    check({100, 17000, transposed, false, "bf16"}, {7}, 1);
  }
}

/// Weights of f32 that are rounded on the way; what they are in memory stays.
TEST_P(GemmRows, roundedWeights) {
  for (std::string type : {"bf16", "f16"})
    for (bool transposed : {false, true}) {
      check({50, 40, transposed, true, type}, {1, 5, 129}, 1);
      check({33, 130, transposed, false, type}, {2, 37}, 2);
      check({96, 256, transposed, true, type}, {16, 60}, 3);
    }
}

/// A norm, two products of it that meet in element-wise ops, of a row-major and a transposed weight, and a sum with other rows.
TEST_P(GemmRows, fusedWithWhatSurroundsThem) {
  const int64_t width = 72, columns = 100;
  Shape gate{columns, width, false, true}, up{columns, width, true, false};
  const std::string rows = rowsOf(columns), n = std::to_string(columns), k = std::to_string(width);
  OneLaunch launch;
  const int64_t gain = vectorBytes(columns), gateAt = gain + vectorBytes(width), upAt = gateAt + columns * width * 4;
  std::vector<std::string> ins{launch.rows("tokens", width), launch.rows("tokens", columns)};
  ins.push_back(launch.state("parameter", "vector", gain, std::to_string(vectorBytes(width) / 4)));
  ins.push_back(launch.state("parameter", "rows", gateAt, gate.type()));
  ins.push_back(launch.state("parameter", "vector", 0, std::to_string(vectorBytes(columns) / 4)));
  ins.push_back(launch.state("parameter", "rows", upAt, up.type()));
  std::vector<std::string> outs{launch.rows("tokens", columns), launch.rows("tokens", width)};
  std::string region = "^bb0(%x: " + rowsOf(width) + ", %r: " + rows + ", %g: " + tensor(k) + ", %w: " + tensor(gate.type()) +
                       ", %b: " + tensor(n) + ", %v: " + tensor(up.type()) + "):\n  %n = ds.rms_norm %x, %g eps 1.0e-5 : " + rowsOf(width) +
                       ", " + tensor(k) + "\n" + linear(gate, "gate", "n", "w") + linear(up, "up", "n", "v") +
                       "  %s = ds.silu %gate : " + rows + "\n  %p = ds.mul %s, %up : " + rows + "\n  %y = ds.add %p, %r : " + rows +
                       "\n  ds_plan.return %y, %n : " + rows + ", " + rowsOf(width);
  CompiledPlan code(launch.text("gemm", region, ins, outs), level());
  ASSERT_TRUE(code) << code.error();
  Numbers numbers;
  Matrix w(gate, numbers), v(up, numbers);
  std::vector<float> bias = numbers.take(columns), gains = numbers.take(width);
  Floats state(upAt / 4 + columns * width);
  memcpy(&state[0], bias.data(), columns * 4);
  memcpy(&state[gain / 4], gains.data(), width * 4);
  memcpy(&state[gateAt / 4], w.values.data(), columns * width * 4);
  memcpy(&state[upAt / 4], v.values.data(), columns * width * 4);
  for (int64_t count : {1, 3, 16, 17, 77, 200})
    for (int32_t threads : {1, 3}) {
      Floats x(numbers.take(count * width)), r(numbers.take(count * columns)), y(count * columns), normal(count * width);
      StepData step;
      step.tokens = static_cast<int32_t>(count);
      step.outputs = {x.as<void>(), r.as<void>(), y.as<void>(), normal.as<void>()};
      step.state = state.as<void>();
      code.run("run", step, threads);
      for (int64_t m = 0; m < count; ++m) {
        double squares = 0;
        for (int64_t i = 0; i < width; ++i)
          squares += double(x[m * width + i]) * x[m * width + i];
        for (int64_t i = 0; i < width; ++i)
          ASSERT_NEAR(normal[m * width + i], x[m * width + i] / std::sqrt(squares / width + 1e-5) * gains[i], 1e-5);
        for (int64_t i = 0; i < columns; ++i) {
          const double a = w.product(&normal[m * width], i) + bias[i], b = v.product(&normal[m * width], i);
          ASSERT_NEAR(y[m * columns + i], a / (1 + std::exp(-a)) * b + r[m * columns + i], 2e-3) << m << " " << i;
        }
      }
    }
}

TEST_P(GemmRows, refusesAShapeThatIsNotTheProducts) {
  std::string text = plan({64, 32, true, false});
  size_t at = text.find(" transposed");
  ASSERT_NE(at, std::string::npos);
  for (size_t next; (next = text.find("32x64")) != std::string::npos;)
    text.replace(next, 5, "64x64");
  CompiledPlan code(text, level());
  EXPECT_FALSE(code);
}

/// Not run by default: GFLOP/s of one thread, packed on the way and in panels, taking turns.
TEST_P(GemmRows, DISABLED_speed) {
  struct Case {
    int64_t rows, columns, depth;
  };
  for (Case c : {Case{1024, 1024, 256}, {512, 3072, 768}, {1024, 768, 768}, {512, 768, 3072}, {1024, 384, 384}, {1024, 384, 1536}}) {
    std::vector<CompiledPlan> codes;
    const std::string n = std::to_string(c.columns), k = std::to_string(c.depth), panels = std::to_string((c.columns + 47) / 48);
    for (int kind : {0, 1, 2}) {
      OneLaunch launch;
      Shape s{c.columns, c.depth, kind == 2, false};
      std::string type = kind ? s.type() : panels + "x" + k + "x48";
      std::vector<std::string> ins{launch.rows("tokens", c.depth), launch.weight(kind ? "rows" : "panels", 0, "memref<" + type + "xf32>",
                                                                                 kind ? "of @p in parameter" : "of @p")};
      std::string y = launch.rows("tokens", c.columns);
      codes.emplace_back(launch.text("gemm",
                                     "^bb0(%x: " + rowsOf(c.depth) + ", %w: " + tensor(s.type()) + "):\n" + linear(s, "y", "x", "w") +
                                         "  ds_plan.return %y : " + rowsOf(c.columns),
                                     ins, {y}),
                         level());
      ASSERT_TRUE(codes.back()) << codes.back().error();
    }
    Numbers numbers;
    Floats state(numbers.take((c.columns + 47) / 48 * 48 * c.depth)), x(numbers.take(c.rows * c.depth)), y(c.rows * c.columns);
    // Between two runs the weights leave the caches, as they do in a step.
    std::vector<float> other(16 << 20);
    double best[3] = {1e9, 1e9, 1e9}, sum[3] = {0, 0, 0};
    for (int turn = 0; turn < 20; ++turn)
      for (int kind : {0, 1, 2}) {
        for (size_t i = 0; i < other.size(); i += 16)
          other[i] += 1;
        StepData step;
        step.tokens = static_cast<int32_t>(c.rows);
        step.outputs = {x.as<void>(), y.as<void>()};
        step.state = state.as<void>();
        step.weights = state.as<void>();
        const double begin = secondsOfThread();
        codes[kind].run("run", step, 1);
        double seconds = secondsOfThread() - begin;
        best[kind] = std::min(best[kind], seconds);
        sum[kind] += seconds;
      }
    const double work = 2e-9 * c.rows * c.columns * c.depth;
    printf("%s M=%ld N=%ld K=%ld GFLOP/s, best: panels %.1f, rows %.1f, transposed %.1f\n", level().name.str().c_str(), c.rows, c.columns,
           c.depth, work / best[0], work / best[1], work / best[2]);
    fflush(stdout);
  }
}

DS_ON_ALL_LEVELS(GemmRows);
INSTANTIATE_TEST_SUITE_P(dots, GemmRows, testing::Values(emulatedDots()), [](const auto &info) { return shortNameOf(*info.param); });

} // namespace
