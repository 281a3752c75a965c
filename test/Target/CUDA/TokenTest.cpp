// Embedding, rotary positions, pooling and the choice of rows.
#include "EmulatedPlan.h"
#include "TileMatrix.h"

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }

/// What an embedding reads: `values` is what its rows are, within `allowed`.
void checkEmbedding(const EmulatedPlan &code, std::span<uint8_t> weights, const std::vector<float> &values, int64_t rows, int64_t width,
                    float allowed = 0) {
  for (int32_t tokens : {1, 7, 30}) {
    std::vector<int32_t> index(2 * tokens);
    for (int32_t i = 0; i < 2 * tokens; ++i)
      index[i] = i == 0 ? static_cast<int32_t>(rows) - 1 : i * 13 % static_cast<int32_t>(rows);
    Floats y(2 * tokens * width);
    EmulatedStep step;
    step.batch = 2;
    step.tokens = tokens;
    step.inputs = {index};
    step.outputs = {all(y)};
    step.weights = weights;
    ASSERT_EQ(code.run(step), "");
    for (int64_t i = 0; i < 2 * tokens * width; ++i)
      ASSERT_NEAR(y[i], values[index[i / width] * width + i % width], allowed) << width << " at " << i;
  }
}

std::string embedText(const std::string &layout, const std::string &memref, const std::string &table, int64_t width) {
  OneLaunch plan;
  std::string ids = plan.indices("tokens"), weight = plan.weight(layout, 0, memref), out = plan.rows("tokens", width);
  std::string y = "tensor<?x?x" + number(width) + "xf32>";
  return plan.text("embed",
                   "^bb0(%i: tensor<?x?xi32>, %t: " + table + "):\n  %y = ds.embedding %i, %t : tensor<?x?xi32>, " + table +
                       "\n  ds_plan.return %y : " + y + "\n",
                   {ids, weight}, {out});
}

TEST(GpuTokens, embeddingOfRows) {
  const int64_t rows = 70;
  for (const std::string element : {"f32", "bf16", "f16"})
    for (int64_t width : {1, 20, 75, 576, 1540}) {
      const bool half = element == "f16";
      std::string shape = number(rows) + "x" + number(width) + "x";
      // The op's result has the table's element type; here the plan already says f32.
      EmulatedPlan code(embedText("rows", "memref<" + shape + element + ">", "tensor<" + shape + "f32>", width));
      ASSERT_TRUE(code) << code.error();
      GuardedBytes weights(rows * width * (element == "f32" ? 4 : 2));
      std::vector<float> values(rows * width);
      for (int64_t i = 0; i < rows * width; ++i) {
        values[i] = static_cast<float>((i / width * 37 + i % width * 11) % 251) - 100; // exact in bf16
        if (half && i % 3 == 0)                                                        // subnormal
          values[i] = fromBits(static_cast<uint16_t>(i % 0x400), half);
        if (element == "f32")
          weights.as<float>()[i] = values[i];
        else
          weights.as<uint16_t>()[i] = toBits(values[i], half);
      }
      checkEmbedding(code, bytesOf(weights), values, rows, width);
    }
}

TEST(GpuTokens, embeddingOfTiles) {
  const int64_t rows = 35;
  for (const TileType &type : tileTypes)
    for (int64_t width : {32, 75, 80, 192}) {
      if (type.bits < 16 && (width % 16 || (type.group && width % type.group)))
        continue; // no parameter has it
      TileMatrix matrix(type, rows, width);
      std::string table = "tensor<" + number(rows) + "x" + number(width) + "xf32>";
      EmulatedPlan code(matrix.withParameter(embedText(type.layout(), matrix.memref(), type.bits == 16 ? table : matrix.tensor(), width)));
      ASSERT_TRUE(code) << code.error();
      checkEmbedding(code, bytesOf(matrix.bytes), matrix.values, rows, width, type.bits == 16 ? 0 : 2e-5F);
    }
}

