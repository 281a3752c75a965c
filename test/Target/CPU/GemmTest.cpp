// Matrix products of all levels against plain loops.
#include "OneLaunch.h"
#include "dialects/DSPlan/PanelHalves.h"
#include "dialects/DSPlan/PanelSums.h"
#include <functional>

using namespace ds;
using namespace ds::test;

namespace {

/// Elements of a weight; bf16 lies in pairs of k, `halves` are bf16 as scaled f16, `sums` are f32 with sums of pairs.
enum class Element { f32, bf16, f16, sums, halves };

struct Shape {
  int64_t columns, depth;
  bool bias;
  Element element = Element::f32;
  int64_t panel = 32;
  bool inPairs() const { return element == Element::bf16 || hasHalves(); }
  bool hasHalves() const { return element == Element::halves; }
  bool hasSums() const { return element == Element::sums; }
  int64_t lines() const { return hasSums() ? ds_plan::PanelSums(depth).lines() : depth; }
  int64_t panels() const { return (columns + panel - 1) / panel; }
  int64_t linesOfPairs() const { return hasHalves() ? ds_plan::PanelHalves(depth).lines() : (depth + 1) / 2; }
  int64_t weightBytes() const {
    return (panels() * (inPairs() ? linesOfPairs() * 2 : lines()) * panel * (element == Element::f32 || hasSums() ? 4 : 2) + 63) / 64 * 64;
  }
  int64_t placeOfLine(int64_t n, int64_t line) const { return (n / panel * lines() + line) * panel + n % panel; }
  /// Where the weight of a column and a k stands.
  int64_t placeOf(int64_t n, int64_t k) const {
    if (inPairs())
      return ((n / panel * linesOfPairs() + k / 2 + (hasHalves() ? ds_plan::PanelHalves::values : 0)) * panel + n % panel) * 2 + k % 2;
    return placeOfLine(n, k + (hasSums() ? ds_plan::PanelSums::values : 0));
  }
};

constexpr int64_t maxRows = 256;

/// x [rows, K] in the arena, y [rows, N] an output, the bias behind the weight.
std::string plan(Shape s) {
  auto n = std::to_string(s.columns), k = std::to_string(s.depth), p = std::to_string(s.panels()), panel = std::to_string(s.panel);
  std::string element = s.inPairs() ? "bf16" : s.element == Element::f16 ? "f16" : "f32";
  const std::string pair = s.hasHalves() ? "f16" : "bf16";
  std::string weight = "memref<" + p + "x" +
                       (s.inPairs() ? std::to_string(s.linesOfPairs()) + "x" + panel + "x2x" + pair + ">"
                                    : std::to_string(s.lines()) + "x" + panel + "x" + element + ">"),
              bias = "memref<" + std::to_string((s.columns + 31) / 32 * 32) + "xf32>";
  std::string x = "memref<?x" + k + "xf32>", y = "memref<?x" + n + "xf32>";
  std::string text = "ds.parameter @w from \"w\" : tensor<" + n + "x" + k + "x" + element + ">\n";
  text += "ds.parameter @b from \"b\" : tensor<" + n + "xf32>\n";
  text += std::string("ds_plan.storage @wp ") +
          (s.hasHalves() ? "panel_halves"
           : s.inPairs() ? "panel_pairs"
           : s.hasSums() ? "panel_sums"
                         : "panels") +
          " of @w offset 0 : " + weight + "\n";
  text += "ds_plan.storage @bp vector of @b offset " + std::to_string(s.weightBytes()) + " : " + bias + "\n";
  text += "ds_plan.kernel @gemm \"gemm\" schedule {} {\n^bb0(%x: tensor<?x?x" + k + "xf32>, %w: tensor<" + n + "x" + k + "x" + element +
          ">" + (s.bias ? ", %b: tensor<" + n + "xf32>" : "") + "):\n  %y = ds.linear %x, %w" + (s.bias ? " bias %b" : "") +
          " : tensor<?x?x" + k + "xf32>, tensor<" + n + "x" + k + "x" + element + ">" + (s.bias ? ", tensor<" + n + "xf32>" : "") +
          "\n  ds_plan.return %y : tensor<?x?x" + n + "xf32>\n}\n";
  text += "ds_plan.program @run max_batch 256 max_rows 256 arena " + std::to_string(maxRows * s.depth * 4) + " kv_bytes 0 {\n";
  text += "  %x = ds_plan.buffer tokens offset 0 : " + x + "\n  %y = ds_plan.output \"hidden\" 0 tokens : " + y + "\n";
  text += "  %w = ds_plan.weight @wp : " + weight + "\n  %b = ds_plan.weight @bp : " + bias + "\n";
  text += "  ds_plan.launch @gemm ins(%x, %w" + std::string(s.bias ? ", %b" : "") + " : " + x + ", " + weight +
          (s.bias ? ", " + bias : "") + ") outs(%y : " + y + ")\n}\n";
  return text;
}

/// Small values that differ from place to place.
float valueAt(uint64_t i) { return static_cast<float>(static_cast<int64_t>((i * 2654435761u >> 12) & 1023) - 512) / 512.0f; }

float asBf16(float value) { return fromBits(toBits(value, /*half=*/false), /*half=*/false); }

struct Data {
  Shape shape;
  GuardedBytes weights, arena;
  std::vector<float> w, b; // [N, K], [N]

