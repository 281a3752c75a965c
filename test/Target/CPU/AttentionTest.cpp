// Attention against plain loops: prefill and decode, with and without a cache, and all ways to hide keys.
#include "CacheCodes.h"
#include "WeightDropout.h"

using namespace ds;
using namespace ds::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, size;
  int64_t context = 0; // 0: no cache, packed keys and values
  bool causal = false, mask = false, slopes = false;
  int64_t window = 0;
  int64_t partials = 0; // results of a head that the scratch buffer has room for; 0: no scratch
  bool dropout = false;
  bool codes = false; // of the cache
  bool bf16 = false;  // the cache's elements, without codes; without a cache, in pairs
  bool rounded = false;

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(size)); }
  int64_t width() const { return heads * size; }
  int64_t kvWidth() const { return kvHeads * size; }
  int64_t scratchWidth() const { return heads * partials * (16 + (size + 15) / 16 * 16); }
  int64_t capacity(int64_t tokens) const { return context ? context : (tokens + 15) / 16 * 16; }
  /// Of keys or values of one sequence.
  int64_t cacheBytes(int64_t slots) const {
    return codes ? CodesOfSequence::bytesOf(kvHeads, size, slots) : slots * kvWidth() * (bf16 ? 2 : 4);
  }
};

std::string number(int64_t value) { return std::to_string(value); }

/// Of the keys of all sequences, at the most.
constexpr int64_t pairsBytes = 1 << 20;

std::string plan(const Shape &s) {
  OneLaunch plan;
  std::vector<std::string> ins = {plan.rows("tokens", s.width())};
  std::string q = "tensor<?x?x" + number(s.width()) + "xf32>";
  std::string k = "tensor<?x" + (s.context ? number(s.context) : std::string("?")) + "x" + number(s.kvWidth()) + "x" +
                  (s.codes               ? cacheCodes(s.size)
                   : s.bf16 && s.context ? "bf16"
                                         : "f32") +
                  ">";
  std::string head = "^bb0(%q: " + q + ", %k: " + k + ", %v: " + k, op = "  %y = ds.attention %q, %k, %v";
  if (s.context) {
    const std::string element = s.codes ? "i8" : s.bf16 ? "bf16" : "f32";
    ins.push_back(plan.cache("keys", s.kvHeads, 64, s.context, s.kvWidth(), element));
    ins.push_back(plan.cache("values", s.kvHeads, 64 + s.cacheBytes(s.context), s.context, s.kvWidth(), element));
  } else if (s.bf16) {
    ins.push_back(plan.buffer("packed", s.kvWidth(), "bf16", 0));
    ins.push_back(plan.buffer("packed", s.kvWidth(), "bf16", pairsBytes));
  } else {
    ins.push_back(plan.rows("packed", s.kvWidth()));
    ins.push_back(plan.rows("packed", s.kvWidth()));
  }
  if (s.mask) {
    ins.push_back(plan.indices("tokens"));
    head += ", %m: tensor<?x?xi32>";
    op += " mask %m : tensor<?x?xi32>";
  }
  if (s.context) {
    ins.push_back(plan.indices("batch"));
    head += ", %p: tensor<?xi32>";
    op += " past %p : tensor<?xi32>";
  }
  if (s.slopes) {
    ins.push_back(plan.weight("vector", 0, "memref<" + number((s.heads + 31) / 32 * 32) + "xf32>"));
    std::string t = "tensor<" + number(s.heads) + "xf32>";
    head += ", %s: " + t;
    op += " slopes %s : " + t;
  }
  if (s.dropout) {
    ins.push_back(plan.seed());
    head += ", %seed: tensor<2xi32>";
    op += WeightDropout::text();
  }
  op += " heads " + number(s.heads) + " kv_heads " + number(s.kvHeads) + " scale " + std::to_string(s.scale());
  op += std::string(s.causal ? " causal" : "") + (s.window ? " window " + number(s.window) : "") + (s.rounded ? " rounded" : "");
  std::string out = plan.rows("tokens", s.width());
  std::vector<std::string> aux;
  if (s.partials)
    aux.push_back(plan.rows("batch", s.scratchWidth()));
  return plan.text("attention", head + "):\n" + op + " : " + q + ", " + k + "\n  ds_plan.return %y : " + q + "\n", ins, {out}, aux);
}

