// NumPy files: what is written is read back, and what is no such file is refused.
#include "ds/Reference/Npy.h"
#include "ReferenceTest.h"
#include <cmath>
#include <fstream>

using namespace mlir;
using namespace ds;
using namespace ds::reference;

namespace {
class NpyTest : public ReferenceTest {
protected:
  std::string path() { return ::testing::TempDir() + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".npy"; }
  /// A file of version 1 with this dictionary and data.
  Result<Tensor> read(std::string dictionary, std::string data, Type type) {
    std::string bytes = "\x93NUMPY" + std::string("\x01\x00", 2);
    bytes += static_cast<char>(dictionary.size() & 255);
    bytes += static_cast<char>(dictionary.size() >> 8);
    return readBytes(bytes + dictionary + data, type);
  }
  Result<Tensor> readBytes(const std::string &bytes, Type type) {
    std::ofstream(path(), std::ios::binary).write(bytes.data(), bytes.size());
    return readNpy(path(), type);
  }
};
} // namespace

TEST_F(NpyTest, ReadsWhatItWrites) {
  Type f64 = Float64Type::get(&context);
  for (std::vector<int64_t> shape : {std::vector<int64_t>{2, 2}, {4}, {1, 4, 1}}) {
    ASSERT_TRUE(writeNpy(path(), {f64, shape, {0.1, -0.0, INFINITY, -1e300}}));
    auto tensor = readNpy(path(), f64);
    ASSERT_TRUE(tensor);
    EXPECT_EQ(tensor->shape, shape);
    EXPECT_FALSE(findUnequal(*tensor, {f64, shape, {0.1, -0.0, INFINITY, -1e300}}));
  }
  ASSERT_TRUE(writeNpy(path(), {i32(), {2}, {INT32_MIN, INT32_MAX}}));
  EXPECT_EQ(readNpy(path(), i32())->values, (std::vector<double>{INT32_MIN, INT32_MAX}));
  ASSERT_TRUE(writeNpy(path(), {f64, {}, {3}}));
  EXPECT_TRUE(readNpy(path(), f64)->shape.empty());
  ASSERT_TRUE(writeNpy(path(), {f64, {0, 3}, {}}));
  EXPECT_EQ(readNpy(path(), f64)->shape, (std::vector<int64_t>{0, 3}));
}

TEST_F(NpyTest, ReadsOtherTypes) {
  EXPECT_EQ(read("{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }", std::string("\x01\x00\x01", 3), i32())->values,
            (std::vector<double>{1, 0, 1}));
  EXPECT_EQ(read("{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", "\xff\x7f", i32())->values, (std::vector<double>{-1, 127}));
  EXPECT_EQ(read("{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", std::string("\x00\x3c\x00\xc0", 4), f32())->values,
            (std::vector<double>{1, -2}));
  EXPECT_EQ(read("{'shape': (1, 2), 'fortran_order': False, 'descr': '<i2'}", std::string("\x00\x80\x02\x00", 4), i32())->values,
            (std::vector<double>{-32768, 2}));
}

TEST_F(NpyTest, RefusesWhatIsNoArray) {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", data("\0\0\0\0", 4);
  ASSERT_TRUE(read(good, data, f32()));
  EXPECT_FALSE(read(good, data + "\1", f32()));
  EXPECT_FALSE(read(good, "", f32()));
  EXPECT_FALSE(read(good, data, i32()));
  for (const char *dictionary :
       {"", "{}", "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "{'descr': '<f4', 'fortran_order': False, 'shape': (1", "{'shape':",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (x,), }", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905,), }",
        "{'descr': '<O', 'fortran_order': False, 'shape': ()}"}) {
    auto tensor = read(dictionary, data, f32());
    EXPECT_FALSE(tensor) << dictionary;
    EXPECT_EQ(tensor.error().code, ErrorCode::BadData) << dictionary;
  }
  std::string whole = "\x93NUMPY" + std::string("\x01\x00", 2) + std::string("\x40\x00", 2) + std::string(64, ' ');
  for (size_t length = 0; length <= whole.size(); ++length)
    EXPECT_FALSE(readBytes(whole.substr(0, length), f32())) << length;
  EXPECT_FALSE(readBytes("\x93NUMPY" + std::string("\x02\x00\xff\xff\xff\xff", 6), f32()));
  EXPECT_FALSE(readBytes("\x93NUMPY" + std::string("\x04\x00\x00\x00\x00\x00", 6), f32()));
}
