#include "runtime/lib/EmulatorMemory.h"
#include "runtime/lib/Status.h"
#include <algorithm>

using namespace dsrt;

/// The first block behind `address`.
template <typename Blocks> static auto behind(Blocks &blocks, uint64_t address) {
  return std::upper_bound(blocks.begin(), blocks.end(), address,
                          [](uint64_t wanted, const EmulatorMemory::Block &block) { return wanted < block.begin; });
}

void EmulatorMemory::add(uint64_t address, int64_t bytes, std::string_view name) {
  blocks.insert(behind(blocks, address), Block{address, static_cast<uint64_t>(bytes), std::string(name)});
}

void EmulatorMemory::remove(uint64_t address) {
  blocks.erase(std::remove_if(blocks.begin(), blocks.end(), [&](const Block &block) { return block.begin == address; }), blocks.end());
}

const EmulatorMemory::Block *EmulatorMemory::find(uint64_t address, uint64_t count) const {
  auto next = behind(blocks, address);
  return next != blocks.begin() && std::prev(next)->holds(address, count) ? &*std::prev(next) : nullptr;
}

std::string EmulatorMemory::describe(uint64_t address) const {
  constexpr uint64_t far = 1 << 20;
  auto next = behind(blocks, address);
  const Block *before = next == blocks.begin() ? nullptr : &*std::prev(next);
  const uint64_t toNext = next == blocks.end() ? far : next->begin - address;
  if (before && address - before->begin < before->bytes)
    return concat("across the end of '", before->name, "' of ", before->bytes, " bytes, at byte ", address - before->begin);
  if (const uint64_t past = before ? address - before->begin - before->bytes : far; past < far && past <= toNext)
    return concat(past, " bytes behind the end of '", before->name, "' of ", before->bytes, " bytes");
  if (toNext < far)
    return concat(toNext, " bytes before '", next->name, "'");
  return address < 4096 ? concat("at address ", address) : "far from all memory of the device";
}
