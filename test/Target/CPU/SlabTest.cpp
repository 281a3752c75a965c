// Launches that take turns on slabs of rows, against the same launches on all rows at once.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

constexpr int64_t width = 40, vocabulary = 97, mostRows = 300;
constexpr int64_t weightBytes = vocabulary * width * 4, gradientAt = (weightBytes + 63) / 64 * 64;

/// y = gelu(x w^T) of chosen rows, its gradient dy = y * y to stand for that of a loss; dw += dy^T x; dx = dy w.
std::string plan(int64_t slab) {
  const std::string w = std::to_string(width), v = std::to_string(vocabulary);
  const std::string rows = "tensor<?x" + w + "xf32>", wide = "tensor<?x" + v + "xf32>", weight = "tensor<" + v + "x" + w + "xf32>";
  const std::string rowsType = "memref<?x" + w + "xf32>", wideType = "memref<?x" + v + "xf32>",
                    weightType = "memref<" + v + "x" + w + "xf32>";
  const std::string of = slab ? " slab " + std::to_string(slab) : "";
  const int64_t bytes = ((slab ? slab : mostRows) * vocabulary * 4 + 63) / 64 * 64;
  return "ds.parameter @p from \"p\" : " + weight + "\nds_plan.storage @w rows of @p in parameter offset 0 : " + weightType +
         "\nds_plan.storage @g rows of @p in gradient offset " + std::to_string(gradientAt) + " : " + weightType +
         "\nds_plan.kernel @up \"gemm\" schedule {} {\n^bb0(%x: " + rows + ", %w: " + weight + "):\n  %y = ds.linear %x, %w : " + rows +
         ", " + weight + "\n  %z = ds.gelu erf %y : " + wide + "\n  ds_plan.return %z : " + wide +
         "\n}\nds_plan.kernel @square \"row\" schedule {} {\n^bb0(%x: " + wide + "):\n  %y = ds.mul %x, %x : " + wide +
         "\n  ds_plan.return %y : " + wide + "\n}\nds_plan.kernel @weight \"gemm_gradient\" schedule {} {\n^bb0(%x: " + rows +
         ", %dy: " + wide + "):\n  %dw = ds.linear_weight_grad %x, %dy : " + rows + ", " + wide + " -> " + weight +
         "\n  %g = ds_plan.accumulate %dw : " + weight + "\n  ds_plan.return %g : " + weight +
         "\n}\nds_plan.kernel @down \"gemm\" schedule {} {\n^bb0(%dy: " + wide + ", %w: " + weight +
         "):\n  %dx = ds.linear %dy, %w transposed : " + wide + ", " + weight + "\n  ds_plan.return %dx : " + rows +
         "\n}\nds_plan.program @run max_batch 1 max_rows " + std::to_string(mostRows) + " arena " + std::to_string(2 * bytes) +
         " kv_bytes 0 {\n  %x = ds_plan.output \"x\" 0 selected : " + rowsType +
         "\n  %dx = ds_plan.output \"dx\" 1 selected : " + rowsType + "\n  %w = ds_plan.weight @w : " + weightType +
         "\n  %g = ds_plan.weight @g : " + weightType + "\n  %y = ds_plan.buffer selected" + of + " offset 0 : " + wideType +
         "\n  %dy = ds_plan.buffer selected" + of + " offset " + std::to_string(bytes) + " : " + wideType + "\n  ds_plan.launch @up" + of +
         " ins(%x, %w : " + rowsType + ", " + weightType + ") outs(%y : " + wideType + ")\n  ds_plan.barrier\n  ds_plan.launch @square" +
         of + " ins(%y : " + wideType + ") outs(%dy : " + wideType + ")\n  ds_plan.barrier\n  ds_plan.launch @weight" + of +
         " ins(%x, %dy : " + rowsType + ", " + wideType + ") outs(%g : " + weightType + ")\n  ds_plan.launch @down" + of +
         " ins(%dy, %w : " + wideType + ", " + weightType + ") outs(%dx : " + rowsType + ")\n}\n";
}

struct Found {
  std::vector<float> dx, gradient;
};

class Slab : public OnLevel {
protected:
  /// Runs `rows` rows with an arena of just the bytes that the plan says.
  Found run(const CompiledPlan &code, int64_t slab, int64_t rows, int32_t threads, uint64_t *trace = nullptr) {
    Numbers numbers(7);
    Floats x(numbers.take(rows * width)), dx(rows * width);
    GuardedBytes state(gradientAt + weightBytes), arena(2 * (((slab ? slab : mostRows) * vocabulary * 4 + 63) / 64 * 64));
    std::vector<float> weight = numbers.take(vocabulary * width), begin = numbers.take(vocabulary * width);
    memcpy(state.as<uint8_t>(), weight.data(), weightBytes);
    memcpy(state.as<uint8_t>() + gradientAt, begin.data(), weightBytes);
    StepData step;
    step.tokens = static_cast<int32_t>(rows);
    step.rows = static_cast<int32_t>(rows);
    step.outputs = {x.as<void>(), dx.as<void>()};
    step.state = state.as<void>();
    step.arena = arena.as<void>();
    step.trace = trace;
    code.run("run", step, threads);
    const auto *gradient = reinterpret_cast<const float *>(state.as<uint8_t>() + gradientAt);
    return {{dx.as<float>(), dx.as<float>() + dx.count}, {gradient, gradient + vocabulary * width}};
  }
};

TEST_P(Slab, agreesWithAllRowsAtOnce) {
  CompiledPlan whole(plan(0), level());
  ASSERT_TRUE(whole) << whole.error();
  for (int64_t slab : {3, 32, 264}) {
    CompiledPlan code(plan(slab), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {1, 3, 31, 64, 265, 300}) {
      const Found expected = run(whole, 0, rows, 1), one = run(code, slab, rows, 1);
      for (size_t i = 0; i < one.dx.size(); ++i)
        ASSERT_NEAR(one.dx[i], expected.dx[i], 1e-4 * std::abs(expected.dx[i]) + 1e-2) << i << " of " << rows << " rows by " << slab;
      for (size_t i = 0; i < one.gradient.size(); ++i)
        ASSERT_NEAR(one.gradient[i], expected.gradient[i], 1e-4 * std::abs(expected.gradient[i]) + 1e-2)
            << i << " of " << rows << " rows by " << slab;
      for (int32_t threads : {2, 3}) {
        const Found several = run(code, slab, rows, threads);
        ASSERT_EQ(several.dx, one.dx) << threads << " threads, " << rows << " rows by " << slab;
        ASSERT_EQ(several.gradient, one.gradient) << threads << " threads, " << rows << " rows by " << slab;
      }
    }
  }
}

TEST_P(Slab, timesOfAllSlabsAddUp) {
  CompiledPlan code(plan(32), level());
  ASSERT_TRUE(code) << code.error();
  std::vector<uint64_t> trace(4 * 2);
  run(code, 32, mostRows, 1, trace.data());
  for (size_t launch = 0; launch < 4; ++launch) {
    EXPECT_LT(trace[2 * launch], trace[2 * launch + 1]) << launch;
    if (launch > 0) {
      EXPECT_EQ(trace[2 * launch], trace[2 * launch - 1]) << launch;
    }
  }
}

DS_ON_ALL_LEVELS(Slab);

} // namespace
