// mbarriers, and the bulk copies whose bytes they count.
#include "runtime/lib/EmulatorBlock.h"
#include <algorithm>
#include <cstring>

using namespace dsrt;

static constexpr int32_t barrierBytes = 8, bulkAlignment = 16;

EmulatorBlock::Phase &EmulatorBlock::phaseAt(Fiber &fiber, int32_t op, uint32_t barrier) {
  const uint64_t address = sharedAddress(barrier);
  const int64_t offset = sharedOffset(address);
  for (std::unique_ptr<Phase> &phase : phases)
    if (phase->offset == offset) {
      checkAccess(fiber, op, {barrierBytes, 1, 0, barrierBytes}, address, 1); // ordered behind its making
      return *phase;
    }
  std::string what = concat("expects an mbarrier at byte ", offset, " of shared memory, found none");
  failAt(fiber, op, std::move(what));
}

void EmulatorBlock::onPhaseInit(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t arrivals) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  const uint64_t address = block.sharedAddress(barrier);
  block.checkAccess(fiber, op, {barrierBytes, 1, DS_EMULATE_WRITE, barrierBytes}, address, 1);
  const int64_t offset = block.sharedOffset(address);
  if (std::any_of(block.phases.begin(), block.phases.end(), [&](const auto &phase) { return phase->offset == offset; }) || arrivals < 1) {
    std::string what =
        arrivals < 1 ? concat("expects at least 1 arrival, found ", arrivals) : concat("makes the mbarrier at byte ", offset, " again");
    block.failAt(fiber, op, std::move(what));
  }
  if (!block.clocks.isOn() && block.emulator.races())
    block.clocks.start(block.threads);
  Phase &phase = *block.phases.emplace_back(std::make_unique<Phase>());
  phase.offset = offset;
  phase.arrivals = phase.missing = arrivals;
  phase.op = op;
  phase.initThread = fiber.seen.thread;
}

void EmulatorBlock::onPhaseShow(DsEmulatedThread *thread) {
  Fiber &fiber = fiberOf(thread);
  for (std::unique_ptr<Phase> &phase : fiber.block->phases)
    phase->isShown |= phase->initThread == fiber.seen.thread;
}

void EmulatorBlock::onPhaseArrive(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t bytes) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  Phase &phase = block.phaseAt(fiber, op, barrier);
  if (phase.missing == 0) {
    std::string what = concat("arrives when all ", phase.arrivals, " of the phase have");
    block.failAt(fiber, op, std::move(what));
  }
  if (block.clocks.isOn())
    block.clocks.tell(fiber.seen.thread, phase.now);
  --phase.missing;
  phase.expected += bytes;
  block.tryEnd(phase, /*deliver=*/!phase.waiting.empty());
}

void EmulatorBlock::onPhaseWait(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t parity) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  Phase &phase = block.phaseAt(fiber, op, barrier);
  if (phase.parity == (parity & 1)) {
    block.tryEnd(phase, /*deliver=*/true);
    if (phase.parity == (parity & 1)) {
      fiber.state = State::atPhase;
      fiber.op = op;
      phase.waiting.push_back(&fiber);
      block.suspend(fiber);
    }
  }
  if (block.clocks.isOn())
    block.clocks.learn(fiber.seen.thread, phase.before);
}

void EmulatorBlock::tryEnd(Phase &phase, bool deliverCopies) {
  if (phase.missing > 0 || phase.expected != phase.onTheWay || (phase.expected > 0 && !deliverCopies))
    return;
  for (const BulkCopy &copy : phase.copies)
    deliver(copy, phase);
  phase.copies.clear();
  phase.expected = phase.onTheWay = 0;
  phase.missing = phase.arrivals;
  phase.parity ^= 1;
  phase.before = std::move(phase.now);
  phase.now.clear();
  for (Fiber *fiber : phase.waiting)
    makeReady(*fiber);
  phase.waiting.clear();
}

void EmulatorBlock::deliver(const BulkCopy &copy, Phase &phase) {
  memcpy(reinterpret_cast<void *>(copy.to), reinterpret_cast<const void *>(copy.from), copy.bytes);
  if (!emulator.races())
    return;
  // Whoever waits for the phase, and nobody else, is behind the write.
  sharedRaces.copyArrives(sharedOffset(copy.to), copy.bytes, stampOf(*copy.fiber), copy.op);
  EmulatorClocks::Known written;
  clocks.tell(copy.fiber->seen.thread, written);
  uint32_t &known = phase.now[copy.fiber->seen.thread];
  known = std::max(known, written[copy.fiber->seen.thread]);
}

void EmulatorBlock::onBulkCopy(DsEmulatedThread *thread, int32_t op, uint32_t to, uint64_t from, int32_t bytes, uint32_t barrier) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  const uint64_t address = block.sharedAddress(to);
  Phase &phase = block.phaseAt(fiber, op, barrier);
  if (bytes <= 0 || bytes % bulkAlignment != 0) {
    std::string what = concat("copies a multiple of 16 bytes, at least 16, not ", bytes);
    block.failAt(fiber, op, std::move(what));
  }
  if (!phase.isShown) {
    std::string what = "counts at an mbarrier that no fence has shown to copies";
    block.failAt(fiber, op, std::move(what));
  }
  block.checkAccess(fiber, op, {bytes, 1, DS_EMULATE_WRITE, bulkAlignment}, address, 1);
  block.checkAccess(fiber, op, {bytes, 1, 0, bulkAlignment}, from, 1);
  if (block.emulator.races())
    block.sharedRaces.copyBegins(block.sharedOffset(address), bytes, block.stampOf(fiber), op);
  memset(reinterpret_cast<void *>(address), 0xff, bytes);
  phase.copies.push_back({address, from, bytes, op, &fiber});
  phase.onTheWay += bytes;
  if (block.order != Order::inOrder && block.random(4) == 0)
    memcpy(reinterpret_cast<void *>(address), reinterpret_cast<const void *>(from), bytes);
  if (phase.missing == 0 && phase.onTheWay > phase.expected) {
    std::string what = concat("copies ", phase.onTheWay, " bytes in a phase that expects ", phase.expected);
    block.failAt(fiber, op, std::move(what));
  }
  block.tryEnd(phase, /*deliver=*/!phase.waiting.empty());
}

void EmulatorBlock::checkEnd(Fiber &last) {
  for (const std::unique_ptr<Phase> &phase : phases)
    if (!phase->copies.empty()) {
      std::string what = "is on its way when the block ends";
      failAt(*phase->copies.front().fiber, phase->copies.front().op, std::move(what));
    }
  for (size_t warp = 0; warp < products.size(); ++warp) {
    const WarpProducts &of = products[warp];
    if (!of.inFlight.empty()) {
      std::string what = "is in flight when the block ends";
      failAt(fibers[warp * warpThreads], of.inFlight.front().op, std::move(what));
    }
    if (const auto &steps = warpgroupSteps[warp / 4]; of.step < steps.size()) {
      std::string what = concat("is not reached by warp ", warp, " of the same warpgroup");
      failAt(last, steps[of.step].first, std::move(what));
    }
  }
}