/// A step: B sequences of T tokens behind `past`.
class Step {
public:
  Step(const Shape &s, int64_t batch, int64_t tokens, std::vector<int32_t> pasts, uint64_t seed)
      : s(s), batch(batch), tokens(tokens), past(pasts), numbers(seed), q(batch * tokens * s.width()), y(batch * tokens * s.width()),
        slopes((s.heads + 31) / 32 * 32), mask(batch * tokens, 1) {
    for (int64_t i = 0; i < q.count; ++i)
      q[i] = numbers.next();
    for (int64_t h = 0; h < slopes.count; ++h)
      slopes[h] = h < s.heads ? -0.03f * static_cast<float>(h + 1) : 0;
    for (int64_t b = 0; b < batch; ++b) {
      int64_t seen = std::min<int64_t>(past[b] + tokens, s.capacity(tokens));
      keys.push_back(numbers.take(seen * s.kvWidth()));
      values.push_back(numbers.take(seen * s.kvWidth()));
      for (int64_t i = 0; s.codes && i < seen; ++i) {
        keys[b][i * s.kvWidth()] *= static_cast<float>(1 + i % 7) / 4; // scales that differ
        values[b][i * s.kvWidth()] *= static_cast<float>(1 + i % 5) / 4;
      }
    }
  }

  void run(const CompiledPlan &code, int32_t threads) {
    StepData step;
    step.batch = static_cast<int32_t>(batch);
    step.tokens = static_cast<int32_t>(tokens);
    step.weights = slopes.as<void>();
    int64_t capacity = s.capacity(tokens), part = s.cacheBytes(capacity) / 4;
    std::vector<std::unique_ptr<Floats>> blocks;
    Floats packedKeys(s.context ? 0 : batch * part), packedValues(s.context ? 0 : batch * part);
    Floats pairs(pairsBytes / 2);
    if (!s.context && s.bf16)
      step.arena = pairs.as<void>();
    step.outputs = {q.as<void>()};
    for (int64_t b = 0; b < batch; ++b) {
      blocks.push_back(std::make_unique<Floats>(16 + 2 * part)); // what no token wrote is NaN
      if (s.bf16 && !s.context)
        layPairs(b, pairs.as<uint16_t>() + b * part * 2, pairs.as<uint16_t>() + pairsBytes / 2 + b * part * 2);
      else
        lay(b, s.context ? blocks[b]->as<float>() + 16 : packedKeys.as<float>() + b * part,
            s.context ? blocks[b]->as<float>() + 16 + part : packedValues.as<float>() + b * part);
      step.kv.push_back(blocks[b]->as<uint8_t>());
    }
    if (!s.context && !s.bf16)
      step.outputs.insert(step.outputs.end(), {packedKeys.as<void>(), packedValues.as<void>()});
    step.outputs.push_back(y.as<void>());
    Floats scratch(batch * s.scratchWidth());
    if (s.partials)
      step.outputs.push_back(scratch.as<void>());
    GuardedBytes maskBytes(mask.size() * 4), pastBytes(past.size() * 4);
    memcpy(maskBytes.as<int32_t>(), mask.data(), mask.size() * 4);
    memcpy(pastBytes.as<int32_t>(), past.data(), past.size() * 4);
    if (s.mask)
      step.inputs.push_back(maskBytes.as<int32_t>());
    if (s.context)
      step.inputs.push_back(pastBytes.as<int32_t>());
    if (s.dropout)
      step.inputs.push_back(dropout.seed());
    for (int64_t i = 0; i < y.count; ++i)
      y[i] = 77;
    code.run("run", step, threads);
  }

