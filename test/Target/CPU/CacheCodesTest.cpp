// Caches of codes: what is rounded, where it lies, and that it is the same in steps of any size and behind a product.
#include "CacheCodes.h"
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

/// A cache of `heads` heads at byte 128 of each sequence's block.
struct Shape {
  bool keys;
  int64_t heads, size, context = 64;
  int64_t depth = 0; // of a product that computes the rows; 0: they are given

  int64_t width() const { return heads * size; }
  int64_t bytes() const { return 128 + CodesOfSequence::bytesOf(heads, size, context); }
  int64_t panels() const { return (width() + 31) / 32; }
};

std::string plan(const Shape &s) {
  OneLaunch plan;
  const std::string kind = s.keys ? "keys" : "values", rows = "tensor<?x?x" + number(s.width()) + "xf32>";
  const std::string cache = "tensor<?x" + number(s.context) + "x" + number(s.width()) + "x" + cacheCodes(s.size) + ">";
  std::vector<std::string> ins = {plan.rows("tokens", s.depth ? s.depth : s.width())};
  std::string region = "^bb0(%x: " + rows + ", %p: tensor<?xi32>):\n", stored = "%x";
  if (s.depth) {
    const std::string x = "tensor<?x?x" + number(s.depth) + "xf32>", w = "tensor<" + number(s.width()) + "x" + number(s.depth) + "xf32>";
    ins.push_back(plan.weight("panels", 0, "memref<" + number(s.panels()) + "x" + number(s.depth) + "x32xf32>"));
    region = "^bb0(%x: " + x + ", %w: " + w + ", %p: tensor<?xi32>):\n  %l = ds.linear %x, %w : " + x + ", " + w + "\n";
    stored = "%l";
  }
  ins.push_back(plan.indices("batch"));
  region += "  %y = ds_plan.store_cache " + kind + " heads " + number(s.heads) + " " + stored + " past %p : " + rows +
            ", tensor<?xi32> -> " + cache + "\n  ds_plan.return %y : " + cache + "\n";
  return plan.text(s.depth ? "gemm" : "store_cache", region, ins, {plan.cache(kind, s.heads, 128, s.context, s.width(), "i8")});
}

/// Cache blocks of sequences, and steps that append to them.
class Caches {
public:
  Caches(const Shape &s, int64_t batch) : s(s), batch(batch) {
    for (int64_t b = 0; b < batch; ++b) {
      blocks.push_back(std::make_unique<GuardedBytes>(s.bytes()));
      memset(blocks[b]->as<uint8_t>(), 0xa5, s.bytes());
    }
  }

  /// `rows` [B, T, width], or [B, T, depth] behind a product with `weights`.
  void append(const CompiledPlan &code, const std::vector<float> &rows, int64_t tokens, std::vector<int32_t> past, int32_t threads,
              const void *weights = nullptr) {
    Floats input(rows);
    StepData step;
    step.batch = static_cast<int32_t>(batch);
    step.tokens = static_cast<int32_t>(tokens);
    step.inputs = {past.data()};
    step.outputs = {input.as<void>()};
    step.weights = weights;
    for (auto &block : blocks)
      step.kv.push_back(block->as<uint8_t>());
    code.run("run", step, threads);
  }

  CodesOfSequence of(int64_t b) const { return {blocks[b]->as<uint8_t>() + 128, s.keys, s.size, s.context}; }
  std::vector<uint8_t> bytes(int64_t b) const { return {blocks[b]->as<uint8_t>(), blocks[b]->as<uint8_t>() + s.bytes()}; }

  /// Slot `slot` holds `values` [width], each nearest to a code, but for what `error` of them allows.
  void expectSlot(int64_t b, int64_t slot, const float *values, double error) const {
    for (int64_t h = 0; h < s.heads; ++h) {
      const float *head = values + h * s.size;
      const RoundedHead rounded(head, s.size);
      const float scale = of(b).scale(h, slot);
      ASSERT_NEAR(scale, rounded.scale, error * rounded.scale) << "slot " << slot << " head " << h;
      for (int64_t d = 0; d < s.size; ++d) {
        // The kernel multiplies by an inverse, so ties may go either way.
        ASSERT_LE(std::fabs(of(b).code(h, slot, d) * static_cast<double>(scale) - head[d]), scale * (0.5 + 1e-4 + 127 * error))
            << "slot " << slot << " head " << h << " value " << d << ", " << s.size << " a head";
        ASSERT_GE(of(b).code(h, slot, d), -127);
      }
    }
  }

