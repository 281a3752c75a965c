// Parameters read through views of stored tensors.
#include "ReferenceTest.h"
#include "ds/Import/TensorSource.h"
#include "ds/Reference/Interpreter.h"
#include <cstring>
#include <limits>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

namespace {
/// One f32 tensor "t" of shape [3, 4] with the elements 0 to 11.
class TwelveElements : public TensorSource {
public:
  TwelveElements() {
    for (int i = 0; i < 12; ++i)
      values[i] = i;
    list.push_back({"t", StoredType::F32, {3, 4}, reinterpret_cast<const uint8_t *>(values), sizeof(values), "memory"});
  }
  const StoredTensor *find(std::string_view name) const override { return name == "t" ? list.data() : nullptr; }
  const std::vector<StoredTensor> &tensors() const override { return list; }

private:
  alignas(4096) float values[12];
  std::vector<StoredTensor> list;
};

/// One tensor "t" of less than a page.
class OneTensor : public TensorSource {
public:
  OneTensor(StoredType type, std::vector<int64_t> shape, std::vector<uint8_t> data) : data(std::move(data)) {
    list.push_back({"t", type, std::move(shape), this->data.data(), this->data.size(), "memory"});
  }
  const StoredTensor *find(std::string_view name) const override { return name == "t" ? list.data() : nullptr; }
  const std::vector<StoredTensor> &tensors() const override { return list; }

private:
  std::vector<uint8_t> data;
  std::vector<StoredTensor> list;
};

OneTensor ofFloats(std::vector<int64_t> shape, const std::vector<float> &values) {
  std::vector<uint8_t> data(values.size() * 4);
  std::memcpy(data.data(), values.data(), data.size());
  return OneTensor(StoredType::F32, std::move(shape), std::move(data));
}

class WeightsTest : public ReferenceTest {
protected:
  Result<std::vector<double>> load(llvm::StringRef declaration) { return load(declaration, source); }
  Result<std::vector<double>> load(llvm::StringRef declaration, const TensorSource &from) {
    auto module = parse(declaration);
    return loadFrom(from)(*module->getOps<ParameterOp>().begin());
  }
  TwelveElements source;
};
} // namespace

TEST_F(WeightsTest, ReadsThroughViews) {
  struct Case {
    const char *declaration;
    std::vector<double> values;
  };
  const Case cases[] = {
      {R"(ds.parameter @w from "t" : tensor<3x4xf32>)", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
      {R"(ds.parameter @w from "t" view <0, [4, 3], [1, 4]> : tensor<4x3xf32>)", {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}},
      {R"(ds.parameter @w from "t" view <4, [4], [1]> : tensor<4xf32>)", {4, 5, 6, 7}},
      {R"(ds.parameter @w from "t" view <1, [3, 2], [4, 2]> : tensor<6x1xf32>)", {1, 3, 5, 7, 9, 11}},
      {R"(ds.parameter @w from "t" view <11, [2, 2], [0, 0]> : tensor<2x2xf32>)", {11, 11, 11, 11}},
      {R"(ds.parameter @w from "t" view <0, [2, 3, 2], [2, 4, 1]> : tensor<6x2xf32>)", {0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11}},
  };
  for (const Case &test : cases) {
    auto values = load(test.declaration);
    ASSERT_TRUE(values) << test.declaration;
    EXPECT_EQ(*values, test.values) << test.declaration;
  }
}

TEST_F(WeightsTest, RefusesWhatIsNotThere) {
  auto missing = load(R"(ds.parameter @w from "u" : tensor<4xf32>)");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::Missing);
  EXPECT_EQ(missing.error().message, "tensor 'u' is not in the model's files");
  auto elements = load(R"(ds.parameter @w from "t" : tensor<4xf32>)");
  ASSERT_FALSE(elements);
  EXPECT_EQ(elements.error().message, "tensor 't': expects 4 elements, found 12");
  for (const char *view :
       {"<9, [4], [1]>", "<0, [2, 2], [11, 1]>", "<12, [4], [0]>", "<0, [4], [9223372036854775807]>", "<9223372036854775807, [4], [1]>"}) {
    auto leaving = load(R"(ds.parameter @w from "t" view )" + std::string(view) + " : tensor<4xf32>");
    ASSERT_FALSE(leaving) << view;
    EXPECT_EQ(leaving.error().code, ErrorCode::BadData);
    EXPECT_EQ(leaving.error().message, "tensor 't': its view leaves its 12 elements");
  }
}

