#include "runtime/lib/EmulatorBlock.h"
#include <bit>
#include <cstring>

using namespace dsrt;

void EmulatedRun::fail(std::string text) {
  std::lock_guard lock(mutex);
  if (message.empty())
    message = std::move(text);
  failed = true;
}

uint64_t EmulatorBlock::random(uint64_t below) {
  randomState ^= randomState << 13;
  randomState ^= randomState >> 7;
  randomState ^= randomState << 17;
  return (randomState >> 11) % below;
}

Status EmulatorBlock::begin(EmulatedRun &newRun) {
  run = &newRun;
  const EmulatedLaunch &launch = run->launch;
  threads = launch.threads;
  DSRT_TRY(stacks.reserve(threads));
  // Room before and behind, so that an access just outside is known for what it is.
  constexpr int64_t room = 64 << 10;
  if (sharedMemory.size() < launch.sharedBytes + 2 * room) {
    DSRT_TRY(Mapping::anonymous(launch.sharedBytes + 2 * room, /*huge=*/false, sharedMemory));
    shared = sharedMemory.data() + room;
  }
  const bool checksNothing = emulator.options().checks == EmulatorChecks::none;
  ranges.assign(emulator.opCount(), DsEmulatedRange{0, checksNothing ? UINT64_MAX : 0, 0, 0});
  places.assign(emulator.opCount(), Place());
  if (emulator.races())
    sharedRaces.reset(launch.sharedBytes);
  fibers.resize(threads);
  for (int32_t thread = 0; thread < threads; ++thread) {
    Fiber &fiber = fibers[thread];
    fiber.block = this;
    fiber.seen = {};
    fiber.seen.thread = thread;
    for (int i = 0; i < 3; ++i)
      fiber.seen.grid[i] = static_cast<int32_t>(launch.grid[i]);
    fiber.seen.shared = shared;
    fiber.seen.ranges = ranges.data();
    fiber.seen.calls = &calls;
  }
  return Status();
}

Status EmulatorBlock::work(EmulatedRun &newRun) {
  uint64_t i = newRun.next++;
  if (i >= newRun.blockCount)
    return Status();
  DSRT_TRY(begin(newRun));
  for (; i < run->blockCount && !run->failed; i = run->next++)
    runBlock(run->order.empty() ? static_cast<uint32_t>(i) : run->order[i]);
  return Status();
}

void EmulatorBlock::runBlock(uint32_t number) {
  const EmulatedLaunch &launch = run->launch;
  block = number;
  ++epoch;
  memset(shared, 0xff, launch.sharedBytes); // not a number
  const uint64_t seed = emulator.options().seed;
  randomState = (seed + 1) * 0x9E3779B97F4A7C15 ^ (run->number << 32) ^ (number + 1);
  order = seed == 0 ? Order::inOrder : static_cast<Order>(1 + random(3));
  const uint32_t x = number % launch.grid[0], y = number / launch.grid[0] % launch.grid[1], z = number / launch.grid[0] / launch.grid[1];
  for (int32_t thread = 0; thread < threads; ++thread) {
    Fiber &fiber = fibers[thread];
    fiber.seen.block[0] = static_cast<int32_t>(x);
    fiber.seen.block[1] = static_cast<int32_t>(y);
    fiber.seen.block[2] = static_cast<int32_t>(z);
    fiber.state = State::ready;
    fiber.waitedForGrid = !launch.overlaps;
    fiber.copies.clear();
    fiber.groups.clear();
    fiber.firstCopy = 0;
    stacks.start(thread, enter, &fiber, fiber.context);
  }
  const int32_t warpCount = threads / warpThreads;
  readyWarps = warpCount == 32 ? ~0u : (1u << warpCount) - 1;
  for (Warp &warp : warps)
    warp = {~0u, 0, 0, 0};
  current = atBarrier = done = 0;
  clocks.clear();
  phases.clear();
  products.clear();
  warpgroupSteps.clear();
  switchFiber(scheduler, next()->context);
}

void EmulatorBlock::enter(void *argument) {
  enterFiber();
  Fiber &fiber = *static_cast<Fiber *>(argument);
  EmulatorBlock &block = *fiber.block;
  const EmulatedLaunch &launch = block.run->launch;
  launch.function(&fiber.seen, launch.args);
  fiber.state = State::done;
  if (++block.done == block.threads) {
    block.checkEnd(fiber);
    leaveFiber(fiber.context, block.scheduler);
  }
  Fiber *other = block.next();
  if (!other)
    block.failStuck();
  leaveFiber(fiber.context, other->context);
}

EmulatorBlock::Fiber *EmulatorBlock::next() {
  if (readyWarps == 0)
    return nullptr;
  auto anyOf = [&](uint32_t set) {
    const int turn = static_cast<int>(random(32));
    return (std::countr_zero(std::rotr(set, turn)) + turn) % 32;
  };
  if (order == Order::anyWarp)
    current = anyOf(readyWarps);
  else if (!(readyWarps >> current & 1)) // else one warp goes as far as it can
    current = order == Order::inOrder     ? (std::countr_zero(std::rotr(readyWarps, current)) + current) % 32
              : order == Order::backwards ? 31 - std::countl_zero(readyWarps)
                                          : anyOf(readyWarps);
  uint32_t &ready = warps[current].ready;
  const int lane = order == Order::inOrder     ? std::countr_zero(ready)
                   : order == Order::backwards ? 31 - std::countl_zero(ready)
                                               : anyOf(ready);
  ready &= ~(1u << lane);
  if (ready == 0)
    readyWarps &= ~(1u << current);
  return &fibers[current * warpThreads + lane];
}

