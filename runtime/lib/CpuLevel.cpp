// Feature bits as listed for each level in the x86-64 psABI, section 3.1.1.
#include "runtime/lib/CpuLevel.h"
#include <cstdint>
#include <cstdlib>
#include <iterator>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

using namespace dsrt;

const char *dsrt::nameOf(CpuLevel level) {
  switch (level) {
  case CpuLevel::v2:
    return "x86-64-v2";
  case CpuLevel::v3:
    return "x86-64-v3";
  case CpuLevel::v4:
    return "x86-64-v4";
  case CpuLevel::v4Vnni:
    return "x86-64-v4-vnni";
  case CpuLevel::v4Bf16:
    return "x86-64-v4-bf16";
  case CpuLevel::znver4:
    return "znver4";
  case CpuLevel::v4Fp16:
    return "x86-64-v4-fp16";
  case CpuLevel::none:
    break;
  }
  return "none";
}

static constexpr CpuLevel allLevels[] = {CpuLevel::v2,     CpuLevel::v3,     CpuLevel::v4,    CpuLevel::v4Vnni,
                                         CpuLevel::v4Bf16, CpuLevel::znver4, CpuLevel::v4Fp16};

std::optional<CpuLevel> dsrt::cpuLevelOf(std::string_view name) {
  for (CpuLevel level : allLevels)
    if (name == nameOf(level))
      return level;
  return std::nullopt;
}

std::string dsrt::cpuLevelNames() {
  std::string names;
  for (CpuLevel level : allLevels)
    names += (names.empty() ? "" : level == std::end(allLevels)[-1] ? " or " : ", ") + std::string(nameOf(level));
  return names;
}

bool dsrt::canRun(CpuLevel machine, CpuLevel code) { return code <= machine && !(machine == CpuLevel::v4Fp16 && code == CpuLevel::znver4); }

bool dsrt::hasBf16Dots(CpuLevel level) { return level == CpuLevel::v4Bf16 || level == CpuLevel::znver4; }

bool dsrt::hasByteDots(CpuLevel level) { return level == CpuLevel::v4Vnni || level == CpuLevel::v4Fp16 || hasBf16Dots(level); }

#if defined(__x86_64__)
static uint64_t enabledStates() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

static bool hasAll(uint32_t word, std::initializer_list<int> bits) {
  for (int bit : bits)
    if (!(word >> bit & 1))
      return false;
  return true;
}

/// Of the family of Zen 3 and Zen 4, where those that have AVX512_BF16 are the latter.
static bool isZen4() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(0, &a, &b, &c, &d) || b != signature_AMD_ebx || c != signature_AMD_ecx || d != signature_AMD_edx)
    return false;
  constexpr uint32_t family19 = 0x19, base = 0xf;
  __get_cpuid(1, &a, &b, &c, &d);
  return (a >> 8 & base) == base && (a >> 20 & 0xff) + base == family19;
}

CpuLevel dsrt::machineCpuLevel() {
  uint32_t a, b, c, d, extendedC, leaf7Subleaves = 0, leaf7B = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d))
    return CpuLevel::none;
  uint32_t leaf1C = c, leaf7C = 0, leaf7D = 0;
  if (!__get_cpuid(0x80000001, &a, &b, &extendedC, &d))
    return CpuLevel::none;
  if (!__get_cpuid_count(7, 0, &leaf7Subleaves, &leaf7B, &leaf7C, &leaf7D))
    leaf7Subleaves = leaf7B = leaf7C = leaf7D = 0;
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF
  if (!hasAll(leaf1C, {0, 9, 13, 19, 20, 23}) || !hasAll(extendedC, {0}))
    return CpuLevel::none;
  // FMA, MOVBE, OSXSAVE, AVX, F16C; LZCNT; BMI1, AVX2, BMI2; the system saves XMM and YMM
  if (!hasAll(leaf1C, {12, 22, 27, 28, 29}) || !hasAll(extendedC, {5}) || !hasAll(leaf7B, {3, 5, 8}) || (enabledStates() & 0x6) != 0x6)
    return CpuLevel::v2;
  // AVX512F, DQ, CD, BW, VL; the system saves opmasks and ZMM
  if (!hasAll(leaf7B, {16, 17, 28, 30, 31}) || (enabledStates() & 0xe6) != 0xe6)
    return CpuLevel::v3;
  // AVX512_VNNI
  if (!hasAll(leaf7C, {11}))
    return CpuLevel::v4;
  // AVX512_BF16
  if (leaf7Subleaves < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !hasAll(a, {5}))
    return CpuLevel::v4Vnni;
  // AVX512_FP16
  if (hasAll(leaf7D, {23}))
    return CpuLevel::v4Fp16;
  return isZen4() ? CpuLevel::znver4 : CpuLevel::v4Bf16;
}
#else
CpuLevel dsrt::machineCpuLevel() { return CpuLevel::none; }
#endif

Status dsrt::chooseCpuLevel(const char *isa, CpuLevel &level) {
  level = machineCpuLevel();
  const char *source = "isa";
  if (!isa || !*isa) {
    isa = std::getenv("DS_FORCE_ISA");
    source = "DS_FORCE_ISA";
  }
  if (!isa || !*isa)
    return Status();
  std::optional<CpuLevel> wanted = cpuLevelOf(isa);
  if (!wanted)
    return Status::invalidArgument(source, ": expects ", cpuLevelNames(), ", got ", inQuotes(isa));
  if (!canRun(level, *wanted))
    return Status::unavailable(source, " asks for ", isa, ", this machine has ", nameOf(level));
  level = *wanted;
  return Status();
}
