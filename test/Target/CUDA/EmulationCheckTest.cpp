// What the emulator finds wrong with kernels, and that it finds nothing wrong with those that are right.
#include "EmulatedKernel.h"
#include <gtest/gtest.h>

using namespace ds;
using namespace ds::test;
using dsrt::EmulatorChecks;
using mlir::Value;
using mlir::ValueRange;

namespace {

using Launch = EmulatedKernel::Launch;

Value sharedWord(GpuEmitter &e, Value index) { return e.element(e.shared(), e.i32(), index); }

TEST(EmulationCheck, accessOutsideOfMemory) {
  const EmulatedKernel kernel(2, [](GpuEmitter &e, ValueRange pointers) {
    e.store(e.thread(), e.element(pointers[0], e.i32(), e.add(e.thread(), e.load(e.i32(), pointers[1]))));
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<int32_t> room(192), shift{0};
  int32_t *out = &room[64];
  auto run = [&](int32_t by, EmulatorChecks checks = EmulatorChecks::bounds) {
    shift[0] = by;
    return kernel.run(launchWith(checks, 64, 0), {{out, 64 * 4}, memoryOf(shift)});
  };
  EXPECT_EQ(run(0), "");
  std::string message = run(1);
  EXPECT_FOUND(message, "internal: kernel 'kernel', block (0, 0, 0), thread 63, 'llvm.store ");
  EXPECT_FOUND(message, "writes 4 bytes 0 bytes behind the end of 'argument 0' of 256 bytes");
  EXPECT_FOUND(run(-1), "thread 0, 'llvm.store ");
  EXPECT_FOUND(run(-3), "writes 4 bytes 12 bytes before 'argument 0'");
  EXPECT_EQ(run(1, EmulatorChecks::none), "");
  EXPECT_FOUND(run(1, EmulatorChecks::all), "behind the end of 'argument 0'");
}

TEST(EmulationCheck, accessOutsideOfSharedMemory) {
  const EmulatedKernel kernel(0, [](GpuEmitter &e, ValueRange) { e.store(e.thread(), sharedWord(e, e.thread())); });
  ASSERT_TRUE(kernel) << kernel.error();
  EXPECT_EQ(kernel.run(launchWith(EmulatorChecks::bounds, 64, 256), {}), "");
  EXPECT_FOUND(kernel.run(launchWith(EmulatorChecks::bounds, 64, 252), {}),
               " {alignment = 4 : i64} : i32, !llvm.ptr': writes 4 bytes at byte 252 of 252 bytes of shared memory");
}

TEST(EmulationCheck, accessThatIsNotAligned) {
  const EmulatedKernel kernel(
      2, [](GpuEmitter &e, ValueRange pointers) { e.store(e.load(e.vec(4), e.at(pointers[0], 4), 16), pointers[1], 4); });
  ASSERT_TRUE(kernel) << kernel.error();
  alignas(16) float in[16], out[4];
  EXPECT_FOUND(kernel.run({}, {{in, sizeof(in)}, {out, sizeof(out)}}), "expects an address that 16 divides, found 4 behind one");
}

TEST(EmulationCheck, lanesOfMasksThatAreOutside) {
  const EmulatedKernel kernel(1, [](GpuEmitter &e, ValueRange pointers) {
    auto type = e.vec(4, e.i32());
    e.maskedStore(e.constantOf(type, 1), e.at(pointers[0], 16), e.laneMask(e.toI64(e.block()), 4));
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<int32_t> out(7);
  Launch launch;
  launch.threads = 32;
  launch.blocks[0] = 4;
  EXPECT_EQ(kernel.run(launch, {memoryOf(out)}), "");
  launch.blocks[0] = 5;
  EXPECT_FOUND(kernel.run(launch, {memoryOf(out)}), "block (4, 0, 0), thread 0, 'llvm.intr.masked.store ");
}

/// Writes a word a thread, then reads that of the thread `shift` on.
EmulatedKernel::Body exchange(int64_t shift, bool meet) {
  return [=](GpuEmitter &e, ValueRange pointers) {
    e.store(e.thread(), sharedWord(e, e.thread()));
    if (meet)
      e.barrier();
    Value other = e.bitAnd(e.add(e.thread(), shift), e.index(127));
    e.store(e.load(e.i32(), sharedWord(e, other)), e.element(pointers[0], e.i32(), e.thread()));
  };
}

TEST(EmulationCheck, aMissingBarrierIsARace) {
  const EmulatedKernel kernel(1, exchange(1, false)), right(1, exchange(1, true));
  ASSERT_TRUE(kernel && right) << kernel.error() << right.error();
  std::vector<int32_t> out(128);
  for (uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_FOUND(kernel.run(launchWith(EmulatorChecks::all, 128, 512, seed), {memoryOf(out)}), "race: ");
    EXPECT_EQ(right.run(launchWith(EmulatorChecks::all, 128, 512, seed), {memoryOf(out)}), "");
    for (int32_t i = 0; i < 128; ++i)
      EXPECT_EQ(out[i], (i + 1) % 128);
  }
}

/// The value is wrong in one order or another, so that tests see it without the check.
TEST(EmulationCheck, aMissingBarrierIsSeen) {
  for (int64_t shift : {1, 127, 32, 96}) {
    const EmulatedKernel kernel(1, exchange(shift, false));
    ASSERT_TRUE(kernel) << kernel.error();
    bool isSeen = false;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      std::vector<int32_t> out(128);
      ASSERT_EQ(kernel.run(launchWith(EmulatorChecks::bounds, 128, 512, seed), {memoryOf(out)}), "");
      for (int32_t i = 0; i < 128; ++i)
        isSeen |= out[i] != (i + shift) % 128;
    }
    EXPECT_TRUE(isSeen) << shift;
  }
}

/// The second write of one warp meets the read of the other.
TEST(EmulationCheck, aWriteThatComesTooEarly) {
  const EmulatedKernel kernel(1, [](GpuEmitter &e, ValueRange pointers) {
    e.ifThen(e.eq(e.warp(), 0), [&] { e.store(e.thread(), sharedWord(e, e.lane())); });
    e.barrier();
    e.ifElse(
        e.eq(e.warp(), 1), [&] { e.store(e.load(e.i32(), sharedWord(e, e.lane())), e.element(pointers[0], e.i32(), e.lane())); },
        [&] { e.store(e.index(0), sharedWord(e, e.lane())); });
  });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<int32_t> out(32);
  EXPECT_FOUND(kernel.run(launchWith(EmulatorChecks::all, 64, 256), {memoryOf(out)}), "race: writes what thread 32 reads by ");
  for (uint64_t seed = 1; seed < 10; ++seed)
    EXPECT_FOUND(kernel.run(launchWith(EmulatorChecks::all, 64, 256, seed), {memoryOf(out)}), "race: ");
}

TEST(EmulationCheck, aWarpOrdersItsThreads) {
  auto body = [](bool shuffles) {
    return [=](GpuEmitter &e, ValueRange pointers) {
      e.store(e.thread(), sharedWord(e, e.thread()));
      Value zero = e.index(0);
      if (shuffles)
        zero = e.bitAnd(e.shuffleXor(e.thread(), 1), zero);
      Value got = e.load(e.i32(), sharedWord(e, e.bitXor(e.thread(), e.index(1))));
      e.store(e.add(got, zero), e.element(pointers[0], e.i32(), e.thread()));
    };
  };
  const EmulatedKernel kernel(1, body(true)), racy(1, body(false));
  ASSERT_TRUE(kernel && racy) << kernel.error() << racy.error();
  std::vector<int32_t> out(64);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    EXPECT_EQ(kernel.run(launchWith(EmulatorChecks::all, 64, 256, seed), {memoryOf(out)}), "");
    EXPECT_FOUND(racy.run(launchWith(EmulatorChecks::all, 64, 256, seed), {memoryOf(out)}), "race: ");
  }
}

TEST(EmulationCheck, racesInGlobalMemory) {
  const EmulatedKernel kernel(
      1, [](GpuEmitter &e, ValueRange pointers) { e.store(e.thread(), e.element(pointers[0], e.i32(), e.bitXor(e.block(), e.thread()))); });
  ASSERT_TRUE(kernel) << kernel.error();
  std::vector<int32_t> out(64);
  Launch launch = launchWith(EmulatorChecks::all, 32, 0);
  EXPECT_EQ(kernel.run(launch, {memoryOf(out)}), "");
  launch.blocks[0] = 2;
  EXPECT_FOUND(kernel.run(launch, {memoryOf(out)}), "thread 0, 'llvm.store ");
  EXPECT_FOUND(kernel.run(launch, {memoryOf(out)}), "race: writes what thread 1 of block 0 writes by 'llvm.store ");
}

TEST(EmulationCheck, barriersThatNotAllReach) {
  const EmulatedKernel some(0, [](GpuEmitter &e, ValueRange) { e.ifThen(e.lt(e.thread(), 40), [&] { e.barrier(); }); });
  const EmulatedKernel two(0,
                           [](GpuEmitter &e, ValueRange) { e.ifElse(e.lt(e.thread(), 40), [&] { e.barrier(); }, [&] { e.barrier(); }); });
  const EmulatedKernel lanes(1, [](GpuEmitter &e, ValueRange pointers) {
    e.ifThen(e.lt(e.lane(), 31), [&] { e.store(e.shuffleXor(e.lane(), 1), e.element(pointers[0], e.i32(), e.thread())); });
  });
  const EmulatedKernel ops(1, [](GpuEmitter &e, ValueRange pointers) {
    auto to = e.element(pointers[0], e.i32(), e.thread());
    e.ifElse(e.lt(e.lane(), 5), [&] { e.store(e.shuffleXor(e.lane(), 1), to); }, [&] { e.store(e.shuffleXor(e.lane(), 2), to); });
  });
  ASSERT_TRUE(some && two && lanes && ops) << some.error() << two.error() << lanes.error() << ops.error();
  std::vector<int32_t> out(64);
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Launch launch = launchWith(EmulatorChecks::bounds, 64, 0, seed);
    std::string message = some.run(launch, {});
    EXPECT_FOUND(message, "'gpu.barrier': waits for all threads of its block, but thread ");
    EXPECT_FOUND(message, " has returned");
    EXPECT_FOUND(two.run(launch, {}), "'gpu.barrier': the threads of a block meet at one barrier, but thread ");
    EXPECT_FOUND(lanes.run(launch, {memoryOf(out)}), "waits for all threads of its warp, but thread ");
    EXPECT_FOUND(ops.run(launch, {memoryOf(out)}), "the threads of a warp meet at one op, but thread ");
  }
}

EmulatedKernel::Body copied(bool waits, bool meets) {
  return [=](GpuEmitter &e, ValueRange pointers) {
    Value offset = e.toI64(e.mul(e.thread(), 16)), other = e.bitXor(offset, e.constant(16));
    e.copyAsync(e.at(e.shared(), offset), e.at(pointers[0], offset));
    e.commitCopies();
    if (waits)
      e.waitCopies(0);
    if (meets)
      e.barrier();
    e.store(e.load(e.vec(4), e.at(e.shared(), other), 16), e.at(pointers[1], offset), 16);
  };
}

TEST(EmulationCheck, copiesThatAreNotWaitedFor) {
  const EmulatedKernel right(2, copied(true, true)), early(2, copied(false, true)), alone(2, copied(true, false));
  ASSERT_TRUE(right && early && alone) << right.error() << early.error() << alone.error();
  alignas(16) float in[128] = {}, out[128] = {};
  auto run = [&](const EmulatedKernel &kernel, EmulatorChecks checks, uint64_t seed) {
    return kernel.run(launchWith(checks, 32, 512, seed), {{in, sizeof(in)}, {out, sizeof(out)}});
  };
  for (uint64_t seed = 0; seed < 4; ++seed) {
    EXPECT_EQ(run(right, EmulatorChecks::all, seed), "");
    EXPECT_FOUND(run(early, EmulatorChecks::all, seed), "reads what a copy of thread ");
    EXPECT_NE(run(alone, EmulatorChecks::all, seed), "");
  }
  EXPECT_EQ(run(early, EmulatorChecks::bounds, 0), "");
  EXPECT_NE(out[0], out[0]); // poison
}

TEST(EmulationCheck, launchesThatAreNotWaitedFor) {
  const EmulatedKernel waits(2, [](GpuEmitter &e, ValueRange pointers) {
    e.gridWait();
    e.store(e.load(e.i32(), e.element(pointers[0], e.i32(), e.thread())), e.element(pointers[1], e.i32(), e.thread()));
  });
  const EmulatedKernel reads(2, [](GpuEmitter &e, ValueRange pointers) {
    Value early = e.load(e.i32(), e.element(pointers[0], e.i32(), e.thread()));
    e.gridWait();
    e.store(early, e.element(pointers[1], e.i32(), e.thread()));
  });
  const EmulatedKernel writes(2,
                              [](GpuEmitter &e, ValueRange pointers) { e.store(e.thread(), e.element(pointers[1], e.i32(), e.thread())); });
  ASSERT_TRUE(waits && reads && writes) << waits.error() << reads.error() << writes.error();
  std::vector<int32_t> a(32), b(32);
  Launch launch = launchWith(EmulatorChecks::all, 32, 0);
  std::unique_ptr<dsrt::Emulator> emulator;
  ASSERT_TRUE(dsrt::Emulator::create(launch.options, emulator).ok());
  emulator->addMemory(reinterpret_cast<uint64_t>(a.data()), 128, "a");
  emulator->addMemory(reinterpret_cast<uint64_t>(b.data()), 128, "b");
  launch.overlaps = true;
  auto run = [&](const EmulatedKernel &kernel, std::vector<int32_t> &from, std::vector<int32_t> &to) {
    kernel.use(*emulator);
    return kernel.launch(*emulator, launch, {from.data(), to.data()}).message();
  };
  EXPECT_EQ(run(reads, a, b), ""); // nobody wrote a
  EXPECT_EQ(run(waits, b, a), "");
  EXPECT_FOUND(run(reads, a, b), "reads what a launch that it has not waited for writes");
  emulator->synchronized();
  EXPECT_EQ(run(reads, a, b), "");
  EXPECT_EQ(run(waits, b, a), "");
  emulator->written(reinterpret_cast<uint64_t>(a.data()), 128);
  EXPECT_EQ(run(reads, a, b), "");
  EXPECT_FOUND(run(writes, a, b), "writes before it has waited for the launches before");
}

TEST(EmulationCheck, optionsOfTheEnvironment) {
  dsrt::EmulatorOptions options;
  setenv("DS_EMULATE_CHECK", "all", 1);
  setenv("DS_EMULATE_SEED", "7", 1);
  ASSERT_TRUE(dsrt::EmulatorOptions::fromEnvironment(options).ok());
  EXPECT_EQ(options.checks, EmulatorChecks::all);
  EXPECT_EQ(options.seed, 7U);
  EXPECT_GE(options.workers, 1);
  setenv("DS_EMULATE_CHECK", "everything", 1);
  EXPECT_FOUND(dsrt::EmulatorOptions::fromEnvironment(options).message(), "expects none, bounds or all, found 'everything'");
  unsetenv("DS_EMULATE_CHECK");
  setenv("DS_EMULATE_SEED", "-7", 1);
  EXPECT_FOUND(dsrt::EmulatorOptions::fromEnvironment(options).message(), "expects a number from 0");
  unsetenv("DS_EMULATE_SEED");
}

} // namespace