  /// Its weights are `valueOf(n, k)`, rounded where their type asks for it.
  explicit Data(Shape s, const std::function<float(int64_t, int64_t)> &valueOf = {})
      : shape(s), weights(s.weightBytes() + (s.columns + 31) / 32 * 128), arena(maxRows * s.depth * 4), w(s.columns * s.depth),
        b(s.columns) {
    for (int64_t n = 0; n < s.columns; ++n) {
      b[n] = s.bias ? valueAt(n * 7 + 3) : 0;
      memcpy(weights.as<uint8_t>() + s.weightBytes() + n * 4, &b[n], 4);
      for (int64_t k = 0; k < s.depth; ++k) {
        int64_t at = s.placeOf(n, k);
        float value = valueOf ? valueOf(n, k) : valueAt(n * s.depth + k + 11);
        if (!s.hasSums() && s.element != Element::f32) {
          const bool half = s.element == Element::f16;
          weights.as<uint16_t>()[at] = toBits(value, half);
          value = fromBits(weights.as<uint16_t>()[at], half);
        } else {
          weights.as<float>()[at] = value;
        }
        w[n * s.depth + k] = value;
      }
      if (s.hasSums())
        addSums(n);
      if (s.hasHalves())
        scaleHalves(n);
    }
  }

  /// Makes a column what layout `panel_sums` has.
  void addSums(int64_t n) {
    const ds_plan::PanelSums panel(shape.depth);
    auto *floats = weights.as<float>();
    auto at = [&](int64_t k) -> float & { return floats[shape.placeOf(n, k)]; };
    double squares = 0;
    for (int64_t k = 0; k < shape.depth; ++k)
      squares += std::pow(static_cast<double>(at(k)), 2);
    const double rms = std::sqrt(squares / static_cast<double>(shape.depth));
    const int exponent = rms > 0 ? std::ilogb(rms) : -100;
    for (int64_t k = 0; k < shape.depth; ++k)
      at(k) = std::ldexp(at(k), -exponent);
    floats[shape.placeOfLine(n, panel.powers)] = std::ldexp(1.0F, exponent);
    for (int64_t pass = 0; pass < panel.passes(); ++pass) {
      float sum = 0;
      for (int64_t k = pass * panel.pass; k + 1 < std::min((pass + 1) * panel.pass, shape.depth); ++k)
        if (ds_plan::PanelSums::isFirstOfPair(k))
          sum = std::fma(at(k), at(k + 1), sum);
      floats[shape.placeOfLine(n, panel.sums() + pass)] = std::ldexp(-sum, exponent);
    }
  }

  /// Makes a column of bf16 what layout `panel_halves` has.
  void scaleHalves(int64_t n) {
    float most = 0;
    for (int64_t k = 0; k < shape.depth; ++k)
      if (const float size = std::fabs(w[n * shape.depth + k]); std::isfinite(size))
        most = std::max(most, size);
    const int exponent = most > 0 ? std::min(ds_plan::PanelHalves::largest - std::ilogb(most), 126L) : 0;
    for (int64_t k = 0; k < shape.depth; ++k)
      weights.as<uint16_t>()[shape.placeOf(n, k)] = toBits(std::ldexp(w[n * shape.depth + k], exponent), /*half=*/true);
    const int64_t powers = shape.placeOf(n, 0) / 2 - (ds_plan::PanelHalves::values - ds_plan::PanelHalves::powers) * shape.panel;
    weights.as<float>()[powers] = std::ldexp(1.0F, -exponent);
  }

  void fillRows(int64_t rows) {
    for (int64_t i = 0; i < maxRows * shape.depth; ++i)
      arena.as<float>()[i] = i < rows * shape.depth ? valueAt(i * 3 + 5) : std::numeric_limits<float>::quiet_NaN();
  }

