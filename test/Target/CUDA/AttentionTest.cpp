// Attention against plain loops: one token and many, with and without a cache, and all ways to hide keys.
#include "EmulatedPlan.h"
#include "NarrowCache.h"

using namespace ds;
using namespace ds::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, size;
  int64_t context = 0; // 0: no cache, packed keys and values
  bool causal = false, mask = false, slopes = false;
  int64_t window = 0;
  int64_t partials = 0;             // results of a head that the scratch buffer has room for; 0: no scratch
  bool bf16 = false, codes = false; // what the cache holds; neither: f32

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(size)); }
  int64_t width() const { return heads * size; }
  int64_t kvWidth() const { return kvHeads * size; }
  int64_t scratchWidth() const { return heads * partials * (16 + (size + 15) / 16 * 16); }
  int64_t capacity(int64_t tokens) const { return context ? context : (tokens + 15) / 16 * 16; }
  bool isNarrow() const { return bf16 || codes; }
  /// Of keys or of values.
  int64_t cacheBytes(int64_t slots) const { return isNarrow() ? NarrowCache::bytesOf(codes, kvHeads, size, slots) : slots * kvWidth() * 4; }
};

std::string number(int64_t value) { return std::to_string(value); }

std::string plan(const Shape &s) {
  OneLaunch plan;
  std::vector<std::string> ins = {plan.rows("tokens", s.width())};
  std::string q = "tensor<?x?x" + number(s.width()) + "xf32>";
  std::string k = "tensor<?x" + (s.context ? number(s.context) : std::string("?")) + "x" + number(s.kvWidth()) + "x" +
                  (s.isNarrow() ? narrowElement(s.codes, s.size) : "f32") + ">";
  std::string head = "^bb0(%q: " + q + ", %k: " + k + ", %v: " + k, op = "  %y = ds.attention %q, %k, %v";
  if (s.context) {
    const std::string stored = s.isNarrow() ? narrowStored(s.codes) : "f32";
    ins.push_back(plan.cache("keys", s.kvHeads, 64, s.context, s.kvWidth(), stored));
    ins.push_back(plan.cache("values", s.kvHeads, 64 + s.cacheBytes(s.context), s.context, s.kvWidth(), stored));
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
  op += " heads " + number(s.heads) + " kv_heads " + number(s.kvHeads) + " scale " + std::to_string(s.scale());
  op += std::string(s.causal ? " causal" : "") + (s.window ? " window " + number(s.window) : "");
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
    past.resize(batch);
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
      for (auto *rows : {&keys[b], &values[b]}) // `lay` rounds them to the same again
        for (int64_t i = 0; s.isNarrow() && i < seen * s.kvWidth(); i += s.size)
          NarrowCache::round(s.codes, rows->data() + i, s.size);
    }
  }

  std::string run(const EmulatedPlan &code) {
    EmulatedStep step;
    step.batch = static_cast<int32_t>(batch);
    step.tokens = static_cast<int32_t>(tokens);
    step.weights = bytesOf(slopes);
    int64_t capacity = s.capacity(tokens), part = s.cacheBytes(capacity) / 4;
    std::vector<std::unique_ptr<Floats>> blocks;
    Floats packedKeys(s.context ? 0 : batch * part), packedValues(s.context ? 0 : batch * part);
    step.outputs = {all(q)};
    for (int64_t b = 0; b < batch; ++b) {
      blocks.push_back(std::make_unique<Floats>(16 + 2 * part));
      memset(blocks[b]->as<uint8_t>(), 0xff, blocks[b]->size()); // what no token wrote is NaN
      lay(b, s.context ? blocks[b]->as<float>() + 16 : packedKeys.as<float>() + b * part,
          s.context ? blocks[b]->as<float>() + 16 + part : packedValues.as<float>() + b * part);
      if (s.context)
        step.kv.push_back(all(*blocks[b]));
    }
    if (!s.context)
      step.outputs.insert(step.outputs.end(), {all(packedKeys), all(packedValues)});
    step.outputs.push_back(all(y));
    Floats scratch(batch * s.scratchWidth());
    if (s.partials)
      step.outputs.push_back(all(scratch));
    if (s.mask)
      step.inputs.push_back(mask);
    if (s.context)
      step.inputs.push_back(past);
    for (int64_t i = 0; i < y.count; ++i)
      y[i] = 77;
    return code.run(step);
  }

  /// Output of one head of one token.
  std::vector<double> exact(int64_t b, int64_t t, int64_t h) {
    int64_t g = h / (s.heads / s.kvHeads), seen = keys[b].size() / s.kvWidth();
    std::vector<double> score(seen), out(s.size, 0);
    double most = -HUGE_VAL, sum = 0;
    for (int64_t i = 0; i < seen; ++i) {
      bool visible = (!s.mask || mask[b * tokens + i]) && (!s.causal || i <= past[b] + t) && (!s.window || i > past[b] + t - s.window);
      score[i] = visible ? 0 : -HUGE_VAL;
      for (int64_t d = 0; d < s.size && visible; ++d)
        score[i] += static_cast<double>(q[(b * tokens + t) * s.width() + h * s.size + d]) * keys[b][(i * s.kvHeads + g) * s.size + d];
      if (visible)
        score[i] = score[i] * std::stof(std::to_string(s.scale())) + (s.slopes ? slopes[h] * static_cast<double>(i) : 0);
      most = std::max(most, score[i]);
    }
    for (int64_t i = 0; i < seen && most > -HUGE_VAL; ++i) {
      double p = std::exp(score[i] - most);
      sum += p;
      for (int64_t d = 0; d < s.size; ++d)
        out[d] += p * values[b][(i * s.kvHeads + g) * s.size + d];
    }
    for (double &v : out)
      v = sum > 0 ? v / sum : 0;
    return out;
  }

  /// One token is computed in f32; the factors of more tokens are rounded to bf16.
  void check(const EmulatedPlan &code, double most = 0.03) {
    std::string what = name() + " B " + number(batch) + " T " + number(tokens) + " past " + number(past[0]);
    ASSERT_EQ(run(code), "") << what;
    const double bound = tokens == 1 ? 1e-5 : most;
    double error = 0, power = 0;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < s.heads; ++h) {
          std::vector<double> want = exact(b, t, h);
          for (int64_t d = 0; d < s.size; ++d) {
            double got = y[(b * tokens + t) * s.width() + h * s.size + d];
            ASSERT_NEAR(got, want[d], bound) << what << " at " << b << "," << t << "," << h << "," << d;
            error += (got - want[d]) * (got - want[d]);
            power += want[d] * want[d];
          }
        }
    EXPECT_LE(error, (tokens == 1 ? 1e-11 : 1e-4) * power) << what;
  }

  const Shape &s;
  int64_t batch, tokens;
  std::vector<int32_t> past;
  Numbers numbers;
  Floats q, y, slopes;
  std::vector<int32_t> mask;
  std::vector<std::vector<float>> keys, values; // [seen, kv_heads, size] of each sequence

