// Products and embeddings of quantized matrices, against the values their codes stand for.
#include "OneLaunch.h"
#include "dialects/DSPlan/PanelCodes.h"
#include "ds/Quantize/Float8.h"
#include "ds/Quantize/QuantizedType.h"
#include "mlir/IR/MLIRContext.h"
#include <functional>

using namespace ds;
using namespace ds::test;

namespace {

struct Quantized {
  int64_t bits;
  bool asymmetric;
  int64_t group; // 0: the row
  bool half;
  bool e4m3 = false;
  bool factors = false; // of K blocks
  QuantizedKind kind() const { return e4m3 ? QuantizedKind::e4m3 : asymmetric ? QuantizedKind::asymmetric : QuantizedKind::symmetric; }
  std::string text() const {
    return "!ds.quantized<" + std::to_string(bits) + " " + stringifyQuantizedKind(kind()).str() + " group " + std::to_string(group) +
           " scale " +
           (factors ? asymmetric ? "ui6" : "si8"
            : half  ? "f16"
                    : "f32") +
           ">";
  }
};

/// Whole rows, the groups of GGUF's blocks, rows with offsets as of MoQ's grids, and numbers of 8 bits.
const Quantized all[] = {{8, false, 0, false},       {8, false, 32, true},       {8, true, 32, true},        {8, false, 16, false},
                         {4, false, 32, true},       {4, false, 64, true},       {4, false, 128, true},      {4, true, 32, true},
                         {4, true, 32, false},       {4, false, 0, false},       {8, true, 0, false},        {4, true, 0, false},
                         {8, false, 0, false, true}, {8, false, 64, true, true}, {8, false, 16, false, true}};

/// Codes in planes: groups of an odd number of units and of an even one, rows, offsets, GGUF's Q5_0, Q5_K and Q6_K.
const Quantized inPlanes[] = {{2, false, 64, true}, {2, false, 0, false},  {2, true, 16, true},  {3, false, 64, true},
                              {3, true, 0, false},  {5, false, 32, true},  {5, true, 32, false}, {5, false, 16, true},
                              {6, false, 64, true}, {6, false, 16, false}, {6, true, 32, true},  {6, false, 0, false},
                              {7, false, 0, false}, {7, false, 128, true}, {7, true, 16, true}};

/// GGUF's K blocks, Q2_K to Q6_K, and IQ4_XS: scales and offsets are integers that an f16 for 256 k multiplies.
const Quantized inBlocks[] = {{4, true, 32, false, false, true}, {5, true, 32, false, false, true},  {6, false, 16, false, false, true},
                              {2, true, 16, false, false, true}, {3, false, 16, false, false, true}, {8, false, 32, false, false, true}};

using CodeAt = std::function<int64_t(int64_t n, int64_t k)>;

/// A matrix [N, K] of any codes, or those given, with scales that f16 holds, in its panels.
class Matrix {
public:
  Matrix(Quantized quantized, int64_t columns, int64_t depth, int64_t panel, const CodeAt &codeAt = {})
      : type(quantizedTypeOf(&context(),
                             {quantized.bits, quantized.group, quantized.asymmetric, quantized.half, quantized.e4m3, quantized.factors})),
        codes(type, depth, panel), tensor("tensor<" + std::to_string(columns) + "x" + std::to_string(depth) + "x" + quantized.text() + ">"),
        panels((columns + panel - 1) / panel), bytes(panels * codes.bytes()), values(columns * depth) {
    memset(bytes.as<uint8_t>(), 0, bytes.size());
    Numbers numbers(columns * depth + quantized.bits);
    for (int64_t n = 0; n < columns; ++n)
      for (int64_t g = 0; g < codes.groups(); ++g)
        fillGroup(quantized, n, g, numbers, codeAt);
  }

  std::string memref() const {
    return "memref<" + std::to_string(panels) + "x" + std::to_string(codes.rows()) + "x" + std::to_string(codes.width) + "xi32>";
  }

private:
  static mlir::MLIRContext &context() {
    static mlir::MLIRContext context;
    context.loadDialect<DSDialect>();
    return context;
  }

