// What code is made for: the levels of the x86-64 psABI, the last of them with dot products of bytes, and of bf16 or f16 as well, and a
// processor.
#ifndef DSRT_LIB_CPULEVEL_H
#define DSRT_LIB_CPULEVEL_H

#include "runtime/lib/Status.h"
#include <optional>
#include <string>

namespace dsrt {

enum class CpuLevel { none, v2, v3, v4, v4Vnni, v4Bf16, znver4, v4Fp16 };

/// "x86-64-v3"; "none" for a processor below x86-64-v2 or of another kind.
const char *nameOf(CpuLevel level);

/// The level of a name; nothing for an unknown name.
std::optional<CpuLevel> cpuLevelOf(std::string_view name);

/// All of them, for a message: "x86-64-v2, x86-64-v3, ... or x86-64-v4-fp16".
std::string cpuLevelNames();

/// Whether a machine of one level runs code of another.
bool canRun(CpuLevel machine, CpuLevel code);

/// Whether code of a level multiplies pairs of bf16 by dot products.
bool hasBf16Dots(CpuLevel level);

/// Whether one instruction of a level multiplies and adds four bytes a lane.
bool hasByteDots(CpuLevel level);

/// What this processor and its operating system offer, from cpuid and xgetbv.
CpuLevel machineCpuLevel();

/// The level to use: the machine's, lowered by `isa`, else by the environment's DS_FORCE_ISA.
///   isa   a level name, or null
/// Fails with invalid argument for an unknown name and with unavailable for a level above the machine's.
Status chooseCpuLevel(const char *isa, CpuLevel &level);

} // namespace dsrt
#endif // DSRT_LIB_CPULEVEL_H