private:
  std::string name() const {
    return number(s.heads) + "/" + number(s.kvHeads) + "x" + number(s.size) + " context " + number(s.context) + " causal " +
           number(s.causal) + " window " + number(s.window) + " mask " + number(s.mask) + " slopes " + number(s.slopes) + " partials " +
           number(s.partials) +
           (s.codes  ? " codes"
            : s.bf16 ? " bf16"
                     : "");
  }
  void lay(int64_t b, float *keyBlock, float *valueBlock) {
    int64_t capacity = s.capacity(tokens), seen = keys[b].size() / s.kvWidth();
    for (int64_t i = 0; i < seen; ++i)
      for (int64_t g = 0; g < s.kvHeads; ++g) {
        if (const int64_t first = (i * s.kvHeads + g) * s.size; s.isNarrow()) {
          NarrowCache{reinterpret_cast<uint8_t *>(keyBlock), true, s.codes, s.size, capacity}.set(g, i, keys[b].data() + first);
          NarrowCache{reinterpret_cast<uint8_t *>(valueBlock), false, s.codes, s.size, capacity}.set(g, i, values[b].data() + first);
          continue;
        }
        for (int64_t d = 0; d < s.size; ++d) {
          keyBlock[((g * capacity / 16 + i / 16) * s.size + d) * 16 + i % 16] = keys[b][(i * s.kvHeads + g) * s.size + d];
          valueBlock[(g * capacity + i) * s.size + d] = values[b][(i * s.kvHeads + g) * s.size + d];
        }
      }
  }
};