  /// With `rounds`, of activations in bf16.
  double expected(int64_t row, int64_t column, bool rounds) const {
    double sum = b[column];
    for (int64_t k = 0; k < shape.depth; ++k) {
      float x = arena.as<float>()[row * shape.depth + k];
      sum += static_cast<double>(rounds ? asBf16(x) : x) * w[column * shape.depth + k];
    }
    return sum;
  }

  /// What rounding the activations to bf16 may change: each by 2^-8 of it, as 8 bits of its significand stay.
  double roundingBound(int64_t row, int64_t column) const { return std::ldexp(sumOfSizes(row, column), -8); }
  double sumOfSizes(int64_t row, int64_t column) const {
    double sum = 0;
    for (int64_t k = 0; k < shape.depth; ++k)
      sum += std::fabs(static_cast<double>(arena.as<float>()[row * shape.depth + k]) * w[column * shape.depth + k]);
    return sum;
  }
};

/// Whether rows meet bf16 as f16.
bool isHalves(const CpuLevel &level, Element element, int64_t rows) {
  return element == Element::halves || (level.multipliesF16 && element == Element::bf16 && rows >= 14);
}

/// Those of `elements` that a level reads.
std::vector<Element> readAt(const CpuLevel &level, std::vector<Element> elements) {
  if (level.multipliesF16)
    elements.push_back(Element::halves);
  return elements;
}

void checkRows(const CompiledPlan &code, const CpuLevel &level, Data &data, int64_t rows, int32_t threads) {
  const Shape &s = data.shape;
  data.fillRows(rows);
  GuardedBytes out(rows * s.columns * 4);
  memset(out.as<uint8_t>(), 0xff, rows * s.columns * 4);
  StepData step;
  step.batch = 1;
  step.tokens = static_cast<int32_t>(rows);
  step.outputs = {out.as<void>()};
  step.weights = data.weights.as<void>();
  step.arena = data.arena.as<void>();
  code.run("run", step, threads);
  const double allowed = 1e-6 * static_cast<double>(s.depth) + 1e-6;
  const bool rounds = level.bf16Dots != Dots::none && s.inPairs();
  for (int64_t r = 0; r < rows; r += rows > 40 ? 9 : 1)
    for (int64_t n = 0; n < s.columns; n += n + 40 < s.columns && s.columns > 200 ? 13 : 1)
      ASSERT_NEAR(out.as<float>()[r * s.columns + n], data.expected(r, n, rounds),
                  allowed + (isHalves(level, s.element, rows) ? std::ldexp(data.sumOfSizes(r, n), -10) : 0))
          << "row " << r << " of " << rows << ", column " << n << ", K " << s.depth << ", threads " << threads;
  for (int64_t n = 0; rounds && n < s.columns; ++n)
    ASSERT_NEAR(out.as<float>()[n], data.expected(0, n, false), data.roundingBound(0, n) + allowed);
}

/// Multiplies the rows in the arena on two threads.
void runRows(const CompiledPlan &code, Data &data, int64_t rows, void *out) {
  StepData step;
  step.tokens = static_cast<int32_t>(rows);
  step.outputs = {out};
  step.weights = data.weights.as<void>();
  step.arena = data.arena.as<void>();
  code.run("run", step, 2);
}

/// Whether rows are multiplied by Winograd's inner products.
bool isWinograd(const CpuLevel &level, Element element, int64_t rows) {
  return level.addsBeside && element != Element::bf16 && rows >= (element == Element::sums ? 13 : 17);
}

class Gemm : public OnLevel {};

TEST_P(Gemm, agreesWithLoops) {
  const int64_t columns[] = {1, 7, 32, 33, 48, 64, 96, 100, 576, 1000}, depths[] = {1, 5, 16, 63, 64, 129, 257, 576};
  int64_t turn = 0;
  for (int64_t n : columns)
    for (int64_t k : depths) {
      ++turn;
      const Element all[] = {Element::bf16, Element::f16, Element::f32, Element::sums};
      const bool isOfBf16 = GetParam()->multipliesF16 || (GetParam()->bf16Dots != Dots::none && !GetParam()->addsBeside);
      const Element ofBf16 = GetParam()->multipliesF16 && turn % 2 ? Element::halves : Element::bf16;
      const Element element = isOfBf16 ? ofBf16 : all[turn % 4];
      Data data({n, k, turn % 2 == 0, element, turn % 5 < 3 ? 48 : 32});
      CompiledPlan code(plan(data.shape), *GetParam());
      ASSERT_TRUE(code) << code.error();
      for (int64_t rows = 1; rows <= 40; ++rows) {
        if (n * k > 10000 && rows % 5 != turn % 5 && rows > 17)
          continue;
        checkRows(code, *GetParam(), data, rows, static_cast<int32_t>((rows + turn) % 3 + 1));
        if (HasFatalFailure())
          return;
      }
      for (int64_t rows : {128, 200})
        checkRows(code, *GetParam(), data, rows, static_cast<int32_t>(turn % 3 + 1));
    }
}

/// Slabs of this depth are shorter than the most rows, and not of whole fours where blocks have six.
TEST_P(Gemm, slabsOfADeepProductStayInTheirBuffers) {
  for (Element element : readAt(level(), {Element::f32, Element::sums, Element::bf16})) {
    Data data({40, 2048, true, element});
    CompiledPlan code(plan(data.shape), *GetParam());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {20, 31, 251, 252, 256})
      for (int32_t threads : {1, 2, 3})
        checkRows(code, *GetParam(), data, rows, threads);
  }
}

