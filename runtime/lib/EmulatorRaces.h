// Accesses that nothing puts in an order. Two threads of a block are ordered by a barrier between their accesses, two of a warp by a
// shuffle or a matrix product too, any two by an arrival at an mbarrier and a wait for it; blocks of a launch by atomic operations.
#ifndef DSRT_LIB_EMULATORRACES_H
#define DSRT_LIB_EMULATORRACES_H

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace dsrt {

/// When an access happens, as a block counts.
struct EmulatorStamp {
  uint32_t epoch = 0; // barriers of the worker's blocks before it; 0: never
  uint32_t warpEpoch = 0;
  int32_t thread = 0;
  uint32_t clock = 0; // of the thread; EmulatorClocks
};

/// The stamp of the access at hand, and what its thread knows.
struct EmulatorNow : EmulatorStamp {
  const uint32_t *known = nullptr; // by thread: accesses at lower clocks are before; null: no mbarrier in the block

  /// Whether a barrier, the warp or mbarriers put an access at `before` ahead of this one.
  bool isBehind(const EmulatorStamp &before) const {
    if (before.epoch != epoch || before.thread == thread)
      return true;
    if (before.thread / 32 == thread / 32 && before.warpEpoch != warpEpoch)
      return true;
    return known && before.clock < known[before.thread];
  }
};

/// Vector clocks of the threads of a block that has mbarriers: what was done before what, by arrivals and waits.
class EmulatorClocks {
public:
  using Known = std::vector<uint32_t>; // by thread, as in EmulatorNow

  void clear() { own.clear(); }
  bool isOn() const { return !own.empty(); }
  void start(int32_t threads) {
    own.assign(threads, 0);
    known.assign(static_cast<size_t>(threads) * threads, 0);
  }
  uint32_t clockOf(int32_t thread) const { return isOn() ? own[thread] : 0; }
  const uint32_t *knownTo(int32_t thread) const { return isOn() ? &known[own.size() * thread] : nullptr; }
  /// What `thread` did and knows so far becomes part of `all`.
  void tell(int32_t thread, Known &all);
  void learn(int32_t thread, const Known &all);
  /// The threads of a warp meet.
  void meetInWarp(int32_t first);

private:
  Known own;
  std::vector<uint32_t> known; // [thread][thread]
};

/// An access that conflicts with the one at hand; none converts to false.
struct EmulatorConflict {
  /// copy: on its way to these bytes; product: in flight, it reads these bytes; launchBefore: a write of a launch that may not have
  /// finished.
  enum class Kind { none, read, write, copy, product, launchBefore } kind = Kind::none;
  int32_t thread = 0, op = 0;
  int64_t block = -1; // of global memory: its number
  explicit operator bool() const { return kind != Kind::none; }
};

/// The shared memory of a block. What is known is kept for words of 4 bytes: of bytes that threads write apart in one word, the last.
class EmulatorSharedRaces {
public:
  /// Forgets everything, for blocks of so many bytes.
  void reset(int64_t bytes) { cells.assign((bytes + 3) / 4, Cell()); }
  EmulatorConflict access(int64_t offset, int64_t bytes, const EmulatorNow &now, int32_t op, bool isWrite);
  /// A copy is on its way to these words; nobody may touch them until it has arrived.
  void copyBegins(int64_t offset, int64_t bytes, const EmulatorStamp &now, int32_t op);
  void copyArrives(int64_t offset, int64_t bytes, const EmulatorStamp &now, int32_t op);

private:
  struct Access {
    EmulatorStamp stamp;
    int32_t op = 0;
    uint32_t bytes = 0; // of the word, a bit each
  };
  struct Cell {
    Access write, read, otherRead; // the last, the last, the last by a thread that is not of `read`'s warp, or by another thread
    uint32_t isAwaited = 0;
  };
  std::vector<Cell> cells; // one a word
};

/// The memory of the device, in words of 4 bytes as above. Who wrote it last is known; a read that comes before an unordered write shows in
/// another order of the threads.
class EmulatorGlobalRaces {
public:
  void launchBegins(uint64_t number, uint64_t blockCount);
  /// What ran until now has finished.
  void synchronized() { finished = launch; }
  void forget(uint64_t address, int64_t bytes);

  /// `waited`: the thread has waited for the launches before.
  EmulatorConflict access(uint64_t address, int64_t bytes, const EmulatorNow &now, int32_t op, uint32_t block, bool isWrite, bool waited);
  void atomic(uint32_t block) { releases[block] = ++clock; }

private:
  struct Cell {
    EmulatorStamp stamp;
    int32_t op = 0;
    uint32_t block = 0;
    uint16_t bytes = 0, launchBytes = 0; // of the word, a bit each: by this access, and by all of the launch
    uint64_t launch = 0;                 // 0: nobody
    uint64_t time = 0;                   // atomic operations before
  };
  static constexpr uint64_t pageWords = 1024;
  struct Page {
    Cell cells[pageWords];
  };
  Page *pageOf(uint64_t word, bool make);

  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
  /// Pages looked for of late, also in vain; by the low bits of their numbers.
  struct Found {
    uint64_t number = ~uint64_t(0);
    Page *page = nullptr;
  };
  std::array<Found, 64> found;
  std::vector<uint64_t> releases; // by block: the time of its last atomic operation, 0: none
  uint64_t launch = 0, finished = 0, clock = 0;
};

} // namespace dsrt
#endif // DSRT_LIB_EMULATORRACES_H