/// Rows of which one step of the grid is 1 by their widest value, or by their range.
TEST_F(WeightsTest, RoundsToQuantizedTypes) {
  struct Case {
    const char *type;
    std::vector<float> stored;
    std::vector<double> rounded;
  };
  const Case cases[] = {
      // Both groups of a row: the widest value is the code -8, whichever its sign.
      {"1x32x!ds.quantized<4 symmetric group 16 scale f16>",
       {-8, -7.4f, 0.5f, 1.5f, 6.6f, 7.9f, 0, 0.25f, 1, 2, 3, 4, 5, 6, 7, -0.75f, 16, 1, 3, 5, 7.5f, -16, -13, 0, 0, 0, 0, 0, 0, 0, 0, 2},
       {-8, -7, 0, 2, 7, 7, 0, 0, 1, 2, 3, 4, 5, 6, 7, -1, 16, 0, 4, 4, 8, -14, -12, 0, 0, 0, 0, 0, 0, 0, 0, 2}},
      {"2x16x!ds.quantized<8 symmetric group 0 scale f32>",
       {127, -126.75f, 0.5f, 99.6f, 1.5f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0.4f, -254, 1, 3, 2.5f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
       {127, -127, 0, 100, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -254, 0, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
      {"1x16x!ds.quantized<4 asymmetric group 16 scale f16>",
       {-3, 12, 0.25f, 4.75f, -2.75f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11.5f},
       {-3, 12, 0, 5, -3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11}},
      // Of groups of f16 the scale is rounded as well: 127.03 / 127.
      {"1x16x!ds.quantized<8 symmetric group 16 scale f16>",
       {127.03f, 1, -64.2f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
       {127, 1, -64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
      // The widest value is the code -32, or -2.
      {"1x16x!ds.quantized<6 symmetric group 16 scale f16>",
       {-32, -31.4f, 30.5f, 31.9f, 0.4f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5},
       {-32, -31, 30, 31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5}},
      {"1x16x!ds.quantized<2 symmetric group 16 scale f16>",
       {2, -2, 0.4f, 0.6f, -0.6f, 1.4f, 1.6f, 0, 0, 0, 0, 0, 0, 0, 0, 1},
       {2, -1, 0, 1, -1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
      // Numbers of 8 bits: 8 to 16 in steps of 1, less than 2^-6 in steps of 2^-9; ties to even.
      {"1x16x!ds.quantized<8 e4m3 group 0 scale f32>",
       {-448, 435, 12.5f, 13.5f, -0.0f, 0.0009f, 0.0011f, 0.0137f, 417, 447, 1, 1.1f, -1.19f, 17, 19, 15.6f},
       {-448, 448, 12, 14, 0, 0, 0x1p-9, 7 * 0x1p-9, 416, 448, 1, 1.125, -1.25, 16, 20, 16}},
  };
  for (const Case &test : cases) {
    auto values = load("ds.parameter @w from \"t\" : tensor<" + std::string(test.type) + ">",
                       ofFloats({static_cast<int64_t>(test.stored.size())}, test.stored));
    ASSERT_TRUE(values) << test.type;
    EXPECT_EQ(*values, test.rounded) << test.type;
  }
}

/// Rows are those of the parameter, not those of the tensor.
TEST_F(WeightsTest, RoundsRowsOfViews) {
  std::vector<float> stored(16 * 2);
  for (int i = 0; i < 16; ++i)
    stored[2 * i] = i == 3 ? -8 : 0.75f, stored[2 * i + 1] = i == 5 ? 80 : 12;
  auto values = load(R"(ds.parameter @w from "t" view <0, [2, 16], [1, 2]> : tensor<2x16x!ds.quantized<4 symmetric group 16 scale f16>>)",
                     ofFloats({16, 2}, stored));
  ASSERT_TRUE(values);
  std::vector<double> rounded(16, 1), second(16, 10);
  rounded[3] = -8, second[5] = 80;
  rounded.insert(rounded.end(), second.begin(), second.end());
  EXPECT_EQ(*values, rounded);
}

/// Two blocks of Q8_0, of which rounding would make others: the first has no code beyond 3, the second the code -128.
OneTensor blocksOfQ80() {
  std::vector<uint8_t> data(2 * 34);
  data[1] = 0x3c, data[35] = 0x40; // f16 1 and 2
  for (int i = 0; i < 32; ++i)
    data[2 + i] = static_cast<uint8_t>(i % 4), data[36 + i] = static_cast<uint8_t>(-128 + i);
  return OneTensor(StoredType::Q8_0, {2, 32}, std::move(data));
}

TEST_F(WeightsTest, KeepsStoredCodes) {
  std::vector<double> expected;
  for (int i = 0; i < 32; ++i)
    expected.push_back(i % 4);
  for (int i = 0; i < 32; ++i)
    expected.push_back(2 * (-128 + i));
  auto values = load(R"(ds.parameter @w from "t" : tensor<2x32x!ds.quantized<8 symmetric group 32 scale f16>>)", blocksOfQ80());
  ASSERT_TRUE(values);
  EXPECT_EQ(*values, expected);
  auto row = load(R"(ds.parameter @w from "t" view <32, [1, 32], [32, 1]> : tensor<1x32x!ds.quantized<8 symmetric group 32 scale f16>>)",
                  blocksOfQ80());
  ASSERT_TRUE(row);
  EXPECT_EQ(*row, std::vector<double>(expected.begin() + 32, expected.end()));
  // Under another scheme they are rounded: steps of 256 / 127, of which 127 are the most.
  auto rounded = load(R"(ds.parameter @w from "t" : tensor<2x32x!ds.quantized<8 symmetric group 0 scale f32>>)", blocksOfQ80());
  ASSERT_TRUE(rounded);
  EXPECT_EQ((*rounded)[32], -256);
  EXPECT_NEAR((*rounded)[33], -126 * 256 / 127.0, 1e-4);
  EXPECT_NE((*rounded)[33], expected[33]);
}

/// The grid is one of the whole tensor, whatever part of it the parameter is.
TEST_F(WeightsTest, RoundsToGrids) {
  std::vector<float> stored(4 * 16), rounded(4 * 16);
  for (int i = 0; i < 64; ++i)
    stored[i] = static_cast<float>((i * 37) % 61 - 30) / 7;
  const OneTensor from = ofFloats({4, 16}, stored);
  ASSERT_TRUE(applyMoqGrid({.bits = 3}, stored.data(), 64, rounded.data()));
  auto whole =
      load(R"(ds.parameter @w from "t" grid <3 symmetric groups 1> : tensor<4x16x!ds.quantized<3 symmetric group 0 scale f32>>)", from);
  ASSERT_TRUE(whole);
  EXPECT_EQ(*whole, std::vector<double>(rounded.begin(), rounded.end()));
  auto rows = load(
      R"(ds.parameter @w from "t" view <16, [2, 16], [16, 1]> grid <3 symmetric groups 1>
            : tensor<2x16x!ds.quantized<3 symmetric group 0 scale f32>>)",
      from);
  ASSERT_TRUE(rows);
  EXPECT_EQ(*rows, std::vector<double>(rounded.begin() + 16, rounded.begin() + 48));
  ASSERT_TRUE(applyMoqGrid({.bits = 5, .asymmetric = true, .groups = 4}, stored.data(), 64, rounded.data()));
  auto turned = load(
      R"(ds.parameter @w from "t" view <0, [4, 16], [1, 4]> grid <5 asymmetric groups 4>
            : tensor<4x16x!ds.quantized<5 asymmetric group 0 scale f32>>)",
      from);
  ASSERT_TRUE(turned);
  for (int n = 0; n < 4; ++n)
    for (int k = 0; k < 16; ++k)
      EXPECT_EQ((*turned)[n * 16 + k], rounded[n + k * 4]) << n << " " << k;
  stored[40] = std::numeric_limits<float>::infinity();
  auto infinite =
      load(R"(ds.parameter @w from "t" grid <8 symmetric groups 1> : tensor<4x16x!ds.quantized<8 symmetric group 0 scale f32>>)",
           ofFloats({4, 16}, stored));
  ASSERT_FALSE(infinite);
  EXPECT_EQ(infinite.error().code, ErrorCode::BadData);
  EXPECT_EQ(infinite.error().message, "tensor 't': moq8: element 40: expects a finite value, got inf");
}

TEST_F(WeightsTest, NamesWhatCannotBeQuantized) {
  std::vector<float> stored(3 * 16, 1);
  stored[16 + 9] = std::numeric_limits<float>::quiet_NaN();
  auto nan = load(R"(ds.parameter @w from "t" : tensor<3x16x!ds.quantized<8 symmetric group 0 scale f32>>)", ofFloats({3, 16}, stored));
  ASSERT_FALSE(nan);
  EXPECT_EQ(nan.error().code, ErrorCode::BadData);
  EXPECT_EQ(nan.error().message, "row 1, element 9: expects a finite value to quantize, found NaN");
}

/// To the ops a quantized weight is one of f32.
TEST_F(WeightsTest, RunsWithQuantizedWeights) {
  std::vector<float> stored(2 * 16);
  stored[0] = 127, stored[1] = 0.6f, stored[16] = -127, stored[18] = 3.4f;
  const OneTensor from = ofFloats({2, 16}, stored);
  auto module = parse(R"(
    ds.parameter @w from "t" : tensor<2x16x!ds.quantized<8 symmetric group 0 scale f32>>
    func.func @f(%ids: tensor<1xi32>) -> (tensor<1x16xf32>, tensor<1x2xf32>) {
      %w = ds.weight @w : tensor<2x16x!ds.quantized<8 symmetric group 0 scale f32>>
      %x = ds.embedding %ids, %w : tensor<1xi32>, tensor<2x16x!ds.quantized<8 symmetric group 0 scale f32>>
      %y = ds.linear %x, %w : tensor<1x16xf32>, tensor<2x16x!ds.quantized<8 symmetric group 0 scale f32>>
      return %x, %y : tensor<1x16xf32>, tensor<1x2xf32>
    })");
  ASSERT_TRUE(module) << message;
  auto results = Interpreter(*module, loadFrom(from)).call("f", {tensor(i32(), {1}, {1})});
  ASSERT_TRUE(succeeded(results)) << message;
  EXPECT_EQ((*results)[0]->values, (std::vector<double>{-127, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ((*results)[0]->elementType, f32());
  EXPECT_EQ((*results)[1]->values, (std::vector<double>{-127 * 127, 127 * 127 + 9}));
}
