// wgmma m64nNk16, warp by warp: the first factor in registers, the second in shared memory. Products are computed as late as they may be,
// at the wait for them. Until then their sums stand for what the registers will hold: not numbers, but which sums of which warp they are.
#include "runtime/lib/EmulatorBlock.h"
#include <algorithm>
#include <cstring>
#include <limits>

using namespace dsrt;

namespace {
constexpr int32_t groupWarps = 4, pieceBytes = 128;
constexpr uint32_t noNumber = 0xffc00000;

/// A quiet NaN: sums (4 bits) and version (10 bits) of the warp, and the register (7 bits).
uint32_t tagOf(size_t sums, uint32_t version, int32_t index) {
  return noNumber | 1u << 21 | static_cast<uint32_t>(sums) << 17 | (version & 1023) << 7 | static_cast<uint32_t>(index);
}
bool isTag(uint32_t word) { return (word >> 21) == (noNumber >> 21 | 1); }
size_t sumsOf(uint32_t tag) { return tag >> 17 & 15; }
uint32_t versionOf(uint32_t tag) { return tag >> 7 & 1023; }

uint32_t wordOf(float value) {
  uint32_t word;
  memcpy(&word, &value, 4);
  return word;
}
void setWord(float &value, uint32_t word) { memcpy(&value, &word, 4); }
} // namespace

void EmulatorBlock::stepInWarpgroup(Fiber &fiber, int32_t op, uint64_t what) {
  if (products.empty()) {
    products.resize(threads / warpThreads);
    warpgroupSteps.resize((threads / warpThreads + groupWarps - 1) / groupWarps);
  }
  const int32_t warp = fiber.seen.thread / warpThreads;
  if (warp / groupWarps * groupWarps + groupWarps > threads / warpThreads) {
    std::string text = "expects a warpgroup, four warps from a multiple of four on";
    failAt(fiber, op, std::move(text));
  }
  auto &steps = warpgroupSteps[warp / groupWarps];
  const size_t step = products[warp].step++;
  if (step == steps.size()) {
    steps.emplace_back(op, what);
  } else if (steps[step] != std::pair(op, what)) {
    std::string text;
    {
      std::string other = steps[step].first == op ? "another second factor" : opText(steps[step].first);
      text = concat("the warps of a warpgroup come to one op, but another came to ", other);
    }
    failAt(fiber, op, std::move(text));
  }
}

void EmulatorBlock::onWgmmaFence(DsEmulatedThread *thread, int32_t op) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  if (block.meetInWarp(fiber, op)) {
    block.stepInWarpgroup(fiber, op, 0);
    block.products[fiber.seen.thread / warpThreads].isFenced = true;
    block.releaseWarp(fiber);
  }
}

void EmulatorBlock::onWgmma(DsEmulatedThread *thread, int32_t op, int32_t type, int32_t columns, uint64_t descriptor,
                            DsEmulatedWarpgroup *values) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  fiber.values = values;
  if (block.meetInWarp(fiber, op)) {
    block.startProduct(fiber, op, type, columns, descriptor);
    block.releaseWarp(fiber);
  }
}

template <typename Visit> void EmulatorBlock::forPieces(const Product &product, Visit &&visit) const {
  auto field = [&](int shift) { return static_cast<int64_t>(product.descriptor >> shift & 0x3fff) * 16; };
  // It has 18 bits of the address.
  constexpr uint64_t low = 0x3ffff;
  const auto first = static_cast<int64_t>((static_cast<uint64_t>(field(0)) - reinterpret_cast<uint64_t>(shared)) & low);
  for (int32_t block = 0; block < product.columns / 8; ++block)
    for (int32_t half = 0; half < 2; ++half)
      visit(first + block * field(32) + half * field(16), block, half);
}

void EmulatorBlock::startProduct(Fiber &fiber, int32_t op, int32_t type, int32_t columns, uint64_t descriptor) {
  stepInWarpgroup(fiber, op, descriptor);
  const int32_t warp = fiber.seen.thread / warpThreads;
  WarpProducts &of = products[warp];
  if (!of.isFenced) {
    std::string what = "has no wgmma.fence behind the last group";
    failAt(fiber, op, std::move(what));
  }
  if (descriptor >> 46) {
    std::string what = "expects a second factor that is not swizzled";
    failAt(fiber, op, std::move(what));
  }
  Fiber *lanes = &fibers[warp * warpThreads];
  const int32_t count = columns / 2;
  const uint32_t first = wordOf(lanes[0].values->sums[0]);
  const bool goesOn = isTag(first);
  size_t index = goesOn ? sumsOf(first) : of.nextSums++ % of.sums.size();
  Sums &sums = of.sums[index];
  if (goesOn ? versionOf(first) != (sums.version & 1023) || sums.columns != columns : sums.pending > 0) {
    std::string what = goesOn ? "takes on sums that another product has" : concat("has more than ", of.sums.size(), " sums in flight");
    failAt(fiber, op, std::move(what));
  }
  if (!goesOn) {
    sums.columns = columns;
    sums.lanes.resize(warpThreads);
  }
  for (int32_t lane = 0; lane < warpThreads; ++lane)
    for (int32_t i = 0; i < count; ++i) {
      float &value = lanes[lane].values->sums[i];
      const bool fits = goesOn ? wordOf(value) == tagOf(index, sums.version, i) : !isTag(wordOf(value));
      if (!fits) {
        std::string what = "reads sums of products in flight in other places";
        failAt(lanes[lane], op, std::move(what));
      }
      if (!goesOn)
        sums.lanes[lane][i] = value;
    }
  ++sums.version;
  ++sums.pending;
  Product product{op, type, columns, static_cast<int32_t>(index), descriptor, {}};
  for (int32_t lane = 0; lane < warpThreads; ++lane) {
    std::copy(std::begin(lanes[lane].values->a), std::end(lanes[lane].values->a), product.a[lane].begin());
    for (int32_t i = 0; i < count; ++i)
      setWord(lanes[lane].values->sums[i], tagOf(index, sums.version, i));
  }
  forPieces(product, [&](int64_t offset, int32_t, int32_t) {
    checkAccess(fiber, op, {pieceBytes, 1, 0, 16}, reinterpret_cast<uint64_t>(shared) + static_cast<uint64_t>(offset), 1);
  });
  of.inFlight.push_back(product);
}