  void expectUntouched(int64_t b, int64_t slot) const {
    for (int64_t h = 0; h < s.heads; ++h) {
      uint32_t scale = 0;
      const float found = of(b).scale(h, slot);
      memcpy(&scale, &found, 4);
      ASSERT_EQ(scale, 0xa5a5a5a5) << "slot " << slot;
      for (int64_t d = 0; d < s.size; ++d)
        ASSERT_EQ(of(b).code(h, slot, d), static_cast<int8_t>(0xa5)) << "slot " << slot;
    }
  }

private:
  const Shape &s;
  int64_t batch;
  std::vector<std::unique_ptr<GuardedBytes>> blocks;
};

class CacheCodes : public OnLevel {
protected:
  CompiledPlan compile(const Shape &s) {
    CompiledPlan code(plan(s), level());
    EXPECT_TRUE(code) << code.error();
    return code;
  }
};

TEST_P(CacheCodes, nearestCodesAtAnyPlace) {
  for (bool keys : {true, false})
    for (int64_t size : {64, 80, 32, 16, 8, 12, 20, 3})
      for (int64_t heads : {1, 3}) {
        const Shape s{keys, heads, size};
        CompiledPlan code = compile(s);
        ASSERT_TRUE(code);
        for (int64_t tokens : {1, 2, 15, 16, 17, 33, 70})
          for (int32_t past : {0, 1, 15, 16, 30, 47, 63, 64, 100}) {
            const int64_t batch = past % 3 + 1;
            Caches caches(s, batch);
            const std::vector<float> rows = Numbers(past + tokens).take(batch * tokens * s.width());
            std::vector<int32_t> pasts;
            for (int64_t b = 0; b < batch; ++b)
              pasts.push_back(b == 0 ? past : (past * 7 + 5) % 40);
            caches.append(code, rows, tokens, pasts, static_cast<int32_t>(tokens % 3 + 1));
            for (int64_t b = 0; b < batch; ++b)
              for (int64_t slot = 0; slot < s.context; ++slot)
                if (slot < pasts[b] || slot >= pasts[b] + tokens)
                  ASSERT_NO_FATAL_FAILURE(caches.expectUntouched(b, slot));
                else
                  ASSERT_NO_FATAL_FAILURE(caches.expectSlot(b, slot, rows.data() + (b * tokens + slot - pasts[b]) * s.width(), 0));
          }
      }
}

/// All at once, in uneven steps, and one by one.
TEST_P(CacheCodes, sameInStepsOfAnySize) {
  for (bool keys : {true, false})
    for (int64_t size : {64, 20}) {
      const Shape s{keys, 2, size};
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      const int64_t count = 48;
      const std::vector<float> rows = Numbers(7).take(count * s.width());
      std::vector<uint8_t> first;
      for (const std::vector<int64_t> &steps :
           {std::vector<int64_t>{48}, std::vector<int64_t>{5, 16, 3, 24}, std::vector<int64_t>(48, 1)}) {
        Caches caches(s, 1);
        int64_t done = 0;
        for (int64_t tokens : steps) {
          const std::vector<float> part(rows.begin() + done * s.width(), rows.begin() + (done + tokens) * s.width());
          caches.append(code, part, tokens, {static_cast<int32_t>(done)}, 2);
          done += tokens;
        }
        if (first.empty())
          first = caches.bytes(0);
        else
          ASSERT_EQ(caches.bytes(0), first) << steps.size() << " steps";
      }
    }
}

