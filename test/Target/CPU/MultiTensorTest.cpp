// Norms of gradients and steps of optimizers, against the formulas in f64.
#include "ds/Conversion/MultiTensor.h"
#include "OneLaunch.h"
#include "llvm/ADT/STLExtras.h"
#include <chrono>
#include <cstdio>

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

using Segments = std::vector<int64_t>; // offset and length of each parameter

int64_t floatsOf(const Segments &segments) {
  int64_t end = 0;
  for (size_t i = 0; i < segments.size(); i += 2)
    end = std::max(end, segments[i] + segments[i + 1]);
  return (end + 64 + 31) / 32 * 32;
}

/// One tiny parameter; many of a few granules with gaps between; one of several chunks among small ones.
const Segments tables[] = {{0, 32},
                           [] {
                             Segments many;
                             int64_t at = 32;
                             for (int64_t i = 0; i < 40; ++i) {
                               many.insert(many.end(), {at, 32 * (1 + i * 5 % 9)});
                               at += many.back() + (i % 4 == 0 ? 64 : 0);
                             }
                             return many;
                           }(),
                           {0, 64, 64, 5 * chunkFloats + 160, 96 + 64 + 5 * chunkFloats + 64, chunkFloats, 512 + 6 * chunkFloats, 96}};

/// A launch over all parameters and the memory it works on.
class Launch {
public:
  /// `kind` is that of an optimizer, or "" for norms.
  Launch(const std::string &kind, const Segments &segments, const CpuLevel &level)
      : count(static_cast<int64_t>(segments.size()) / 2), floats(floatsOf(segments)), controls(5 * count), hyper(8),
        scratch(multiTensorScratch(segments)), result(count), state(std::vector<float>(4 * floats, 0)), updates(!kind.empty()) {
    OneLaunch plan;
    std::string attr, c = "tensor<1x" + number(5 * count) + "xf32>", n = "tensor<1x" + number(count) + "xf32>", h = "tensor<1x8xf32>";
    for (int64_t value : segments)
      attr += (attr.empty() ? "" : ", ") + number(value);
    attr = "{ds_plan.segments = array<i64: " + attr + ">}";
    std::vector<std::string> ins, aux;
    if (updates)
      ins = {plan.rows("single", 5 * count), plan.rows("single", 8)};
    for (const char *part : updates ? std::vector{"parameter", "gradient", "moment1", "moment2"} : std::vector{"gradient"})
      aux.push_back(
          plan.weight("vector", (updates ? aux.size() : 1) * floats * 4, "memref<" + number(floats) + "xf32>", std::string("in ") + part));
    aux.push_back(plan.rows("single", multiTensorScratch(segments)));
    std::string region = updates ? "^bb0(%c: " + c + ", %h: " + h + "):\n  %r = ds.optimizer_update " + kind + " %c, %h " + attr + " : " +
                                       c + ", " + h + " -> " + n + "\n"
                                 : "^bb0:\n  %r = ds.gradient_norms " + attr + " : " + n + "\n";
    text = plan.text("multi_tensor", region + "  ds_plan.return %r : " + n + "\n", ins, {plan.rows("single", count)}, aux);
    if (!updates)
      text.replace(text.find("ins( : )"), 8, "ins()");
    code = std::make_unique<CompiledPlan>(text, level);
  }

  float *part(int64_t index) { return state.as<float>() + index * floats; } // value, gradient, moments
  void run(int32_t threads) {
    StepData step;
    step.outputs = {scratch.as<void>(), result.as<void>()};
    if (updates)
      step.outputs.insert(step.outputs.begin(), {controls.as<void>(), hyper.as<void>()});
    step.state = state.as<void>();
    code->run("run", step, threads);
  }

  int64_t count, floats;
  Floats controls, hyper, scratch, result, state;
  bool updates;
  std::string text;
  std::unique_ptr<CompiledPlan> code;
};

/// The formulas of ds.optimizer_update for one parameter, in f64.
struct Exact {
  std::vector<double> p, m, v;

  double step(const std::string &kind, const float *gradient, double rate, double decay, double b1, double b2, float *hyper) {
    const double scale = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], rest1 = hyper[6], rest2 = hyper[7];
    double squareP = 0, squareU = 0;
    std::vector<double> u(p.size());
    for (size_t i = 0; i < p.size(); ++i) {
      double g = scale * gradient[i] + (kind == "sgd" || kind == "adam" ? decay * p[i] : 0);
      if (kind == "sgd") {
        m[i] = beta1 * m[i] + g;
        p[i] -= rate * m[i];
        continue;
      }
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * g * g;
      u[i] = m[i] / (std::sqrt(v[i]) + eps) + decay * p[i];
      squareP += p[i] * p[i];
      squareU += u[i] * u[i];
      if (kind == "adamw")
        p[i] *= 1 - rate * decay;
      if (kind != "lamb")
        p[i] -= rate / b1 * m[i] / (std::sqrt(v[i]) / std::sqrt(b2) + eps);
    }
    if (kind != "lamb")
      return 1;
    double c = squareP == 0 || squareU == 0 ? 1 : std::sqrt(squareP / squareU);
    c = squareP == 0 || squareU == 0 ? 1 : std::min<double>(std::max<double>(c, hyper[4]), hyper[5]);
    for (size_t i = 0; i < p.size(); ++i)
      p[i] -= rate * std::sqrt(b2) / b1 * c * u[i];
    return c;
  }
};

