// One block of a launch at a time: a fiber for each thread, which runs until it has to wait for another.
#ifndef DSRT_LIB_EMULATORBLOCK_H
#define DSRT_LIB_EMULATORBLOCK_H

#include "runtime/lib/Emulator.h"
#include "runtime/lib/EmulatorFiber.h"
#include "runtime/lib/EmulatorRaces.h"
#include <array>
#include <atomic>

namespace dsrt {

/// A launch, as the workers that share its blocks see it.
struct EmulatedRun {
  const EmulatedLaunch &launch;
  uint64_t number = 0; // of the launch, from 1
  uint64_t blockCount = 0;
  std::vector<uint32_t> order; // of the blocks; empty: theirs
  std::atomic<uint64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::string message; // of the first failure

  explicit EmulatedRun(const EmulatedLaunch &launch) : launch(launch) {}
  void fail(std::string text);
};

class EmulatorBlock {
public:
  static constexpr int32_t warpThreads = 32, mostThreads = 1024, mostWarps = mostThreads / warpThreads;

  static constexpr int32_t copyBytes = 16;

  explicit EmulatorBlock(Emulator &emulator) : emulator(emulator) {}

  /// Runs blocks of `run` until there are no more, or one has failed. Fails with out of memory, before any block.
  Status work(EmulatedRun &run);

private:
  enum class State : uint8_t { ready, atBarrier, inWarp, atPhase, done };
  enum class Space : uint8_t { shared, global, stack };
  /// Memory that may be touched.
  struct Place {
    uint64_t begin = 0, bytes = 0;
    Space space = Space::global;
  };
  /// A cp.async on its way.
  struct Copy {
    uint64_t to, from;
    int32_t bytes, op;
  };
  /// A thread. Generated code sees the first field.
  struct Fiber {
    DsEmulatedThread seen;
    FiberContext context;
    EmulatorBlock *block;
    State state;
    bool waitedForGrid;
    int32_t op;             // it waits at
    uint32_t value, result; // of a shuffle
    int32_t lane;
    DsEmulatedFragments *fragments; // of a matrix product
    DsEmulatedWarpgroup *values;    // of a wgmma
    std::vector<Copy> copies;       // of this block
    std::vector<size_t> groups;     // how many copies each committed group and those before it have
    size_t firstCopy;               // not waited for
  };
  struct Warp {
    uint32_t ready = 0; // lanes
    uint32_t epoch = 0; // collectives so far
    int32_t arrived = 0, op = 0;
  };
  /// A cp.async.bulk on its way.
  struct BulkCopy {
    uint64_t to, from;
    int32_t bytes, op;
    Fiber *fiber;
  };
  /// An mbarrier. Its phase ends when all have arrived and, as late as that may be, when somebody waits for it, the copies with them.
  struct Phase {
    int64_t offset = 0; // in shared memory
    int32_t arrivals = 0, missing = 0;
    int64_t expected = 0, onTheWay = 0; // bytes
    int32_t parity = 0;                 // of the phase that has not ended
    int32_t op = 0, initThread = 0;
    bool isShown = false; // to copies
    std::vector<BulkCopy> copies;
    std::vector<Fiber *> waiting;
    EmulatorClocks::Known now, before; // what is known behind this phase, and behind the last one
  };
  /// A wgmma of one warp.
  struct Product {
    int32_t op, type, columns, sums;
    uint64_t descriptor;
    std::array<std::array<uint32_t, 4>, warpThreads> a;
  };
  /// Sums of a warp whose products are in flight.
  struct Sums {
    uint32_t version = 0; // products that have taken them on
    int32_t columns = 0, pending = 0;
    std::vector<std::array<float, DS_EMULATE_WARPGROUP_SUMS>> lanes;
  };
  /// The products of a warp.
  struct WarpProducts {
    std::vector<Product> inFlight;
    std::vector<size_t> groups; // how many of them each committed group and those before it have
    std::array<Sums, 16> sums;
    size_t nextSums = 0, step = 0; // step: ops of its warpgroup so far
    bool isFenced = false;
  };
  /// How the next thread to run is chosen.
  enum class Order { inOrder, backwards, warpByWarp, anyWarp };

  static const DsEmulatedCalls calls;
  static Fiber &fiberOf(DsEmulatedThread *thread) { return *reinterpret_cast<Fiber *>(thread); }
  static void enter(void *fiber);
  static void onAccess(DsEmulatedThread *thread, int32_t op, uint64_t address, uint64_t mask);
  static void onBarrier(DsEmulatedThread *thread, int32_t op);
  static uint32_t onShuffle(DsEmulatedThread *thread, int32_t op, int32_t mode, uint32_t value, int32_t lane);
  static void onMma(DsEmulatedThread *thread, int32_t op, int32_t type, DsEmulatedFragments *fragments);
  static void onCopy(DsEmulatedThread *thread, int32_t op, uint64_t to, uint64_t from, int32_t bytes);
  static void onCommit(DsEmulatedThread *thread);
  static void onWait(DsEmulatedThread *thread, int32_t pending);
  static void onGridWait(DsEmulatedThread *thread);
  static void onPhaseInit(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t arrivals);
  static void onPhaseShow(DsEmulatedThread *thread);
  static void onPhaseArrive(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t bytes);
  static void onPhaseWait(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t parity);
  static void onBulkCopy(DsEmulatedThread *thread, int32_t op, uint32_t to, uint64_t from, int32_t bytes, uint32_t barrier);
  static void onWgmmaFence(DsEmulatedThread *thread, int32_t op);
  static void onWgmma(DsEmulatedThread *thread, int32_t op, int32_t type, int32_t columns, uint64_t descriptor,
                      DsEmulatedWarpgroup *values);
  static void onWgmmaCommit(DsEmulatedThread *thread, int32_t op);
  static void onWgmmaWait(DsEmulatedThread *thread, int32_t op, int32_t pending, int32_t count, DsEmulatedWarpgroup *values);

