// Gradients of attention against plain loops in f64: all ways to hide keys, grouped heads, and sequences longer than a block of keys.
#include "WeightDropout.h"

using namespace ds;
using namespace ds::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, size;
  bool causal = false, mask = false, slopes = false;
  int64_t window = 0;
  bool dropout = false;

  float scale() const { return std::stof(std::to_string(1.0f / std::sqrt(static_cast<float>(size)))); }
  int64_t width() const { return heads * size; }
  int64_t kvWidth() const { return kvHeads * size; }
};

std::string number(int64_t value) { return std::to_string(value); }

std::string plan(const Shape &s) {
  OneLaunch plan;
  const std::string kind = "tokens";
  const std::string q = "tensor<?x?x" + number(s.width()) + "xf32>", k = "tensor<?x?x" + number(s.kvWidth()) + "xf32>";
  std::vector<std::string> ins = {plan.rows(kind, s.width()), plan.rows(kind, s.kvWidth()), plan.rows(kind, s.kvWidth()),
                                  plan.rows(kind, s.width())};
  std::string head = "^bb0(%q: " + q + ", %k: " + k + ", %v: " + k + ", %g: " + q, op = "  %r:3 = ds.attention_grad %q, %k, %v, %g";
  if (s.mask) {
    ins.push_back(plan.indices("tokens"));
    head += ", %m: tensor<?x?xi32>";
    op += " mask %m : tensor<?x?xi32>";
  }
  if (s.slopes) {
    ins.push_back(plan.weight("vector", 0, "memref<" + number((s.heads + 31) / 32 * 32) + "xf32>"));
    const std::string t = "tensor<" + number(s.heads) + "xf32>";
    head += ", %s: " + t;
    op += " slopes %s : " + t;
  }
  if (s.dropout) {
    ins.push_back(plan.seed());
    head += ", %seed: tensor<2xi32>";
    op += WeightDropout::text();
  }
  op += " heads " + number(s.heads) + " kv_heads " + number(s.kvHeads) + " scale " + std::to_string(s.scale());
  op += std::string(s.causal ? " causal" : "") + (s.window ? " window " + number(s.window) : "");
  const std::vector<std::string> outs = {plan.rows(kind, s.width()), plan.rows(kind, s.kvWidth()), plan.rows(kind, s.kvWidth())};
  return plan.text("attention_gradient",
                   head + "):\n" + op + " : " + q + ", " + k + "\n  ds_plan.return %r#0, %r#1, %r#2 : " + q + ", " + k + ", " + k + "\n",
                   ins, outs);
}

/// A step: B sequences of T tokens.
class Step {
public:
  Step(const Shape &s, int64_t batch, int64_t tokens, uint64_t seed)
      : s(s), batch(batch), tokens(tokens), numbers(seed), q(filled(s.width())), k(filled(s.kvWidth())), v(filled(s.kvWidth())),
        grad(filled(s.width())), dq(batch * tokens * s.width()), dk(batch * tokens * s.kvWidth()), dv(batch * tokens * s.kvWidth()),
        slopes((s.heads + 31) / 32 * 32), mask(batch * tokens, 1) {
    for (int64_t h = 0; h < slopes.count; ++h)
      slopes[h] = h < s.heads ? -0.03f * static_cast<float>(h + 1) : notANumber;
  }

  void run(const CompiledPlan &code, int32_t threads) {
    StepData step;
    step.batch = static_cast<int32_t>(batch);
    step.tokens = static_cast<int32_t>(tokens);
    step.weights = slopes.as<void>();
    step.outputs = {q.as<void>(), k.as<void>(), v.as<void>(), grad.as<void>(), dq.as<void>(), dk.as<void>(), dv.as<void>()};
    GuardedBytes maskBytes(mask.size() * 4);
    memcpy(maskBytes.as<int32_t>(), mask.data(), mask.size() * 4);
    if (s.mask)
      step.inputs.push_back(maskBytes.as<int32_t>());
    if (s.dropout)
      step.inputs.push_back(dropout.seed());
    code.run("run", step, threads);
  }

