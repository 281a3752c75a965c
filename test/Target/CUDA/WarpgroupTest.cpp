// mbarriers, bulk copies and wgmma on the emulator: what they compute, and what is found wrong with their use.
#include "EmulatedKernel.h"
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

using namespace ds;
using namespace ds::test;
using dsrt::EmulatorChecks;
using mlir::Value;
using mlir::ValueRange;

namespace {

constexpr int64_t k = 64, columns = 24, stageBytes = k * columns * 2, phasesAt = 2 * stageBytes;

/// What a kernel of the test leaves out or gets wrong.
enum class Mistake {
  none,
  noFullWait,
  noEmptyWait,
  noArrival,
  wrongParity,
  tooFewBytes,
  tooManyBytes,
  notShown,
  noFence,
  noCommit,
  noWait,
  outside,
  oneWarp,
  earlyArrival
};

/// The last warp copies `steps` stages of [k / 8][columns] pieces, the other four multiply each by rows of ones times 1 + the step.
EmulatedKernel::Body pipeline(int64_t steps, Mistake mistake) {
  return [=](GpuEmitter &e, ValueRange pointers) {
    auto phase = [&](Value step, int64_t which) { return e.at(e.shared(phasesAt + which * 16), e.mul(e.rem(step, 2), 8)); };
    auto parity = [&](Value step) {
      Value bit = e.bitAnd(e.div(step, 2), e.index(1));
      return mistake == Mistake::wrongParity ? e.sub(e.index(1), bit) : bit;
    };
    auto buffer = [&](Value step) { return e.at(e.shared(), e.mul(e.rem(step, 2), stageBytes)); };
    e.ifThen(e.eq(e.thread(), 0), [&] {
      for (int64_t i = 0; i < 2; ++i) {
        e.initPhase(phase(e.index(i), 0), 1);
        e.initPhase(phase(e.index(i), 1), 4);
      }
      if (mistake != Mistake::notShown)
        e.showPhases();
    });
    e.barrier();
    Value copies = e.eq(e.warp(), 4);
    e.ifThen(copies, [&] {
      e.forRange(e.index(0), e.index(steps), 1, [&](Value step) {
        if (mistake != Mistake::noEmptyWait)
          e.ifThen(e.ge(step, 2), [&] { e.waitPhase(phase(step, 1), parity(e.sub(step, 2))); });
        e.ifThen(e.eq(e.lane(), 0), [&] {
          const int64_t wrong = mistake == Mistake::tooFewBytes ? -16 : mistake == Mistake::tooManyBytes ? 16 : 0;
          e.arrive(phase(step, 0), e.index(stageBytes + wrong));
          e.copyBulk(buffer(step), e.at(pointers[0], e.mul(e.toI64(step), stageBytes)), e.index(stageBytes), phase(step, 0));
        });
      });
    });
    auto multiply = [&] {
      Emitter::Values sums(columns / 2, e.constantF32(0));
      sums = e.forRange(e.index(0), e.index(steps), 1, sums, [&](Value step, ValueRange carried) {
        if (mistake != Mistake::noFullWait)
          e.waitPhase(phase(step, 0), parity(step));
        Value factor = e.toF32(e.add(step, 1));
        Emitter::Values a(4, e.pack(MmaType::f16, factor, factor)), result(carried);
        // Pieces of 8 columns are side by side, those of the next 8 k behind all of them.
        Value at = mistake == Mistake::outside ? e.at(buffer(step), 2 * stageBytes) : buffer(step);
        Value b = e.factorAt(at, columns * 16, 128);
        if (mistake != Mistake::noFence)
          e.wgmmaFence(result, a);
        for (int64_t i = 0; i < k / 16; ++i)
          result = e.wgmma(MmaType::f16, a, e.add(b, i * 2 * columns), result);
        if (mistake != Mistake::noCommit)
          e.wgmmaCommit();
        auto arrive = [&] { e.ifThen(e.eq(e.lane(), 0), [&] { e.arrive(phase(step, 1)); }); };
        if (mistake == Mistake::earlyArrival)
          arrive();
        if (mistake != Mistake::noWait)
          result = e.wgmmaWait(0, result, a);
        if (mistake != Mistake::earlyArrival && mistake != Mistake::noArrival)
          arrive();
        return result;
      });
      Value g = e.shiftRight(e.lane(), 2), t = e.bitAnd(e.lane(), e.index(3));
      for (int64_t i = 0; i < columns / 2; ++i) {
        Value row = e.add(e.add(e.mul(e.warp(), 16), g), i / 2 % 2 * 8), column = e.add(e.mul(t, 2), i / 4 * 8 + i % 2);
        e.store(sums[i], e.element(pointers[1], e.f32(), e.add(e.mul(row, columns), column)));
      }
    };
    e.ifThen(e.lt(e.warp(), mistake == Mistake::oneWarp ? 1 : 4), multiply);
  };
}

uint16_t half(float value) {
  const auto narrow = static_cast<_Float16>(value);
  uint16_t bits;
  memcpy(&bits, &narrow, 2);
  return bits;
}

/// Runs `steps` stages of small integers; what is wrong with the sums, or what the emulator says.
std::string run(const EmulatedKernel &kernel, int64_t steps, uint64_t seed, EmulatorChecks checks = EmulatorChecks::all) {
  std::vector<uint16_t> storage(steps * k * columns + 8);
  auto *in = reinterpret_cast<uint16_t *>((reinterpret_cast<uintptr_t>(storage.data()) + 15) / 16 * 16);
  std::vector<float> out(64 * columns, -1), expected(columns);
  for (int64_t step = 0; step < steps; ++step)
    for (int64_t i = 0; i < k; ++i)
      for (int64_t column = 0; column < columns; ++column) {
        const auto value = static_cast<float>((step * 5 + i * 3 + column * 7) % 11 - 5);
        in[step * k * columns + i / 8 * 8 * columns + column * 8 + i % 8] = half(value);
        expected[column] += value * static_cast<float>(step + 1);
      }
  std::string message =
      kernel.run(launchWith(checks, 160, phasesAt + 32, seed), {{in, static_cast<size_t>(steps * stageBytes)}, memoryOf(out)});
  if (!message.empty())
    return message;
  for (int64_t i = 0; i < 64 * columns; ++i)
    if (out[i] != expected[i % columns])
      return "sum " + std::to_string(i) + " is " + std::to_string(out[i]) + ", not " + std::to_string(expected[i % columns]);
  return "";
}

TEST(EmulationWarpgroup, aPipeline) {
  const EmulatedKernel kernel(2, pipeline(7, Mistake::none));
  ASSERT_TRUE(kernel) << kernel.error();
  for (uint64_t seed = 0; seed < 12; ++seed)
    for (EmulatorChecks checks : {EmulatorChecks::none, EmulatorChecks::bounds, EmulatorChecks::all})
      EXPECT_EQ(run(kernel, 7, seed, checks), "") << seed;
}

/// Each of these is told in every order.
TEST(EmulationWarpgroup, mistakesThatAreFound) {
  const std::pair<Mistake, const char *> found[] = {
      {Mistake::noFullWait, "reads what a copy of thread 128 is on its way to"},
      {Mistake::noArrival, "waits for a phase that nothing ends: "},
      {Mistake::tooFewBytes, "bytes in a phase that expects"},
      {Mistake::tooManyBytes, "waits for a phase that nothing ends: 0 of 1 arrivals and 16 of 3088 bytes are missing"},
      {Mistake::notShown, "counts at an mbarrier that no fence has shown to copies"},
      {Mistake::noFence, "has no wgmma.fence behind the last group"},
      {Mistake::noCommit, "writes what a product of thread "},
      {Mistake::outside, "of 6176 bytes of shared memory"},
      {Mistake::oneWarp, ""},
      {Mistake::noEmptyWait, ""},
      {Mistake::wrongParity, ""},
      {Mistake::earlyArrival, ""},
      {Mistake::noWait, ""}};
  for (const auto &[mistake, part] : found) {
    const EmulatedKernel kernel(2, pipeline(5, mistake));
    ASSERT_TRUE(kernel) << kernel.error();
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const std::string message = run(kernel, 5, seed);
      EXPECT_NE(message, "") << static_cast<int>(mistake) << ", seed " << seed;
      if (mistake == Mistake::noFullWait && seed > 0)
        continue; // or the sums of another time
      EXPECT_FOUND(message, part) << static_cast<int>(mistake) << ", seed " << seed;
    }
  }
}