/// Zeros, numbers too small for a scale, the largest ones, and what is no number.
TEST_P(CacheCodes, numbersOfAllSizes) {
  for (bool keys : {true, false}) {
    const Shape s{keys, 1, 16};
    CompiledPlan code = compile(s);
    ASSERT_TRUE(code);
    for (int64_t tokens : {1, 16}) // with the whole block of slots as well
      for (float factor : {0.0f, 1e-42f, 1e-37f, 1.0f, 1e30f, 3e38f}) {
        std::vector<float> rows(tokens * s.size);
        for (size_t i = 0; i < rows.size(); ++i)
          rows[i] = factor * (static_cast<float>(i % 16) / 8 - 1);
        Caches caches(s, 1);
        caches.append(code, rows, tokens, {0}, 1);
        for (int64_t slot = 0; slot < tokens; ++slot) {
          if (factor >= 1e-35f)
            ASSERT_NO_FATAL_FAILURE(caches.expectSlot(0, slot, rows.data() + slot * s.size, 0));
          else
            ASSERT_LE(caches.of(0).scale(0, slot), 1e-37f);
          ASSERT_EQ(caches.of(0).code(0, slot, 0), factor >= 1e-35f ? -127 : 0) << factor;
        }
        for (float wrong : {notANumber, infinite, -infinite}) {
          rows[5] = wrong;
          Caches marked(s, 1);
          marked.append(code, rows, tokens, {0}, 1);
          for (int64_t slot = 0; slot < tokens; ++slot)
            ASSERT_EQ(std::isnan(marked.of(0).scale(0, slot)), slot == 0) << wrong;
        }
      }
  }
}

/// The epilogue of a product has whole heads, also where they are wider than a panel or end in none.
TEST_P(CacheCodes, behindAProduct) {
  for (bool keys : {true, false})
    for (auto [heads, size] : {std::pair<int64_t, int64_t>{3, 64}, {2, 80}, {5, 20}, {1, 96}, {6, 16}}) {
      const Shape s{keys, heads, size, 64, 24};
      CompiledPlan code = compile(s);
      ASSERT_TRUE(code);
      Numbers numbers(size);
      Floats weights(s.panels() * s.depth * 32);
      std::vector<float> matrix = numbers.take(s.width() * s.depth);
      for (int64_t n = 0; n < s.panels() * 32; ++n)
        for (int64_t k = 0; k < s.depth; ++k)
          weights[(n / 32 * s.depth + k) * 32 + n % 32] = n < s.width() ? matrix[n * s.depth + k] : 0;
      for (int64_t tokens : {1, 3, 16, 21, 40})
        for (int32_t threads : {1, 3}) {
          const int64_t batch = 2;
          const std::vector<int32_t> past = {0, 19};
          const std::vector<float> rows = numbers.take(batch * tokens * s.depth);
          Caches caches(s, batch);
          caches.append(code, rows, tokens, past, threads, weights.as<void>());
          for (int64_t b = 0; b < batch; ++b)
            for (int64_t slot = 0; slot < s.context; ++slot) {
              if (slot < past[b] || slot >= past[b] + tokens) {
                ASSERT_NO_FATAL_FAILURE(caches.expectUntouched(b, slot));
                continue;
              }
              std::vector<float> product(s.width());
              for (int64_t n = 0; n < s.width(); ++n) {
                double sum = 0;
                for (int64_t k = 0; k < s.depth; ++k)
                  sum += static_cast<double>(rows[(b * tokens + slot - past[b]) * s.depth + k]) * matrix[n * s.depth + k];
                product[n] = static_cast<float>(sum);
              }
              ASSERT_NO_FATAL_FAILURE(caches.expectSlot(b, slot, product.data(), 2e-6));
            }
        }
    }
}

TEST_P(CacheCodes, refusals) {
  std::string text = plan({true, 2, 16});
  const std::string f32 = "memref<64x32xi8>";
  for (size_t at = text.find(f32); at != std::string::npos; at = text.find(f32, at))
    text.replace(at, f32.size(), "memref<64x32xf32>");
  CompiledPlan code(text, level());
  EXPECT_FALSE(code);
  EXPECT_NE(code.error().find("expects outs 0 to hold"), std::string::npos) << code.error();
}

DS_ON_ALL_LEVELS(CacheCodes);

} // namespace