  Status begin(EmulatedRun &newRun);
  void runBlock(uint32_t number);
  Fiber *next();
  /// Lets others run until this one is ready.
  void suspend(Fiber &fiber);
  void makeReady(Fiber &fiber);
  void meetBlock(Fiber &fiber, int32_t op);
  /// True in the thread that comes last: it does what there is to do, then calls `releaseWarp`. False in the others, once that is done.
  bool meetInWarp(Fiber &fiber, int32_t op);
  void releaseWarp(Fiber &last);
  void goOn(Fiber &last);
  static void arrive(const Copy &copy);

  uint64_t sharedAddress(uint32_t low) const {
    return reinterpret_cast<uint64_t>(shared) +
           static_cast<uint64_t>(static_cast<int32_t>(low - static_cast<uint32_t>(reinterpret_cast<uint64_t>(shared))));
  }
  /// The mbarrier at an address; fails where none was made.
  Phase &phaseAt(Fiber &fiber, int32_t op, uint32_t barrier);
  /// Ends the phase where nothing is missing. Copies arrive with it only where `deliver`.
  void tryEnd(Phase &phase, bool deliver);
  void deliver(const BulkCopy &copy, Phase &phase);
  /// All of a block have ended, and what they began has to have.
  void checkEnd(Fiber &last);

  /// The same ops come from the four warps of a warpgroup. Called once for a warp.
  void stepInWarpgroup(Fiber &fiber, int32_t op, uint64_t what);
  void startProduct(Fiber &fiber, int32_t op, int32_t type, int32_t columns, uint64_t descriptor);
  void finishProduct(Fiber &fiber, const Product &product);
  /// Calls `visit(offset, column block, half)` for the pieces of 8 columns and 8 k, 128 bytes each, that a product reads.
  template <typename Visit> void forPieces(const Product &product, Visit &&visit) const;
  void takeSums(Fiber &fiber, int32_t op, int32_t count);
  /// The product in flight that reads some of these bytes of shared memory.
  const Product *productReading(int64_t offset, int64_t bytes, int32_t &thread) const;

  void checkAccess(Fiber &fiber, int32_t op, const DsEmulatedOp &access, uint64_t address, uint64_t mask);
  Place placeOf(const Fiber &fiber, int32_t op, uint64_t address, int32_t bytes, int32_t how);
  void checkRace(const Fiber &fiber, int32_t op, uint64_t address, int32_t bytes, int32_t how, const Place &place);
  int64_t sharedOffset(uint64_t address) const { return static_cast<int64_t>(address - reinterpret_cast<uint64_t>(shared)); }
  bool isShared(uint64_t address) const {
    return address - reinterpret_cast<uint64_t>(sharedMemory.data()) < static_cast<uint64_t>(sharedMemory.size());
  }
  EmulatorNow stampOf(const Fiber &fiber) const {
    const int32_t thread = fiber.seen.thread;
    return {{epoch, warps[thread / warpThreads].epoch, thread, clocks.clockOf(thread)}, clocks.knownTo(thread)};
  }

  // These end the block: no caller goes on, so none may hold what has to be given back.
  [[noreturn]] void failAt(const Fiber &fiber, int32_t op, std::string &&what);
  [[noreturn]] void failDivergent(const Fiber &fiber, int32_t op, State state);
  [[noreturn]] void failStuck();
  [[noreturn]] void failRace(const Fiber &fiber, int32_t op, const EmulatorConflict &conflict, bool isWrite);
  std::string opText(int32_t op) const;

  uint64_t random(uint64_t below);

  Emulator &emulator;
  EmulatedRun *run = nullptr;
  FiberStacks stacks;
  std::vector<Fiber> fibers;
  Warp warps[mostWarps];
  Mapping sharedMemory;
  uint8_t *shared = nullptr;
  std::vector<DsEmulatedRange> ranges; // by op
  std::vector<Place> places;           // by op: of its last access to global memory
  EmulatorSharedRaces sharedRaces;
  EmulatorClocks clocks;
  std::vector<std::unique_ptr<Phase>> phases;
  std::vector<WarpProducts> products; // by warp; empty: no wgmma so far
  std::vector<std::vector<std::pair<int32_t, uint64_t>>> warpgroupSteps;
  FiberContext scheduler, abandoned;

  uint32_t epoch = 0; // barriers of all blocks so far
  uint32_t block = 0;
  uint32_t readyWarps = 0;
  int32_t threads = 0, current = 0, atBarrier = 0, done = 0, barrierOp = 0;
  Order order = Order::inOrder;
  uint64_t randomState = 0;
};

/// The products of a warp, fragments of 32 lanes. `type` is DS_EMULATE_BF16 or DS_EMULATE_F16. Products are exact, their sums rounded once.
void emulateMma(int32_t type, DsEmulatedFragments *const *fragments);

} // namespace dsrt
#endif // DSRT_LIB_EMULATORBLOCK_H
