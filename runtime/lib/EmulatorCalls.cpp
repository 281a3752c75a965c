// What emulated threads ask for, and the checks of what they touch.
#include "runtime/lib/EmulatorBlock.h"
#include <bit>
#include <cstring>

using namespace dsrt;

const DsEmulatedCalls EmulatorBlock::calls = {onAccess,   onBarrier,    onShuffle,   onMma,         onCopy,        onCommit,
                                              onWait,     onGridWait,   onPhaseInit, onPhaseShow,   onPhaseArrive, onPhaseWait,
                                              onBulkCopy, onWgmmaFence, onWgmma,     onWgmmaCommit, onWgmmaWait};

void EmulatorBlock::onBarrier(DsEmulatedThread *thread, int32_t op) {
  Fiber &fiber = fiberOf(thread);
  fiber.block->meetBlock(fiber, op);
}

uint32_t EmulatorBlock::onShuffle(DsEmulatedThread *thread, int32_t op, int32_t mode, uint32_t value, int32_t lane) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  fiber.value = value;
  fiber.lane = mode == DS_EMULATE_SHUFFLE_XOR ? fiber.seen.thread ^ lane : lane;
  if (block.meetInWarp(fiber, op)) {
    Fiber *lanes = &block.fibers[fiber.seen.thread / warpThreads * warpThreads];
    for (int32_t i = 0; i < warpThreads; ++i)
      lanes[i].result = lanes[lanes[i].lane & (warpThreads - 1)].value;
    block.releaseWarp(fiber);
  }
  return fiber.result;
}

void EmulatorBlock::onMma(DsEmulatedThread *thread, int32_t op, int32_t type, DsEmulatedFragments *fragments) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  fiber.fragments = fragments;
  if (block.meetInWarp(fiber, op)) {
    DsEmulatedFragments *all[warpThreads];
    for (int32_t i = 0; i < warpThreads; ++i)
      all[i] = block.fibers[fiber.seen.thread / warpThreads * warpThreads + i].fragments;
    emulateMma(type, all);
    block.releaseWarp(fiber);
  }
}

void EmulatorBlock::onGridWait(DsEmulatedThread *thread) { fiberOf(thread).waitedForGrid = true; }

// Asynchronous copies.

void EmulatorBlock::onCopy(DsEmulatedThread *thread, int32_t op, uint64_t to, uint64_t from, int32_t bytes) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  if (bytes < 0 || bytes > copyBytes) {
    std::string what = concat("copies 0 to 16 bytes, not ", bytes);
    block.failAt(fiber, op, std::move(what));
  }
  if (!block.isShared(to)) {
    std::string what = "copies to another place than shared memory";
    block.failAt(fiber, op, std::move(what));
  }
  block.checkAccess(fiber, op, {copyBytes, 1, DS_EMULATE_WRITE, copyBytes}, to, 1);
  if (bytes > 0)
    block.checkAccess(fiber, op, {bytes, 1, 0, copyBytes}, from, 1);
  if (block.emulator.races())
    block.sharedRaces.copyBegins(block.sharedOffset(to), copyBytes, block.stampOf(fiber), op);
  memset(reinterpret_cast<void *>(to), 0xff, copyBytes); // whoever reads it now is early
  fiber.copies.push_back({to, from, bytes, op});
  if (block.order != Order::inOrder && block.random(4) == 0)
    arrive(fiber.copies.back());
}

void EmulatorBlock::arrive(const Copy &copy) {
  memcpy(reinterpret_cast<void *>(copy.to), reinterpret_cast<const void *>(copy.from), copy.bytes);
  memset(reinterpret_cast<uint8_t *>(copy.to) + copy.bytes, 0, copyBytes - copy.bytes);
}

void EmulatorBlock::onCommit(DsEmulatedThread *thread) {
  Fiber &fiber = fiberOf(thread);
  fiber.groups.push_back(fiber.copies.size());
}

void EmulatorBlock::onWait(DsEmulatedThread *thread, int32_t pending) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  const size_t awaited = static_cast<size_t>(pending);
  if (fiber.groups.size() <= awaited)
    return;
  const size_t end = fiber.groups[fiber.groups.size() - awaited - 1];
  for (; fiber.firstCopy < end; ++fiber.firstCopy) {
    const Copy &copy = fiber.copies[fiber.firstCopy];
    arrive(copy);
    if (block.emulator.races())
      block.sharedRaces.copyArrives(block.sharedOffset(copy.to), copyBytes, block.stampOf(fiber), copy.op);
  }
}

// Checks.

void EmulatorBlock::onAccess(DsEmulatedThread *thread, int32_t op, uint64_t address, uint64_t mask) {
  Fiber &fiber = fiberOf(thread);
  fiber.block->checkAccess(fiber, op, fiber.block->emulator.op(op), address, mask);
}