  /// Output of one head of one token.
  std::vector<double> exact(int64_t b, int64_t t, int64_t h) {
    int64_t g = h / (s.heads / s.kvHeads), seen = keys[b].size() / s.kvWidth();
    std::vector<double> score(seen), out(s.size, 0);
    double most = -HUGE_VAL, sum = 0;
    std::vector<double> query;
    for (int64_t d = 0; d < s.size; ++d)
      query.push_back(multiplied(q[(b * tokens + t) * s.width() + h * s.size + d]));
    for (int64_t i = 0; i < seen; ++i) {
      bool visible = (!s.mask || mask[b * tokens + i]) && (!s.causal || i <= past[b] + t) && (!s.window || i > past[b] + t - s.window);
      score[i] = visible ? 0 : -HUGE_VAL;
      for (int64_t d = 0; d < s.size && visible; ++d)
        score[i] += query[d] * keys[b][(i * s.kvHeads + g) * s.size + d];
      if (visible)
        score[i] = score[i] * std::stof(std::to_string(s.scale())) + (s.slopes ? slopes[h] * static_cast<double>(i) : 0);
      most = std::max(most, score[i]);
    }
    for (int64_t i = 0; i < seen && most > -HUGE_VAL; ++i) {
      double p = std::exp(score[i] - most);
      sum += p;
      p *= s.dropout ? WeightDropout::factor(b * s.heads + h, t, i) : 1;
      for (int64_t d = 0; d < s.size; ++d)
        out[d] += p * values[b][(i * s.kvHeads + g) * s.size + d];
    }
    for (double &v : out)
      v = sum > 0 ? v / sum : 0;
    return out;
  }

  /// A value of a query as it is multiplied.
  double multiplied(float value) const {
    if (!roundsQueries)
      return value;
    const double scale = std::stof(std::to_string(s.scale())) * 1.4426950408889634;
    return fromBits(toBits(value * static_cast<float>(scale), false), false) / scale;
  }

  void check(const CompiledPlan &code, int32_t threads) {
    run(code, threads);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < s.heads; ++h) {
          std::vector<double> want = exact(b, t, h);
          for (int64_t d = 0; d < s.size; ++d)
            ASSERT_NEAR(y[(b * tokens + t) * s.width() + h * s.size + d], want[d], bound)
                << s.heads << "/" << s.kvHeads << "x" << s.size << " context " << s.context << " causal " << s.causal << " window "
                << s.window << " mask " << s.mask << " B " << batch << " T " << tokens << " past " << past[b] << " at " << b << "," << t
                << "," << h << "," << d;
        }
  }

  /// Keys and values become what their codes say; `lay` rounds them to the same codes again.
  void roundToCodes() {
    for (auto *all : {&keys, &values})
      for (std::vector<float> &rows : *all)
        for (int64_t head = 0; head < static_cast<int64_t>(rows.size()); head += s.size) {
          RoundedHead rounded(rows.data() + head, s.size);
          for (int64_t d = 0; d < s.size; ++d)
            rows[head + d] = rounded.value(d);
        }
  }

  /// Keys and values become multiples of 1/64, at most seven bits: bf16 holds them as they are.
  void roundToBf16() {
    for (auto *all : {&keys, &values})
      for (std::vector<float> &rows : *all)
        for (float &value : rows)
          value = std::clamp(std::round(value * 64), -127.0f, 127.0f) / 64;
  }

  /// The same, and the first of each head the largest: the scale of its codes is 1/64.
  void roundToBf16AndCodes() {
    roundToBf16();
    for (auto *all : {&keys, &values})
      for (std::vector<float> &rows : *all)
        for (size_t head = 0; head < rows.size(); head += s.size)
          rows[head] = std::copysign(127.0f / 64, rows[head]);
  }

  const Shape &s;
  int64_t batch, tokens;
  std::vector<int32_t> past;
  Numbers numbers;
  Floats q, y, slopes;
  WeightDropout dropout;
  bool roundsQueries = false; // and probabilities, to bf16
  double bound = 4e-6;        // of errors
  std::vector<int32_t> mask;
  std::vector<std::vector<float>> keys, values; // [seen, kv_heads, size] of each sequence

