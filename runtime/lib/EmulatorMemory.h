// The memory of an emulated device: which addresses belong to it.
#ifndef DSRT_LIB_EMULATORMEMORY_H
#define DSRT_LIB_EMULATORMEMORY_H

#include <cstdint>
#include <string>
#include <vector>

namespace dsrt {

class EmulatorMemory {
public:
  struct Block {
    uint64_t begin = 0, bytes = 0;
    std::string name;
    bool holds(uint64_t address, uint64_t count) const { return address - begin < bytes && count <= bytes - (address - begin); }
  };

  void add(uint64_t address, int64_t bytes, std::string_view name);
  void remove(uint64_t address);
  /// The block that holds all of `count` bytes, or null.
  const Block *find(uint64_t address, uint64_t count) const;
  /// Where an address lies that no block holds, for people: "4 bytes behind the end of 'weights' of 128 bytes".
  std::string describe(uint64_t address) const;

private:
  std::vector<Block> blocks; // by address
};

} // namespace dsrt
#endif // DSRT_LIB_EMULATORMEMORY_H