  void check(const CompiledPlan &code, int32_t threads) {
    for (Floats *out : {&dq, &dk, &dv})
      for (int64_t i = 0; i < out->count; ++i)
        (*out)[i] = notANumber;
    run(code, threads);
    std::vector<double> wantQ(dq.count), wantK(dk.count), wantV(dv.count);
    exact(wantQ, wantK, wantV);
    compare("query", dq, wantQ);
    compare("key", dk, wantK);
    compare("value", dv, wantV);
  }

  const Shape &s;
  int64_t batch, tokens;
  Numbers numbers;
  Floats q, k, v, grad, dq, dk, dv, slopes;
  std::vector<int32_t> mask;
  WeightDropout dropout;

private:
  std::vector<float> filled(int64_t width) { return numbers.take(batch * tokens * width); }

  double factorOf(int64_t b, int64_t h, int64_t t, int64_t i) const { return s.dropout ? WeightDropout::factor(b * s.heads + h, t, i) : 1; }

  /// All that query head `h` of sequence `b` adds.
  void exactHead(int64_t b, int64_t h, std::vector<double> &wantQ, std::vector<double> &wantK, std::vector<double> &wantV) {
    const int64_t g = h / (s.heads / s.kvHeads);
    const double scale = s.scale();
    auto dot = [&](const float *x, const float *y) {
      double sum = 0;
      for (int64_t d = 0; d < s.size; ++d)
        sum += static_cast<double>(x[d]) * y[d];
      return sum;
    };
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t row = (b * tokens + t) * s.width() + h * s.size;
      auto keyRow = [&](int64_t i) { return (b * tokens + i) * s.kvWidth() + g * s.size; };
      std::vector<double> p(tokens), dp(tokens);
      double most = -HUGE_VAL, sum = 0, mean = 0;
      for (int64_t i = 0; i < tokens; ++i) {
        const bool seen = (!s.mask || mask[b * tokens + i]) && (!s.causal || i <= t) && (!s.window || i > t - s.window);
        p[i] = -HUGE_VAL;
        if (seen)
          p[i] = dot(&q[row], &k[keyRow(i)]) * scale + (s.slopes ? slopes[h] * static_cast<double>(i) : 0);
        dp[i] = factorOf(b, h, t, i) * dot(&grad[row], &v[keyRow(i)]);
        most = std::max(most, p[i]);
      }
      if (most == -HUGE_VAL)
        continue;
      for (double &each : p)
        sum += each = std::exp(each - most);
      for (int64_t i = 0; i < tokens; ++i)
        mean += (p[i] /= sum) * dp[i];
      for (int64_t i = 0; i < tokens; ++i) {
        const double ds = p[i] * (dp[i] - mean) * scale;
        for (int64_t d = 0; d < s.size; ++d) {
          wantQ[row + d] += ds * k[keyRow(i) + d];
          wantK[keyRow(i) + d] += ds * q[row + d];
          wantV[keyRow(i) + d] += factorOf(b, h, t, i) * p[i] * grad[row + d];
        }
      }
    }
  }

  void exact(std::vector<double> &wantQ, std::vector<double> &wantK, std::vector<double> &wantV) {
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < s.heads; ++h)
        exactHead(b, h, wantQ, wantK, wantV);
  }

  void compare(const char *what, Floats &got, const std::vector<double> &want) {
    double largest = 1;
    for (double each : want)
      largest = std::max(largest, std::abs(each));
    for (int64_t i = 0; i < got.count; ++i)
      ASSERT_NEAR(got[i], want[i], 3e-6 * largest)
          << what << " " << s.heads << "/" << s.kvHeads << "x" << s.size << " causal " << s.causal << " window " << s.window << " mask "
          << s.mask << " slopes " << s.slopes << " B " << batch << " T " << tokens << " at " << i;
  }
};

