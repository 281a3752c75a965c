// Embedding, rotary positions, pooling and the choice of rows.
#include "OneLaunch.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

class Tokens : public OnLevel {};

TEST_P(Tokens, embedding) {
  const int64_t rows = 70;
  for (bool panels : {false, true})
    for (const std::string element : {"f32", "bf16", "f16"})
      for (int64_t width : {1, 20, 64, 75, 100, 576}) {
        OneLaunch plan;
        const bool bf16 = element == "bf16", half = element == "f16";
        std::string t = "tensor<" + number(rows) + "x" + number(width) + "x" + element + ">";
        // The op's result has the table's element type; here the plan already says f32.
        std::string table = "tensor<" + number(rows) + "x" + number(width) + "xf32>", y = "tensor<?x?x" + number(width) + "xf32>";
        std::string type = "memref<70x" + number(width) + "x" + element + ">", layout = "rows";
        int64_t together = bf16 ? 2 : 1, groups = (width + together - 1) / together; // columns side by side in panels
        if (panels) {
          type = "memref<3x" + number(groups) + (bf16 ? "x32x2xbf16>" : "x32x" + element + ">");
          layout = bf16 ? "panel_pairs" : "panels";
        }
        std::string ids = plan.indices("tokens"), weight = plan.weight(layout, 0, type), out = plan.rows("tokens", width);
        CompiledPlan code(plan.text("embed",
                                    "^bb0(%i: tensor<?x?xi32>, %t: " + table + "):\n  %y = ds.embedding %i, %t : tensor<?x?xi32>, " +
                                        table + "\n  ds_plan.return %y : " + y + "\n",
                                    {ids, weight}, {out}),
                          level());
        ASSERT_TRUE(code) << code.error();
        int64_t stored = panels ? 96 * groups * together : 70 * width, bytes = stored * (element == "f32" ? 4 : 2);
        GuardedBytes weights(bytes);
        std::vector<float> values(rows * width);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < width; ++c) {
            float value = static_cast<float>((r * 37 + c * 11) % 251) - 100; // exact in bf16
            if (half)                                                        // subnormal ones as well
              value = fromBits(static_cast<uint16_t>((r * 379 + c * 37) % 0x7c00 | (c % 2 ? 0x8000 : 0)), half);
            int64_t at = r * width + c;
            if (panels)
              at = ((r / 32 * groups + c / together) * 32 + r % 32) * together + c % together;
            values[r * width + c] = value;
            uint32_t bits;
            memcpy(&bits, &value, 4);
            if (bf16 || half)
              weights.as<uint16_t>()[at] = toBits(value, half);
            else
              weights.as<uint32_t>()[at] = bits;
          }
        for (int32_t tokens : {1, 7, 30}) {
          std::vector<int32_t> index(2 * tokens);
          for (int32_t i = 0; i < 2 * tokens; ++i)
            index[i] = i == 0 ? rows - 1 : i * 13 % rows;
          Floats y(2 * tokens * width);
          StepData step;
          step.batch = 2;
          step.tokens = tokens;
          step.inputs = {index.data()};
          step.outputs = {y.as<void>()};
          step.weights = weights.as<void>();
          code.run("run", step, tokens % 3 + 1);
          for (int64_t i = 0; i < 2 * tokens * width; ++i)
            ASSERT_EQ(y[i], values[index[i / width] * width + i % width]) << panels << element << width;
        }
      }
}