class MultiTensor : public OnLevel {
protected:
  /// Five steps with 1 to 4 threads against the formulas; coefficients between `low` and `high`.
  void check(const std::string &kind, const Segments &segments, float low, float high) {
    Launch launch(kind, segments, level());
    ASSERT_TRUE(*launch.code) << launch.code->error() << launch.text;
    std::vector<float> alone;
    for (int32_t threads = 1; threads <= 4; ++threads) {
      Numbers numbers(segments.size());
      std::vector<float> hyper = {0.25f, 0.9f, 0.999f, 1e-6f, low, high, 0.1f, 0.001f};
      memcpy(launch.hyper.as<float>(), hyper.data(), 32);
      for (int64_t i = 0; i < launch.floats; ++i) {
        launch.part(0)[i] = numbers.next() * 0.1f;
        launch.part(1)[i] = numbers.next();
        launch.part(2)[i] = numbers.next() * 0.01f;
        launch.part(3)[i] = std::abs(numbers.next()) * 0.01f;
      }
      const int64_t n = launch.count, zeros = n > 10 ? 5 : -1, unused = n > 1 ? n / 2 : -1;
      std::vector<Exact> exact(n);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t first = segments[2 * k], length = segments[2 * k + 1];
        if (k == zeros)
          std::fill_n(launch.part(0) + first, length, 0);
        auto copy = [&](int part) { return std::vector<double>(launch.part(part) + first, launch.part(part) + first + length); };
        exact[k] = {copy(0), copy(2), copy(3)};
      }
      std::vector<float> outside(launch.state.as<float>(), launch.state.as<float>() + launch.state.count);
      for (int step = 1; step <= 5; ++step) {
        std::vector<double> coefficients(n, 1);
        for (int64_t k = 0; k < n; ++k) {
          const float rate = 0.01f / static_cast<float>(1 + k % 3), decay = k % 4 == 1 ? 0 : 0.05f;
          const auto b1 = static_cast<float>(1 - std::pow(0.9, step)), b2 = static_cast<float>(1 - std::pow(0.999, step));
          const bool used = k != unused || step == 4;
          for (auto [row, value] : {std::pair{0, rate}, {1, decay}, {2, b1}, {3, b2}, {4, used ? 1.0f : 0.0f}})
            launch.controls[row * n + k] = value;
          float *gradient = launch.part(1) + segments[2 * k];
          for (int64_t i = 0; i < segments[2 * k + 1]; ++i)
            gradient[i] = numbers.next();
          std::copy_n(gradient, segments[2 * k + 1], outside.begin() + launch.floats + segments[2 * k]);
          if (used)
            coefficients[k] = exact[k].step(kind, gradient, rate, decay, b1, b2, hyper.data());
        }
        launch.run(threads);
        for (int64_t k = 0; k < n; ++k) {
          ASSERT_NEAR(launch.result[k] / coefficients[k], 1, 1e-6) << kind << " coefficient " << k << " step " << step;
          const bool used = launch.controls[4 * n + k] != 0;
          for (int64_t i = 0; i < segments[2 * k + 1]; ++i)
            ASSERT_EQ(launch.part(1)[segments[2 * k] + i], used ? 0.0f : outside[launch.floats + segments[2 * k] + i]);
        }
        if (kind == "lamb" && n > 10) {
          auto at = [&](float bound) { return llvm::count_if(coefficients, [&](double c) { return c == bound; }); };
          const bool wide = low == 0.01f && high == 10;
          ASSERT_TRUE(wide ? at(low) + at(high) < 2 : at(low) + at(high) > 10)
              << "step " << step << " does not test the bounds: " << coefficients[0] << " to " << coefficients[1] << " of " << low
              << " and " << high;
        }
      }
      std::vector<bool> inside(launch.floats);
      for (int64_t k = 0; k < n; ++k)
        for (int64_t i = 0; i < segments[2 * k + 1]; ++i) {
          const int64_t at = segments[2 * k] + i;
          inside[at] = true;
          const Exact &want = exact[k];
          // A few roundings of 6e-8 a step.
          ASSERT_NEAR(launch.part(2)[at], want.m[i], 3e-7 * std::abs(want.m[i]) + 3e-7) << kind;
          ASSERT_NEAR(launch.part(3)[at], want.v[i], 6e-7 * want.v[i]) << kind;
          ASSERT_NEAR(launch.part(0)[at], want.p[i], 2e-7 * std::abs(want.p[i]) + 5e-8) << kind << " parameter " << k << " at " << i;
        }
      for (int64_t i = 0; i < launch.floats; ++i)
        if (!inside[i])
          for (int part = 0; part < 4; ++part)
            ASSERT_EQ(launch.part(part)[i], outside[part * launch.floats + i]) << "between parameters";
      std::vector<float> all(launch.state.as<float>(), launch.state.as<float>() + launch.state.count);
      if (threads == 1)
        alone = all;
      ASSERT_EQ(memcmp(alone.data(), all.data(), all.size() * 4), 0) << kind << " with " << threads << " threads";
    }
  }
};