void EmulatorBlock::checkAccess(Fiber &fiber, int32_t op, const DsEmulatedOp &access, uint64_t address, uint64_t mask) {
  if (emulator.options().checks == EmulatorChecks::none)
    return;
  const uint64_t misaligned = static_cast<uint64_t>(access.alignment) - 1; // the bits of an address that may not be set
  if (mask && (address & misaligned)) {
    std::string what = concat("expects an address that ", access.alignment, " divides, found ", address & misaligned, " behind one");
    failAt(fiber, op, std::move(what));
  }
  // Whatever the place of one lane is, the op may touch all lanes there from now on.
  const uint64_t span = static_cast<uint64_t>(access.bytes) * access.lanes;
  for (uint64_t left = mask; left; left &= left - 1) {
    const uint64_t at = address + static_cast<uint64_t>(std::countr_zero(left)) * access.bytes;
    const Place place = placeOf(fiber, op, at, access.bytes, access.how);
    if (emulator.races())
      checkRace(fiber, op, at, access.bytes, access.how, place);
    else if (place.bytes >= span)
      ranges[op] = {place.begin, place.bytes - span + 1, misaligned, 0};
  }
}

EmulatorBlock::Place EmulatorBlock::placeOf(const Fiber &fiber, int32_t op, uint64_t address, int32_t bytes, int32_t how) {
  const uint64_t count = static_cast<uint64_t>(bytes);
  Place &last = places[op];
  if (const uint64_t offset = address - last.begin; offset < last.bytes && count <= last.bytes - offset)
    return last;
  const char *verb = how & DS_EMULATE_WRITE ? "writes " : "reads ";
  if (isShared(address)) {
    const int64_t offset = sharedOffset(address);
    if (offset < 0 || offset + bytes > run->launch.sharedBytes) {
      std::string what = concat(verb, bytes, " bytes at byte ", offset, " of ", run->launch.sharedBytes, " bytes of shared memory");
      failAt(fiber, op, std::move(what));
    }
    return {reinterpret_cast<uint64_t>(shared), static_cast<uint64_t>(run->launch.sharedBytes), Space::shared};
  }
  if (stacks.holds(fiber.seen.thread, address))
    return {0, 0, Space::stack}; // another for every thread
  const EmulatorMemory::Block *memory = emulator.memory().find(address, count);
  if (!memory) {
    std::string what;
    {
      std::string place = emulator.memory().describe(address);
      what = concat(verb, bytes, " bytes ", place);
    }
    failAt(fiber, op, std::move(what));
  }
  last = {memory->begin, memory->bytes, Space::global};
  return last;
}

void EmulatorBlock::checkRace(const Fiber &fiber, int32_t op, uint64_t address, int32_t bytes, int32_t how, const Place &place) {
  if (place.space == Space::stack)
    return;
  const bool isWrite = how & DS_EMULATE_WRITE;
  const EmulatorNow now = stampOf(fiber);
  if (how & DS_EMULATE_ATOMIC) {
    if (place.space == Space::global)
      emulator.races()->atomic(block);
    return;
  }
  if (place.space == Space::shared) {
    if (EmulatorConflict conflict = sharedRaces.access(sharedOffset(address), bytes, now, op, isWrite))
      failRace(fiber, op, conflict, isWrite);
    int32_t reader = 0;
    if (const Product *product = isWrite ? productReading(sharedOffset(address), bytes, reader) : nullptr)
      failRace(fiber, op, {EmulatorConflict::Kind::product, reader, product->op}, isWrite);
    return;
  }
  if (isWrite && !fiber.waitedForGrid) {
    std::string what = "writes before it has waited for the launches before";
    failAt(fiber, op, std::move(what));
  }
  if (EmulatorConflict conflict = emulator.races()->access(address, bytes, now, op, block, isWrite, fiber.waitedForGrid))
    failRace(fiber, op, conflict, isWrite);
}

void EmulatorBlock::failRace(const Fiber &fiber, int32_t op, const EmulatorConflict &conflict, bool isWrite) {
  std::string what;
  {
    std::string other = opText(conflict.op);
    const char *verb = isWrite ? "writes what " : "reads what ";
    if (conflict.kind == EmulatorConflict::Kind::launchBefore)
      what = concat(verb, "a launch that it has not waited for writes by ", other);
    else if (conflict.kind == EmulatorConflict::Kind::copy)
      what = concat(verb, "a copy of thread ", conflict.thread, " is on its way to, ", other);
    else if (conflict.kind == EmulatorConflict::Kind::product)
      what = concat(verb, "a product of thread ", conflict.thread, " in flight reads, ", other);
    else
      what = concat("race: ", verb, "thread ", conflict.thread, conflict.block < 0 ? "" : concat(" of block ", conflict.block),
                    conflict.kind == EmulatorConflict::Kind::write ? " writes" : " reads", " by ", other);
  }
  failAt(fiber, op, std::move(what));
}
