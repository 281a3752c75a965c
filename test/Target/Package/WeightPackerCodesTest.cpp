// Where scales and codes of a quantized weight stand in the file, and which they are.
#include "dialects/DSPlan/PanelCodes.h"
#include "ds/Import/Half.h"
#include "ds/Quantize/QuantizedType.h"
#include "ds/Quantize/Quantizer.h"
#include "lib/Target/Package/WeightPacker.h"
#include "mlir/Parser/Parser.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace mlir;
using namespace ds;

namespace {

constexpr int64_t rows = 35;

/// One tensor "t" of [rows, depth].
struct OneTensor : TensorSource {
  OneTensor(StoredType type, int64_t depth, std::vector<uint8_t> data) : data(std::move(data)) {
    list.push_back({"t", type, {rows, depth}, this->data.data(), this->data.size(), "memory"});
  }
  const StoredTensor *find(std::string_view name) const override { return name == "t" ? list.data() : nullptr; }
  const std::vector<StoredTensor> &tensors() const override { return list; }

  /// Elements [first, first + count), dequantized.
  std::vector<float> values(int64_t first, int64_t count) const {
    std::vector<float> out(count);
    EXPECT_TRUE(readF32(list[0], first, count, out.data()));
    return out;
  }

private:
  std::vector<uint8_t> data;
  std::vector<StoredTensor> list;
};

std::vector<float> randomValues(int64_t count) {
  std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(generator);
  return values;
}

OneTensor tensorOf(const std::vector<float> &values) {
  std::vector<uint8_t> bytes(values.size() * 4);
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return OneTensor(StoredType::F32, static_cast<int64_t>(values.size()) / rows, std::move(bytes));
}

/// How a type of blocks looks.
struct Blocks {
  StoredType type;
  int64_t elements, bytes;
  std::vector<int64_t> halves; // where its f16 numbers stand
};

/// Blocks of random bytes but for the halves, which are about 1.
OneTensor randomBlocks(const Blocks &blocks, int64_t depth) {
  std::mt19937 generator(13);
  std::vector<uint8_t> bytes(rows * depth / blocks.elements * blocks.bytes);
  for (uint8_t &byte : bytes)
    byte = static_cast<uint8_t>(generator());
  for (size_t block = 0; block < bytes.size(); block += blocks.bytes)
    for (int64_t half : blocks.halves) {
      const uint16_t bits = toHalf(static_cast<float>(generator() % 4096) / 1024 - 2);
      std::memcpy(&bytes[block + half], &bits, 2);
    }
  return OneTensor(blocks.type, depth, std::move(bytes));
}

struct Shape {
  int64_t count, depth, width, panelRows;
};

/// Parameter @p of `scheme`, the tensor through `view`, packed in one piece; the same unit by unit.
Result<std::vector<uint8_t>> pack(const OneTensor &source, const QuantizationScheme &scheme, Shape shape, const std::string &view = "") {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<DSDialect, ds_plan::DSPlanDialect>();
  const int64_t panels = (shape.count + shape.width - 1) / shape.width;
  const QuantizedType element = quantizedTypeOf(&context, scheme);
  EXPECT_EQ(ds_plan::PanelCodes(element, shape.depth, shape.width).rows(), shape.panelRows);
  std::string type;
  llvm::raw_string_ostream(type) << RankedTensorType::get({shape.count, shape.depth}, element);
  auto module = parseSourceString<ModuleOp>("ds.parameter @p from \"t\" " + view + " : " + type +
                                                "\nds_plan.storage @s panel_codes of @p : memref<" + std::to_string(panels) + "x" +
                                                std::to_string(shape.panelRows) + "x" + std::to_string(shape.width) + "xi32>\n",
                                            ParserConfig(&context));
  if (!module)
    return Error::internal("no module");
  auto stored = module->lookupSymbol<ds_plan::StorageOp>("s");
  Result<ParameterReader> reader = ParameterReader::create(module->lookupSymbol<ParameterOp>("p"), source);
  if (!reader)
    return reader.error();
  EXPECT_EQ(unitCount(stored), panels);
  EXPECT_EQ(unitBytes(stored), shape.panelRows * shape.width * 4);
  std::vector<uint8_t> bytes(storageBytes(stored), 0xff), single(bytes);
  if (Result<void> packed = packUnits(stored, &*reader, 0, panels, bytes.data()); !packed)
    return packed.error();
  for (int64_t unit = 0; unit < panels; ++unit)
    EXPECT_TRUE(packUnits(stored, &*reader, unit, 1, single.data() + unit * unitBytes(stored)));
  EXPECT_EQ(bytes, single);
  return bytes;
}

/// Reads column `n` of all panels from the first row of its panel to the last, each thing where the one before it ends.
QuantizedRow unpack(const std::vector<uint8_t> &bytes, const QuantizationScheme &scheme, Shape shape, int64_t n) {
  const uint8_t *row = &bytes[n / shape.width * shape.panelRows * shape.width * 4];
  const int64_t column = n % shape.width, group = scheme.group ? scheme.group : shape.depth, groups = shape.depth / group;
  auto half = [&](int64_t index) {
    uint16_t bits;
    std::memcpy(&bits, row + index * 2, 2);
    return halfToFloat(bits);
  };
  auto single = [&] {
    float value;
    std::memcpy(&value, row + column * 4, 4);
    return value;
  };
  QuantizedRow out;
  int64_t panelRows = 0;
  auto next = [&] { row += shape.width * 4, ++panelRows; };
  for (int64_t g = 0; g < groups;) {
    int64_t together = 1;
    if (scheme.factors) { // of a block of 256 k
      together = 256 / group;
      const float scale = half(column), offset = half(shape.width + column);
      next();
      const uint8_t *low = row + column, *high = low + together * shape.width;
      for (int64_t i = 0; i < together; ++i) {
        const int byte = low[i * shape.width];
        if (!scheme.asymmetric) {
          out.scales.push_back(scale * static_cast<float>(static_cast<int8_t>(byte)));
          continue;
        }
        const int both = byte | (high[i / 2 * shape.width] >> i % 2 * 4 & 15) << 8;
        out.scales.push_back(scale * static_cast<float>(both & 63));
        out.offsets.push_back(offset * static_cast<float>(both >> 6));
      }
      for (int64_t i = 1; i < together * (scheme.asymmetric ? 12 : 8) / 32; ++i)
        next();
    } else if (scheme.halfScales && scheme.asymmetric) { // scale and offset side by side
      out.scales.push_back(half(column));
      out.offsets.push_back(half(shape.width + column));
    } else if (scheme.halfScales) { // the scales of two groups
      out.scales.push_back(half(column));
      if (g + 1 < groups)
        out.scales.push_back(half(shape.width + column)), together = 2;
      else
        EXPECT_EQ(half(shape.width + column), 0);
    } else {
      out.scales.push_back(single());
      if (scheme.asymmetric) {
        next();
        out.offsets.push_back(single());
      }
    }
    next();
    // Two groups of 16 in a block have the row of their highest bits in common.
    const int64_t run = scheme.factors && scheme.bits % 2 ? std::max<int64_t>(32, group) : group;
    for (const int64_t last = g + together; g < last; g += run / group) {
      const uint8_t *ones = nullptr; // the highest bits of 32 k, where bits are odd
      for (int64_t k = 0; k < run; k += 16) {
        if (scheme.bits % 2 && k % 32 == 0) {
          ones = row + column * 4;
          next();
        }
        int codes[16] = {};
        for (int bits : {2, 4, 8}) {
          if (!(scheme.bits & bits))
            continue;
          const int low = bits == 2 ? static_cast<int>(scheme.bits & 4) : 0;
          for (int64_t i = 0; i < 16; next())
            for (int shift = 0; shift < 8; shift += bits)
              for (int byte = 0; byte < 4; ++byte)
                codes[i++] |= (row[column * 4 + byte] >> shift & ((1 << bits) - 1)) << low;
        }
        for (int64_t i = 0; i < 16; ++i) {
          if (ones)
            codes[i] |= (ones[i % 4] >> (k % 32 + i) / 4 & 1) << (scheme.bits - 1);
          out.codes.push_back(static_cast<int16_t>(codes[i] + scheme.leastCode()));
        }
      }
    }
  }
  EXPECT_EQ(panelRows, shape.panelRows);
  return out;
}

void expectEqual(const QuantizedRow &row, const QuantizedRow &expected) {
  EXPECT_EQ(row.codes, expected.codes);
  EXPECT_EQ(row.scales, expected.scales);
  EXPECT_EQ(row.offsets, expected.offsets);
}

/// Columns of the last panel that no row of the weight fills.
void expectZerosBehind(const std::vector<uint8_t> &bytes, const QuantizationScheme &scheme, Shape shape) {
  const int64_t groups = shape.depth / scheme.groupOf(shape.depth);
  const std::vector<float> zeros(groups, 0);
  for (int64_t n = shape.count; n % shape.width; ++n)
    expectEqual(unpack(bytes, scheme, shape, n), {std::vector<int16_t>(shape.depth, static_cast<int16_t>(scheme.leastCode())),
                                                  zeros,
                                                  scheme.asymmetric ? zeros : std::vector<float>(),
                                                  {}});
}

std::vector<float> dequantized(const QuantizationScheme &scheme, const QuantizedRow &row) {
  std::vector<float> values(row.codes.size());
  dequantizeRow(scheme, row, values.data());
  return values;
}

/// Every row of `packed` holds the nearest codes of the values in `expected`, row by row.
void expectRounded(const std::vector<uint8_t> &packed, const QuantizationScheme &scheme, Shape shape, const std::vector<float> &expected) {
  ASSERT_EQ(expected.size(), static_cast<size_t>(shape.count * shape.depth));
  for (int64_t n = 0; n < shape.count; ++n) {
    SCOPED_TRACE(testing::Message() << "row " << n);
    QuantizedRow rounded;
    ASSERT_TRUE(quantizeRow(scheme, &expected[n * shape.depth], shape.depth, rounded));
    expectEqual(unpack(packed, scheme, shape, n), rounded);
  }
}

TEST(WeightPackerCodes, everyLayout) {
  struct Case {
    QuantizationScheme scheme;
    Shape shape;
  };
  // Rows of a panel are those of scales and those of codes.
  const Case cases[] = {
      {{8, 0, false, false}, {rows, 48, 32, 1 + 12}},
      {{8, 0, true, false}, {rows, 48, 48, 2 + 12}},
      {{8, 32, false, true}, {rows, 32, 32, 1 + 8}},
      {{8, 32, false, true}, {rows, 96, 32, 2 + 24}}, // the last span is short
      {{8, 32, false, true}, {rows, 128, 48, 2 + 32}},
      {{8, 32, true, true}, {rows, 96, 32, 3 + 24}},
      {{4, 32, false, true}, {rows, 64, 32, 1 + 8}},
      {{4, 32, false, true}, {rows, 160, 48, 3 + 20}},
      {{4, 16, false, true}, {rows, 48, 32, 2 + 6}},
      {{4, 128, false, true}, {rows, 128, 32, 1 + 16}},
      {{4, 32, true, true}, {rows, 96, 48, 3 + 12}},
      {{4, 64, true, true}, {rows, 128, 32, 2 + 16}},
      {{4, 32, true, false}, {rows, 64, 32, 2 * 2 + 8}},
      {{8, 32, true, false}, {rows, 64, 48, 2 * 2 + 16}},
      {{8, 16, false, false}, {rows, 48, 32, 3 + 12}},
      {{4, 32, false, false}, {rows, 96, 48, 3 + 12}},
      {{2, 32, false, true}, {rows, 96, 32, 2 + 6}},
      {{2, 0, false, false}, {rows, 48, 48, 1 + 3}},
      {{2, 16, true, true}, {rows, 48, 32, 3 + 3}},
      {{3, 64, false, true}, {rows, 128, 48, 1 + 12}},
      {{3, 32, true, true}, {rows, 96, 32, 3 + 9}},
      {{5, 32, false, true}, {rows, 96, 48, 2 + 15}},
      {{5, 32, true, false}, {rows, 64, 32, 4 + 10}},
      {{6, 64, false, true}, {rows, 192, 32, 2 + 36}},
      {{6, 16, false, false}, {rows, 48, 48, 3 + 9}},
      {{7, 128, true, true}, {rows, 128, 32, 1 + 28}},
      {{7, 0, false, false}, {rows, 96, 32, 1 + 21}},
      // Of 16 or 48 k a row of the highest bits is half full.
      {{5, 16, false, true}, {rows, 48, 32, 2 + 9}},
      {{3, 48, false, true}, {rows, 96, 48, 1 + 2 * 5}},
      {{7, 0, true, false}, {rows, 80, 32, 2 + 18}},
  };
  for (const auto &[scheme, shape] : cases) {
    SCOPED_TRACE(testing::Message() << nameOf(scheme) << ", depth " << shape.depth << ", panels of " << shape.width);
    const std::vector<float> values = randomValues(rows * shape.depth);
    Result<std::vector<uint8_t>> bytes = pack(tensorOf(values), scheme, shape);
    ASSERT_TRUE(bytes) << bytes.error().message;
    expectRounded(*bytes, scheme, shape, values);
    expectZerosBehind(*bytes, scheme, shape);
    // What the codes stand for is near the values, however they were found.
    const float levels = scheme.bits == 8 ? 100 : static_cast<float>((1 << (scheme.bits - 1)) - 1);
    for (int64_t n = 0; n < rows; ++n) {
      const std::vector<float> decoded = dequantized(scheme, unpack(*bytes, scheme, shape, n));
      for (int64_t k = 0; k < shape.depth; ++k)
        ASSERT_NEAR(decoded[k], values[n * shape.depth + k], 5 / levels) << n << " " << k;
    }
  }
}

/// Of views of a tensor of f32, transposed and with rows in another order.
TEST(WeightPackerCodes, views) {
  const std::vector<float> values = randomValues(rows * 96);
  const QuantizationScheme scheme{4, 32, false, true};
  std::vector<float> expected;
  for (int64_t n = 0; n < 40; ++n)
    for (int64_t k = 0; k < 32; ++k)
      expected.push_back(values[5 + n + k * 96]);
  Result<std::vector<uint8_t>> transposed = pack(tensorOf(values), scheme, {40, 32, 32, 5}, "view <5, [40, 32], [1, 96]>");
  ASSERT_TRUE(transposed);
  expectRounded(*transposed, scheme, {40, 32, 32, 5}, expected);

  expected.clear();
  for (int64_t n = 0; n < 32; ++n)
    for (int64_t k = 0; k < 96; ++k)
      expected.push_back(values[(n / 16 + n % 16 * 2) * 96 + k]);
  Result<std::vector<uint8_t>> permuted = pack(tensorOf(values), scheme, {32, 96, 48, 14}, "view <0, [2, 16, 96], [96, 192, 1]>");
  ASSERT_TRUE(permuted);
  expectRounded(*permuted, scheme, {32, 96, 48, 14}, expected);
}

const Blocks q80{StoredType::Q8_0, 32, 34, {0}}, q41{StoredType::Q4_1, 32, 20, {0, 2}};

/// Codes that rounding would choose otherwise, as few of these blocks reach the ends of their range.
TEST(WeightPackerCodes, keepsStoredCodes) {
  struct Case {
    Blocks blocks;
    Shape shape;
  };
  const Case cases[] = {
      {q80, {rows, 96, 32, 2 + 24}},
      {q41, {rows, 64, 32, 2 + 8}},
      {{StoredType::Q4_0, 32, 18, {0}}, {rows, 64, 48, 1 + 8}},
      {{StoredType::Q5_0, 32, 22, {0}}, {rows, 32, 32, 1 + 5}},
      {{StoredType::Q5_1, 32, 24, {0, 2}}, {rows, 64, 32, 2 + 10}},
      {{StoredType::Q4_K, 256, 144, {0, 2}}, {rows, 256, 32, 4 + 32}},
      {{StoredType::Q5_K, 256, 176, {0, 2}}, {rows, 256, 48, 4 + 40}},
      {{StoredType::Q6_K, 256, 210, {208}}, {rows, 512, 32, 2 * 5 + 96}},
      {{StoredType::Q2_K, 256, 84, {80, 82}}, {rows, 256, 32, 1 + 6 + 16}},
      {{StoredType::Q3_K, 256, 110, {108}}, {rows, 512, 48, 2 * (1 + 4 + 24)}},
      {{StoredType::IQ4_NL, 32, 18, {0}}, {rows, 64, 32, 1 + 16}},
      {{StoredType::IQ4_XS, 256, 136, {0}}, {rows, 256, 32, 1 + 2 + 64}},
  };
  for (const auto &[blocks, shape] : cases) {
    SCOPED_TRACE(storedTypeName(blocks.type));
    const QuantizationScheme scheme = *schemeOfStored(blocks.type);
    const OneTensor source = randomBlocks(blocks, shape.depth);
    Result<std::vector<uint8_t>> bytes = pack(source, scheme, shape);
    ASSERT_TRUE(bytes) << bytes.error().message;
    bool rounds = false; // some row would come out otherwise
    for (int64_t n = 0; n < rows; ++n) {
      const std::vector<float> values = source.values(n * shape.depth, shape.depth);
      const QuantizedRow row = unpack(*bytes, scheme, shape, n);
      ASSERT_EQ(dequantized(scheme, row), values) << n;
      QuantizedRow rounded;
      QuantizationScheme rounding = scheme;
      rounding.factors = false;
      ASSERT_TRUE(quantizeRow(rounding, values.data(), shape.depth, rounded));
      rounds |= rounded.codes != row.codes;
    }
    EXPECT_TRUE(rounds);
    expectZerosBehind(*bytes, scheme, shape);
  }
}

/// The bytes of the file itself.
TEST(WeightPackerCodes, keepsCodesAndScalesOfBlocks) {
  const int64_t depth = 64;
  const Shape eight{rows, depth, 48, 1 + 16}, four{rows, depth, 48, 2 + 8};
  const OneTensor source80 = randomBlocks(q80, depth), source41 = randomBlocks(q41, depth);
  Result<std::vector<uint8_t>> bytes80 = pack(source80, *schemeOfStored(q80.type), eight);
  Result<std::vector<uint8_t>> bytes41 = pack(source41, *schemeOfStored(q41.type), four);
  ASSERT_TRUE(bytes80 && bytes41);
  auto half = [](const uint8_t *at) { return halfToFloat(static_cast<uint16_t>(at[0] | at[1] << 8)); };
  bool least = false;
  for (int64_t n = 0; n < rows; ++n) {
    const QuantizedRow row80 = unpack(*bytes80, *schemeOfStored(q80.type), eight, n);
    const QuantizedRow row41 = unpack(*bytes41, *schemeOfStored(q41.type), four, n);
    for (int64_t block = 0; block < 2; ++block) {
      const uint8_t *stored80 = source80.tensors()[0].data + (n * 2 + block) * 34,
                    *stored41 = source41.tensors()[0].data + (n * 2 + block) * 20;
      EXPECT_EQ(row80.scales[block], half(stored80));
      EXPECT_EQ(row41.scales[block], half(stored41));
      EXPECT_EQ(row41.offsets[block], half(stored41 + 2));
      for (int64_t i = 0; i < 32; ++i) {
        EXPECT_EQ(row80.codes[block * 32 + i], static_cast<int8_t>(stored80[2 + i]));
        EXPECT_EQ(row41.codes[block * 32 + i], stored41[4 + i % 16] >> i / 16 * 4 & 15);
        least |= row80.codes[block * 32 + i] == -128;
      }
    }
  }
  EXPECT_TRUE(least); // a code that rounding never gives
}

/// Rows and whole blocks of them are kept, however a view orders them.
TEST(WeightPackerCodes, keepsStoredCodesThroughViews) {
  struct Case {
    const char *view;
    int64_t count, depth;
    int64_t (*first)(int64_t n); // element of the tensor that row n begins with
  };
  const Case cases[] = {
      {"view <320, [20, 64], [64, 1]>", 20, 64, [](int64_t n) { return (5 + n) * 64; }},
      {"view <0, [2, 16, 64], [64, 128, 1]>", 32, 64, [](int64_t n) { return (n / 16 + n % 16 * 2) * 64; }},
      {"view <32, [35, 32], [64, 1]>", 35, 32, [](int64_t n) { return n * 64 + 32; }},
      {"view <64, [1280], [1]>", 20, 64, [](int64_t n) { return 64 + n * 64; }},
  };
  for (const Blocks &blocks : {q80, q41})
    for (const Case &test : cases) {
      SCOPED_TRACE(testing::Message() << storedTypeName(blocks.type) << " " << test.view);
      const QuantizationScheme scheme = *schemeOfStored(blocks.type);
      const OneTensor source = randomBlocks(blocks, 64);
      const int64_t groups = test.depth / 32;
      const Shape shape{test.count, test.depth, 32, (scheme.bits == 8 ? 1 : groups) + test.depth * scheme.bits / 32};
      Result<std::vector<uint8_t>> bytes = pack(source, scheme, shape, test.view);
      ASSERT_TRUE(bytes) << bytes.error().message;
      for (int64_t n = 0; n < test.count; ++n) {
        QuantizedRow stored{
            std::vector<int16_t>(test.depth), std::vector<float>(groups), std::vector<float>(scheme.asymmetric ? groups : 0), {}};
        readStoredCodes(source.tensors()[0], test.first(n), test.depth, stored.codes.data(), stored.scales.data(), stored.offsets.data());
        const QuantizedRow row = unpack(*bytes, scheme, shape, n);
        expectEqual(row, stored);
        ASSERT_EQ(dequantized(scheme, row), source.values(test.first(n), test.depth)) << n;
      }
    }
}

/// Nothing is rounded to scales that are integers.
TEST(WeightPackerCodes, refusesToCutBlocksWithFactors) {
  const OneTensor source = randomBlocks({StoredType::Q4_K, 256, 144, {0, 2}}, 512);
  Result<std::vector<uint8_t>> bytes =
      pack(source, *schemeOfStored(StoredType::Q4_K), {rows, 256, 32, 4 + 32}, "view <128, [35, 256], [512, 1]>");
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().code, ErrorCode::BadData);
  EXPECT_EQ(bytes.error().message,
            "parameter 'p', row 0, expects rows stored in whole blocks of int4-g32-asym-k, found values: nothing is rounded to those");
}

