// Chains of launches, with grouped rows between products, against plain loops.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

constexpr int64_t maxRows = 320;

/// h = silu(x w1^T), grouped; y = h w2^T + x; z = y w3^T. The sizes of the panels are free.
struct Mlp {
  int64_t width, hidden, upPanel, downPanel;
  std::string element = "f32"; // of the weights
  int64_t rowsOfThread = 0;    // as the kernels say it; 0: they do not

  std::string schedule() const { return rowsOfThread ? "{rows_of_thread = " + std::to_string(rowsOfThread) + "}" : "{}"; }
  bool inPairs() const { return element == "bf16"; }

  std::string weightType(int64_t columns, int64_t depth, int64_t panel) const {
    const std::string panels = std::to_string((columns + panel - 1) / panel), p = std::to_string(panel);
    return inPairs() ? "memref<" + panels + "x" + std::to_string(depth / 2) + "x" + p + "x2xbf16>"
                     : "memref<" + panels + "x" + std::to_string(depth) + "x" + p + "x" + element + ">";
  }
  int64_t weightBytes(int64_t columns, int64_t depth, int64_t panel) const {
    return (columns + panel - 1) / panel * panel * depth * (element == "f32" ? 4 : 2);
  }
  int64_t rowsOffset(int64_t index) const { return (maxRows + 8) * (index * width + (index > 1 ? hidden - width : 0)) * 4; }

  std::string plan() const {
    const std::string w = std::to_string(width), h = std::to_string(hidden);
    const std::string layout = inPairs() ? "panel_pairs" : "panels", rows = "tensor<?x?x" + w + "xf32>",
                      hiddenRows = "tensor<?x?x" + h + "xf32>";
    const std::string up = weightType(hidden, width, upPanel), down = weightType(width, hidden, downPanel),
                      last = weightType(width, width, downPanel);
    const int64_t upBytes = weightBytes(hidden, width, upPanel), downBytes = weightBytes(width, hidden, downPanel);
    const std::string upTensor = "tensor<" + h + "x" + w + "x" + element + ">", downTensor = "tensor<" + w + "x" + h + "x" + element + ">",
                      lastTensor = "tensor<" + w + "x" + w + "x" + element + ">";
    const std::string wide = "memref<?x" + w + "xf32>", hiddenType = "memref<?x" + h + "xf32>";
    auto offset = [&](int64_t index) { return std::to_string(rowsOffset(index)); };
    std::string text;
    for (auto [name, tensor, type, at] :
         {std::tuple("up", upTensor, up, int64_t(0)), {"down", downTensor, down, upBytes}, {"last", lastTensor, last, upBytes + downBytes}})
      text += "ds.parameter @" + std::string(name) + " from \"" + name + "\" : " + tensor + "\nds_plan.storage @" + name + "_p " + layout +
              " of @" + name + " offset " + std::to_string(at) + " : " + type + "\n";
    text += "ds_plan.kernel @k_up \"gemm\" schedule " + schedule() + " {\n^bb0(%x: " + rows + ", %w: " + upTensor +
            "):\n  %y = ds.linear %x, %w : " + rows + ", " + upTensor + "\n  %z = ds.silu %y : " + hiddenRows +
            "\n  ds_plan.return %z : " + hiddenRows + "\n}\n";
    text += "ds_plan.kernel @k_down \"gemm\" schedule " + schedule() + " {\n^bb0(%h: " + hiddenRows + ", %w: " + downTensor +
            ", %x: " + rows + "):\n  %y = ds.linear %h, %w : " + hiddenRows + ", " + downTensor + "\n  %z = ds.add %y, %x : " + rows +
            "\n  ds_plan.return %z : " + rows + "\n}\n";
    text += "ds_plan.kernel @k_last \"gemm\" schedule " + schedule() + " {\n^bb0(%x: " + rows + ", %w: " + lastTensor +
            "):\n  %y = ds.linear %x, %w : " + rows + ", " + lastTensor + "\n  ds_plan.return %y : " + rows + "\n}\n";
    text += "ds_plan.program @run max_batch 1 max_rows " + std::to_string(maxRows) + " arena " + offset(4) + " kv_bytes 0 {\n";
    text += "  %x = ds_plan.buffer tokens offset 0 : " + wide + "\n  %h = ds_plan.buffer tokens grouped offset " + offset(1) + " : " +
            hiddenType + "\n  %y = ds_plan.buffer tokens offset " + offset(2) + " : " + wide + "\n  %z = ds_plan.buffer tokens offset " +
            offset(3) + " : " + wide + "\n";
    for (auto [name, type] : {std::pair("up", up), {"down", down}, {"last", last}})
      text += "  %" + std::string(name) + " = ds_plan.weight @" + name + "_p : " + type + "\n";
    text += "  ds_plan.launch @k_up chain 0 ins(%x, %up : " + wide + ", " + up + ") outs(%h : " + hiddenType + ")\n  ds_plan.barrier\n";
    text += "  ds_plan.launch @k_down chain 0 ins(%h, %down, %x : " + hiddenType + ", " + down + ", " + wide + ") outs(%y : " + wide +
            ")\n  ds_plan.barrier\n  ds_plan.launch @k_last chain 0 ins(%y, %last : " + wide + ", " + last + ") outs(%z : " + wide +
            ")\n}\n";
    return text;
  }
};

