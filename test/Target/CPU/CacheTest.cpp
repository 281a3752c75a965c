// What is stored in caches and packed buffers, slot by slot.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

class StoreCache : public OnLevel {
protected:
  void check(bool keys, int64_t heads, int64_t size, int64_t context) {
    OneLaunch plan;
    int64_t width = heads * size;
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
    CompiledPlan code(plan.text("store_cache", head + "):\n" + op + types + " -> " + y + "\n  ds_plan.return %y : " + y + "\n", ins, {out}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t tokens : {1, 2, 15, 16, 17, 33, 70})
      for (int32_t past : context ? std::vector<int32_t>{0, 1, 15, 16, 30, 47, 63, 64, 100} : std::vector<int32_t>{0}) {
        int64_t batch = past % 3 + 1, capacity = context ? context : (tokens + 15) / 16 * 16;
        Floats input(Numbers(past).take(batch * tokens * width)), packed(context ? 0 : batch * capacity * width);
        std::vector<std::unique_ptr<Floats>> blocks;
        std::vector<int32_t> pasts;
        StepData step;
        step.outputs = {input.as<void>(), packed.as<void>()};
        for (int64_t b = 0; b < batch; ++b) {
          blocks.push_back(std::make_unique<Floats>(32 + (context ? capacity * width : 0)));
          step.kv.push_back(blocks[b]->as<uint8_t>());
          pasts.push_back(b == 0 ? past : (past * 7 + 5) % 40);
        }
        step.batch = static_cast<int32_t>(batch);
        step.tokens = static_cast<int32_t>(tokens);
        step.inputs = {pasts.data()};
        code.run("run", step, static_cast<int32_t>(tokens % 3 + 1));
        for (int64_t b = 0; b < batch; ++b) {
          float *stored = context ? blocks[b]->as<float>() + 32 : packed.as<float>() + b * capacity * width;
          int64_t before = context ? pasts[b] : 0;
          for (int64_t slot = 0; slot < capacity; ++slot)
            for (int64_t h = 0; h < heads; ++h)
              for (int64_t d = 0; d < size; ++d) {
                float got =
                    keys ? stored[((h * capacity / 16 + slot / 16) * size + d) * 16 + slot % 16] : stored[(h * capacity + slot) * size + d];
                if (slot < before || slot >= before + tokens)
                  ASSERT_TRUE(std::isnan(got)) << "slot " << slot << " past " << before << " T " << tokens;
                else
                  ASSERT_EQ(got, input[(b * tokens + slot - before) * width + h * size + d]) << slot << " " << h << " " << d;
              }
        }
      }
  }
};

TEST_P(StoreCache, inCachesAndPackedRows) {
  for (bool keys : {true, false})
    for (int64_t size : {64, 32, 16, 8, 12, 20, 3})
      for (int64_t context : {0, 64}) {
        check(keys, 3, size, context);
        check(keys, 1, size, context);
      }
}

DS_ON_ALL_LEVELS(StoreCache);

} // namespace