/// BERT's: three embeddings, their sum, a norm; and the sum without the norm.
TEST(GpuTokens, embeddingsInRegions) {
  const int64_t rows = 10;
  for (bool norm : {false, true})
    for (int64_t width : {36, 70, 1200}) {
      OneLaunch plan;
      std::string table = "tensor<10x" + number(width) + "xf32>", t = "tensor<?x?x" + number(width) + "xf32>";
      std::string memref = "memref<10x" + number(width) + "xf32>", i = plan.indices("tokens"), j = plan.indices("tokens");
      std::string a = plan.weight("rows", 0, memref), b = plan.weight("rows", (rows * width * 4 + 63) / 64 * 64, memref);
      std::string x = plan.rows("tokens", width), y = plan.rows("tokens", width);
      EmulatedPlan code(plan.text("embed",
                                  "^bb0(%i: tensor<?x?xi32>, %j: tensor<?x?xi32>, %a: " + table + ", %b: " + table + ", %x: " + t +
                                      "):\n  %u = ds.embedding %i, %a : tensor<?x?xi32>, " + table +
                                      "\n  %v = ds.embedding %j, %b : tensor<?x?xi32>, " + table + "\n  %s = ds.add %u, %v : " + t +
                                      "\n  %y = ds.add %s, %x : " + t + "\n" +
                                      (norm ? "  %n = ds.l2_normalize %y eps 1.0e-12 : " + t + "\n" : "") + "  ds_plan.return " +
                                      (norm ? "%n" : "%y") + " : " + t + "\n",
                                  {i, j, a, b, x}, {y}));
      ASSERT_TRUE(code) << code.error();
      const int64_t tokens = 6, second = (rows * width + 15) / 16 * 16;
      Floats weights(Numbers(5).take(second + rows * width)), in(Numbers(6).take(tokens * width)), out(tokens * width);
      std::vector<int32_t> first = {9, 0, 3, 3, 1, 5}, other = {0, 9, 4, 4, 8, 2};
      EmulatedStep step;
      step.tokens = tokens;
      step.inputs = {first, other};
      step.outputs = {all(in), all(out)};
      step.weights = bytesOf(weights);
      ASSERT_EQ(code.run(step), "");
      for (int64_t t = 0; t < tokens; ++t) {
        std::vector<double> want(width);
        double squares = 0;
        for (int64_t c = 0; c < width; ++c) {
          want[c] = static_cast<double>(weights[first[t] * width + c]) + weights[second + other[t] * width + c] + in[t * width + c];
          squares += want[c] * want[c];
        }
        for (int64_t c = 0; c < width; ++c)
          ASSERT_NEAR(out[t * width + c], norm ? want[c] / std::sqrt(squares) : want[c], 1e-6) << norm << width;
      }
    }
}

struct RopeCase {
  int64_t heads, size, rotary;
};