private:
  /// Slots that no token has stay NaN, but for the one that stands in a pair with the last token's value.
  void layPairs(int64_t b, uint16_t *keyBlock, uint16_t *valueBlock) {
    const int64_t capacity = s.capacity(tokens);
    for (int64_t g = 0; g < s.kvHeads; ++g)
      for (int64_t i = 0; i < tokens + tokens % 2; ++i)
        for (int64_t d = 0; d < s.size; ++d) {
          const int64_t from = (i * s.kvHeads + g) * s.size + d;
          valueBlock[((g * capacity + i) / 2 * s.size + d) * 2 + i % 2] = i < tokens ? toBits(values[b][from], false) : 0;
          if (i < tokens)
            keyBlock[((g * capacity / 16 + i / 16) * s.size + d / 2 * 2) * 16 + i % 16 * 2 + d % 2] = toBits(keys[b][from], false);
        }
  }
  void lay(int64_t b, float *keyBlock, float *valueBlock) {
    int64_t capacity = s.capacity(tokens), seen = keys[b].size() / s.kvWidth();
    for (int64_t i = 0; i < seen; ++i)
      for (int64_t g = 0; g < s.kvHeads; ++g) {
        if (s.codes) {
          const int64_t head = (i * s.kvHeads + g) * s.size;
          CodesOfSequence{reinterpret_cast<uint8_t *>(keyBlock), true, s.size, capacity}.set(g, i, {keys[b].data() + head, s.size});
          CodesOfSequence{reinterpret_cast<uint8_t *>(valueBlock), false, s.size, capacity}.set(g, i, {values[b].data() + head, s.size});
          continue;
        }
        if (s.bf16) {
          auto top = [](float value) {
            uint32_t bits = 0;
            memcpy(&bits, &value, 4);
            return static_cast<uint16_t>(bits >> 16);
          };
          for (int64_t d = 0; d < s.size; ++d) {
            reinterpret_cast<uint16_t *>(keyBlock)[((g * capacity / 16 + i / 16) * s.size + d) * 16 + i % 16] =
                top(keys[b][(i * s.kvHeads + g) * s.size + d]);
            reinterpret_cast<uint16_t *>(valueBlock)[(g * capacity + i) * s.size + d] = top(values[b][(i * s.kvHeads + g) * s.size + d]);
          }
          continue;
        }
        for (int64_t d = 0; d < s.size; ++d) {
          keyBlock[((g * capacity / 16 + i / 16) * s.size + d) * 16 + i % 16] = keys[b][(i * s.kvHeads + g) * s.size + d];
          valueBlock[(g * capacity + i) * s.size + d] = values[b][(i * s.kvHeads + g) * s.size + d];
        }
      }
  }
};

class Attention : public OnLevel {
protected:
  CompiledPlan compile(const Shape &s) {
    CompiledPlan code(plan(s), level());
    EXPECT_TRUE(code) << code.error();
    return code;
  }
};

/// A suite of its own, as it alone has products to emulate.
class AttentionOfPairs : public Attention {
protected:
  /// No value is beyond 2. A probability loses 2^-9 of itself where it is bf16, and 2^-8 where a score of 2^4 is f16.
  double boundOfPairs() const { return level().multipliesF16 ? 0x1p-7 : level().roundsForBf16() ? 0x1p-8 : 4e-6; }
};

TEST_P(Attention, encoder) {
  for (Shape s : {Shape{12, 12, 32}, Shape{2, 2, 64}, Shape{3, 1, 20}, Shape{1, 1, 8}, Shape{2, 2, 12}, Shape{2, 1, 80}})
    for (bool causal : {false, true}) {
      s.causal = causal;
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      for (int64_t tokens : {1, 2, 3, 5, 6, 7, 13, 15, 16, 17, 31, 48, 63, 64, 65, 70, 130})
        Step(s, tokens % 3 + 1, tokens, {0, 0, 0}, tokens).check(code, tokens % 3 + 1);
    }
}

TEST_P(Attention, masks) {
  for (Shape s : {Shape{2, 2, 32}, Shape{4, 2, 24}})
    for (bool causal : {false, true}) {
      s.causal = causal, s.mask = true;
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      for (int64_t tokens : {1, 5, 16, 33, 64, 70, 140})
        for (int kind = 0; kind < 5; ++kind) {
          Step step(s, 3, tokens, {0, 0, 0}, tokens);
          hideTokens(kind, 3, tokens, step.mask, step.numbers);
          step.check(code, kind % 3 + 1);
        }
    }
}