EmulatedPlan compile(const Shape &s) {
  EmulatedPlan code(plan(s));
  EXPECT_TRUE(code) << code.error();
  return code;
}

TEST(GpuAttention, encoder) {
  for (Shape s : {Shape{12, 12, 32}, Shape{3, 1, 20}, Shape{1, 1, 8, 0, true}, Shape{2, 1, 80}, Shape{2, 2, 64, 0, true}}) {
    EmulatedPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 2, 17, 64, 130})
      Step(s, tokens % 2 + 1, tokens, {}, tokens).check(code);
  }
}

TEST(GpuAttention, masks) {
  for (Shape s : {Shape{2, 2, 32, 0, false, true}, Shape{4, 2, 24, 0, true, true}}) {
    EmulatedPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 33, 140})
      for (int kind = 0; kind < 5; ++kind) {
        Step step(s, 2, tokens, {}, tokens);
        hideTokens(kind, 2, tokens, step.mask, step.numbers);
        step.check(code);
      }
  }
}

TEST(GpuAttention, decoder) {
  for (Shape s :
       {Shape{9, 3, 64, 128, true}, Shape{8, 1, 16, 112, true}, Shape{14, 2, 12, 144, true}, Shape{6, 3, 20, 128, true, false, true},
        Shape{2, 2, 16, 128, true, false, true, 40}, Shape{2, 1, 16, 128, false}, Shape{2, 1, 256, 96, true}}) {
    EmulatedPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 2, 70}) {
      Step(s, 2, tokens, {1, 31}, tokens + 1).check(code);
      Step(s, 3, tokens, {100, 15, 64}, tokens + 2).check(code); // tokens behind the context too
    }
    for (int32_t past = 0; past < s.context; past += 37)
      Step(s, 2, 1, {past, int32_t(s.context - 1 - past)}, past).check(code);
  }
}

/// Caches of bf16 and of codes are read as their values: heads whose rows begin at multiples of 16 bytes and of 8, of one and of many
/// queries, with windows, slopes and all that a cache of f32 has. What no token wrote is NaN, scales as well.
void checkNarrow(Shape s, bool codes) {
  s.codes = codes, s.bf16 = !codes;
  EmulatedPlan code = compile(s);
  ASSERT_TRUE(code);
  const auto last = static_cast<int32_t>(s.context - 1);
  for (int64_t tokens : {1, 2, 70}) {
    Step(s, 2, tokens, {1, 31}, tokens + 1).check(code);
    Step(s, 3, tokens, {last - 20, 15, 64}, tokens + 2).check(code); // tokens behind the context too
  }
  for (int32_t past = 0; past < s.context; past += 53)
    Step(s, 2, 1, {past, last - past}, past).check(code);
}
const Shape narrowShapes[] = {{9, 3, 64, 128, true},
                              {8, 1, 16, 112, true},
                              {14, 2, 12, 144, true},
                              {6, 3, 20, 128, true, false, true},
                              {2, 2, 16, 128, true, false, true, 40},
                              {4, 2, 80, 128, true, false, false, 5},
                              {2, 1, 16, 128, false},
                              {2, 2, 4, 96, true},
                              {7, 1, 128, 96, true},
                              {5, 1, 256, 96, true},
                              {3, 1, 100, 96, true, false, false, 70}};
