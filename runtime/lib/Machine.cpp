#include "dsrt/machine.h"
#include "runtime/lib/Status.h"
#include <algorithm>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

using namespace dsrt;

#if defined(__x86_64__)
std::string dsrt::currentProcessor() {
  char brand[49] = {};
  uint32_t words[4];
  for (uint32_t leaf = 0; leaf < 3; ++leaf) {
    if (!__get_cpuid(0x80000002 + leaf, &words[0], &words[1], &words[2], &words[3]))
      break;
    std::memcpy(brand + leaf * 16, words, 16);
  }
  std::string name(brand);
  name.erase(0, std::min(name.find_first_not_of(' '), name.size()));
  name.erase(name.find_last_not_of(' ') + 1);
  uint32_t version = 0, ignored;
  __get_cpuid(1, &version, &ignored, &ignored, &ignored);
  // Intel's manual, CPUID leaf 1: the extended fields count for these families alone.
  uint32_t family = version >> 8 & 15, model = version >> 4 & 15;
  if (family == 6 || family == 15)
    model |= version >> 12 & 0xf0;
  if (family == 15)
    family += version >> 20 & 0xff;
  return concat(name.empty() ? "unknown" : name, " (", family, ".", model, ".", version & 15, ")");
}
#else
std::string dsrt::currentProcessor() { return "unknown"; }
#endif

const MachineDescription &dsrt::builtInMachine() {
  static const MachineDescription machine = [] {
    MachineDescription built;
    built.processor = "built-in: two cores of a Cascade Lake server at 2.5 GHz";
    built.level = "x86-64-v4";
    built.l1Size = 32768;
    built.l2Size = 1048576;
    built.l3Size = 37486592;
    // threads, f32 at v4, v2, v3, bf16, L1, L2, L3, memory, write, barrier, launch
    built.limits = {{1, 152e9, 25e9, 86e9, 0, 257e9, 114e9, 24e9, 12e9, 7.4e9, 20, 8},
                    {2, 304e9, 49e9, 172e9, 0, 512e9, 228e9, 48e9, 22e9, 14e9, 180, 9}};
    return built;
  }();
  return machine;
}

static MachineLimits scaled(const MachineLimits &from, double factor) {
  MachineLimits limits = from;
  for (double *rate : {&limits.flopsF32, &limits.flopsF32V2, &limits.flopsF32V3, &limits.flopsBf16, &limits.l1Bytes, &limits.l2Bytes})
    *rate *= factor;
  return limits;
}

MachineLimits dsrt::limitsAt(const MachineDescription &machine, int threads) {
  if (machine.limits.empty())
    return limitsAt(builtInMachine(), threads);
  const MachineLimits *below = &machine.limits.front(), *above = &machine.limits.back();
  for (const MachineLimits &limits : machine.limits) {
    if (limits.threads == threads)
      return limits;
    if (limits.threads < threads)
      below = &limits;
  }
  for (const MachineLimits &limits : machine.limits)
    if (limits.threads > threads) {
      above = &limits;
      break;
    }
  MachineLimits result = scaled(*below, static_cast<double>(threads) / below->threads);
  if (threads < below->threads) { // fewer than were measured: one share each
    double share = static_cast<double>(threads) / below->threads;
    result.l3Bytes *= share;
    result.memoryBytes *= share;
    result.memoryWrite *= share;
  } else if (above->threads > threads) { // on the line between two measurements
    double part = static_cast<double>(threads - below->threads) / (above->threads - below->threads);
    auto between = [&](double MachineLimits::*field) { return below->*field + part * (above->*field - below->*field); };
    for (double MachineLimits::*field :
         {&MachineLimits::l3Bytes, &MachineLimits::memoryBytes, &MachineLimits::memoryWrite, &MachineLimits::barrierNs})
      result.*field = between(field);
  } else if (below->threads > 1) {
    result.barrierNs *= static_cast<double>(threads) / below->threads;
  }
  result.threads = threads;
  return result;
}