TEST_P(Attention, decoder) {
  for (Shape s : {Shape{9, 3, 64, 128, true}, Shape{4, 4, 32, 144, true}, Shape{8, 1, 16, 112, true}, Shape{14, 2, 12, 128, true},
                  Shape{6, 3, 20, 128, true, false, true}, Shape{4, 2, 32, 128, true, false, false, 5},
                  Shape{2, 2, 16, 128, true, false, true, 40}, Shape{2, 1, 16, 128, false}}) {
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 2, 4, 6, 17, 70}) {
      Step(s, 1, tokens, {0}, tokens).check(code, 1);
      Step(s, 2, tokens, {1, 31}, tokens + 1).check(code, 2);
      Step(s, 3, tokens, {100, 15, 64}, tokens + 2).check(code, 3); // tokens behind the context too
    }
    for (int32_t past = 0; past < s.context; past += 3)
      Step(s, 2, 1, {past, int32_t(s.context - 1 - past)}, past).check(code, past % 3 + 1);
  }
}

/// Steps of many sizes and pasts with a cache of `s`, whose keys and values `round` makes such that the cache holds them exactly.
/// Where `roundsQueries`, those of steps in which 24 read a head of keys are rounded to bf16.
void checkCache(const CompiledPlan &code, const Shape &s, void (Step::*round)(), double bound = 4e-6, bool roundsQueries = false) {
  auto check = [&](Step step, int32_t threads) {
    (step.*round)();
    step.bound = bound;
    step.roundsQueries = roundsQueries && step.tokens * s.heads / s.kvHeads >= 24;
    step.check(code, threads);
  };
  const auto last = static_cast<int32_t>(s.context - 1);
  for (int64_t tokens : {1, 2, 4, 6, 17, 60}) {
    check(Step(s, 1, tokens, {0}, tokens), 1);
    check(Step(s, 2, tokens, {1, 31}, tokens + 1), 2);
    check(Step(s, 3, tokens, {last - 20, 15, 40}, tokens + 2), 3); // tokens behind the context too
  }
  for (int32_t past = 0; past < s.context; past += 5)
    check(Step(s, 2, 1, {past, last - past}, past), past % 3 + 1);
}

/// Codes are read as their values, with all that a cache of f32 has; what no token wrote is NaN, scales as well.
TEST_P(Attention, cacheOfCodes) {
  for (Shape s :
       {Shape{9, 3, 64, 128, true}, Shape{4, 4, 32, 144, true}, Shape{8, 1, 16, 112, true}, Shape{14, 2, 12, 128, true},
        Shape{6, 3, 20, 128, true, false, true}, Shape{4, 2, 80, 128, true, false, false, 5}, Shape{2, 2, 3, 64, true},
        Shape{2, 2, 8, 128, true, false, true, 40}, Shape{2, 1, 16, 128, false}, Shape{3, 1, 64, 640, true, false, false, 0, 4}}) {
    s.codes = true;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    checkCache(code, s, &Step::roundToCodes);
  }
}

/// bf16 is read as its values, with all that a cache of f32 has; what no token wrote is NaN.
TEST_P(Attention, cacheOfBf16) {
  for (Shape s : {Shape{9, 3, 64, 128, true}, Shape{4, 4, 32, 144, true}, Shape{8, 1, 16, 112, true}, Shape{14, 2, 12, 128, true},
                  Shape{6, 3, 20, 128, true, false, true}, Shape{4, 2, 80, 128, true, false, false, 5}, Shape{2, 2, 3, 64, true},
                  Shape{2, 1, 16, 128, false}, Shape{3, 1, 64, 640, true, false, false, 0, 4}}) {
    s.bf16 = true;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    checkCache(code, s, &Step::roundToBf16);
  }
}

/// bf16 in pairs. Levels with dot products of them round queries and probabilities too, those with multiply-adds of f16 all there is.
TEST_P(AttentionOfPairs, pairs) {
  for (Shape s : {Shape{12, 12, 32}, Shape{2, 2, 64}, Shape{3, 1, 16}, Shape{2, 1, 80}, Shape{4, 2, 32, 0, false, true},
                  Shape{2, 2, 48, 0, true}, Shape{2, 1, 16, 0, true, true, true}, Shape{2, 2, 64, 0, true, false, false, 9}}) {
    s.bf16 = true;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 2, 3, 5, 6, 7, 12, 13, 15, 16, 17, 20, 31, 48, 64, 65, 70, 127, 128, 131, 200})
      for (int kind = 0; kind < (s.mask ? 5 : 1); ++kind) {
        Step step(s, tokens % 3 + 1, tokens, {0, 0, 0}, tokens);
        step.roundToBf16();
        step.roundsQueries = level().bf16Dots != Dots::none;
        step.bound = boundOfPairs();
        if (s.mask)
          hideTokens(kind, step.batch, tokens, step.mask, step.numbers);
        step.check(code, tokens % 3 + 1);
      }
  }
}