/// [columns, depth] into panels; returns the values as stored.
std::vector<float> pack(const Mlp &mlp, uint8_t *to, std::vector<float> values, int64_t columns, int64_t depth, int64_t panel) {
  for (int64_t n = 0; n < columns; ++n)
    for (int64_t k = 0; k < depth; ++k) {
      float &value = values[n * depth + k];
      const int64_t inPanel = n % panel;
      if (mlp.element != "f32") {
        const uint16_t bits = toBits(value, !mlp.inPairs());
        value = fromBits(bits, !mlp.inPairs());
        const int64_t at =
            mlp.inPairs() ? ((n / panel * (depth / 2) + k / 2) * panel + inPanel) * 2 + k % 2 : (n / panel * depth + k) * panel + inPanel;
        memcpy(to + at * 2, &bits, 2);
      } else {
        memcpy(to + ((n / panel * depth + k) * panel + inPanel) * 4, &value, 4);
      }
    }
  return values;
}

/// Runs the first `rows` rows of x, which begin the arena; returns the rows of z.
const float *run(const CompiledPlan &code, const Mlp &mlp, const GuardedBytes &weights, const GuardedBytes &arena, int32_t rows,
                 int32_t threads, uint64_t *trace = nullptr) {
  StepData step;
  step.tokens = rows;
  step.weights = weights.as<void>();
  step.arena = arena.as<void>();
  step.trace = trace;
  code.run("run", step, threads);
  return arena.as<float>() + mlp.rowsOffset(3) / 4;
}

class Chain : public OnLevel {};

TEST_P(Chain, agreesWithLoopsAtAnyRowsAndThreads) {
  for (const Mlp &mlp : {Mlp{48, 96, 48, 48},
                         {64, 256, 32, 32},
                         {48, 144, 48, 32},
                         {32, 96, 32, 48, "bf16"},
                         {48, 96, 32, 48, "f16"},
                         {96, 1536, 48, 48},
                         {48, 96, 48, 48, "f32", 48},
                         {32, 96, 32, 48, "bf16", 128}}) {
    CompiledPlan code(mlp.plan(), level());
    ASSERT_TRUE(code) << code.error();
    const int64_t w = mlp.width, h = mlp.hidden, upBytes = mlp.weightBytes(h, w, mlp.upPanel),
                  downBytes = mlp.weightBytes(w, h, mlp.downPanel);
    GuardedBytes weights(upBytes + downBytes + mlp.weightBytes(w, w, mlp.downPanel)), arena(mlp.rowsOffset(4));
    memset(weights.as<uint8_t>(), 0, weights.size());
    Numbers numbers(h);
    std::vector<float> up = pack(mlp, weights.as<uint8_t>(), numbers.take(h * w), h, w, mlp.upPanel);
    std::vector<float> down = pack(mlp, weights.as<uint8_t>() + upBytes, numbers.take(w * h), w, h, mlp.downPanel);
    std::vector<float> last = pack(mlp, weights.as<uint8_t>() + upBytes + downBytes, numbers.take(w * w), w, w, mlp.downPanel);
    std::vector<float> x = numbers.take(maxRows * w);
    // The sum of many rows in double, once.
    std::vector<double> expected(maxRows * w), hidden(h), y(w);
    double largest = 0;
    for (int64_t r = 0; r < maxRows; ++r) {
      for (int64_t n = 0; n < h; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < w; ++k)
          sum += static_cast<double>(x[r * w + k]) * up[n * w + k];
        hidden[n] = sum / (1 + std::exp(-sum));
      }
      for (int64_t n = 0; n < w; ++n) {
        y[n] = x[r * w + n];
        for (int64_t k = 0; k < h; ++k)
          y[n] += hidden[k] * down[n * h + k];
      }
      for (int64_t n = 0; n < w; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < w; ++k)
          sum += y[k] * last[n * w + k];
        expected[r * w + n] = sum;
        largest = std::max(largest, std::fabs(sum));
      }
    }
    // The rows of all three products are rounded.
    const double allowed = largest * (mlp.inPairs() && level().roundsForBf16() ? 3e-2 : 3e-6);
    for (int32_t rows : {1, 2, 7, 8, 9, 16, 17, 23, 24, 25, 31, 47, 48, 49, 71, 100, 127, 128, 129, 200, 257, 320})
      for (int32_t threads : {1, 2, 3}) {
        for (int64_t i = 0; i < mlp.rowsOffset(4) / 4; ++i)
          arena.as<float>()[i] = i < rows * w ? x[i] : notANumber;
        const float *z = run(code, mlp, weights, arena, rows, threads);
        for (int64_t i = 0; i < rows * w; ++i)
          ASSERT_NEAR(z[i], expected[i], allowed) << "row " << i / w << " of " << rows << ", threads " << threads << ", hidden " << h;
        for (int64_t i = rows * w; i < maxRows * w; ++i)
          ASSERT_TRUE(std::isnan(z[i])) << "row " << i / w << " of " << rows << " was written";
      }
  }
}

