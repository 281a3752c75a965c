// Accesses that nothing puts in an order. Two threads of a block are ordered by a barrier between their accesses, two of a warp by a
// shuffle or a matrix product too; blocks of a launch by atomic operations.
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

  /// Whether a barrier or the warp puts this access before one at `now`.
  bool isBefore(const EmulatorStamp &now) const {
    if (epoch != now.epoch || thread == now.thread)
      return true;
    return thread / 32 == now.thread / 32 && warpEpoch != now.warpEpoch;
  }
};

/// An access that conflicts with the one at hand; none converts to false.
struct EmulatorConflict {
  /// copy: on its way to these bytes; launchBefore: a write of a launch that may not have finished.
  enum class Kind { none, read, write, copy, launchBefore } kind = Kind::none;
  int32_t thread = 0, op = 0;
  int64_t block = -1; // of global memory: its number
  explicit operator bool() const { return kind != Kind::none; }
};

/// The shared memory of a block. What is known is kept for words of 4 bytes: of bytes that threads write apart in one word, the last.
class EmulatorSharedRaces {
public:
  /// Forgets everything, for blocks of so many bytes.
  void reset(int64_t bytes) { cells.assign((bytes + 3) / 4, Cell()); }
  EmulatorConflict access(int64_t offset, int64_t bytes, const EmulatorStamp &now, int32_t op, bool isWrite);
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
  EmulatorConflict access(uint64_t address, int64_t bytes, const EmulatorStamp &now, int32_t op, uint32_t block, bool isWrite, bool waited);
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