/// Levels with multiply-adds of f16 or dot products of bf16 convert what a cache holds where attention may round, and 24 queries read a
/// head of keys: nine heads of 17 tokens do, one of 17 does not. Windows stay f32. What no token wrote is NaN.
TEST_P(AttentionOfPairs, roundedCaches) {
  if (!level().roundsForBf16())
    return; // as without `rounded`
  for (Shape s : {Shape{9, 3, 64, 128, true}, Shape{4, 4, 32, 144, true}, Shape{8, 1, 16, 112, true}, Shape{4, 2, 80, 128, true},
                  Shape{14, 2, 12, 128, true}, Shape{4, 2, 32, 128, true, false, false, 5}, Shape{2, 2, 48, 128, false},
                  Shape{6, 3, 32, 128, true, false, true}})
    for (int64_t bytes : {1, 2, 4}) {
      s.rounded = true, s.codes = bytes == 1, s.bf16 = bytes == 2;
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      const bool hasDots = level().bf16Dots != Dots::none, converts = s.size % 16 == 0 && !s.window && (hasDots || !s.slopes);
      checkCache(code, s, &Step::roundToBf16AndCodes, converts ? boundOfPairs() : 4e-6, converts && hasDots);
    }
}

/// Queries, keys and values far from 1, and of zeros alone, are what others are times powers of two; of more tokens than the stack has room
/// for too.
TEST_P(AttentionOfPairs, sizes) {
  for (Shape s : {Shape{2, 1, 32}, Shape{1, 1, 256, 0, true}, Shape{1, 1, 128}}) {
    s.bf16 = true;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    struct Sizes {
      int queries, keys, values;
    };
    for (Sizes sizes : {Sizes{60, -60, 0}, Sizes{-60, 60, 100}, Sizes{-100, 30, -100}, Sizes{0, 0, 100}, Sizes{-300, -300, 0}})
      for (int64_t tokens : {20, 40, 530, 1040}) {
        if (tokens > 1000 && (s.size < 256 || sizes.queries != 60))
          continue;
        Step step(s, 1, tokens, {0}, tokens);
        step.roundToBf16();
        auto scale = [](float *numbers, int64_t count, int exponent) {
          for (int64_t i = 0; i < count; ++i)
            numbers[i] = std::ldexp(numbers[i], exponent);
        };
        scale(&step.q[0], step.q.count, sizes.queries);
        scale(step.keys[0].data(), static_cast<int64_t>(step.keys[0].size()), sizes.keys);
        scale(step.values[0].data(), static_cast<int64_t>(step.values[0].size()), sizes.values);
        step.roundsQueries = level().bf16Dots != Dots::none;
        step.bound = std::ldexp(boundOfPairs(), sizes.values);
        step.check(code, 2);
      }
  }
}

/// An infinite key is seen by the last token alone, and the others are what they were.
TEST_P(AttentionOfPairs, infiniteKey) {
  Shape s{2, 2, 32, 0, true};
  s.bf16 = true;
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t tokens : {7, 33, 64}) {
    Step step(s, 1, tokens, {0}, 5), before(s, 1, tokens, {0}, 5);
    step.roundToBf16(), before.roundToBf16();
    for (int64_t d = 0; d < s.size; ++d)
      before.keys[0][(tokens - 1) * s.kvWidth() + d] = 0;
    step.keys[0][(tokens - 1) * s.kvWidth() + 3] = infinite;
    step.run(code, 1), before.run(code, 1);
    for (int64_t i = 0; i < step.y.count; ++i)
      if (i / s.width() < tokens - 1)
        ASSERT_NEAR(step.y[i], before.y[i], boundOfPairs()) << tokens << " " << i;
      else
        ASSERT_EQ(std::isnan(step.y[i]), i % s.width() < s.size) << tokens << " " << i;
  }
}

