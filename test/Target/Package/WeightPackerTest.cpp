// Where each element of a weight stands in the file.
#include "lib/Target/Package/WeightPacker.h"
#include "mlir/Parser/Parser.h"
#include <cstring>
#include <gtest/gtest.h>

using namespace mlir;
using namespace ds;

namespace {

constexpr int64_t rows = 35;

/// Element [n, k] of the parameters here: exact in bf16, never zero.
float valueOf(int64_t n, int64_t k) { return static_cast<float>(n + 1) + (k % 2 ? 0.5f : 0.0f) + 64.0f * static_cast<float>(k / 2 % 2); }

struct NoTensors : TensorSource {
  const StoredTensor *find(std::string_view) const override { return nullptr; }
  const std::vector<StoredTensor> &tensors() const override { return none; }
  std::vector<StoredTensor> none;
};

/// [35, depth] packed as `storage`, one unit after the other.
std::vector<uint8_t> packed(int64_t depth, const std::string &storage) {
  std::string values, shape = std::to_string(rows) + "x" + std::to_string(depth);
  for (int64_t n = 0; n < rows; ++n) {
    values += n ? ", [" : "[";
    for (int64_t k = 0; k < depth; ++k)
      values += (k ? ", " : "") + std::to_string(valueOf(n, k));
    values += "]";
  }
  DialectRegistry registry;
  registry.insert<DSDialect, ds_plan::DSPlanDialect>();
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  auto module = parseSourceString<ModuleOp>("ds.parameter @p value dense<[" + values + "]> : tensor<" + shape + "xf32> : tensor<" + shape +
                                                "xf32>\nds_plan.storage @s " + storage + "\n",
                                            ParserConfig(&context));
  if (!module)
    return {};
  auto stored = module->lookupSymbol<ds_plan::StorageOp>("s");
  Result<ParameterReader> reader = ParameterReader::create(module->lookupSymbol<ParameterOp>("p"), NoTensors());
  if (!reader)
    return {};
  std::vector<uint8_t> bytes(storageBytes(stored), 0xff);
  for (int64_t unit = 0; unit < unitCount(stored); ++unit)
    if (!packUnits(stored, &*reader, unit, 1, bytes.data() + unit * unitBytes(stored)))
      return {};
  return bytes;
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

} // namespace