/// Does not count what other processes take.
class AttentionGradient : public OnLevel {
protected:
  CompiledPlan compile(const Shape &s) {
    CompiledPlan code(plan(s), level());
    EXPECT_TRUE(code) << code.error();
    return code;
  }
};

TEST_P(AttentionGradient, headsAndTokens) {
  for (Shape s : {Shape{2, 2, 64}, Shape{4, 4, 32}, Shape{4, 2, 20}, Shape{3, 1, 8}, Shape{4, 2, 64}, Shape{2, 1, 80}, Shape{1, 1, 12}})
    for (bool causal : {false, true}) {
      s.causal = causal;
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      for (int64_t tokens : {1, 2, 7, 16, 17, 33, 100, 129})
        Step(s, tokens % 3 + 1, tokens, tokens).check(code, (tokens / 3) % 3 + 1);
    }
}

TEST_P(AttentionGradient, masks) {
  for (Shape s : {Shape{2, 2, 32}, Shape{4, 2, 20}})
    for (bool causal : {false, true}) {
      s.causal = causal, s.mask = true;
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      for (int64_t tokens : {1, 5, 16, 33, 70})
        for (int kind = 0; kind < 5; ++kind) {
          Step step(s, 3, tokens, tokens);
          hideTokens(kind, 3, tokens, step.mask, step.numbers);
          step.check(code, kind % 3 + 1);
        }
    }
}

TEST_P(AttentionGradient, slopesAndWindows) {
  for (Shape s : {Shape{6, 3, 20, true, false, true}, Shape{4, 2, 32, true, false, false, 5}, Shape{2, 2, 16, true, true, true, 40},
                  Shape{2, 1, 16, false, true, true}, Shape{2, 2, 64, true, false, false, 1}}) {
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 7, 16, 100, 129}) {
      Step step(s, 2, tokens, tokens);
      if (s.mask)
        for (int32_t &seen : step.mask)
          seen = step.numbers.below(4) != 0;
      step.check(code, tokens % 3 + 1);
    }
  }
}

/// Heads so large that their keys do not fit at once: scores are computed twice, gradients add up over blocks of keys and heads.
TEST_P(AttentionGradient, blocksOfKeys) {
  for (Shape s : {Shape{2, 1, 256}, Shape{2, 2, 260, true}, Shape{2, 1, 256, true, true, true, 300},
                  Shape{1, 1, 256, true, false, false, 9}, Shape{1, 1, 256, false, true}}) {
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {430, s.mask ? 770 : 375}) {
      Step step(s, 1, tokens, tokens);
      if (s.mask)
        for (int64_t t = 0; t < tokens; ++t)
          step.mask[t] = t < 420 && step.numbers.below(4) != 0; // later blocks are hidden
      step.check(code, 2);
    }
  }
}

/// Weights that are left out give nothing to values, and their gradients nothing to queries and keys; once with blocks of keys.
TEST_P(AttentionGradient, dropout) {
  for (Shape s : {Shape{3, 3, 32}, Shape{4, 2, 20, true}, Shape{2, 1, 16, true, true, true}, Shape{2, 2, 12, true, false, false, 9},
                  Shape{2, 1, 256, true}}) {
    s.dropout = true;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : s.size == 256 ? std::vector<int64_t>{430} : std::vector<int64_t>{1, 2, 5, 16, 17, 33, 70, 129}) {
      const int64_t batch = s.size == 256 ? 1 : 3;
      Step step(s, batch, tokens, tokens);
      if (s.mask)
        hideTokens(static_cast<int>(tokens % 5), batch, tokens, step.mask, step.numbers);
      step.check(code, tokens % 3 + 1);
    }
  }
}