  static int64_t integer(Numbers &numbers, int64_t least, int64_t count) {
    return least + static_cast<int64_t>(std::fabs(numbers.next()) * 1e5) % count;
  }

  /// A scale or an offset, a multiple of 1/1024 below 1.
  float scale(uint8_t *to, Numbers &numbers, uint16_t sign = 0) {
    const int steps = 1 + static_cast<int>(std::fabs(numbers.next()) * 500);
    const float value = static_cast<float>(steps) / 1024;
    if (codes.half || codes.factors) {
      const int exponent = std::ilogb(value);
      const auto bits = static_cast<uint16_t>(sign | (exponent + 15) << 10 | static_cast<int>(std::ldexp(value, 10 - exponent)) - 1024);
      memcpy(to, &bits, 2);
    } else {
      memcpy(to, &value, 4);
    }
    return value;
  }

  void fillGroup(Quantized quantized, int64_t n, int64_t g, Numbers &numbers, const CodeAt &codeAt) {
    const int64_t width = codes.width, scaleBytes = codes.half ? 2 : 4, half = int64_t(1) << (quantized.bits - 1);
    uint8_t *panel = bytes.as<uint8_t>() + n / width * codes.bytes();
    float d, m = 0;
    if (quantized.factors) {
      if (g % codes.groupsOfSpan() == 0) {
        ofBlock = scale(panel + codes.scalesOf(g) + n % width * 2, numbers);
        offsetOfBlock = quantized.asymmetric ? -scale(panel + codes.offsetsOf(g) + n % width * 2, numbers, /*sign=*/0x8000) : 0;
      }
      const int64_t factor = quantized.asymmetric ? integer(numbers, 0, 64) : integer(numbers, -128, 256);
      uint8_t *low = panel + codes.factorsOf(g) + n % width;
      *low = static_cast<uint8_t>(factor);
      d = ofBlock * static_cast<float>(factor);
      if (quantized.asymmetric) {
        const int64_t ofOffset = integer(numbers, 0, 64);
        *low = static_cast<uint8_t>(factor | ofOffset << 6);
        panel[codes.highFactorsOf(g) + n % width] |= static_cast<uint8_t>(ofOffset >> 2 << codes.highFactorShift(g));
        m = offsetOfBlock * static_cast<float>(ofOffset);
      }
    } else {
      d = scale(panel + codes.scalesOf(g) + n % width * scaleBytes, numbers);
      m = quantized.asymmetric ? scale(panel + codes.offsetsOf(g) + n % width * scaleBytes, numbers) : 0;
    }
    for (int64_t k = 0; k < codes.group; ++k) {
      int64_t code = integer(numbers, quantized.kind() == QuantizedKind::symmetric ? -half : 0, 2 * half);
      if (codeAt)
        code = codeAt(n, g * codes.group + k);
      if (quantized.e4m3 && code % half == half - 1) // no NaN
        code = 0;
      const int64_t inRun = codes.firstOfRun(g) + k;
      for (const auto plane : codes.planes()) {
        uint32_t word;
        uint8_t *at = panel + codes.codesOf(g) + codes.rowOf(plane, inRun) * width * 4 + n % width * 4;
        memcpy(&word, at, 4);
        word |= (static_cast<uint32_t>(code + codes.zeroCode()) >> plane.low & ((1U << plane.bits) - 1)) << codes.shiftOf(plane, inRun);
        memcpy(at, &word, 4);
      }
      values[n * codes.depth + g * codes.group + k] =
          d * (quantized.e4m3 ? e4m3ToFloat(static_cast<uint8_t>(code)) : static_cast<float>(code)) + m;
    }
  }

public:
  QuantizedType type;
  ds_plan::PanelCodes codes;
  std::string tensor;
  int64_t panels;
  GuardedBytes bytes;
  std::vector<float> values; // [N, K]

private:
  float ofBlock = 0, offsetOfBlock = 0; // of the block that is filled
};

class Codes : public OnLevel {};

std::string rowsOf(int64_t width) { return "memref<?x" + std::to_string(width) + "xf32>"; }
std::string tensorOf(int64_t width) { return "tensor<?x?x" + std::to_string(width) + "xf32>"; }

std::string header(const Matrix &matrix) {
  return "ds.parameter @w from \"w\" : " + matrix.tensor + "\nds_plan.storage @wp panel_codes of @w offset 0 : " + matrix.memref() + "\n";
}

/// With `rounds`, of activations that may be rounded to bytes.
std::string productPlan(const Matrix &matrix, int64_t columns, int64_t depth, bool rounds = false) {
  return header(matrix) + "ds_plan.kernel @k \"gemm\" schedule {} {\n^bb0(%x: " + tensorOf(depth) + ", %w: " + matrix.tensor +
         "):\n  %y = ds.linear %x, %w " + (rounds ? "{activation_bits = 8 : i64} " : "") + ": " + tensorOf(depth) + ", " + matrix.tensor +
         "\n  ds_plan.return %y : " + tensorOf(columns) +
         "\n}\nds_plan.program @run max_batch 256 max_rows 256 arena 0 kv_bytes 0 {\n  %x = ds_plan.output \"x\" 0 tokens : " +
         rowsOf(depth) + "\n  %y = ds_plan.output \"y\" 1 tokens : " + rowsOf(columns) +
         "\n  %w = ds_plan.weight @wp : " + matrix.memref() + "\n  ds_plan.launch @k ins(%x, %w : " + rowsOf(depth) + ", " +
         matrix.memref() + ") outs(%y : " + rowsOf(columns) + ")\n}\n";
}

/// Rounds as a launch of many rows does where activations may be bytes.
float rounded(float value, const float *pass, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::fabs(pass[i]));
  const float code = std::nearbyint(value * (127 / largest));
  return code * (largest / 127);
}