TEST_P(Tokens, rope) {
  struct Case {
    int64_t heads, size, rotary;
  };
  const int64_t positions = 50;
  for (bool half : {true, false})
    for (Case c : {Case{9, 64, 64}, Case{2, 32, 32}, Case{3, 20, 20}, Case{2, 80, 32}, Case{1, 8, 6}, Case{4, 16, 2}, Case{2, 96, 48}}) {
      OneLaunch plan;
      int64_t width = c.heads * c.size;
      std::string x = plan.rows("tokens", width), p = plan.indices("tokens"), y = plan.rows("tokens", width),
                  t = "tensor<?x?x" + number(width) + "xf32>";
      std::string table = plan.weight("rope", 0, "memref<50x2x" + number(c.rotary / 2) + "xf32>", "rope {}");
      CompiledPlan code(plan.text("rope",
                                  "^bb0(%x: " + t + ", %p: tensor<?x?xi32>):\n  %y = ds.rope " + (half ? "half" : "interleaved") +
                                      " %x, %p heads " + number(c.heads) + " rotary " + number(c.rotary) + " base 1.0e4 : " + t +
                                      ", tensor<?x?xi32>\n  ds_plan.return %y : " + t + "\n",
                                  {x, p}, {y}, {table}),
                        level());
      ASSERT_TRUE(code) << code.error();
      Floats angles(positions * c.rotary);
      for (int64_t position = 0; position < positions; ++position)
        for (int64_t i = 0; i < c.rotary / 2; ++i) {
          double angle = position * std::pow(10000.0, -2.0 * i / c.rotary);
          angles[position * c.rotary + i] = static_cast<float>(std::cos(angle));
          angles[position * c.rotary + c.rotary / 2 + i] = static_cast<float>(std::sin(angle));
        }
      for (int32_t tokens : {1, 2, 19}) {
        int32_t batch = tokens % 3 + 1;
        Floats in(Numbers(tokens).take(batch * tokens * width)), out(batch * tokens * width);
        std::vector<int32_t> index(batch * tokens);
        for (int32_t i = 0; i < batch * tokens; ++i)
          index[i] = i == 0 ? positions - 1 : i * 7 % positions;
        StepData step;
        step.batch = batch;
        step.tokens = tokens;
        step.inputs = {index.data()};
        step.outputs = {in.as<void>(), out.as<void>()};
        step.weights = angles.as<void>();
        code.run("run", step, tokens % 3 + 1);
        for (int64_t i = 0; i < batch * tokens * width; ++i) {
          int64_t d = i % c.size, pair = half ? d % (c.rotary / 2) : d / 2;
          double want = in[i];
          if (d < c.rotary) {
            bool first = half ? d < c.rotary / 2 : d % 2 == 0;
            int64_t other = half ? (first ? i + c.rotary / 2 : i - c.rotary / 2) : (first ? i + 1 : i - 1);
            const float *row = angles.as<float>() + index[i / width] * c.rotary;
            want = static_cast<double>(in[i]) * row[pair] + (first ? -1.0 : 1.0) * in[other] * row[c.rotary / 2 + pair];
          }
          ASSERT_NEAR(out[i], want, 5e-7) << half << " " << c.size << " " << c.rotary << " at " << d;
        }
      }
    }
}

