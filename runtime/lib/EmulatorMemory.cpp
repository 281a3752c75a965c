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
  constexpr uint64_t near = 1 << 20;
  auto next = behind(blocks, address);
  if (next != blocks.begin()) {
    const Block &before = *std::prev(next);
    if (uint64_t offset = address - before.begin; offset < before.bytes)
      return concat("across the end of '", before.name, "' of ", before.bytes, " bytes, at byte ", offset);
    else if (offset - before.bytes < near)
      return concat(offset - before.bytes, " bytes behind the end of '", before.name, "' of ", before.bytes, " bytes");
  }
  if (next != blocks.end() && next->begin - address < near)
    return concat(next->begin - address, " bytes before '", next->name, "'");
  return address < 4096 ? concat("at address ", address) : "far from all memory of the device";
}