void checkProduct(const CompiledPlan &code, const Matrix &matrix, int64_t columns, int64_t rows, int32_t threads, bool rounds = false,
                  const std::vector<float> &values = {}) {
  const int64_t depth = matrix.codes.depth, group = matrix.type.getGroup(), segment = group > 256 ? group / 2 : group ? group : 128;
  Floats x(values.empty() ? Numbers(rows).take(rows * depth) : values), y(rows * columns);
  StepData step;
  step.tokens = static_cast<int32_t>(rows);
  step.outputs = {x.as<void>(), y.as<void>()};
  step.weights = matrix.bytes.as<void>();
  code.run("run", step, threads);
  for (int64_t r = 0; r < rows; r += rows > 40 ? 7 : 1)
    for (int64_t n = 0; n < columns; n += columns > 60 ? 5 : 1) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < depth; ++k) {
        float value = x[r * depth + k];
        if (rounds)
          value = rounded(value, &x[r * depth + k / segment * segment], std::min(segment, depth - k / segment * segment));
        const double product = static_cast<double>(value) * matrix.values[n * depth + k];
        sum += product, size += std::fabs(product);
      }
      ASSERT_NEAR(y[r * columns + n], sum, 1e-6 * size) << "row " << r << " of " << rows << ", column " << n << ", threads " << threads;
    }
}

/// 256 columns of activations are copied to the stack, the others are read where they are.
TEST_P(Codes, productsAgreeWithTheirValues) {
  int64_t turn = 0;
  for (const Quantized &quantized : all)
    for (auto [columns, depth] : {std::pair<int64_t, int64_t>{37, 384}, {100, 256}}) {
      const int64_t panel = ++turn % 2 ? 48 : 32;
      Matrix matrix(quantized, columns, depth, panel);
      CompiledPlan code(productPlan(matrix, columns, depth), level());
      ASSERT_TRUE(code) << code.error();
      for (int64_t rows : {1, 2, 3, 5, 8, 9, 16, 17, 40, 130}) {
        checkProduct(code, matrix, columns, rows, static_cast<int32_t>((rows + turn) % 3 + 1));
        if (HasFatalFailure()) {
          ADD_FAILURE() << matrix.tensor << ", panels of " << panel;
          return;
        }
      }
    }
}

