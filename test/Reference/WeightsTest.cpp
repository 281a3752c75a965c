// Parameters read through views of stored tensors.
#include "ReferenceTest.h"
#include "ds/Import/TensorSource.h"
#include "ds/Reference/Interpreter.h"

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

class WeightsTest : public ReferenceTest {
protected:
  Result<std::vector<double>> load(const char *declaration) {
    auto module = parse(declaration);
    return loadFrom(source)(*module->getOps<ParameterOp>().begin());
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
    auto leaving = load((R"(ds.parameter @w from "t" view )" + std::string(view) + " : tensor<4xf32>").c_str());
    ASSERT_FALSE(leaving) << view;
    EXPECT_EQ(leaving.error().code, ErrorCode::BadData);
    EXPECT_EQ(leaving.error().message, "tensor 't': its view leaves its 12 elements");
  }
}
