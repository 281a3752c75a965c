// What is stored in caches and packed buffers, slot by slot.
#include "EmulatedPlan.h"
#include "NarrowCache.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

/// A kernel that stores to one cache of `context` slots, or to a packed buffer where that is 0.
class StoreKernel {
public:
  StoreKernel(bool keys, int64_t heads, int64_t size, int64_t context)
      : keys(keys), heads(heads), size(size), context(context), width(heads * size) {}

  std::string text() const;
  void check(const EmulatedPlan &code, int64_t tokens, int32_t past) const;

private:
  float stored(const float *sequence, int64_t capacity, int64_t head, int64_t slot, int64_t d) const {
    return keys ? sequence[((head * capacity / 16 + slot / 16) * size + d) * 16 + slot % 16]
                : sequence[(head * capacity + slot) * size + d];
  }

  bool keys;
  int64_t heads, size, context, width;
};

std::string StoreKernel::text() const {
  OneLaunch plan;
  std::string kind = keys ? "keys" : "values", x = "tensor<?x?x" + number(width) + "xf32>";
  std::string y = "tensor<?x" + (context ? number(context) : std::string("?")) + "x" + number(width) + "xf32>";
  std::vector<std::string> ins = {plan.rows("tokens", width)};
  std::string head = "^bb0(%x: " + x, op = "  %y = ds_plan.store_cache " + kind + " heads " + number(heads) + " %x", types = " : " + x;
  if (context) {
    ins.push_back(plan.indices("batch"));
    head += ", %p: tensor<?xi32>";
    op += " past %p";
    types += ", tensor<?xi32>";
  }
  std::string out = context ? plan.cache(kind, heads, 128, context, width) : plan.rows("packed", width);
  return plan.text("store_cache", head + "):\n" + op + types + " -> " + y + "\n  ds_plan.return %y : " + y + "\n", ins, {out});
}

void StoreKernel::check(const EmulatedPlan &code, int64_t tokens, int32_t past) const {
  int64_t batch = past % 3 + 1, capacity = context ? context : (tokens + 15) / 16 * 16;
  Floats input(Numbers(past).take(batch * tokens * width)), packed(context ? 0 : batch * capacity * width);
  std::vector<std::unique_ptr<Floats>> blocks;
  std::vector<int32_t> pasts;
  EmulatedStep step;
  step.outputs = {all(input)};
  if (!context)
    step.outputs.push_back(all(packed));
  for (int64_t b = 0; b < batch; ++b) {
    if (context) {
      blocks.push_back(std::make_unique<Floats>(32 + capacity * width));
      step.kv.push_back(all(*blocks.back()));
    }
    pasts.push_back(b == 0 ? past : (past * 7 + 5) % 40);
  }
  step.batch = static_cast<int32_t>(batch);
  step.tokens = static_cast<int32_t>(tokens);
  if (context)
    step.inputs = {pasts};
  ASSERT_EQ(code.run(step), "") << "T " << tokens << " past " << past;
  for (int64_t b = 0; b < batch; ++b) {
    const float *sequence = context ? blocks[b]->as<float>() + 32 : packed.as<float>() + b * capacity * width;
    int64_t before = context ? pasts[b] : 0;
    for (int64_t slot = 0; slot < capacity; ++slot)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t d = 0; d < size; ++d) {
          float got = stored(sequence, capacity, h, slot, d);
          if (slot < before || slot >= before + tokens)
            ASSERT_TRUE(std::isnan(got)) << "slot " << slot << " past " << before << " T " << tokens;
          else
            ASSERT_EQ(got, input[(b * tokens + slot - before) * width + h * size + d]) << slot << " " << h << " " << d;
        }
  }
}

TEST(GpuStoreCache, inCachesAndPackedRows) {
  for (bool keys : {true, false})
    for (int64_t size : {64, 32, 8, 20, 3})
      for (int64_t heads : {1, 3})
        for (int64_t context : {0, 64}) {
          StoreKernel kernel(keys, heads, size, context);
          EmulatedPlan code(kernel.text());
          ASSERT_TRUE(code) << code.error();
          for (int64_t tokens : {1, 2, 16, 17, 33})
            for (int32_t past : context ? std::vector<int32_t>{0, 1, 15, 47, 64, 100} : std::vector<int32_t>{0})
              kernel.check(code, tokens, past);
        }
}

