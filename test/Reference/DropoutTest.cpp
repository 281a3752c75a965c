// Philox against its published answers, and what ds.dropout makes of its words.
#include "ReferenceTest.h"
#include "ds/Reference/Interpreter.h"
#include "ds/Reference/Philox.h"
#include <cmath>

using namespace ds;
using namespace ds::reference;

/// The known answers that Random123 comes with (kat_vectors, philox4x32 of 10 rounds).
TEST(Philox, knownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox4x32({ones, ones, ones, ones}, {ones, ones}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

namespace {
class DropoutTest : public ReferenceTest {
protected:
  /// ds.dropout of `input`, [rows, width].
  std::vector<double> drop(const std::vector<double> &input, int64_t width, double rate, int64_t site, std::vector<double> seed) {
    const std::string type = "tensor<?x" + std::to_string(width) + "xf64>", op = "ds.dropout %x, %s rate " + std::to_string(rate) +
                                                                                 " site " + std::to_string(site) + " : " + type +
                                                                                 ", tensor<2xi32>";
    auto module =
        parse("func.func @f(%x: " + type + ", %s: tensor<2xi32>) -> " + type + " {\n  %y = " + op + "\n  return %y : " + type + "\n}\n");
    EXPECT_TRUE(module) << message;
    Interpreter interpreter(*module);
    const auto rows = static_cast<int64_t>(input.size()) / width;
    auto result = interpreter.call("f", {tensor(mlir::Float64Type::get(&context), {rows, width}, input), tensor(i32(), {2}, seed)});
    EXPECT_TRUE(succeeded(result)) << message;
    return (*result)[0]->values;
  }
};
} // namespace

/// Element 5 of site 3 is word 1 of the block 1.
TEST_F(DropoutTest, elementsStayByTheirWords) {
  const std::vector<double> input{1, -2, 3, 4, 5, 6, 7}, output = drop(input, 7, 0.5, 3, {-7, 9});
  for (size_t i = 0; i < input.size(); ++i) {
    const uint32_t word = philox4x32({static_cast<uint32_t>(i / 4), 0, 3, 0}, {static_cast<uint32_t>(-7), 9})[i % 4];
    EXPECT_EQ(output[i], word >= 0x80000000 ? 2 * input[i] : 0) << i;
  }
  EXPECT_EQ(drop(input, 7, 0, 3, {-7, 9}), input);
}

/// Of so many elements the share that stays is within four standard deviations, in other sites and with other seeds another part of them.
TEST_F(DropoutTest, statistics) {
  const int64_t count = 100000, width = 50;
  const std::vector<double> ones(count, 1);
  for (double rate : {0.1, 0.5, 0.9}) {
    const double share = 1 - rate, sigma = std::sqrt(share * rate / count);
    const std::vector<double> first = drop(ones, width, rate, 0, {1, 2});
    std::vector<std::vector<double>> masks{first, drop(ones, width, rate, 1, {1, 2}), drop(ones, width, rate, 0, {2, 2}),
                                           drop(ones, width, rate, 0, {1, 3})};
    for (size_t k = 0; k < masks.size(); ++k) {
      int64_t stay = 0, both = 0, neighbours = 0;
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_TRUE(masks[k][i] == 0 || std::abs(masks[k][i] - 1 / share) < 1e-12);
        stay += masks[k][i] != 0;
        both += masks[k][i] != 0 && first[i] != 0;
        neighbours += masks[k][i] != 0 && masks[k][(i + width) % count] != 0;
      }
      EXPECT_NEAR(static_cast<double>(stay) / count, share, 4 * sigma) << rate << " of mask " << k;
      const double pairs = share * share, sigmaOfPairs = std::sqrt(pairs * (1 - pairs) / count);
      EXPECT_NEAR(static_cast<double>(neighbours) / count, pairs, 8 * sigmaOfPairs) << rate << " of mask " << k; // pairs overlap
      if (k > 0)
        EXPECT_NEAR(static_cast<double>(both) / count, pairs, 4 * sigmaOfPairs) << rate << " of mask " << k;
    }
    EXPECT_EQ(drop(ones, width, rate, 0, {1, 2}), first);
  }
}