void EmulatorBlock::suspend(Fiber &fiber) {
  Fiber *other = next();
  if (!other)
    failStuck();
  if (other != &fiber)
    switchFiber(fiber.context, other->context);
}

void EmulatorBlock::makeReady(Fiber &fiber) {
  const int32_t warp = fiber.seen.thread / warpThreads;
  fiber.state = State::ready;
  warps[warp].ready |= 1u << fiber.seen.thread % warpThreads;
  readyWarps |= 1u << warp;
}

bool EmulatorBlock::meetInWarp(Fiber &fiber, int32_t op) {
  Warp &warp = warps[fiber.seen.thread / warpThreads];
  if (warp.arrived == 0)
    warp.op = op;
  else if (warp.op != op)
    failDivergent(fiber, op, State::inWarp);
  fiber.state = State::inWarp;
  fiber.op = op;
  if (++warp.arrived == warpThreads)
    return true;
  suspend(fiber);
  return false;
}

void EmulatorBlock::releaseWarp(Fiber &last) {
  const int32_t first = last.seen.thread / warpThreads * warpThreads;
  Warp &warp = warps[first / warpThreads];
  warp.arrived = 0;
  ++warp.epoch;
  clocks.meetInWarp(first);
  for (int32_t lane = 0; lane < warpThreads; ++lane)
    makeReady(fibers[first + lane]);
  goOn(last);
}

/// Where the order is not theirs, whoever came last has no precedence over those that waited.
void EmulatorBlock::goOn(Fiber &last) {
  if (order != Order::inOrder) {
    suspend(last);
    return;
  }
  const int32_t warp = last.seen.thread / warpThreads;
  warps[warp].ready &= ~(1u << last.seen.thread % warpThreads);
  if (warps[warp].ready == 0)
    readyWarps &= ~(1u << warp);
}

void EmulatorBlock::meetBlock(Fiber &fiber, int32_t op) {
  if (atBarrier == 0)
    barrierOp = op;
  else if (barrierOp != op)
    failDivergent(fiber, op, State::atBarrier);
  fiber.state = State::atBarrier;
  fiber.op = op;
  if (++atBarrier < threads) {
    suspend(fiber);
    return;
  }
  atBarrier = 0;
  ++epoch;
  for (Fiber &other : fibers)
    makeReady(other);
  goOn(fiber);
}

std::string EmulatorBlock::opText(int32_t op) const {
  std::string_view text = emulator.opText(op);
  constexpr size_t most = 160;
  return text.size() <= most ? concat("'", text, "'") : concat("'", text.substr(0, most), "...'");
}

void EmulatorBlock::failAt(const Fiber &fiber, int32_t op, std::string &&what) {
  {
    std::string text = std::move(what); // nothing behind this scope is destroyed
    const int32_t *at = fiber.seen.block;
    run->fail(concat("kernel '", run->launch.kernel, "', block (", at[0], ", ", at[1], ", ", at[2], "), thread ", fiber.seen.thread, ", ",
                     opText(op), ": ", text));
  }
  leaveFiber(abandoned, scheduler);
}

void EmulatorBlock::failDivergent(const Fiber &fiber, int32_t op, State state) {
  const bool isBarrier = state == State::atBarrier;
  const int32_t begin = isBarrier ? 0 : fiber.seen.thread / warpThreads * warpThreads;
  const Fiber *other = &fibers[begin];
  while (other->state != state)
    ++other;
  std::string what;
  {
    std::string otherOp = opText(other->op);
    what = concat(isBarrier ? "the threads of a block meet at one barrier" : "the threads of a warp meet at one op", ", but thread ",
                  other->seen.thread, " is at ", otherOp);
  }
  failAt(fiber, op, std::move(what));
}

void EmulatorBlock::failStuck() {
  const Fiber *waiting = nullptr, *missing = nullptr;
  for (const std::unique_ptr<Phase> &phase : phases)
    if (!phase->waiting.empty()) {
      std::string what = concat("waits for a phase that nothing ends: ", phase->missing, " of ", phase->arrivals, " arrivals and ",
                                phase->expected - phase->onTheWay, " of ", phase->expected, " bytes are missing");
      failAt(*phase->waiting.front(), phase->waiting.front()->op, std::move(what));
    }
  for (const Fiber &fiber : fibers)
    if (fiber.state == State::inWarp || (fiber.state == State::atBarrier && !waiting)) {
      waiting = &fiber;
      if (fiber.state == State::inWarp)
        break;
    }
  const bool isWarp = waiting->state == State::inWarp;
  for (const Fiber &fiber : fibers)
    if (fiber.state != waiting->state && (!isWarp || fiber.seen.thread / warpThreads == waiting->seen.thread / warpThreads)) {
      missing = &fiber;
      break;
    }
  std::string what;
  {
    std::string does = missing->state == State::done ? "has returned" : concat("waits at ", opText(missing->op));
    what = concat("waits for all threads of its ", isWarp ? "warp" : "block", ", but thread ", missing->seen.thread, " ", does);
  }
  failAt(*waiting, waiting->op, std::move(what));
}