void checkRope(bool half, RopeCase c) {
  const int64_t positions = 50;
  OneLaunch plan;
  int64_t width = c.heads * c.size;
  std::string x = plan.rows("tokens", width), p = plan.indices("tokens"), y = plan.rows("tokens", width),
              t = "tensor<?x?x" + number(width) + "xf32>";
  std::string table = plan.weight("rope", 0, "memref<50x2x" + number(c.rotary / 2) + "xf32>", "rope {}");
  EmulatedPlan code(plan.text("rope",
                              "^bb0(%x: " + t + ", %p: tensor<?x?xi32>):\n  %y = ds.rope " + (half ? "half" : "interleaved") +
                                  " %x, %p heads " + number(c.heads) + " rotary " + number(c.rotary) + " base 1.0e4 : " + t +
                                  ", tensor<?x?xi32>\n  ds_plan.return %y : " + t + "\n",
                              {x, p}, {y}, {table}));
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
    EmulatedStep step;
    step.batch = batch;
    step.tokens = tokens;
    step.inputs = {index};
    step.outputs = {all(in), all(out)};
    step.weights = bytesOf(angles);
    ASSERT_EQ(code.run(step), "");
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

TEST(GpuTokens, rope) {
  for (bool half : {true, false})
    for (RopeCase c : {RopeCase{9, 64, 64}, RopeCase{2, 32, 32}, RopeCase{3, 20, 20}, RopeCase{2, 80, 32}, RopeCase{1, 8, 6},
                       RopeCase{4, 16, 2}, RopeCase{2, 96, 48}, RopeCase{3, 7, 4}})
      checkRope(half, c);
}

/// What a kernel of `kind` gives: the pooled vectors, those of length one, or both.
class PoolKernel {
public:
  PoolKernel(const std::string &kind, int64_t width, bool givesPooled, bool givesUnit)
      : kind(kind), width(width), givesPooled(givesPooled), givesUnit(givesUnit), masked(kind != "cls") {}

  std::string text() const;
  void check(const EmulatedPlan &code, int32_t tokens) const;

private:
  std::string kind;
  int64_t width;
  bool givesPooled, givesUnit, masked;
};

std::string PoolKernel::text() const {
  OneLaunch plan;
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
  return plan.text("pool",
                   "^bb0(%x: " + t + (masked ? ", %m: tensor<?x?xi32>" : "") + "):\n  %y = ds.pool " + kind + " %x" +
                       (masked ? " mask %m : " + t + ", tensor<?x?xi32>" : " : " + t) +
                       (givesUnit ? "\n  %z = ds.l2_normalize %y eps 1.0e-12 : " + o : "") + "\n  ds_plan.return " +
                       (givesPooled ? givesUnit ? "%y, %z : " + o + ", " + o : "%y : " + o : "%z : " + o) + "\n",
                   ins, outs);
}

void PoolKernel::check(const EmulatedPlan &code, int32_t tokens) const {
  const int32_t batch = 4;
  Floats in(Numbers(tokens).take(batch * tokens * width)), out(batch * width), unit(batch * width);
  std::vector<int32_t> mask(batch * tokens, 1);
  for (int32_t i = 0; i < batch * tokens; ++i) {
    int32_t b = i / tokens, t = i % tokens;
    mask[i] = b == 1 ? t <= tokens / 2 : b == 2 ? 0 : b == 3 ? t % 3 == 1 : 1;
    if (!mask[i] && masked && t > 0)
      in[i * width] = notANumber; // padding has no say
  }
  EmulatedStep step;
  step.batch = batch;
  step.tokens = tokens;
  if (masked)
    step.inputs = {mask};
  step.outputs = {all(in), all(out), all(unit)};
  ASSERT_EQ(code.run(step), "") << kind << " width " << width << " T " << tokens;
  std::vector<double> want(batch * width), squares(batch);
  for (int64_t i = 0; i < batch * width; ++i) {
    int64_t b = i / width, last = 0, count = 0;
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t)
      if (mask[b * tokens + t])
        last = t, ++count, sum += in[(b * tokens + t) * width + i % width];
    want[i] = kind == "mean" ? (count ? sum / count : 0) : in[(b * tokens + (masked ? last : 0)) * width + i % width];
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

TEST(GpuTokens, poolThenNorm) {
  for (const char *kind : {"cls", "mean", "last"})
    for (int64_t width : {1, 20, 75, 384, 1040})
      for (auto [givesPooled, givesUnit] : {std::pair{true, false}, {true, true}, {false, true}}) {
        PoolKernel kernel(kind, width, givesPooled, givesUnit);
        EmulatedPlan code(kernel.text());
        ASSERT_TRUE(code) << code.error();
        for (int32_t tokens : {1, 5, 12, 33, 70}) // also in the middle of what a thread reads at once
          kernel.check(code, tokens);
      }
}

TEST(GpuTokens, gather) {
  for (int64_t width : {1, 20, 75, 576, 2052}) {
    OneLaunch plan;
    std::string x = plan.rows("tokens", width), r = plan.indices("selected"), y = plan.rows("selected", width);
    std::string t = "tensor<?x?x" + number(width) + "xf32>", o = "tensor<?x" + number(width) + "xf32>";
    EmulatedPlan code(plan.text("gather",
                                "^bb0(%x: " + t + ", %r: tensor<?xi32>):\n  %y = ds.gather_rows %x, %r : " + t +
                                    ", tensor<?xi32>\n  ds_plan.return %y : " + o + "\n",
                                {x, r}, {y}));
    ASSERT_TRUE(code) << code.error();
    for (int32_t rows : {0, 1, 3, 10}) {
      Floats in(Numbers(4).take(3 * 7 * width)), out(rows * width);
      std::vector<int32_t> index(rows);
      for (int32_t i = 0; i < rows; ++i)
        index[i] = (20 - i * 5 % 21 + 21) % 21;
      EmulatedStep step;
      step.batch = 3;
      step.tokens = 7;
      step.rows = rows;
      step.inputs = {index};
      step.outputs = {all(in), all(out)};
      ASSERT_EQ(code.run(step), "");
      for (int64_t i = 0; i < rows * width; ++i)
        ASSERT_EQ(out[i], in[index[i / width] * width + i % width]);
    }
  }
}

} // namespace
