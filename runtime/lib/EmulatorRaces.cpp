#include "runtime/lib/EmulatorRaces.h"
#include <algorithm>

using namespace dsrt;

/// Calls `visit(word, mask of its bytes)` for the words of a range until it returns false.
template <typename Visit> static void forWords(uint64_t begin, int64_t bytes, Visit &&visit) {
  const uint64_t end = begin + static_cast<uint64_t>(bytes);
  while (begin < end) {
    const uint64_t word = begin / 4, next = std::min(end, (word + 1) * 4);
    if (!visit(word, ((1u << (next - begin)) - 1) << begin % 4))
      return;
    begin = next;
  }
}

void EmulatorClocks::tell(int32_t thread, Known &all) {
  all.resize(own.size(), 0);
  const uint32_t *mine = knownTo(thread);
  for (size_t i = 0; i < own.size(); ++i)
    all[i] = std::max(all[i], mine[i]);
  all[thread] = std::max(all[thread], ++own[thread]);
}

void EmulatorClocks::learn(int32_t thread, const Known &all) {
  uint32_t *mine = &known[own.size() * thread];
  for (size_t i = 0; i < all.size(); ++i)
    mine[i] = std::max(mine[i], all[i]);
}

void EmulatorClocks::meetInWarp(int32_t first) {
  if (!isOn())
    return;
  Known all;
  for (int32_t lane = 0; lane < 32; ++lane)
    tell(first + lane, all);
  for (int32_t lane = 0; lane < 32; ++lane)
    learn(first + lane, all);
}

EmulatorConflict EmulatorSharedRaces::access(int64_t offset, int64_t bytes, const EmulatorNow &now, int32_t op, bool isWrite) {
  EmulatorConflict conflict;
  forWords(static_cast<uint64_t>(offset), bytes, [&](uint64_t word, uint32_t mask) {
    using Kind = EmulatorConflict::Kind;
    Cell &cell = cells[word];
    auto conflictsWith = [&](Kind kind, const Access &before) {
      if ((before.bytes & mask) == 0 || now.isBehind(before.stamp))
        return false;
      conflict = {kind, before.stamp.thread, before.op};
      return true;
    };
    if (cell.isAwaited & mask) {
      conflict = {Kind::copy, cell.write.stamp.thread, cell.write.op};
      return false;
    }
    if (conflictsWith(Kind::write, cell.write))
      return false;
    if (isWrite) {
      if (conflictsWith(Kind::read, cell.read) || conflictsWith(Kind::read, cell.otherRead))
        return false;
      cell.write = {now, op, mask};
      return true;
    }
    // A reader of another warp conflicts with more writers than one of this.
    const EmulatorStamp &last = cell.read.stamp;
    const bool otherStays = cell.otherRead.stamp.epoch == now.epoch && cell.otherRead.stamp.thread / 32 != now.thread / 32;
    if (last.thread != now.thread && (last.thread / 32 != now.thread / 32 || !otherStays))
      cell.otherRead = cell.read;
    cell.read = {now, op, mask};
    return true;
  });
  return conflict;
}

void EmulatorSharedRaces::copyBegins(int64_t offset, int64_t bytes, const EmulatorStamp &now, int32_t op) {
  forWords(static_cast<uint64_t>(offset), bytes, [&](uint64_t word, uint32_t mask) {
    cells[word].write = {now, op, mask};
    cells[word].isAwaited |= mask;
    return true;
  });
}

void EmulatorSharedRaces::copyArrives(int64_t offset, int64_t bytes, const EmulatorStamp &now, int32_t op) {
  forWords(static_cast<uint64_t>(offset), bytes, [&](uint64_t word, uint32_t mask) {
    cells[word].write = {now, op, mask};
    cells[word].isAwaited &= ~mask;
    return true;
  });
}

void EmulatorGlobalRaces::launchBegins(uint64_t number, uint64_t blockCount) {
  launch = number;
  releases.assign(blockCount, 0);
}

EmulatorGlobalRaces::Page *EmulatorGlobalRaces::pageOf(uint64_t word, bool make) {
  const uint64_t number = word / pageWords;
  Found &last = found[number % found.size()];
  if (number == last.number && (last.page || !make))
    return last.page;
  auto place = pages.find(number);
  if (place == pages.end() && make)
    place = pages.emplace(number, std::make_unique<Page>()).first;
  last = {number, place == pages.end() ? nullptr : place->second.get()};
  return last.page;
}

void EmulatorGlobalRaces::forget(uint64_t address, int64_t bytes) {
  const uint64_t first = address / 4, end = (address + static_cast<uint64_t>(bytes) + 3) / 4;
  found.fill(Found());
  for (auto at = pages.begin(); at != pages.end();) {
    const uint64_t begin = at->first * pageWords;
    const uint64_t from = std::max(begin, first), to = std::min(begin + pageWords, end);
    if (from < to)
      std::fill(at->second->cells + (from - begin), at->second->cells + (to - begin), Cell());
    at = from == begin && to == begin + pageWords ? pages.erase(at) : std::next(at);
  }
}

EmulatorConflict EmulatorGlobalRaces::access(uint64_t address, int64_t bytes, const EmulatorNow &now, int32_t op, uint32_t block,
                                             bool isWrite, bool waited) {
  EmulatorConflict conflict;
  const uint64_t first = address / 4, last = (address + static_cast<uint64_t>(bytes) - 1) / 4;
  Page *page = pageOf(first, isWrite);
  if (!page && first / pageWords == last / pageWords)
    return conflict; // what nobody has written, such as weights
  forWords(address, bytes, [&](uint64_t word, uint32_t mask) {
    if (word % pageWords == 0)
      page = pageOf(word, isWrite);
    if (!page)
      return true;
    Cell &cell = page->cells[word % pageWords];
    bool isOrdered;
    const uint32_t written = cell.launch == launch ? cell.bytes : cell.launchBytes;
    if (cell.launch != launch)
      isOrdered = waited || cell.launch <= finished;
    else if (cell.block == block)
      isOrdered = now.isBehind(cell.stamp);
    else
      isOrdered = releases[cell.block] > cell.time && releases[block] > releases[cell.block];
    if (!isOrdered && (written & mask)) {
      using Kind = EmulatorConflict::Kind;
      conflict = {cell.launch == launch ? Kind::write : Kind::launchBefore, cell.stamp.thread, cell.op, cell.block};
      return false;
    }
    if (isWrite) {
      const auto bytesNow = static_cast<uint16_t>(mask), bytesBefore = cell.launch == launch ? cell.launchBytes : uint16_t(0);
      cell = {now, op, block, bytesNow, static_cast<uint16_t>(bytesNow | bytesBefore), launch, clock};
    }
    return true;
  });
  return conflict;
}
