// Where each element of a weight stands in the file.
#include "lib/Target/Package/WeightPacker.h"
#include "dialects/DSPlan/PanelHalves.h"
#include "dialects/DSPlan/PanelSums.h"
#include "mlir/Parser/Parser.h"
#include <cmath>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>

using namespace mlir;
using namespace ds;

namespace {

constexpr int64_t rows = 35;

/// Element [n, k] of most parameters here: exact in bf16 and f16, never zero.
float valueOf(int64_t n, int64_t k) { return static_cast<float>(n + 1) + (k % 2 ? 0.5f : 0.0f) + 64.0f * static_cast<float>(k / 2 % 2); }

/// An f32 as MLIR reads it, to the bit.
std::string literal(float value) {
  char text[32];
  if (std::isfinite(value)) {
    std::snprintf(text, sizeof(text), "%.9e", static_cast<double>(value));
  } else {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    std::snprintf(text, sizeof(text), "0x%08X", bits);
  }
  return text;
}

struct NoTensors : TensorSource {
  const StoredTensor *find(std::string_view) const override { return nullptr; }
  const std::vector<StoredTensor> &tensors() const override { return none; }
  std::vector<StoredTensor> none;
};

/// [35, depth] packed as `storage`, one unit after the other.
Result<std::vector<uint8_t>> pack(int64_t depth, const std::string &storage, const std::function<float(int64_t, int64_t)> &valueOf) {
  std::string values, shape = std::to_string(rows) + "x" + std::to_string(depth);
  for (int64_t n = 0; n < rows; ++n) {
    values += n ? ", [" : "[";
    for (int64_t k = 0; k < depth; ++k)
      values += (k ? ", " : "") + literal(valueOf(n, k));
    values += "]";
  }
  DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect>();
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  auto module = parseSourceString<ModuleOp>("ds.parameter @p value dense<[" + values + "]> : tensor<" + shape + "xf32> : tensor<" + shape +
                                                "xf32>\nds_plan.storage @s " + storage + "\n",
                                            ParserConfig(&context));
  if (!module)
    return Error::internal("the text is not a module");
  auto stored = module->lookupSymbol<ds_plan::StorageOp>("s");
  Result<ParameterReader> reader = ParameterReader::create(module->lookupSymbol<ParameterOp>("p"), NoTensors());
  if (!reader)
    return reader.error();
  std::vector<uint8_t> bytes(storageBytes(stored), 0xff);
  for (int64_t unit = 0; unit < unitCount(stored); ++unit)
    if (Result<void> done = packUnits(stored, &*reader, unit, 1, bytes.data() + unit * unitBytes(stored)); !done)
      return done.error();
  return bytes;
}

std::vector<uint8_t> packed(int64_t depth, const std::string &storage) {
  Result<std::vector<uint8_t>> bytes = pack(depth, storage, valueOf);
  return bytes ? *bytes : std::vector<uint8_t>();
}

TEST(WeightPacker, panelsOfF32) {
  const std::vector<uint8_t> bytes = packed(5, "panels of @p : memref<2x5x32xf32>");
  ASSERT_EQ(bytes.size(), 2u * 5 * 32 * 4);
  for (int64_t n = 0; n < 64; ++n)
    for (int64_t k = 0; k < 5; ++k) {
      float value;
      memcpy(&value, &bytes[((n / 32 * 5 + k) * 32 + n % 32) * 4], 4);
      EXPECT_EQ(value, n < rows ? valueOf(n, k) : 0);
    }
}

/// Columns times powers of two, what takes these back, and the sums of pairs; zeros behind the last column and the depth.
TEST(WeightPacker, panelsWithSums) {
  const int64_t depth = 261; // two passes, the last one with half a pair
  const ds_plan::PanelSums panel(depth);
  ASSERT_EQ(panel.lines(), 1 + 272 + 2);
  auto sized = [](int64_t n, int64_t k) { return n == 3 ? 0 : std::ldexp(valueOf(n, k), static_cast<int>(n * 9 % 60) - 30); };
  Result<std::vector<uint8_t>> bytes = pack(depth, "panel_sums of @p : memref<2x275x32xf32>", sized);
  ASSERT_TRUE(bytes);
  auto at = [&](int64_t n, int64_t line) {
    float value;
    memcpy(&value, &(*bytes)[((n / 32 * panel.lines() + line) * 32 + n % 32) * 4], 4);
    return value;
  };
  for (int64_t n = 0; n < 64; ++n) {
    if (n >= rows) {
      for (int64_t line = 0; line < panel.lines(); ++line)
        EXPECT_EQ(at(n, line), 0);
      continue;
    }
    const float power = at(n, panel.powers);
    EXPECT_EQ(std::ldexp(1.0F, std::ilogb(power)), power);
    double squares = 0, sums[2] = {};
    for (int64_t k = 0; k < 272; ++k) {
      const float value = at(n, panel.values + k);
      EXPECT_EQ(value * power, k < depth ? sized(n, k) : 0);
      squares += std::pow(static_cast<double>(value), 2);
      if (ds_plan::PanelSums::isFirstOfPair(k))
        sums[k / panel.pass] += static_cast<double>(value) * at(n, panel.values + k + 1);
    }
    const double rms = std::sqrt(squares / depth);
    if (n == 3)
      EXPECT_EQ(power, 0x1p-100F);
    else
      EXPECT_TRUE(rms >= 1 && rms < 2) << rms;
    for (int64_t pass = 0; pass < 2; ++pass)
      EXPECT_NEAR(at(n, panel.sums() + pass), -sums[pass] * power, 1e-4 * power);
  }
}

/// bf16 of a column times the power of two that brings its largest value to [8, 16), and what takes that back; zeros behind the last column
/// and an odd depth. A value that is not finite changes no other.
TEST(WeightPacker, halves) {
  constexpr int64_t depth = 5;
  const ds_plan::PanelHalves panel(depth);
  ASSERT_EQ(panel.lines(), 1 + 3);
  auto sized = [](int64_t n, int64_t k) {
    if (n == 2 && k == 1)
      return std::numeric_limits<float>::infinity();
    if (n == 4)
      return static_cast<float>(k + 1) * (1 + 0x1p-10F); // rounded to bf16
    return n == 3 ? 0 : std::ldexp(valueOf(n, k), static_cast<int>(n * 9 % 240) - 120);
  };
  Result<std::vector<uint8_t>> bytes = pack(depth, "panel_halves of @p : memref<2x4x32x2xf16>", sized);
  ASSERT_TRUE(bytes);
  ASSERT_EQ(bytes->size(), 2U * 4 * 32 * 4);
  for (int64_t n = 0; n < 64; ++n) {
    const int64_t place = (n / 32 * 4 * 32 + n % 32) * 4;
    float power, most = 0;
    memcpy(&power, &(*bytes)[place + panel.powers * 32 * 4], 4);
    if (n >= rows) {
      EXPECT_EQ(power, 0);
      continue;
    }
    EXPECT_EQ(std::ldexp(1.0F, std::ilogb(power)), power);
    for (int64_t k = 0; k < 2 * (panel.lines() - 1); ++k) {
      _Float16 half;
      memcpy(&half, &(*bytes)[place + (panel.values + k / 2) * 32 * 4 + k % 2 * 2], 2);
      const auto value = static_cast<float>(half);
      if (std::isfinite(value))
        most = std::max(most, std::fabs(value));
      EXPECT_EQ(value * power, k >= depth ? 0 : n == 4 ? static_cast<float>(k + 1) : sized(n, k)) << n << ", " << k;
    }
    EXPECT_TRUE(n == 3 ? most == 0 && power == 1 : most >= 8 && most < 16) << n << ": " << most;
  }
}

/// Two k of a column side by side; behind the last column and an odd depth stand zeros.
TEST(WeightPacker, pairsOfBf16) {
  for (int64_t depth : {1, 4, 5}) {
    const int64_t pairs = (depth + 1) / 2;
    const std::vector<uint8_t> bytes = packed(depth, "panel_pairs of @p : memref<2x" + std::to_string(pairs) + "x32x2xbf16>");
    ASSERT_EQ(bytes.size(), static_cast<size_t>(2 * pairs * 32 * 2 * 2));
    for (int64_t n = 0; n < 64; ++n)
      for (int64_t k = 0; k < 2 * pairs; ++k) {
        uint32_t bits = 0;
        memcpy(reinterpret_cast<uint8_t *>(&bits) + 2, &bytes[(((n / 32 * pairs + k / 2) * 32 + n % 32) * 2 + k % 2) * 2], 2);
        float value;
        memcpy(&value, &bits, 4);
        EXPECT_EQ(value, n < rows && k < depth ? valueOf(n, k) : 0) << n << " " << k << " of " << depth;
      }
  }
}

/// The bits of element [n, k] in the layout of a storage of f16.
uint16_t bitsAt(const std::vector<uint8_t> &bytes, int64_t place) {
  uint16_t bits;
  memcpy(&bits, &bytes[place * 2], 2);
  return bits;
}

uint16_t bitsOf(float value) {
  const auto half = static_cast<_Float16>(value);
  uint16_t bits;
  memcpy(&bits, &half, 2);
  return bits;
}

TEST(WeightPacker, panelsAndTilesOfF16) {
  const std::vector<uint8_t> panels = packed(5, "panels of @p : memref<2x5x32xf16>"), rowMajor = packed(5, "rows of @p : memref<35x5xf16>");
  const std::vector<uint8_t> tiles = packed(40, "tiles of @p : memref<6x2x8x32xf16>");
  ASSERT_EQ(panels.size(), 2u * 5 * 32 * 2);
  ASSERT_EQ(rowMajor.size(), 35u * 5 * 2);
  ASSERT_EQ(tiles.size(), 6u * 2 * 8 * 32 * 2);
  for (int64_t n = 0; n < 64; ++n)
    for (int64_t k = 0; k < 5; ++k) {
      EXPECT_EQ(bitsAt(panels, (n / 32 * 5 + k) * 32 + n % 32), n < rows ? bitsOf(valueOf(n, k)) : 0) << n << " " << k;
      if (n < rows)
        EXPECT_EQ(bitsAt(rowMajor, n * 5 + k), bitsOf(valueOf(n, k))) << n << " " << k;
    }
  for (int64_t n = 0; n < 48; ++n)
    for (int64_t k = 0; k < 64; ++k) {
      // 32 k of 8 rows are 512 bytes: 16 for each row and every 8 k.
      const int64_t place = (n / 8 * 2 + k / 32) * 256 + (n % 8 * 4 + k % 32 / 8) * 8 + k % 8;
      EXPECT_EQ(bitsAt(tiles, place), n < rows && k < 40 ? bitsOf(valueOf(n, k)) : 0) << n << " " << k;
    }
}

/// To the nearest, ties to even, also of subnormal numbers; what is infinite or NaN stays so.
TEST(WeightPacker, roundsToF16) {
  const std::pair<float, uint16_t> cases[] = {{65504, 0x7bff},        {-65504, 0xfbff},     {0x1p-14f, 0x0400},     {0x1p-24f, 0x0001},
                                              {-0x1.8p-24f, 0x8002},  {0x1p-25f, 0x0000},   {0x1.002p-25f, 0x0001}, {0x1.ff8p-15f, 0x03ff},
                                              {0x1.ffcp-15f, 0x0400}, {0x1.002p0f, 0x3c00}, {0x1.006p0f, 0x3c02},   {-0.0f, 0x8000},
                                              {INFINITY, 0x7c00},     {-INFINITY, 0xfc00}};
  auto valueOf = [&](int64_t n, int64_t) { return n < std::ssize(cases) ? cases[n].first : n == 20 ? NAN : 1.0f; };
  for (const char *storage : {"panels of @p : memref<2x1x32xf16>", "rows of @p : memref<35x1xf16>"}) {
    Result<std::vector<uint8_t>> bytes = pack(1, storage, valueOf);
    ASSERT_TRUE(bytes) << bytes.error().message;
    for (int64_t n = 0; n < std::ssize(cases); ++n)
      EXPECT_EQ(bitsAt(*bytes, n), cases[n].second) << cases[n].first;
    EXPECT_EQ(bitsAt(*bytes, 20) & 0x7e00, 0x7e00);
    EXPECT_EQ(bitsAt(*bytes, 21), 0x3c00);
  }
}

TEST(WeightPacker, refusesWhatF16CannotHold) {
  for (const char *storage : {"panels of @p : memref<2x3x32xf16>", "rows of @p : memref<35x3xf16>", "tiles of @p : memref<6x1x8x32xf16>"})
    for (auto [value, found] :
         std::initializer_list<std::pair<float, std::string>>{{65505.0f, "65505"}, {-70000.0f, "-70000"}, {3e38f, "3e+38"}}) {
      Result<std::vector<uint8_t>> bytes = pack(3, storage, [&](int64_t n, int64_t k) { return n == 33 && k == 2 ? value : 1.0f; });
      ASSERT_FALSE(bytes) << storage << value;
      EXPECT_EQ(bytes.error().message,
                "parameter 'p', row 33, column 2: expects at most 65504 in magnitude, as weights are f16, got " + found);
    }
  // bf16 has the range of f32.
  EXPECT_TRUE(pack(3, "panel_pairs of @p : memref<2x2x32x2xbf16>", [](int64_t, int64_t) { return 3e38f; }));
}

} // namespace