void EmulatorBlock::onWgmmaCommit(DsEmulatedThread *thread, int32_t op) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  if (block.meetInWarp(fiber, op)) {
    block.stepInWarpgroup(fiber, op, 0);
    WarpProducts &of = block.products[fiber.seen.thread / warpThreads];
    of.groups.push_back(of.inFlight.size());
    of.isFenced = false;
    block.releaseWarp(fiber);
  }
}

void EmulatorBlock::onWgmmaWait(DsEmulatedThread *thread, int32_t op, int32_t pending, int32_t count, DsEmulatedWarpgroup *values) {
  Fiber &fiber = fiberOf(thread);
  EmulatorBlock &block = *fiber.block;
  fiber.values = values;
  if (block.meetInWarp(fiber, op)) {
    block.stepInWarpgroup(fiber, op, 0);
    WarpProducts &of = block.products[fiber.seen.thread / warpThreads];
    if (static_cast<int32_t>(of.groups.size()) > pending) {
      const size_t ended = of.groups.size() - static_cast<size_t>(pending), finished = of.groups[ended - 1];
      for (size_t i = 0; i < finished; ++i)
        block.finishProduct(fiber, of.inFlight[i]);
      of.inFlight.erase(of.inFlight.begin(), of.inFlight.begin() + static_cast<int64_t>(finished));
      of.groups.erase(of.groups.begin(), of.groups.begin() + static_cast<int64_t>(ended));
      for (size_t &group : of.groups)
        group -= finished;
    }
    block.takeSums(fiber, op, count);
    block.releaseWarp(fiber);
  }
}

void EmulatorBlock::finishProduct(Fiber &fiber, const Product &product) {
  WarpProducts &of = products[fiber.seen.thread / warpThreads];
  Sums &sums = of.sums[product.sums];
  alignas(16) DsEmulatedFragments fragments[warpThreads];
  DsEmulatedFragments *all[warpThreads];
  for (int32_t lane = 0; lane < warpThreads; ++lane) {
    all[lane] = &fragments[lane];
    std::copy(product.a[lane].begin(), product.a[lane].end(), fragments[lane].a);
  }
  forPieces(product, [&](int64_t offset, int32_t block, int32_t half) {
    if (emulator.races())
      if (EmulatorConflict conflict = sharedRaces.access(offset, pieceBytes, stampOf(fiber), product.op, /*isWrite=*/false))
        failRace(fiber, product.op, conflict, /*isWrite=*/false);
    // A lane has column lane / 4 and two k from 2 (lane % 4) on: 4 bytes each, one lane behind the other.
    for (int32_t lane = 0; lane < warpThreads; ++lane)
      memcpy(&fragments[lane].b[half], shared + offset + lane * 4, 4);
    if (half == 0)
      return;
    for (int32_t lane = 0; lane < warpThreads; ++lane)
      memcpy(fragments[lane].c, &sums.lanes[lane][block * 4], 16);
    emulateMma(product.type, all);
    for (int32_t lane = 0; lane < warpThreads; ++lane)
      for (int32_t i = 0; i < 4; ++i) { // a NaN of the data is no tag
        const float sum = fragments[lane].c[i];
        sums.lanes[lane][block * 4 + i] = sum == sum ? sum : std::numeric_limits<float>::quiet_NaN();
      }
  });
  --sums.pending;
}

void EmulatorBlock::takeSums(Fiber &fiber, int32_t op, int32_t count) {
  const int32_t warp = fiber.seen.thread / warpThreads;
  WarpProducts &of = products[warp];
  for (int32_t lane = 0; lane < warpThreads; ++lane)
    for (int32_t i = 0; i < count; ++i) {
      float &value = fibers[warp * warpThreads + lane].values->sums[i];
      const uint32_t word = wordOf(value);
      if (!isTag(word))
        continue;
      const Sums &sums = of.sums[sumsOf(word)];
      if (versionOf(word) != (sums.version & 1023)) {
        std::string what = "takes sums that another product has taken on";
        failAt(fiber, op, std::move(what));
      }
      if (sums.pending == 0)
        value = sums.lanes[lane][word & 127];
    }
}

const EmulatorBlock::Product *EmulatorBlock::productReading(int64_t offset, int64_t bytes, int32_t &thread) const {
  for (size_t warp = 0; warp < products.size(); ++warp)
    for (const Product &product : products[warp].inFlight) {
      bool reads = false;
      forPieces(product, [&](int64_t at, int32_t, int32_t) { reads |= at < offset + bytes && offset < at + pieceBytes; });
      if (reads) {
        thread = static_cast<int32_t>(warp) * warpThreads;
        return &product;
      }
    }
  return nullptr;
}