/// Slabs of wide hidden rows would be so short that they are taken for few rows: threads may change no result.
TEST_P(Chain, wideHiddenRowsAreTheSameOnAnyThreads) {
  for (int64_t rowsOfThread : {0, 64}) {
    const Mlp mlp{32, 8192, 48, 32, "bf16", rowsOfThread};
    CompiledPlan code(mlp.plan(), level());
    ASSERT_TRUE(code) << code.error();
    GuardedBytes weights(mlp.weightBytes(8192, 32, 48) + mlp.weightBytes(32, 8192, 32) + mlp.weightBytes(32, 32, 32)),
        arena(mlp.rowsOffset(4));
    memset(weights.as<uint8_t>(), 0, weights.size());
    Numbers numbers;
    pack(mlp, weights.as<uint8_t>(), numbers.take(8192 * 32), 8192, 32, 48);
    pack(mlp, weights.as<uint8_t>() + mlp.weightBytes(8192, 32, 48), numbers.take(32 * 8192), 32, 8192, 32);
    pack(mlp, weights.as<uint8_t>() + mlp.weightBytes(8192, 32, 48) + mlp.weightBytes(32, 8192, 32), numbers.take(32 * 32), 32, 32, 32);
    const std::vector<float> x = numbers.take(maxRows * 32);
    for (int32_t rows : {66, 320}) {
      std::vector<float> first;
      for (int32_t threads : {1, 2, 3}) {
        memcpy(arena.as<float>(), x.data(), x.size() * 4);
        const float *z = run(code, mlp, weights, arena, rows, threads);
        if (threads == 1)
          first.assign(z, z + rows * 32);
        ASSERT_EQ(memcmp(first.data(), z, first.size() * 4), 0) << rows << " rows, threads " << threads;
      }
    }
  }
}

/// What a trace says of a chain: each launch begins where the one before ended, whether threads go by rows or not.
TEST_P(Chain, tracesItsLaunchesOneBehindTheOther) {
  const Mlp mlp{96, 1536, 48, 48};
  CompiledPlan code(mlp.plan(), level());
  ASSERT_TRUE(code) << code.error();
  GuardedBytes weights(mlp.weightBytes(1536, 96, 48) + mlp.weightBytes(96, 1536, 48) + mlp.weightBytes(96, 96, 48)),
      arena(mlp.rowsOffset(4));
  memset(weights.as<uint8_t>(), 0, weights.size());
  memset(arena.as<uint8_t>(), 0, arena.size());
  for (int32_t rows : {4, 320}) {
    uint64_t trace[3][2] = {};
    const uint64_t before = __builtin_ia32_rdtsc();
    run(code, mlp, weights, arena, rows, /*threads=*/1, &trace[0][0]);
    const uint64_t after = __builtin_ia32_rdtsc();
    EXPECT_GT(trace[0][0], before);
    for (int launch = 0; launch < 3; ++launch) {
      EXPECT_GT(trace[launch][1], trace[launch][0]);
      if (launch > 0)
        EXPECT_GE(trace[launch][0], trace[launch - 1][1]);
    }
    EXPECT_LT(trace[2][1], after);
    // The first two products have sixteen times the work of the last.
    EXPECT_GT(trace[0][1] - trace[0][0], trace[2][1] - trace[2][0]);
  }
}

DS_ON_ALL_LEVELS(Chain);
INSTANTIATE_TEST_SUITE_P(products, Chain, levelsOfProducts(), [](const auto &info) { return shortNameOf(*info.param); });

} // namespace
