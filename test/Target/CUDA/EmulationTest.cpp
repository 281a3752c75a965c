// What kernels compute when they are emulated.
#include "EmulatedKernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <random>

using namespace ds;
using namespace ds::test;
using mlir::Value;
using mlir::ValueRange;

namespace {

using Launch = EmulatedKernel::Launch;

/// Runs in every order and with all checks, as well as on two workers.
class Emulation : public testing::TestWithParam<uint64_t> {
protected:
  static Launch launch(int32_t threads, int32_t sharedBytes = 0, std::array<uint32_t, 3> blocks = {1, 1, 1}) {
    Launch launch{{blocks[0], blocks[1], blocks[2]}, threads, sharedBytes, {}, false};
    launch.options.seed = GetParam() / 2;
    launch.options.checks = GetParam() % 2 ? dsrt::EmulatorChecks::all : dsrt::EmulatorChecks::bounds;
    launch.options.workers = 2;
    return launch;
  }
};

INSTANTIATE_TEST_SUITE_P(orders, Emulation, testing::Range<uint64_t>(0, 12));

/// Number of the thread in the grid, of one dimension.
Value globalThread(GpuEmitter &e, int64_t threads) { return e.add(e.mul(e.block(), threads), e.thread()); }

TEST_P(Emulation, numbersOfThreads) {
  static const EmulatedKernel kernel(1, [](GpuEmitter &e, ValueRange pointers) {
    Value block = e.add(e.mul(e.add(e.mul(e.block(2), e.gridSize(1)), e.block(1)), e.gridSize(0)), e.block(0));
    Value at = e.element(pointers[0], e.i32(), e.add(e.mul(block, 64), e.thread()));
    e.store(e.add(e.mul(e.warp(), 1000), e.lane()), at);
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<int32_t> out(3 * 2 * 5 * 64, -1);
  ASSERT_EQ(kernel.run(launch(64, 0, {3, 2, 5}), {memoryOf(out)}), "");
  for (size_t i = 0; i < out.size(); ++i)
    ASSERT_EQ(out[i], static_cast<int32_t>(i % 64 / 32 * 1000 + i % 32)) << i;
}

TEST_P(Emulation, shuffles) {
  static const EmulatedKernel kernel(1, [](GpuEmitter &e, ValueRange pointers) {
    auto at = [&](int64_t part) { return e.element(pointers[0], e.i32(), e.add(e.thread(), part * 128)); };
    e.store(e.shuffleXor(e.thread(), 5), at(0));
    e.store(e.shuffleIndex(e.thread(), e.sub(e.index(31), e.lane())), at(1));
    Value x = e.toF32(e.thread());
    e.store(e.toI32(e.warpSum(x)), at(2));
    e.store(e.toI32(e.warpMax(x, 8)), at(3));
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<int32_t> out(4 * 128, -1);
  ASSERT_EQ(kernel.run(launch(128), {memoryOf(out)}), "");
  for (int32_t i = 0; i < 128; ++i) {
    EXPECT_EQ(out[i], i ^ 5);
    EXPECT_EQ(out[128 + i], i / 32 * 32 + 31 - i % 32);
    EXPECT_EQ(out[256 + i], i / 32 * 32 * 32 + 496);
    EXPECT_EQ(out[384 + i], i / 8 * 8 + 7);
  }
}

TEST_P(Emulation, sumsOfBlocks) {
  static const EmulatedKernel kernel(2, [](GpuEmitter &e, ValueRange pointers) {
    Value i = globalThread(e, 256);
    Value x = e.load(e.f32(), e.element(pointers[0], e.f32(), i));
    Value sum = e.blockSum(x, e.shared(), 256), most = e.blockMax(x, e.shared(), 256);
    e.store(e.sub(sum, most), e.element(pointers[1], e.f32(), i));
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<float> in(7 * 256), out(in.size());
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = static_cast<float>(i * 37 % 101);
  ASSERT_EQ(kernel.run(launch(256, 32, {7, 1, 1}), {memoryOf(in), memoryOf(out)}), "");
  for (size_t i = 0; i < in.size(); ++i) {
    float sum = 0, most = 0;
    for (size_t j = i / 256 * 256; j < i / 256 * 256 + 256; ++j) {
      sum += in[j];
      most = std::max(most, in[j]);
    }
    ASSERT_EQ(out[i], sum - most) << i;
  }
}

/// Each thread copies the 16 bytes of its neighbour to the right in two groups, `bytes` of the second.
TEST_P(Emulation, asynchronousCopies) {
  static const EmulatedKernel kernel(2, [](GpuEmitter &e, ValueRange pointers) {
    Value offset = e.toI64(e.mul(e.thread(), 16));
    e.copyAsync(e.at(e.shared(), offset), e.at(pointers[0], offset));
    e.commitCopies();
    e.copyAsync(e.at(e.shared(1024), offset), e.at(pointers[0], offset), e.rem(e.thread(), 17));
    e.commitCopies();
    Value other = e.toI64(e.mul(e.rem(e.add(e.thread(), 1), 64), 16));
    auto result = [&](Value from, int64_t to) {
      e.store(e.load(e.vec(4, e.i32()), e.at(from, other), 16), e.at(e.at(pointers[1], to), offset), 16);
    };
    e.waitCopies(1);
    e.barrier();
    result(e.shared(), 0);
    e.waitCopies(0);
    e.barrier();
    result(e.shared(1024), 1024);
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<uint8_t> in(1024 + 16), out(2048);
  for (size_t i = 0; i < in.size(); ++i)
    in[i] = static_cast<uint8_t>(i * 7 + 1);
  auto *aligned = reinterpret_cast<uint8_t *>((reinterpret_cast<uintptr_t>(in.data()) + 15) / 16 * 16);
  ASSERT_EQ(kernel.run(launch(64, 2048), {{aligned, 1024}, memoryOf(out)}), "");
  for (size_t thread = 0; thread < 64; ++thread)
    for (size_t byte = 0; byte < 16; ++byte) {
      const size_t other = (thread + 1) % 64;
      EXPECT_EQ(out[thread * 16 + byte], aligned[other * 16 + byte]);
      EXPECT_EQ(out[1024 + thread * 16 + byte], byte < other % 17 ? aligned[other * 16 + byte] : 0) << thread << ' ' << byte;
    }
}

float valueOf(MmaType type, uint16_t bits) {
  if (type == MmaType::bf16) {
    const uint32_t word = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
  }
  _Float16 value;
  memcpy(&value, &bits, 2);
  return value;
}

void checkMma(const EmulatedKernel &kernel, MmaType type, const Launch &launch) {
  ASSERT_TRUE(kernel) << kernel.error();
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-2, 2);
  std::vector<float> a(16 * 16), b(16 * 8), c(16 * 8), out(16 * 8);
  std::vector<uint16_t> halves(16 * 16 + 16 * 8); // what the kernel rounded a and b to
  for (std::vector<float> *values : {&a, &b, &c})
    for (float &value : *values)
      value = uniform(random);
  ASSERT_EQ(kernel.run(launch, {memoryOf(a), memoryOf(b), memoryOf(c), memoryOf(out), memoryOf(halves)}), "");
  for (size_t i = 0; i < halves.size(); ++i) {
    const float exact = i < 256 ? a[i] : b[i - 256];
    EXPECT_NEAR(valueOf(type, halves[i]), exact, std::abs(exact) * (type == MmaType::bf16 ? 1.0F / 256 : 1.0F / 2048));
  }
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      double sum = c[row * 8 + column];
      for (int k = 0; k < 16; ++k)
        sum += static_cast<double>(valueOf(type, halves[row * 16 + k])) * valueOf(type, halves[256 + k * 8 + column]);
      EXPECT_FLOAT_EQ(out[row * 8 + column], static_cast<float>(sum)) << row << ' ' << column;
    }
}

Value lowHalf(GpuEmitter &e, Value word) { return mlir::arith::TruncIOp::create(e.getBuilder(), e.getLoc(), e.i16(), word); }

EmulatedKernel::Body mmaBody(MmaType type) {
  return [type](GpuEmitter &e, ValueRange pointers) {
    Value group = e.shiftRight(e.lane(), 2), k = e.mul(e.rem(e.lane(), 4), 2);
    auto read = [&](Value from, Value row, Value column, int64_t width) {
      return e.load(e.f32(), e.element(from, e.f32(), e.add(e.mul(row, width), column)));
    };
    auto keep = [&](Value pair, Value low, Value high) {
      e.store(lowHalf(e, pair), e.element(pointers[4], e.i16(), low));
      e.store(lowHalf(e, e.shiftRight(pair, 16)), e.element(pointers[4], e.i16(), high));
    };
    llvm::SmallVector<Value> a, b, c;
    for (int64_t i = 0; i < 4; ++i) {
      Value row = e.add(group, i % 2 * 8), column = e.add(k, i / 2 * 8);
      a.push_back(e.pack(type, read(pointers[0], row, column, 16), read(pointers[0], row, e.add(column, 1), 16)));
      Value at = e.add(e.mul(row, 16), column);
      keep(a.back(), at, e.add(at, 1));
    }
    for (int64_t i = 0; i < 2; ++i) {
      Value row = e.add(k, i * 8);
      b.push_back(e.pack(type, read(pointers[1], row, group, 8), read(pointers[1], e.add(row, 1), group, 8)));
      Value at = e.add(e.add(e.mul(row, 8), group), 256);
      keep(b.back(), at, e.add(at, 8));
    }
    for (int64_t i = 0; i < 4; ++i)
      c.push_back(read(pointers[2], e.add(group, i / 2 * 8), e.add(k, i % 2), 8));
    llvm::SmallVector<Value> sums = e.mma(type, a, b, c);
    for (int64_t i = 0; i < 4; ++i)
      e.store(sums[i], e.element(pointers[3], e.f32(), e.add(e.mul(e.add(group, i / 2 * 8), 8), e.add(k, i % 2))));
  };
}

TEST_P(Emulation, matrixProductsOfBf16) {
  static const EmulatedKernel kernel(5, mmaBody(MmaType::bf16));
  checkMma(kernel, MmaType::bf16, launch(32));
}
TEST_P(Emulation, matrixProductsOfF16) {
  static const EmulatedKernel kernel(5, mmaBody(MmaType::f16));
  checkMma(kernel, MmaType::f16, launch(32));
}

/// The last of 40 blocks to count adds up what all have written.
TEST_P(Emulation, theLastBlockSeesAll) {
  static const EmulatedKernel kernel(3, [](GpuEmitter &e, ValueRange pointers) {
    e.store(e.toF32(e.block()), e.element(pointers[0], e.f32(), globalThread(e, 32)));
    e.fence();
    e.barrier();
    e.ifThen(e.eq(e.thread(), 0), [&] { e.store(e.atomicAdd(pointers[1], e.index(1)), e.shared()); });
    e.barrier();
    e.ifThen(e.eq(e.load(e.i32(), e.shared()), 39), [&] {
      e.fence();
      auto sum = e.forRange(e.index(0), e.gridSize(), 1, ValueRange{e.constantF32(0)}, [&](Value block, ValueRange sum) {
        return Emitter::Values{e.add(sum[0], e.load(e.f32(), e.element(pointers[0], e.f32(), e.add(e.mul(block, 32), e.lane()))))};
      });
      e.store(sum[0], e.element(pointers[2], e.f32(), e.lane()));
      e.ifThen(e.eq(e.thread(), 0), [&] { e.store(e.index(0), pointers[1]); });
    });
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<float> parts(40 * 32), out(32);
  std::vector<int32_t> counter(1);
  ASSERT_EQ(kernel.run(launch(32, 4, {40, 1, 1}), {memoryOf(parts), memoryOf(counter), memoryOf(out)}), "");
  for (float value : out)
    EXPECT_EQ(value, 780);
  EXPECT_EQ(counter[0], 0);
}

TEST(EmulationMath, approximations) {
  const EmulatedKernel kernel(3, [](GpuEmitter &e, ValueRange pointers) {
    Value i = globalThread(e, 32), x = e.load(e.f32(), e.element(pointers[0], e.f32(), i));
    e.store(e.exp2(x), e.element(pointers[1], e.f32(), i));
    e.store(e.rsqrt(x), e.element(pointers[2], e.f32(), i));
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<float> x(32 * 100), power(x.size()), root(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = (static_cast<float>(i) - 1600) / 12;
  const float infinity = HUGE_VALF;
  const float special[] = {0, -0.0F, infinity, -infinity, NAN, 1e-40F, -1e-40F, 127.999F, 128, -126, -126.5F, -149, 1, 3e38F, -1, 1e-30F};
  std::copy(std::begin(special), std::end(special), x.begin());
  ASSERT_EQ(kernel.run({{100, 1, 1}, 32, 0, {}, false}, {memoryOf(x), memoryOf(power), memoryOf(root)}), "");
  for (size_t i = 0; i < x.size(); ++i) {
    const double exactPower = std::exp2(static_cast<double>(x[i]));
    if (std::isnan(x[i]))
      EXPECT_TRUE(std::isnan(power[i]) && std::isnan(root[i]));
    else if (exactPower < 0x1p-126)
      EXPECT_EQ(power[i], 0) << x[i];
    else if (exactPower > 3.4028235e38)
      EXPECT_EQ(power[i], infinity) << x[i];
    else
      EXPECT_NEAR(power[i], exactPower, exactPower * 0x1p-22) << x[i];
    if (std::abs(x[i]) < 0x1p-126F)
      EXPECT_EQ(root[i], std::signbit(x[i]) ? -infinity : infinity) << x[i];
    else if (x[i] < 0)
      EXPECT_TRUE(std::isnan(root[i])) << x[i];
    else if (!std::isnan(x[i]))
      EXPECT_NEAR(root[i], 1 / std::sqrt(static_cast<double>(x[i])), 1 / std::sqrt(static_cast<double>(x[i])) * 0x1p-22) << x[i];
  }
}

TEST(EmulationMath, roundsToBf16AndF16) {
  const EmulatedKernel kernel(2, [](GpuEmitter &e, ValueRange pointers) {
    Value zero = e.constantF32(0);
    Value x = e.load(e.f32(), e.element(pointers[0], e.f32(), e.thread()));
    e.store(e.pack(MmaType::bf16, x, zero), e.element(pointers[1], e.i32(), e.thread()));
    e.store(e.pack(MmaType::f16, zero, x), e.element(pointers[1], e.i32(), e.add(e.thread(), 32)));
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<float> x(32);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = 1 + static_cast<float>(i) / 4096;
  x[30] = 1e30F;
  x[31] = -1e-6F;
  std::vector<int32_t> out(64);
  ASSERT_EQ(kernel.run({}, {memoryOf(x), memoryOf(out)}), "");
  for (size_t i = 0; i < x.size(); ++i) {
    uint32_t word;
    memcpy(&word, &x[i], 4);
    EXPECT_EQ(static_cast<uint32_t>(out[i]), (word + 0x7fff + (word >> 16 & 1)) >> 16);
    const auto half = static_cast<_Float16>(x[i]);
    uint16_t bits;
    memcpy(&bits, &half, 2);
    EXPECT_EQ(static_cast<uint32_t>(out[32 + i]) >> 16, bits);
  }
}

TEST(EmulationMemory, maskedAndStreamedAccess) {
  const EmulatedKernel kernel(2, [](GpuEmitter &e, ValueRange pointers) {
    Value offset = e.toI64(e.mul(e.thread(), 16));
    Value words = e.loadStream(e.at(pointers[0], offset));
    // The last thread has 3 of 4 lanes.
    Value count = e.sub(e.constant(127), e.toI64(e.mul(e.thread(), 4)));
    Value mask = e.laneMask(count, 4);
    Value masked = e.maskedLoad(e.vec(4, e.i32()), e.at(pointers[1], offset), mask);
    e.maskedStore(e.add(words, masked), e.at(pointers[1], offset), mask);
  });
  ASSERT_TRUE(kernel) << kernel.error();
  alignas(16) int32_t in[128];
  std::vector<int32_t> out(127, 1000);
  for (int32_t i = 0; i < 128; ++i)
    in[i] = i;
  ASSERT_EQ(kernel.run({}, {{in, sizeof(in)}, memoryOf(out)}), "");
  for (int32_t i = 0; i < 127; ++i)
    EXPECT_EQ(out[i], 1000 + i);
}

TEST(EmulationMemory, aStackThatIsTooLargeIsRefused) {
  const EmulatedKernel kernel(1, [](GpuEmitter &e, ValueRange pointers) {
    Value stack = mlir::LLVM::AllocaOp::create(e.getBuilder(), e.getLoc(), e.ptr(), e.i8(), e.index(1 << 20), 16);
    e.store(stack, pointers[0]);
  });
  EXPECT_NE(kernel.error().find("ds_emulated_kernel needs 1048"), std::string::npos) << kernel.error();
}

TEST(EmulationMemory, anUnknownOpIsNamed) {
  const EmulatedKernel kernel(
      1, [](GpuEmitter &e, ValueRange) { mlir::NVVM::ClusterArriveOp::create(e.getBuilder(), e.getLoc(), mlir::UnitAttr()); });
  EXPECT_EQ(kernel.error(), "kernel 'kernel': emulation has no 'nvvm.cluster.arrive'");
}

} // namespace