/// A key of a cache that is not finite is seen by the last token alone, and the others are what they were.
TEST_P(AttentionOfPairs, notFiniteInRoundedCache) {
  if (!level().roundsForBf16())
    return;
  for (bool codes : {false, true}) {
    Shape s{4, 2, 32, 128, true};
    s.rounded = true, s.codes = codes, s.bf16 = !codes;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int32_t past : {0, 21})
      for (float bad : {infinite, notANumber}) {
        Step step(s, 1, 40, {past}, 5), before(s, 1, 40, {past}, 5);
        auto round = codes ? &Step::roundToCodes : &Step::roundToBf16;
        (step.*round)(), (before.*round)();
        const int64_t last = (past + 39) * s.kvWidth();
        for (int64_t d = 0; d < s.size; ++d)
          before.keys[0][last + d] = 0;
        step.keys[0][last + 3] = bad;
        step.run(code, 1), before.run(code, 1);
        for (int64_t i = 0; i < step.y.count; ++i)
          if (i / s.width() < 39 || i % s.width() >= 2 * s.size)
            ASSERT_NEAR(step.y[i], before.y[i], boundOfPairs()) << codes << " " << past << " " << bad << " " << i;
          else if (std::isnan(bad))
            ASSERT_TRUE(std::isnan(step.y[i])) << codes << " " << past << " " << i;
      }
  }
}

/// A scale that is NaN reaches its head alone.
TEST_P(Attention, notANumberInCodes) {
  Shape s{3, 3, 16, 96, true};
  s.codes = true;
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t tokens : {1, 20})
    for (bool inKeys : {true, false}) {
      Step step(s, 2, tokens, {30, 7}, 5);
      (inKeys ? step.keys : step.values)[0][(30 * s.kvHeads + 1) * s.size + 3] = notANumber;
      step.run(code, 2);
      for (int64_t i = 0; i < step.y.count; ++i)
        ASSERT_EQ(std::isnan(step.y[i]), i / (tokens * s.width()) == 0 && i / s.size % s.heads == 1) << i << " " << inKeys;
    }
}

/// A NaN in a cache of bf16 reaches all that see it and nothing else: not those before the window, nor what lies behind the last token.
TEST_P(Attention, notANumberInBf16) {
  Shape s{4, 2, 16, 112, true};
  s.window = 24, s.bf16 = true;
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t tokens : {1, 20})
    for (bool inKeys : {true, false})
      for (bool isSeen : {false, true}) {
        Step step(s, 2, tokens, {60, 7}, 5);
        step.roundToBf16();
        for (int64_t slot = 0; slot < 60 + 1 - s.window; ++slot) // of the first token
          for (auto *rows : {&step.keys[0], &step.values[0]})
            (*rows)[(slot * s.kvHeads + 1) * s.size + 3] = notANumber;
        if (isSeen)
          (inKeys ? step.keys : step.values)[0][(60 * s.kvHeads + 1) * s.size + 3] = notANumber;
        step.run(code, 2);
        for (int64_t i = 0; i < step.y.count; ++i) {
          const bool isOfHead = i / (tokens * s.width()) == 0 && i / s.size % s.heads >= 2;
          ASSERT_EQ(std::isnan(step.y[i]), isSeen && isOfHead && (inKeys || i % s.size == 3))
              << i << " keys " << inKeys << " seen " << isSeen << " T " << tokens;
        }
      }
}

/// Long caches are shared out among threads, in pieces that do not fit whole heads.
TEST_P(Attention, sharedCache) {
  for (Shape s : {Shape{9, 3, 64, 640, true}, Shape{3, 3, 20, 640, true}, Shape{7, 1, 16, 640, true},
                  Shape{3, 1, 32, 640, true, false, true}, Shape{3, 3, 16, 640, true, false, false, 300}}) {
    for (int64_t partials : {2, 8}) {
      s.partials = partials;
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      for (int32_t threads : {1, 2, 3, 5, 16}) {
        for (int32_t past : {0, 255, 257, 300, 639})
          Step(s, 1, 1, {past}, past + threads).check(code, threads);
        Step(s, 3, 1, {600, 2, 37}, threads).check(code, threads);
        Step(s, 2, 2, {600, 300}, threads).check(code, threads);
      }
      Step step(s, 1, 1, {620}, 9);
      step.run(code, 2);
      std::vector<float> first(step.y.as<float>(), step.y.as<float>() + step.y.count);
      step.run(code, 2);
      EXPECT_EQ(memcmp(first.data(), step.y.as<float>(), first.size() * 4), 0);
    }
  }
}