TEST_P(Codes, productsOfPlanesAgreeWithTheirValues) {
  int64_t turn = 0;
  for (const Quantized &quantized : inPlanes) {
    const int64_t panel = ++turn % 2 ? 48 : 32, columns = turn % 3 ? 37 : 100, depth = turn % 2 ? 256 : 384;
    Matrix matrix(quantized, columns, depth, panel);
    CompiledPlan code(productPlan(matrix, columns, depth), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {1, 2, 3, 5, 9, 16, 17, 130}) {
      checkProduct(code, matrix, columns, rows, static_cast<int32_t>((rows + turn) % 3 + 1));
      if (HasFatalFailure()) {
        ADD_FAILURE() << matrix.tensor << ", panels of " << panel;
        return;
      }
    }
  }
}

/// Rows of fewer have all digits of f32.
bool roundsRows(int64_t rows) { return rows > 2; }

TEST_P(Codes, productsOfBlocksWithFactors) {
  for (const Quantized &quantized : inBlocks)
    for (bool rounds : {false, true}) {
      const int64_t panel = rounds ? 48 : 32, columns = rounds ? 100 : 37, depth = rounds ? 768 : 512;
      Matrix matrix(quantized, columns, depth, panel);
      CompiledPlan code(productPlan(matrix, columns, depth, rounds), level());
      ASSERT_TRUE(code) << code.error();
      for (int64_t rows : {1, 2, 3, 5, 8, 9, 16, 17, 130}) {
        const bool rounded = rounds && level().byteDots != Dots::none && roundsRows(rows);
        checkProduct(code, matrix, columns, rows, static_cast<int32_t>(rows % 3 + 1), rounded);
        if (HasFatalFailure()) {
          ADD_FAILURE() << matrix.tensor << ", panels of " << panel << ", rounds " << rounds;
          return;
        }
      }
    }
}

/// Slabs of deep products are short, and threads cut them otherwise.
TEST_P(Codes, threadsChangeNothing) {
  for (bool rounds : {false, true}) {
    Matrix matrix(all[1], 96, 8192, 48);
    CompiledPlan code(productPlan(matrix, 96, 8192, rounds), level());
    ASSERT_TRUE(code) << code.error();
    std::vector<float> first;
    for (int32_t threads : {1, 2, 3}) {
      Floats x(Numbers(3).take(48 * 8192)), y(48 * 96);
      StepData step;
      step.tokens = 48;
      step.outputs = {x.as<void>(), y.as<void>()};
      step.weights = matrix.bytes.as<void>();
      code.run("run", step, threads);
      std::vector<float> found(y.as<float>(), y.as<float>() + y.count);
      first = first.empty() ? found : first;
      ASSERT_EQ(found, first) << threads << " threads";
    }
  }
}

TEST_P(Codes, oddNumberOfGroups) {
  for (const Quantized &quantized : {Quantized{4, false, 64, true},
                                     {8, false, 32, true},
                                     {8, false, 16, false},
                                     {6, false, 64, true},
                                     {5, false, 16, true},
                                     {3, false, 48, true}}) {
    Matrix matrix(quantized, 96, quantized.group * 9, 48);
    CompiledPlan code(productPlan(matrix, 96, quantized.group * 9), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {1, 4, 12, 33})
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, 96, rows, 2)) << matrix.tensor;
  }
}

/// 576 columns end in half a pass; groups of 16, 32 and 64 end within one.
TEST_P(Codes, roundedActivations) {
  for (const Quantized &quantized : {all[0], all[1], all[2], all[3], all[5], all[6], all[7], all[8], all[9], all[10], all[11]}) {
    const int64_t depth = quantized.group == 128 ? 640 : 576;
    Matrix matrix(quantized, 100, depth, 48);
    CompiledPlan code(productPlan(matrix, 100, depth, true), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {1, 3, 8, 9, 16, 17, 31, 130}) {
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, 100, rows, static_cast<int32_t>(rows % 3 + 1), roundsRows(rows))) << matrix.tensor;
    }
  }
}

/// Four vectors that become bytes at once are of two groups; groups of more than 256 have equal parts; passes are as long as groups ask.
TEST_P(Codes, roundedActivationsOfOtherGroups) {
  for (const Quantized &quantized :
       {Quantized{8, false, 48, true}, {8, false, 96, true}, {4, false, 96, true}, {8, true, 192, false}, {8, false, 320, true}}) {
    const int64_t depth = quantized.group * (quantized.group > 96 ? 5 : 9);
    Matrix matrix(quantized, 52, depth, 32);
    CompiledPlan code(productPlan(matrix, 52, depth, true), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {2, 9, 37})
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, 52, rows, 2, roundsRows(rows))) << matrix.tensor;
  }
}

