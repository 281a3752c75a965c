// Rounding, attributes and comparison.
#include "ReferenceTest.h"
#include "mlir/AsmParser/AsmParser.h"
#include <cmath>

using namespace mlir;
using namespace ds::reference;

namespace {
class TensorTest : public ReferenceTest {};
} // namespace

TEST_F(TensorTest, RoundsToNearestTiesToEven) {
  struct Case {
    Type type;
    double value, rounded;
  };
  Type f16 = Float16Type::get(&context), bf16 = BFloat16Type::get(&context), f64 = Float64Type::get(&context);
  const Case cases[] = {
      {f32(), 0.1, 0.1f},
      {f32(), 1 + std::ldexp(1, -24), 1},
      {f32(), 1 + std::ldexp(3, -24), 1 + std::ldexp(1, -22)},
      {f32(), 1e39, INFINITY},
      {bf16, 1 + std::ldexp(1, -8), 1},
      {bf16, 1 + std::ldexp(3, -8), 1 + std::ldexp(1, -6)},
      // Through f32 this would lie halfway and go down.
      {bf16, 1 + std::ldexp(1, -8) + std::ldexp(1, -40), 1 + std::ldexp(1, -7)},
      {f16, 65519.99, 65504},
      {f16, 65520, INFINITY},
      {f16, std::ldexp(1, -25), 0},
      {f16, -std::ldexp(1.5, -24), -std::ldexp(1, -23)},
      {f64, 0.1, 0.1},
      {i32(), 7, 7},
  };
  for (const Case &test : cases)
    EXPECT_EQ(roundToType(test.value, test.type), test.rounded) << test.value;
  EXPECT_TRUE(std::isnan(roundToType(NAN, bf16)));
  EXPECT_TRUE(std::signbit(roundToType(-0.0, f16)));
}

TEST_F(TensorTest, ReadsAttributes) {
  auto dense = tensorOf(cast<ElementsAttr>(parseAttribute("dense<[[1.5, -2.0], [0.0, 4.0]]> : tensor<2x2xf16>", &context)));
  ASSERT_TRUE(succeeded(dense));
  EXPECT_EQ(dense->shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(dense->values, (std::vector<double>{1.5, -2, 0, 4}));
  auto splat = tensorOf(cast<ElementsAttr>(parseAttribute("dense<-3> : tensor<3xi32>", &context)));
  ASSERT_TRUE(succeeded(splat));
  EXPECT_EQ(splat->values, (std::vector<double>{-3, -3, -3}));
  auto sparse = tensorOf(cast<ElementsAttr>(parseAttribute("sparse<[[1]], [2.0]> : tensor<3xf32>", &context)));
  ASSERT_TRUE(succeeded(sparse));
  EXPECT_EQ(sparse->values, (std::vector<double>{0, 2, 0}));
}

TEST_F(TensorTest, FindsTheFirstDifference) {
  Tensor expected{f32(), {2, 2}, {1, 2, 3, 4}}, found{f32(), {2, 2}, {1, 2, 3.5, 5}};
  auto far = findFar(found, expected, 0.1, 0);
  ASSERT_TRUE(far);
  EXPECT_EQ(far->index, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(far->expected, 3);
  EXPECT_EQ(far->found, 3.5);
  EXPECT_FALSE(findFar(found, expected, 0, 0.25));
  EXPECT_FALSE(findUnequal(found, found));
  EXPECT_TRUE(findUnequal(found, expected));
}