/// Weights are left out by their own words, but stay in the sum; the rows behind the last token store nothing of their own.
TEST_P(Attention, dropout) {
  for (Shape s : {Shape{3, 3, 32}, Shape{4, 2, 20, 0, true}, Shape{2, 1, 16, 0, true, true, true},
                  Shape{2, 2, 12, 0, true, false, false, 9}, Shape{2, 2, 64, 0, false, true}}) {
    s.dropout = true;
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 16, 29, 64, 70, 131, 200})
      for (int kind = 0; kind < (s.mask ? 5 : 1); ++kind) {
        Step step(s, 3, tokens, {0, 0, 0}, tokens);
        if (s.mask)
          hideTokens(kind, 3, tokens, step.mask, step.numbers);
        step.check(code, tokens % 3 + 1);
      }
  }
}

/// A NaN in a shared cache reaches its head alone, whichever thread has its piece.
TEST_P(Attention, notANumberInSharedCache) {
  Shape s{3, 3, 16, 512, true};
  s.partials = 4;
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t key : {0, 200, 400}) {
    Step step(s, 1, 1, {400}, 5);
    step.keys[0][(key * s.kvHeads + 1) * s.size + 3] = notANumber;
    step.run(code, 2);
    for (int64_t i = 0; i < step.y.count; ++i)
      ASSERT_EQ(std::isnan(step.y[i]), i / s.size == 1) << key << " " << i;
  }
}

/// A NaN reaches the outputs that see it, and no other.
TEST_P(Attention, notANumberPropagates) {
  for (int64_t tokens : {1, 40}) {
    Shape s{3, 3, 16, 96, true};
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    Step step(s, 2, tokens, {30, 7}, 5);
    step.keys[0][(30 * s.kvHeads + 1) * s.size + 3] = notANumber; // token 30 of sequence 0, head 1
    step.run(code, 2);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < s.heads; ++h)
          for (int64_t d = 0; d < s.size; ++d)
            ASSERT_EQ(std::isnan(step.y[(b * tokens + t) * s.width() + h * s.size + d]), b == 0 && h == 1) << b << " " << t << " " << h;
    step.keys[0][(30 * s.kvHeads + 1) * s.size + 3] = 0;
    step.q[5] = notANumber; // token 0, head 0
    step.run(code, 1);
    for (int64_t i = 0; i < step.y.count; ++i)
      ASSERT_EQ(std::isnan(step.y[i]), i < s.size) << i;
  }
}

/// Scores far from 0 neither overflow nor vanish.
TEST_P(Attention, largeScores) {
  Shape s{2, 2, 16, 0, true};
  CompiledPlan code = compile(s);
  ASSERT_TRUE(code);
  for (float factor : {30.0f, -30.0f}) {
    Step step(s, 1, 100, {0}, 3);
    for (int64_t i = 0; i < step.q.count; ++i)
      step.q[i] *= factor;
    step.run(code, 2);
    for (int64_t t = 0; t < 100; ++t)
      for (int64_t d = 0; d < s.size; ++d)
        ASSERT_NEAR(step.y[t * s.width() + d], step.exact(0, t, 0)[d], 2e-4);
  }
}

TEST_P(Attention, refusals) {
  Shape s{2, 2, 16, 64, true, true};
  CompiledPlan code(plan(s), level());
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("cannot come with a cache"), std::string::npos) << code.error();
  s.mask = false, s.partials = 1;
  std::string text = plan(s), batch = "2 batch : memref<?x64xf32>";
  ASSERT_NE(text.find(batch), std::string::npos) << text;
  CompiledPlan rows(text.replace(text.find(batch), batch.size(), "2 tokens : memref<?x64xf32>"), level());
  EXPECT_FALSE(rows);
  EXPECT_NE(rows.error().find("expects scratch memory as f32 rows of the batch"), std::string::npos) << rows.error();
}

DS_ON_ALL_LEVELS(Attention);
DS_ON_ALL_LEVELS(AttentionOfPairs);
INSTANTIATE_TEST_SUITE_P(products, AttentionOfPairs, levelsOfProducts(), [](const auto &info) { return shortNameOf(*info.param); });

} // namespace