/// What a sum loses is relative to the lengths of its row and its column, whatever sizes they have. Rows of zeros give zeros, columns of
/// zeros nearly.
TEST_P(Gemm, rowsAndColumnsOfAllSizes) {
  auto sizeOf = [](int64_t i) { return i % 5 == 4 ? 0.0F : std::ldexp(1.0F, static_cast<int>(i * 7 % 41) - 20); };
  auto outlierAt = [](int64_t i, int64_t k) { return k == i * 13 % 300 ? 300.0F : 1.0F; };
  for (Element element : readAt(level(), {Element::f32, Element::sums, Element::bf16})) {
    Data data({50, 300, false, element, 48},
              [&](int64_t n, int64_t k) { return valueAt(n * 300 + k) * sizeOf(n) * (n % 3 == 0 ? outlierAt(n, k) : 1); });
    CompiledPlan code(plan(data.shape), *GetParam());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {8, 16, 100}) {
      auto *x = data.arena.as<float>();
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < 300; ++k)
          x[r * 300 + k] = valueAt(r * 300 + k + 77) * sizeOf(r + 2) * (r % 4 == 0 ? outlierAt(r + 5, k) : 1);
      Floats out(rows * 50);
      runRows(code, data, rows, out.as<void>());
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t n = 0; n < 50; ++n) {
          double ofRow = 0, ofColumn = 0;
          for (int64_t k = 0; k < 300; ++k) {
            ofRow += std::pow(static_cast<double>(x[r * 300 + k]), 2);
            ofColumn += std::pow(static_cast<double>(data.w[n * 300 + k]), 2);
          }
          const bool roundsToBf16 = element == Element::bf16 && level().bf16Dots != Dots::none;
          const double rounding = roundsToBf16 ? 0x1p-9 : isHalves(level(), element, rows) ? 0x1p-10 : 3e-6;
          ASSERT_NEAR(out[r * 50 + n], data.expected(r, n, false), rounding * std::sqrt(ofRow * ofColumn) + 1e-25 * std::sqrt(ofRow))
              << rows << " rows: " << r << ", " << n;
        }
    }
  }
}

TEST_P(Gemm, everyKindOfOperand) {
  for (auto [bias, panel] : {std::pair(false, 32), {true, 32}, {false, 48}, {true, 48}})
    for (Element element : readAt(level(), {Element::f32, Element::bf16, Element::f16, Element::sums})) {
      Data data({100, 63, bias, element, panel});
      CompiledPlan code(plan(data.shape), *GetParam());
      ASSERT_TRUE(code) << code.error();
      for (int64_t rows : {1, 2, 3, 16, 17, 29, 128})
        for (int32_t threads : {1, 2, 3})
          checkRows(code, *GetParam(), data, rows, threads);
    }
}

TEST_P(Gemm, notANumberAndInfinityPropagate) {
  auto check = [](int64_t rows, Element element) {
    const int64_t depth = element == Element::f32 ? 64 : 65;
    Data data({33, depth, true, element});
    CompiledPlan code(plan(data.shape), *GetParam());
    ASSERT_TRUE(code) << code.error();
    data.fillRows(rows);
    data.arena.as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
    data.arena.as<float>()[depth + 7] = std::numeric_limits<float>::infinity();
    std::vector<float> out(rows * 33);
    StepData step;
    step.tokens = static_cast<int32_t>(rows);
    step.outputs = {out.data()};
    step.weights = data.weights.as<void>();
    step.arena = data.arena.as<void>();
    code.run("run", step, 1);
    for (int64_t n = 0; n < 33; ++n) {
      EXPECT_TRUE(std::isnan(out[n]));
      if (isWinograd(*GetParam(), element, rows)) // sums of what an infinity is part of take themselves away
        EXPECT_TRUE(std::isnan(out[33 + n]));
      else
        EXPECT_EQ(out[33 + n], data.w[n * depth + 7] == 0 ? out[33 + n] : data.w[n * depth + 7] * std::numeric_limits<float>::infinity());
    }
    for (int64_t i = 66; i < rows * 33; ++i)
      EXPECT_TRUE(std::isfinite(out[i]));
  };
  for (Element element : readAt(level(), {Element::f32, Element::bf16, Element::f16, Element::sums}))
    for (int64_t rows : {2, 40})
      check(rows, element);
}