/// What a kernel of `kind` gives: the pooled vectors, those of length one, or both.
void checkPool(const char *kind, bool givesPooled, bool givesUnit, const CpuLevel &level) {
  for (int64_t width : {1, 20, 64, 100, 384}) {
    OneLaunch plan;
    bool masked = std::string(kind) != "cls";
    std::string x = plan.rows("tokens", width), m = masked ? plan.indices("tokens") : "", y = plan.rows("batch", width),
                z = plan.rows("batch", width);
    std::string t = "tensor<?x?x" + number(width) + "xf32>", o = "tensor<?x" + number(width) + "xf32>";
    std::vector<std::string> ins = {x}, outs;
    if (givesPooled)
      outs.push_back(y);
    if (givesUnit)
      outs.push_back(z);
    if (masked)
      ins.push_back(m);
    CompiledPlan code(plan.text("pool",
                                "^bb0(%x: " + t + (masked ? ", %m: tensor<?x?xi32>" : "") + "):\n  %y = ds.pool " + kind + " %x" +
                                    (masked ? " mask %m : " + t + ", tensor<?x?xi32>" : " : " + t) +
                                    (givesUnit ? "\n  %z = ds.l2_normalize %y eps 1.0e-12 : " + o : "") + "\n  ds_plan.return " +
                                    (givesPooled ? givesUnit ? "%y, %z : " + o + ", " + o : "%y : " + o : "%z : " + o) + "\n",
                                ins, outs),
                      level);
    ASSERT_TRUE(code) << code.error();
    for (int32_t tokens : {1, 5, 33}) {
      const int32_t batch = 4;
      Floats in(Numbers(tokens).take(batch * tokens * width)), out(batch * width), unit(batch * width);
      std::vector<int32_t> mask(batch * tokens, 1);
      for (int32_t i = 0; i < batch * tokens; ++i) {
        int32_t b = i / tokens, t = i % tokens;
        mask[i] = b == 1 ? t <= tokens / 2 : b == 2 ? 0 : b == 3 ? t % 3 == 1 : 1;
        if (!mask[i] && masked && t > 0)
          in[i * width] = notANumber; // padding has no say
      }
      StepData step;
      step.batch = batch;
      step.tokens = tokens;
      step.inputs = {mask.data()};
      step.outputs = {in.as<void>(), out.as<void>(), unit.as<void>()};
      code.run("run", step, tokens % 3 + 1);
      std::vector<double> want(batch * width), squares(batch);
      for (int64_t i = 0; i < batch * width; ++i) {
        int64_t b = i / width, last = 0, count = 0;
        double sum = 0;
        for (int64_t t = 0; t < tokens; ++t)
          if (mask[b * tokens + t])
            last = t, ++count, sum += in[(b * tokens + t) * width + i % width];
        want[i] =
            masked && std::string(kind) == "mean" ? (count ? sum / count : 0) : in[(b * tokens + (masked ? last : 0)) * width + i % width];
        squares[b] += want[i] * want[i];
      }
      for (int64_t i = 0; i < batch * width; ++i) {
        int64_t b = i / width;
        if (givesPooled)
          ASSERT_NEAR(out[i], want[i], 1e-6) << kind << " width " << width << " T " << tokens << " sequence " << b;
        if (givesUnit)
          ASSERT_NEAR(unit[i], want[i] / std::max(1e-12, std::sqrt(squares[b])), 1e-6)
              << kind << " width " << width << " T " << tokens << " sequence " << b;
      }
    }
  }
}

TEST_P(Tokens, pool) {
  for (const char *kind : {"cls", "mean", "last"})
    checkPool(kind, /*givesPooled=*/true, /*givesUnit=*/false, level());
}

TEST_P(Tokens, poolThenNorm) {
  for (const char *kind : {"cls", "mean", "last"})
    for (bool both : {false, true})
      checkPool(kind, /*givesPooled=*/both, /*givesUnit=*/true, level());
}

TEST_P(Tokens, gather) {
  for (int64_t width : {1, 20, 64, 576}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", width), r = plan.indices("selected"), y = plan.rows("selected", width);
    std::string t = "tensor<?x?x" + number(width) + "xf32>", o = "tensor<?x" + number(width) + "xf32>";
    CompiledPlan code(plan.text("gather",
                                "^bb0(%x: " + t + ", %r: tensor<?xi32>):\n  %y = ds.gather_rows %x, %r : " + t +
                                    ", tensor<?xi32>\n  ds_plan.return %y : " + o + "\n",
                                {x, r}, {y}),
                      level());
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {0, 1, 3, 10}) {
      Floats in(Numbers(4).take(3 * 7 * width)), out(rows * width);
      std::vector<int32_t> index(rows + 1);
      for (int32_t i = 0; i < rows; ++i)
        index[i] = (20 - i * 5 % 21 + 21) % 21;
      StepData step;
      step.batch = 3;
      step.tokens = 7;
      step.rows = rows;
      step.inputs = {index.data()};
      step.outputs = {in.as<void>(), out.as<void>()};
      code.run("run", step, rows % 3 + 1);
      for (int64_t i = 0; i < rows * width; ++i)
        ASSERT_EQ(out[i], in[index[i / width] * width + i % width]);
    }
  }
}

DS_ON_ALL_LEVELS(Tokens);

} // namespace