/// An arrival orders what its thread did before, and no more.
TEST(EmulationWarpgroup, phasesOrderThreads) {
  auto body = [](bool behind) {
    return [=](GpuEmitter &e, ValueRange pointers) {
      Value phase = e.shared(512);
      e.ifThen(e.eq(e.thread(), 0), [&] { e.initPhase(phase, 32); });
      e.barrier();
      auto word = [&](Value lane) { return e.element(e.shared(), e.i32(), lane); };
      e.ifElse(
          e.lt(e.thread(), 32),
          [&] {
            if (behind)
              e.arrive(phase);
            e.store(e.mul(e.lane(), 3), word(e.lane()));
            if (!behind)
              e.arrive(phase);
          },
          [&] {
            e.waitPhase(phase, e.index(0));
            e.store(e.load(e.i32(), word(e.lane())), e.element(pointers[0], e.i32(), e.lane()));
          });
    };
  };
  const EmulatedKernel right(1, body(false)), wrong(1, body(true));
  ASSERT_TRUE(right && wrong) << right.error() << wrong.error();
  for (uint64_t seed = 0; seed < 6; ++seed) {
    std::vector<int32_t> out(32);
    EXPECT_EQ(right.run(launchWith(EmulatorChecks::all, 64, 520, seed), {memoryOf(out)}), "");
    for (int32_t lane = 0; lane < 32; ++lane)
      EXPECT_EQ(out[lane], lane * 3);
    EXPECT_FOUND(wrong.run(launchWith(EmulatorChecks::all, 64, 520, seed), {memoryOf(out)}), "race: ");
  }
}

TEST(EmulationWarpgroup, barriersThatAreNotThere) {
  const EmulatedKernel none(0, [](GpuEmitter &e, ValueRange) { e.arrive(e.shared(8)); });
  const EmulatedKernel twice(0, [](GpuEmitter &e, ValueRange) {
    e.ifThen(e.eq(e.thread(), 0), [&] {
      e.initPhase(e.shared(), 1);
      e.initPhase(e.shared(), 1);
    });
  });
  const EmulatedKernel often(0, [](GpuEmitter &e, ValueRange) {
    e.ifThen(e.eq(e.thread(), 0), [&] { e.initPhase(e.shared(), 40); });
    e.barrier();
    e.arrive(e.shared());
    e.waitPhase(e.shared(), e.index(0));
  });
  ASSERT_TRUE(none && twice && often) << none.error() << twice.error() << often.error();
  EXPECT_FOUND(none.run(launchWith(EmulatorChecks::all, 32, 64), {}), "expects an mbarrier at byte 8 of shared memory, found none");
  EXPECT_FOUND(twice.run(launchWith(EmulatorChecks::all, 32, 64), {}), "makes the mbarrier at byte 0 again");
  EXPECT_FOUND(often.run(launchWith(EmulatorChecks::all, 32, 64), {}),
               "waits for a phase that nothing ends: 8 of 40 arrivals and 0 of 0 bytes are missing");
}

} // namespace