TEST(GpuAttention, cacheOfBf16) {
  for (const Shape &s : narrowShapes)
    ASSERT_NO_FATAL_FAILURE(checkNarrow(s, /*codes=*/false));
}
TEST(GpuAttention, cacheOfCodes) {
  for (const Shape &s : narrowShapes)
    ASSERT_NO_FATAL_FAILURE(checkNarrow(s, /*codes=*/true));
}

/// A NaN reaches all that see it and nothing else; of codes it is the scale. Slots before the window and behind the last token hold NaN as
/// well, which nobody sees.
TEST(GpuAttention, notANumberInNarrowCaches) {
  for (bool codes : {false, true})
    for (bool inKeys : {false, true})
      for (bool isSeen : {false, true}) {
        Shape s{4, 2, 64, 160, true};
        s.window = 60, s.codes = codes, s.bf16 = !codes;
        EmulatedPlan code = compile(s);
        ASSERT_TRUE(code);
        for (int64_t tokens : {1, 20}) {
          Step step(s, 2, tokens, {100, 7}, 5);
          for (int64_t slot = 0; slot < 100 + 1 - s.window; ++slot) // of the first token
            for (auto *rows : {&step.keys[0], &step.values[0]})
              (*rows)[(slot * s.kvHeads + 1) * s.size + 3] = notANumber;
          if (isSeen)
            (inKeys ? step.keys : step.values)[0][(100 * s.kvHeads + 1) * s.size + 3] = notANumber;
          ASSERT_EQ(step.run(code), "");
          for (int64_t i = 0; i < step.y.count; ++i) {
            const bool isOfHead = i / (tokens * s.width()) == 0 && i / s.size % s.heads >= 2;
            const bool isHit = isSeen && isOfHead && (inKeys || codes || i % s.size == 3);
            ASSERT_EQ(std::isnan(step.y[i]), isHit) << "codes " << codes << " keys " << inKeys << " T " << tokens << " at " << i;
          }
        }
      }
}

/// Long caches are shared out among blocks.
TEST(GpuAttention, sharedCache) {
  for (Shape s : {Shape{3, 1, 64, 1280, true, false, false, 0, 8}, Shape{2, 2, 20, 1280, true, false, false, 0, 2},
                  Shape{10, 1, 128, 640, true, false, false, 0, 8}, Shape{3, 1, 32, 4096, true, false, true, 0, 8},
                  Shape{2, 2, 64, 1280, true, false, false, 300, 3}, Shape{4, 1, 64, 1280, true, false, false, 0, 8, true},
                  Shape{6, 1, 64, 1280, true, false, false, 0, 8, false, true}}) {
    EmulatedPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t past : {int64_t(0), s.context / 2, s.context - 1})
      Step(s, 1, 1, {int32_t(past)}, past).check(code);
    Step(s, 3, 1, {600, 2, 37}, 3).check(code);
    Step(s, 2, 2, {600, 300}, 4).check(code);
  }
}

/// A NaN in a shared cache reaches its head alone, whichever block has its piece.
TEST(GpuAttention, notANumberInSharedCache) {
  Shape s{3, 3, 64, 1024, true};
  s.partials = 4;
  EmulatedPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t key : {0, 300, 800}) {
    Step step(s, 1, 1, {800}, 5);
    step.keys[0][(key * s.kvHeads + 1) * s.size + 3] = notANumber;
    ASSERT_EQ(step.run(code), "");
    for (int64_t i = 0; i < step.y.count; ++i)
      ASSERT_EQ(std::isnan(step.y[i]), i / s.size == 1) << key << " " << i;
  }
}