/// Another scheme, and views that cut blocks: the values are rounded.
TEST(WeightPackerCodes, roundsStoredValues) {
  const OneTensor source = randomBlocks(q80, 96);
  const QuantizationScheme own = *schemeOfStored(q80.type), other{4, 32, false, true};
  const std::vector<float> values = source.values(0, rows * 96);
  Result<std::vector<uint8_t>> bytes = pack(source, other, {rows, 96, 32, 2 + 12});
  ASSERT_TRUE(bytes);
  expectRounded(*bytes, other, {rows, 96, 32, 2 + 12}, values);

  std::vector<float> expected;
  for (int64_t n = 0; n < rows; ++n)
    expected.insert(expected.end(), values.begin() + n * 96 + 16, values.begin() + n * 96 + 80);
  bytes = pack(source, own, {rows, 64, 32, 1 + 16}, "view <16, [35, 64], [96, 1]>");
  ASSERT_TRUE(bytes);
  expectRounded(*bytes, own, {rows, 64, 32, 1 + 16}, expected);

  expected.clear();
  for (int64_t n = 0; n < 96; ++n)
    for (int64_t k = 0; k < 32; ++k)
      expected.push_back(values[k * 96 + n]);
  bytes = pack(source, own, {96, 32, 48, 1 + 8}, "view <0, [96, 32], [1, 96]>");
  ASSERT_TRUE(bytes);
  expectRounded(*bytes, own, {96, 32, 48, 1 + 8}, expected);
}