/// Columns of bf16 with a NaN or an infinity give neither a number nor harm to others; subnormal ones count where nothing else does.
TEST_P(Gemm, weightsOfBf16ThatAreNoNumbers) {
  constexpr int64_t depth = 70, columns = 48;
  auto valueOf = [](int64_t n, int64_t k) {
    const bool isAt = k == 33;
    if (n == 3 || n == 4)
      return isAt ? (n == 3 ? notANumber : -infinite) : valueAt(k);
    return n == 5 ? (isAt ? 0x1p-130F : 0) : valueAt(n * depth + k);
  };
  for (Element element : readAt(level(), {Element::bf16})) {
    Data data({columns, depth, false, element, 48}, valueOf);
    CompiledPlan code(plan(data.shape), *GetParam());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {2, 16, 40}) {
      data.fillRows(rows);
      for (int64_t r = 0; r < rows; ++r)
        data.arena.as<float>()[r * depth + 33] = 0x1p20F;
      Floats out(rows * columns);
      runRows(code, data, rows, out.as<void>());
      for (int64_t i = 0; i < rows * columns; ++i) {
        const int64_t n = i % columns;
        EXPECT_EQ(std::isfinite(out[i]), n != 3 && n != 4) << rows << " rows: " << i;
        if (n == 5 && GetParam()->bf16Dots == Dots::none) // which take subnormal numbers for 0
          EXPECT_EQ(out[i], 0x1p-110F) << rows << " rows: " << i;
      }
    }
  }
}

/// Subnormal ones and zeros among them; each row of the step has a single 1.
TEST_P(Gemm, everyFiniteNumberOfF16) {
  constexpr int64_t depth = 64, columns = 2 * 0x7c00 / depth;
  auto valueOf = [](int64_t n, int64_t k) {
    const int64_t i = n * depth + k;
    return fromBits(static_cast<uint16_t>(i % 0x7c00 | (i < 0x7c00 ? 0 : 0x8000)), /*half=*/true);
  };
  Data data({columns, depth, false, Element::f16, 48}, valueOf);
  CompiledPlan code(plan(data.shape), *GetParam());
  ASSERT_TRUE(code) << code.error();
  for (int64_t rows : {1, 2, 5, 8, 16, 64}) {
    for (int64_t first = 0; first < depth; first += rows) {
      Floats out(rows * columns);
      for (int64_t i = 0; i < rows * depth; ++i)
        data.arena.as<float>()[i] = i % depth == (first + i / depth) % depth ? 1 : 0;
      runRows(code, data, rows, out.as<void>());
      for (int64_t i = 0; i < rows * columns; ++i) {
        double allowed = 0;
        for (int64_t k = 0; k < depth && isWinograd(*GetParam(), Element::f16, rows); ++k)
          allowed += std::fabs(valueOf(i % columns, k)) * 1e-7;
        ASSERT_NEAR(out[i], valueOf(i % columns, (first + i / columns) % depth), allowed) << rows << " rows, value " << i;
      }
    }
  }
}

TEST_P(Gemm, anOutputNobodyWantsIsNotWritten) {
  Data data({32, 16, false});
  CompiledPlan code(plan(data.shape), *GetParam());
  ASSERT_TRUE(code) << code.error();
  ASSERT_NE(code.symbol(DS_ABI_SYMBOL), nullptr);
  EXPECT_EQ(*static_cast<const int32_t *>(code.symbol(DS_ABI_SYMBOL)), DS_ABI);
  data.fillRows(4);
  StepData step;
  step.tokens = 4;
  step.outputs = {nullptr};
  step.weights = data.weights.as<void>();
  step.arena = data.arena.as<void>();
  code.run("run", step, 2);
}

DS_ON_ALL_LEVELS(Gemm);
INSTANTIATE_TEST_SUITE_P(products, Gemm, levelsOfProducts(), [](const auto &info) { return shortNameOf(*info.param); });

} // namespace