/// A NaN reaches the outputs that see it, and no other.
TEST(GpuAttention, notANumberPropagates) {
  Shape s{3, 3, 16, 96, true};
  EmulatedPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t tokens : {1, 40}) {
    Step step(s, 2, tokens, {30, 7}, 5);
    float &key = step.keys[0][(30 * s.kvHeads + 1) * s.size + 3]; // token 30 of sequence 0, head 1
    const float before = key;
    key = notANumber;
    ASSERT_EQ(step.run(code), "");
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < s.heads; ++h)
          for (int64_t d = 0; d < s.size; ++d)
            ASSERT_EQ(std::isnan(step.y[(b * tokens + t) * s.width() + h * s.size + d]), b == 0 && h == 1) << b << " " << t << " " << h;
    key = before;
    step.q[5] = notANumber; // token 0, head 0
    ASSERT_EQ(step.run(code), "");
    for (int64_t i = 0; i < step.y.count; ++i)
      ASSERT_EQ(std::isnan(step.y[i]), i < s.size) << i;
  }
}

/// Values that no token sees may be anything, also in a tile that others see.
TEST(GpuAttention, hiddenValues) {
  Shape s{2, 1, 16, 0, false, true};
  EmulatedPlan code = compile(s);
  ASSERT_TRUE(code);
  for (int64_t tokens : {1, 2, 70}) {
    Step step(s, 2, tokens, {}, 5);
    for (int64_t t = 0; t < tokens; t += 3) {
      step.mask[t] = 0;
      for (int64_t d = 0; d < s.size; ++d)
        step.keys[0][t * s.size + d] = step.values[0][t * s.size + d] = notANumber;
    }
    ASSERT_EQ(step.run(code), "");
    for (int64_t i = 0; i < step.y.count; ++i)
      ASSERT_FALSE(std::isnan(step.y[i])) << tokens << " " << i;
  }
}

/// Scores far from 0 neither overflow nor vanish.
TEST(GpuAttention, largeScores) {
  Shape s{2, 2, 16, 0, true};
  EmulatedPlan code = compile(s);
  ASSERT_TRUE(code);
  for (float factor : {30.0f, -30.0f})
    for (int64_t tokens : {1, 100}) {
      Step step(s, 1, tokens, {}, 3);
      for (int64_t i = 0; i < step.q.count; ++i)
        step.q[i] = std::round(step.q[i] * 4) / 4 * factor; // bf16 and keys that are bf16 make for exact scores
      for (float &key : step.keys[0])
        key = std::round(key * 8) / 8;
      step.check(code, 0.5);
    }
}

TEST(GpuAttention, refusals) {
  Shape s{2, 2, 16, 64, true, true};
  EmulatedPlan code(plan(s));
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("cannot come with a cache"), std::string::npos) << code.error();
  s.mask = false, s.partials = 1;
  std::string text = plan(s), batch = "2 batch : memref<?x64xf32>";
  ASSERT_NE(text.find(batch), std::string::npos) << text;
  EmulatedPlan rows(text.replace(text.find(batch), batch.size(), "2 tokens : memref<?x64xf32>"));
  EXPECT_FALSE(rows);
  EXPECT_NE(rows.error().find("expects scratch memory as f32 rows of the batch"), std::string::npos) << rows.error();
  for (bool codes : {false, true}) {
    Shape narrow{2, 2, 6, 64, true};
    narrow.codes = codes, narrow.bf16 = !codes;
    EmulatedPlan refused(plan(narrow));
    EXPECT_FALSE(refused);
    EXPECT_NE(refused.error().find("expects a head size that is a multiple of 4 in a cache of " + std::string(codes ? "codes" : "bf16") +
                                   ", got 6"),
              std::string::npos)
        << refused.error();
  }
  EmulatedPlan odd(plan(Shape{2, 2, 6}));
  EXPECT_FALSE(odd);
  EXPECT_NE(odd.error().find("expects a head size that is a multiple of 4 and at most 256, got 6"), std::string::npos) << odd.error();
}

} // namespace