/// Codes and scales of MoQ's grids, which follow from the whole tensor, also where the parameter is a part of it in another order.
TEST(WeightPackerCodes, grids) {
  struct Case {
    MoqGrid grid;
    const char *view;
    QuantizationScheme scheme;
    Shape shape;
    int64_t (*place)(int64_t n, int64_t k);
  };
  auto inOrder = [](int64_t n, int64_t k) { return n * 96 + k; };
  auto turned = [](int64_t n, int64_t k) { return 5 + n + k * 96; };
  const Case cases[] = {
      {{1}, "grid <1 symmetric groups 1>", {2, 0, false, false}, {rows, 96, 48, 1 + 6}, inOrder},
      {{2, false, 7}, "grid <2 symmetric groups 7>", {2, 0, false, false}, {rows, 96, 32, 1 + 6}, inOrder},
      {{3, true, 105}, "grid <3 asymmetric groups 105>", {3, 32, true, false}, {rows, 96, 32, 6 + 9}, inOrder},
      {{8}, "grid <8 symmetric groups 1>", {8, 0, false, false}, {rows, 96, 48, 1 + 24}, inOrder},
      {{6, true, 70}, "grid <6 asymmetric groups 70>", {6, 48, true, false}, {rows, 96, 48, 4 + 18}, inOrder},
      {{4}, "view <5, [40, 32], [1, 96]> grid <4 symmetric groups 1>", {4, 0, false, false}, {40, 32, 32, 1 + 4}, turned},
  };
  const std::vector<float> values = randomValues(rows * 96);
  for (const Case &test : cases) {
    SCOPED_TRACE(test.view);
    Result<std::vector<uint8_t>> bytes = pack(tensorOf(values), test.scheme, test.shape, test.view);
    ASSERT_TRUE(bytes) << bytes.error().message;
    Result<MoqCodes> coded = encodeMoqGrid(test.grid, values.data(), static_cast<int64_t>(values.size()));
    ASSERT_TRUE(coded);
    const int64_t run = rows * 96 / test.grid.groups, group = test.scheme.groupOf(test.shape.depth);
    for (int64_t n = 0; n < test.shape.count; ++n) {
      QuantizedRow expected;
      for (int64_t k = 0; k < test.shape.depth; ++k) {
        const int64_t place = test.place(n, k);
        expected.codes.push_back(coded->codes[place]);
        if (k % group)
          continue;
        expected.scales.push_back(coded->scales[place / run]);
        if (test.grid.asymmetric)
          expected.offsets.push_back(coded->offsets[place / run]);
      }
      expectEqual(unpack(*bytes, test.scheme, test.shape, n), expected);
    }
    expectZerosBehind(*bytes, test.scheme, test.shape);
  }
}