/// The same bits whatever the threads are.
TEST_P(AttentionGradient, threadsChangeNothing) {
  Shape s{4, 2, 32, true};
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  Step one(s, 3, 70, 9), three(s, 3, 70, 9);
  one.run(code, 1);
  three.run(code, 3);
  EXPECT_EQ(memcmp(one.dq.as<float>(), three.dq.as<float>(), one.dq.count * 4), 0);
  EXPECT_EQ(memcmp(one.dk.as<float>(), three.dk.as<float>(), one.dk.count * 4), 0);
  EXPECT_EQ(memcmp(one.dv.as<float>(), three.dv.as<float>(), one.dv.count * 4), 0);
}

/// Scores far from 0 neither overflow nor vanish.
TEST_P(AttentionGradient, largeScores) {
  Shape s{2, 2, 16, true};
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  for (float factor : {8.0f, -8.0f}) {
    Step step(s, 1, 100, 3);
    for (int64_t i = 0; i < step.q.count; ++i)
      step.q[i] = std::round(step.q[i] * factor * 8) / 8, step.k[i] = std::round(step.k[i] * 64) / 64; // exact scores
    step.check(code, 2);
  }
}

/// A NaN reaches the gradients of its head and sequence alone.
TEST_P(AttentionGradient, notANumberStaysInItsHead) {
  Shape s{3, 3, 16};
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  Step step(s, 2, 40, 5);
  step.k[30 * s.kvWidth() + s.size + 3] = notANumber; // token 30 of sequence 0, head 1
  step.run(code, 2);
  for (int64_t i = 0; i < step.dq.count; ++i) {
    const bool reached = i < 40 * s.width() && i % s.width() / s.size == 1;
    ASSERT_EQ(std::isnan(step.dq[i]), reached) << i;
    ASSERT_EQ(std::isnan(step.dk[i]), reached) << i;
    ASSERT_EQ(std::isnan(step.dv[i]), reached) << i;
  }
}

TEST_P(AttentionGradient, refusals) {
  Shape s{2, 2, 16, false, true};
  std::string text = plan(s);
  const std::string all = "return %r#0, %r#1, %r#2";
  text.replace(text.find(all), all.size(), "return %r#0, %r#1, %r#1");
  CompiledPlan twice(text, level());
  EXPECT_FALSE(twice);
  EXPECT_NE(twice.error().find("expects one attention_grad over rows of floats"), std::string::npos) << twice.error();
}

/// Billions of operations a second of the five products (twice the products of a pair, whether it is seen or not).
TEST_P(AttentionGradient, DISABLED_speed) {
  for (auto [s, batch, tokens] :
       {std::tuple(Shape{12, 12, 64}, 8, 128), std::tuple(Shape{12, 12, 64, true}, 8, 128), std::tuple(Shape{4, 4, 64}, 8, 128),
        std::tuple(Shape{12, 12, 32}, 8, 128), std::tuple(Shape{12, 12, 32, false, true}, 32, 64),
        std::tuple(Shape{12, 12, 64, false, false, false, 0, true}, 8, 128), std::tuple(Shape{12, 12, 64, true}, 1, 1024),
        std::tuple(Shape{4, 4, 64, true}, 1, 2048)}) {
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    Step step(s, batch, tokens, 1);
    double best = HUGE_VAL;
    for (int round = 0; round < 15; ++round) {
      const double start = secondsOfThread();
      step.run(code, 1);
      best = std::min(best, secondsOfThread() - start);
    }
    const double operations = 10.0 * static_cast<double>(batch * s.heads * tokens * tokens * s.size);
    printf("%s heads %ld x %ld, B %d, T %d, causal %d, dropout %d: %.3f ms, %.1f GFLOP/s\n", level().name.str().c_str(), s.heads, s.size,
           batch, tokens, s.causal, s.dropout, best * 1e3, operations / best * 1e-9);
  }
}

DS_ON_ALL_LEVELS(AttentionGradient);

} // namespace
