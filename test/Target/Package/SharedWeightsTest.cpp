// Where the weights of two targets stand in one file.
#include "ds/Target/Package/SharedWeights.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace ds;
using ds_plan::StorageOp;

namespace {
constexpr const char *parameters = R"(
  ds.parameter @w from "w" : tensor<64x32xf32>
  ds.parameter @table from "t" : tensor<100x30xf32>
  ds.parameter @gain from "g" : tensor<30xf32>
)";
constexpr const char *hostStorages = R"(
  ds_plan.storage @gain.vector vector of @gain offset 0 : memref<32xf32>
  ds_plan.storage @w.panel_pairs panel_pairs of @w offset 128 : memref<2x16x32x2xbf16>
  ds_plan.storage @table.rows rows of @table offset 4224 : memref<100x30xbf16>
)";
constexpr const char *deviceStorages = R"(
  ds_plan.storage @table.rows rows of @table offset 0 : memref<100x30xbf16>
  ds_plan.storage @w.tiles tiles of @w offset 6016 : memref<8x1x8x32xbf16>
  ds_plan.storage @gain.vector vector of @gain offset 10112 : memref<32xf32>
)";

class SharedWeightsTest : public testing::Test {
protected:
  SharedWeightsTest() {
    context.appendDialectRegistry([] {
      DialectRegistry registry;
      registry.insert<DSDialect, ds_plan::DSPlanDialect>();
      return registry;
    }());
    context.loadAllAvailableDialects();
  }
  OwningOpRef<ModuleOp> parse(const std::string &storages, const std::string &of = parameters) {
    return parseSourceString<ModuleOp>(of + storages, ParserConfig(&context));
  }
  static int64_t offsetOf(ModuleOp module, StringRef name) { return *module.lookupSymbol<StorageOp>(name).getOffset(); }

  MLIRContext context{MLIRContext::Threading::DISABLED};
};
} // namespace

TEST_F(SharedWeightsTest, whatIsAlikeIsThereOnce) {
  OwningOpRef<ModuleOp> host = parse(hostStorages), device = parse(deviceStorages);
  ASSERT_TRUE(host && device);
  EXPECT_EQ(weightRangeOf(*host).bytes, 4224 + 6000);
  const SharedWeights ranges = placeTogether(*host, *device);
  // 4096 bytes of panels, a table of 6000 and a vector of 128 for both, tiles.
  EXPECT_EQ(ranges.host.offset, 0);
  EXPECT_EQ(offsetOf(*host, "w.panel_pairs"), 0);
  EXPECT_EQ(ranges.device.offset, 4096);
  EXPECT_EQ(offsetOf(*host, "table.rows"), 4096);
  EXPECT_EQ(offsetOf(*device, "table.rows"), 0);
  EXPECT_EQ(offsetOf(*host, "gain.vector"), 4096 + 6016);
  EXPECT_EQ(offsetOf(*device, "gain.vector"), 6016);
  EXPECT_EQ(ranges.host.bytes, 4096 + 6016 + 128);
  EXPECT_EQ(offsetOf(*device, "w.tiles"), 6144);
  EXPECT_EQ(ranges.device.bytes, 6144 + 4096);
}

TEST_F(SharedWeightsTest, anotherParameterOfTheNameIsAnother) {
  std::string other = parameters;
  other.replace(other.find("\"t\""), 3, "\"u\"");
  OwningOpRef<ModuleOp> host = parse(hostStorages), device = parse(deviceStorages, other);
  ASSERT_TRUE(host && device);
  const SharedWeights ranges = placeTogether(*host, *device);
  EXPECT_EQ(offsetOf(*host, "table.rows"), 4096);
  EXPECT_EQ(ranges.device.offset, 12288); // behind 4096 + 6000
  EXPECT_EQ(offsetOf(*device, "gain.vector"), 0);
  EXPECT_EQ(offsetOf(*device, "table.rows"), 128);
  EXPECT_EQ(ranges.host.bytes, 12288 + 128);
  EXPECT_EQ(ranges.device.bytes, 128 + 6016 + 4096);
}

TEST_F(SharedWeightsTest, nothingInCommon) {
  OwningOpRef<ModuleOp> host = parse("ds_plan.storage @w.panel_pairs panel_pairs of @w offset 0 : memref<2x16x32x2xbf16>\n");
  OwningOpRef<ModuleOp> device = parse("ds_plan.storage @w.tiles tiles of @w offset 0 : memref<8x1x8x32xbf16>\n");
  ASSERT_TRUE(host && device);
  const SharedWeights ranges = placeTogether(*host, *device);
  EXPECT_EQ(ranges.host.bytes, 4096);
  EXPECT_EQ(ranges.device.offset, 4096);
  EXPECT_EQ(ranges.device.bytes, 4096);
}