/// Blocks of the file count before a scheme of theirs, but not before a grid that is stored alike.
TEST(WeightPackerCodes, gridsOfBlocks) {
  const OneTensor source = randomBlocks({StoredType::Q6_K, 256, 210, {208}}, 256);
  const QuantizationScheme scheme{6, 16, false, false};
  const Shape shape{rows, 256, 32, 16 + 48};
  Result<std::vector<uint8_t>> bytes = pack(source, scheme, shape, "grid <6 symmetric groups 560>");
  ASSERT_TRUE(bytes) << bytes.error().message;
  const std::vector<float> values = source.values(0, rows * 256);
  Result<MoqCodes> coded = encodeMoqGrid({6, false, 560}, values.data(), rows * 256);
  ASSERT_TRUE(coded);
  for (int64_t n = 0; n < rows; ++n)
    EXPECT_EQ(unpack(*bytes, scheme, shape, n).codes,
              std::vector<int16_t>(coded->codes.begin() + n * 256, coded->codes.begin() + (n + 1) * 256));
}

TEST(WeightPackerCodes, refusesGrids) {
  std::vector<float> values = randomValues(rows * 96);
  auto refused = [&](const QuantizationScheme &scheme, Shape shape, const char *text, const std::string &message) {
    Result<std::vector<uint8_t>> bytes = pack(tensorOf(values), scheme, shape, text);
    ASSERT_FALSE(bytes) << text;
    EXPECT_EQ(bytes.error().code, ErrorCode::BadData);
    EXPECT_EQ(bytes.error().message, message);
  };
  // As if the half were the whole.
  refused(
      {4, 48, false, false}, {16, 96, 32, 2 + 12}, "view <0, [1536], [1]> grid <4 symmetric groups 32>",
      "parameter 'p': tensor 't': moq4-groups32: expects groups of whole rows, or that end behind a multiple of 16 columns, got runs of "
      "105 values for rows of 96");
  refused({4, 48, false, false}, {14, 96, 32, 2 + 12}, "view <0, [1344], [1]> grid <4 symmetric groups 7>",
          "parameter 'p': tensor 't': moq4-groups7: expects codes as of int4-row for its 3360 values, got those of int4-g48-f32");
  values[34 * 96 + 40] = std::numeric_limits<float>::quiet_NaN();
  refused({8, 0, false, false}, {rows, 96, 32, 1 + 24}, "grid <8 symmetric groups 1>",
          "parameter 'p': tensor 't': moq8: element 3304: expects a finite value, got nan");
}