TEST_P(MultiTensor, optimizers) {
  for (const char *kind : {"sgd", "adam", "adamw"})
    for (const Segments &segments : tables)
      check(kind, segments, 0.01f, 10);
}

TEST_P(MultiTensor, lamb) {
  for (const Segments &segments : tables) {
    check("lamb", segments, 0.01f, 10);
    check("lamb", segments, 0.6f, 10);
    check("lamb", segments, 0.01f, 0.03f);
  }
}

TEST_P(MultiTensor, norms) {
  for (const Segments &segments : tables) {
    Launch launch("", segments, level());
    ASSERT_TRUE(*launch.code) << launch.code->error() << launch.text;
    Numbers numbers(3);
    for (int64_t i = 0; i < launch.floats; ++i)
      launch.part(1)[i] = numbers.next();
    std::vector<float> alone;
    for (int32_t threads = 1; threads <= 4; ++threads) {
      launch.run(threads);
      std::vector<float> all(launch.result.as<float>(), launch.result.as<float>() + launch.count);
      if (threads == 1)
        alone = all;
      ASSERT_EQ(alone, all);
    }
    for (int64_t k = 0; k < launch.count; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < segments[2 * k + 1]; ++i)
        sum += static_cast<double>(launch.part(1)[segments[2 * k] + i]) * launch.part(1)[segments[2 * k] + i];
      ASSERT_NEAR(alone[k] / sum, 1, 1e-6) << k;
    }
    // One bad value anywhere shows in the sum of its parameter alone.
    for (float bad : {infinite, -infinite, notANumber})
      for (int64_t k = 0; k < launch.count; k += 3) {
        float &value = launch.part(1)[segments[2 * k] + segments[2 * k + 1] - 1 - k % 32], good = value;
        value = bad;
        launch.run(2);
        for (int64_t other = 0; other < launch.count; ++other)
          ASSERT_EQ(std::isfinite(launch.result[other]), other != k);
        value = good;
      }
  }
}

TEST_P(MultiTensor, refusesOtherSegments) {
  Launch launch("", {0, 32, 48, 32}, level());
  EXPECT_FALSE(*launch.code);
  EXPECT_NE(launch.code->error().find("expects segments of whole 32 values"), std::string::npos) << launch.code->error();
}

/// Prints GB/s of all reads and writes; run with --gtest_also_run_disabled_tests.
TEST_P(MultiTensor, DISABLED_bandwidth) {
  const int64_t floats = 16 << 20;
  Segments segments;
  for (int64_t at = 0, i = 0; at < floats; ++i) { // matrices and vectors
    int64_t length = std::min<int64_t>(i % 2 ? 768 : 768 * 768, floats - at);
    segments.insert(segments.end(), {at, length});
    at += length;
  }
  auto time = [&](auto &&body) {
    double best = 1e9;
    for (int i = 0; i < 6; ++i) {
      auto start = std::chrono::steady_clock::now();
      body();
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  {
    Floats from(std::vector<float>(floats, 1)), to(std::vector<float>(floats, 2));
    double copy = time([&] {
      memcpy(to.as<float>(), from.as<float>(), floats * 4);
      asm volatile("" : : "r"(to.as<float>()) : "memory");
    });
    std::printf("memcpy, 1 thread: %5.1f GB/s\n", floats * 8 / copy * 1e-9);
  }
  for (auto [kind, streams] : {std::pair{"", 1}, {"sgd", 6}, {"adam", 8}, {"adamw", 8}, {"lamb", 11}}) {
    Launch launch(kind, segments, level());
    ASSERT_TRUE(*launch.code) << launch.code->error();
    for (int64_t i = 0; i < launch.state.count; ++i)
      launch.state[i] = 0.001f;
    for (int64_t i = 0; i < launch.controls.count; ++i)
      launch.controls[i] = 0.01f;
    for (int i = 0; i < 8; ++i)
      launch.hyper[i] = 0.5f;
    for (int32_t threads : {1, 2}) {
      double best = time([&] { launch.run(threads); });
      std::printf("%s %s, %d threads: %6.2f ms, %5.1f GB/s\n", level().name.str().c_str(), *kind ? kind : "norms", threads, best * 1e3,
                  floats * 4.0 * streams / best * 1e-9);
    }
  }
}

DS_ON_ALL_LEVELS(MultiTensor);

} // namespace