/// A kernel that stores to one cache of bf16 or codes at byte 128 of a block, on the CPU and on the GPU.
class NarrowStore {
public:
  NarrowStore(bool codes, bool keys, int64_t heads, int64_t size)
      : codes(codes), keys(keys), heads(heads), size(size), width(heads * size), gpu(text()),
        cpu(text(), *findCpuLevel(machineRuns(*findCpuLevel("x86-64-v3")) ? "x86-64-v3" : "x86-64-v2")) {}

  /// The same rows leave the same bits in both.
  void check(const std::vector<float> &rows, int64_t tokens, std::vector<int32_t> past) const;
  std::string error() const { return gpu.error() + cpu.error(); }

private:
  std::string text() const;
  int64_t bytes() const { return 128 + NarrowCache::bytesOf(codes, heads, size, context); }

  static constexpr int64_t context = 64;
  bool codes, keys;
  int64_t heads, size, width;
  EmulatedPlan gpu;
  CompiledPlan cpu;
};

std::string NarrowStore::text() const {
  OneLaunch plan;
  const std::string kind = keys ? "keys" : "values", x = "tensor<?x?x" + number(width) + "xf32>",
                    y = "tensor<?x" + number(context) + "x" + number(width) + "x" + narrowElement(codes, size) + ">";
  const std::vector<std::string> ins = {plan.rows("tokens", width), plan.indices("batch")};
  const std::string region = "^bb0(%x: " + x + ", %p: tensor<?xi32>):\n  %y = ds_plan.store_cache " + kind + " heads " + number(heads) +
                             " %x past %p : " + x + ", tensor<?xi32> -> " + y + "\n  ds_plan.return %y : " + y + "\n";
  return plan.text("store_cache", region, ins, {plan.cache(kind, heads, 128, context, width, narrowStored(codes))});
}

void NarrowStore::check(const std::vector<float> &rows, int64_t tokens, std::vector<int32_t> past) const {
  Floats input(rows);
  EmulatedStep step;
  StepData data;
  step.batch = data.batch = static_cast<int32_t>(past.size());
  step.tokens = data.tokens = static_cast<int32_t>(tokens);
  step.inputs = {past};
  data.inputs = {past.data()};
  step.outputs = {all(input)};
  data.outputs = {input.as<void>()};
  std::vector<std::unique_ptr<GuardedBytes>> ours, theirs;
  for (size_t b = 0; b < past.size(); ++b)
    for (auto *blocks : {&ours, &theirs}) {
      blocks->push_back(std::make_unique<GuardedBytes>(bytes()));
      memset(blocks->back()->as<uint8_t>(), 0xa5, bytes());
    }
  for (size_t b = 0; b < past.size(); ++b) {
    step.kv.push_back({ours[b]->as<float>(), static_cast<size_t>(bytes()) / 4});
    data.kv.push_back(theirs[b]->as<uint8_t>());
  }
  ASSERT_EQ(gpu.run(step), "") << "T " << tokens << " past " << past[0];
  cpu.run("run", data, 1);
  for (size_t b = 0; b < past.size(); ++b) {
    const NarrowCache found{ours[b]->as<uint8_t>() + 128, keys, codes, size, context};
    const NarrowCache want{theirs[b]->as<uint8_t>() + 128, keys, codes, size, context, /*onGpu=*/false};
    ASSERT_EQ(memcmp(ours[b]->as<uint8_t>(), theirs[b]->as<uint8_t>(), 128), 0);
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t slot = 0; slot < context; ++slot) {
        const bool isNew = slot >= past[b] && slot < past[b] + tokens;
        ASSERT_TRUE(!codes || memcmp(found.block(h, slot) + slot % 16 * 4, want.block(h, slot) + slot % 16 * 4, 4) == 0)
            << "slot " << slot << " past " << past[b] << " T " << tokens << ": " << found.scale(h, slot) << " " << want.scale(h, slot);
        for (int64_t d = 0; d < size; ++d) {
          ASSERT_EQ(memcmp(found.place(h, slot, d), want.place(h, slot, d), found.elementBytes()), 0)
              << (codes ? "codes" : "bf16") << " of " << (keys ? "keys" : "values") << " " << heads << "x" << size << ", slot " << slot
              << " past " << past[b] << " T " << tokens << " head " << h << " element " << d;
          ASSERT_TRUE(isNew || *found.place(h, slot, d) == 0xa5) << slot;
        }
      }
  }
}