/// Panels as linears with rounded activations have them: whole blocks, those of one row less, and shorter ones.
TEST_P(Codes, roundedActivationsOfNarrowPanels) {
  for (const Quantized &quantized : {all[0], all[1], all[5], all[7]}) {
    Matrix matrix(quantized, 100, 640, 32);
    CompiledPlan code(productPlan(matrix, 100, 640, true), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {3, 7, 9, 14, 20, 22, 37, 130})
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, 100, rows, static_cast<int32_t>(rows % 3 + 1), true)) << matrix.tensor;
  }
}

/// Groups of 16 k of an odd number of bits end with half a row of their highest bits; 528 columns end with one as well.
TEST_P(Codes, roundedActivationsOfPlanes) {
  for (const Quantized &quantized : inPlanes) {
    const int64_t depth = quantized.group == 0 ? 528 : 640;
    Matrix matrix(quantized, 52, depth, 48);
    CompiledPlan code(productPlan(matrix, 52, depth, true), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {1, 2, 4, 8, 9, 31}) {
      const bool rounds = level().byteDots != Dots::none && roundsRows(rows);
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, 52, rows, 2, rounds)) << matrix.tensor;
    }
  }
}

/// Deep rows take several passes: of the longest groups that share a scale of activations, of rows that end within a pass, of short groups.
TEST_P(Codes, roundedActivationsOfSeveralPasses) {
  for (auto [quantized, depth] : {std::pair<Quantized, int64_t>{{8, false, 256, true}, 1792}, {all[0], 1600}, {all[7], 1568}}) {
    Matrix matrix(quantized, 52, depth, 48);
    CompiledPlan code(productPlan(matrix, 52, depth, true), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {2, 7, 13, 67})
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, 52, rows, 2, roundsRows(rows))) << matrix.tensor;
  }
}

/// The largest codes meet the largest activations, of one sign for all k: sums of products are as large as they can be, also in 16 bits.
TEST_P(Codes, largestSums) {
  for (const Quantized &quantized :
       {Quantized{8, true, 256, false}, {4, true, 128, false}, {8, false, 0, false}, {8, false, 256, true}, {4, false, 32, true}}) {
    const int64_t depth = quantized.group == 256 ? 512 : 256, columns = 48, most = (int64_t(1) << quantized.bits) - 1,
                  half = (most + 1) / 2;
    // By columns: the most, the least, and both in turns.
    Matrix matrix(quantized, columns, depth, 48, [&](int64_t n, int64_t k) {
      const int64_t code = n % 3 == 0 || (n % 3 == 2 && k % 2) ? most : 0;
      return quantized.asymmetric ? code : code - half;
    });
    CompiledPlan code(productPlan(matrix, columns, depth, true), level());
    ASSERT_TRUE(code) << code.error();
    for (int64_t rows : {1, 2, 4, 9, 24}) {
      // By rows: the largest of one sign, in turns, and values whose lower digits are the largest.
      std::vector<float> x;
      for (int64_t i = 0; i < rows * depth; ++i)
        x.push_back(i / depth % 3 == 0 ? 3 : i / depth % 3 == 1 ? (i % 2 ? -3.0F : 3.0F) : i % 128 ? -1.4999F : 3);
      ASSERT_NO_FATAL_FAILURE(checkProduct(code, matrix, columns, rows, 2, roundsRows(rows), x)) << matrix.tensor;
    }
  }
}