/// Numbers of 8 bits lie as codes do.
TEST(WeightPackerCodes, e4m3) {
  const std::vector<float> values = randomValues(rows * 96);
  for (const auto &[scheme, shape] : {std::pair<QuantizationScheme, Shape>{{8, 0, false, false, true}, {rows, 96, 48, 1 + 24}},
                                      {{8, 32, false, true, true}, {rows, 96, 32, 2 + 24}}}) {
    Result<std::vector<uint8_t>> bytes = pack(tensorOf(values), scheme, shape);
    ASSERT_TRUE(bytes) << bytes.error().message;
    for (int64_t n = 0; n < rows; ++n) {
      const QuantizedRow row = unpack(*bytes, scheme, shape, n);
      QuantizedRow rounded;
      ASSERT_TRUE(quantizeRow(scheme, &values[n * 96], 96, rounded));
      expectEqual(row, rounded);
    }
    expectZerosBehind(*bytes, scheme, shape);
  }
}

TEST(WeightPackerCodes, refusesValues) {
  std::vector<float> values = randomValues(rows * 64);
  values[34 * 64 + 40] = std::numeric_limits<float>::infinity();
  auto refused = [&](const QuantizationScheme &scheme, int64_t panelRows, const std::string &message) {
    Result<std::vector<uint8_t>> bytes = pack(tensorOf(values), scheme, {rows, 64, 32, panelRows});
    ASSERT_FALSE(bytes);
    EXPECT_EQ(bytes.error().code, ErrorCode::BadData);
    EXPECT_EQ(bytes.error().message, message);
  };
  refused({4, 32, true, true}, 2 + 8, "parameter 'p', row 34, element 40: expects a finite value to quantize, found infinity");
  values[7 * 64 + 5] = std::numeric_limits<float>::quiet_NaN();
  refused({8, 0, false, false}, 1 + 16, "parameter 'p', row 7, element 5: expects a finite value to quantize, found NaN");
  values[2 * 64 + 33] = 1e9f;
  refused({8, 32, false, true}, 1 + 16, "parameter 'p', row 2, element 32: expects a group whose scale is within f16");
}

} // namespace