TEST(GpuStoreCache, narrowCachesAreTheCpus) {
  for (bool codes : {false, true})
    for (bool keys : {true, false})
      for (int64_t size : {64, 80, 12, 20, 4, 132, 256})
        for (int64_t heads : {1, 3}) {
          NarrowStore store(codes, keys, heads, size);
          ASSERT_EQ(store.error(), "");
          for (int64_t tokens : {1, 2, 17, 33})
            for (int32_t past : {0, 15, 47, 64, 100})
              ASSERT_NO_FATAL_FAILURE(
                  store.check(Numbers(past + tokens).take(2 * tokens * heads * size), tokens, {past, (past * 7 + 5) % 40}));
        }
}

/// Ties, subnormals, the largest numbers, and what is no number; heads too small for a scale.
TEST(GpuStoreCache, numbersOfAllKinds) {
  std::vector<float> rows = specialNumbers();
  for (float factor : {0.0f, 1e-42f, 1e-37f, 1.0f, 1e30f, 3e38f})
    for (int64_t d = 0; d < 16; ++d)
      rows.push_back(factor * (static_cast<float>(d) / 8 - 1));
  for (float wrong : {notANumber, infinite, -infinite})
    for (int64_t d = 0; d < 16; ++d)
      rows.push_back(d == 5 ? wrong : static_cast<float>(d) - 3.5f);
  for (bool codes : {false, true})
    for (bool keys : {true, false}) {
      NarrowStore store(codes, keys, 1, 16);
      ASSERT_EQ(store.error(), "");
      ASSERT_NO_FATAL_FAILURE(store.check(rows, static_cast<int64_t>(rows.size()) / 16, {3}));
    }
}

/// Keys and values of different widths in one launch.
TEST(GpuStoreCache, keysAndValuesAtOnce) {
  OneLaunch plan;
  std::string k = plan.rows("tokens", 24), v = plan.rows("tokens", 10), p = plan.indices("batch");
  std::string kc = plan.cache("keys", 2, 0, 32, 24), vc = plan.cache("values", 2, 32 * 24 * 4, 32, 10);
  EmulatedPlan code(
      plan.text("store_cache",
                "^bb0(%k: tensor<?x?x24xf32>, %v: tensor<?x?x10xf32>, %p: tensor<?xi32>):\n"
                "  %a = ds_plan.store_cache keys heads 2 %k past %p : tensor<?x?x24xf32>, tensor<?xi32> -> tensor<?x32x24xf32>\n"
                "  %b = ds_plan.store_cache values heads 2 %v past %p : tensor<?x?x10xf32>, tensor<?xi32> -> tensor<?x32x10xf32>\n"
                "  ds_plan.return %a, %b : tensor<?x32x24xf32>, tensor<?x32x10xf32>\n",
                {k, v, p}, {kc, vc}));
  ASSERT_TRUE(code) << code.error();
  const int64_t tokens = 5, past = 13;
  Floats keys(Numbers(1).take(tokens * 24)), values(Numbers(2).take(tokens * 10)), block(32 * 34);
  std::vector<int32_t> pasts = {past};
  EmulatedStep step;
  step.tokens = tokens;
  step.inputs = {pasts};
  step.outputs = {all(keys), all(values)};
  step.kv = {all(block)};
  ASSERT_EQ(code.run(step), "");
  for (int64_t slot = 0; slot < 32; ++slot)
    for (int64_t i = 0; i < 34; ++i) {
      int64_t column = i < 24 ? i : i - 24, size = i < 24 ? 12 : 5, h = column / size, d = column % size;
      float got = i < 24 ? block[((h * 2 + slot / 16) * 12 + d) * 16 + slot % 16] : block[32 * 24 + (h * 32 + slot) * 5 + d];
      if (slot < past || slot >= past + tokens)
        ASSERT_TRUE(std::isnan(got)) << slot << " " << i;
      else
        ASSERT_EQ(got, i < 24 ? keys[(slot - past) * 24 + column] : values[(slot - past) * 10 + column]) << slot << " " << i;
    }
}

} // namespace