/// Rows of the identity give every number of 8 bits as it is, whichever the blocks that multiply them.
TEST_P(Codes, e4m3DecodesExactly) {
  const int64_t columns = 48, depth = 256;
  Matrix matrix({8, false, 64, true, true}, columns, depth, 48, [](int64_t n, int64_t k) { return (n + k) % 256; });
  CompiledPlan code(productPlan(matrix, columns, depth), level());
  ASSERT_TRUE(code) << code.error();
  for (int64_t rows : {1, 4, 8, 16, 64})
    for (int64_t first = 0; first < depth; first += rows) {
      Floats x(std::vector<float>(rows * depth)), y(rows * columns);
      for (int64_t r = 0; r < rows; ++r)
        x[r * depth + first + r] = 1;
      StepData step;
      step.tokens = static_cast<int32_t>(rows);
      step.outputs = {x.as<void>(), y.as<void>()};
      step.weights = matrix.bytes.as<void>();
      code.run("run", step, 2);
      // Winograd's inner products are exact to the length of a column alone.
      const double allowed = level().addsBeside && rows > 16 ? 1e-7 * depth * 448 : 0;
      for (int64_t i = 0; i < rows * columns; ++i)
        ASSERT_NEAR(y[i], matrix.values[i % columns * depth + first + i / columns], allowed) << "row " << i / columns << " of " << rows;
    }
}

/// A NaN or an infinity in a row is seen in all of its sums, and nowhere else.
TEST_P(Codes, notANumberAndInfinityPropagate) {
  Matrix matrix(all[1], 40, 256, 48);
  CompiledPlan code(productPlan(matrix, 40, 256, true), level());
  ASSERT_TRUE(code) << code.error();
  for (int64_t rows : {3, 20}) {
    Floats x(Numbers(rows).take(rows * 256)), y(rows * 40);
    x[1 * 256 + 200] = notANumber;
    x[2 * 256 + 3] = infinite;
    StepData step;
    step.tokens = static_cast<int32_t>(rows);
    step.outputs = {x.as<void>(), y.as<void>()};
    step.weights = matrix.bytes.as<void>();
    code.run("run", step, 2);
    for (int64_t i = 0; i < rows * 40; ++i)
      ASSERT_EQ(std::isfinite(y[i]), i / 40 != 1 && i / 40 != 2) << "row " << i / 40 << " of " << rows;
  }
}

TEST_P(Codes, embeddingIsExact) {
  const int64_t rows = 70;
  std::vector<Quantized> types(std::begin(all), std::end(all));
  types.insert(types.end(), std::begin(inPlanes), std::end(inPlanes));
  types.insert(types.end(), std::begin(inBlocks), std::end(inBlocks));
  for (int64_t panel : {48, 1})
    for (const Quantized &quantized : types) {
      const int64_t width = quantized.factors ? 256 : 128;
      Matrix table(quantized, rows, width, panel);
      CompiledPlan code(header(table) + "ds_plan.kernel @k \"embed\" schedule {} {\n^bb0(%i: tensor<?x?xi32>, %t: " + table.tensor +
                            "):\n  %y = ds.embedding %i, %t : tensor<?x?xi32>, " + table.tensor + "\n  ds_plan.return %y : " +
                            tensorOf(width) + "\n}\nds_plan.program @run max_batch 64 max_rows 256 arena 0 kv_bytes 0 {\n" +
                            "  %i = ds_plan.input \"i\" 0 tokens : memref<?xi32>\n  %y = ds_plan.output \"y\" 0 tokens : " + rowsOf(width) +
                            "\n  %t = ds_plan.weight @wp : " + table.memref() + "\n  ds_plan.launch @k ins(%i, %t : memref<?xi32>, " +
                            table.memref() + ") outs(%y : " + rowsOf(width) + ")\n}\n",
                        level());
      ASSERT_TRUE(code) << code.error();
      const std::vector<int32_t> index{69, 0, 47, 48, 33};
      Floats y(5 * width);
      StepData step;
      step.tokens = 5;
      step.inputs = {index.data()};
      step.outputs = {y.as<void>()};
      step.weights = table.bytes.as<void>();
      code.run("run", step, 2);
      for (int64_t i = 0; i < 5 * width; ++i)
        ASSERT_EQ(y[i], table.values[index[i / width] * width + i % width]) << table.tensor << ", element " << i;
    }
}

DS_ON_ALL_LEVELS(Codes);
INSTANTIATE_TEST_SUITE_P(dots, Codes, testing::Values(emulatedDots()), [](const auto &info) { return shortNameOf(*info.param); });

} // namespace
