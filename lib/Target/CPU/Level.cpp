#include "ds/Target/CPU/Level.h"
#include "ds/Analysis/LinearTiling.h"

using namespace ds;

// The block of a product fills the registers: accumulators, the vectors of the weights and one of the activations.
static constexpr CpuLevel levels[] = {
    {"x86-64-v2", "x86-64-v2", "", 4, 16, 8, 2, false, false, Dots::none, Dots::pairwise},
    {"x86-64-v3", "x86-64-v3", "", 8, 16, 12, 2, true, true, Dots::none, Dots::pairwise},
    {"x86-64-v4", "x86-64-v4", "-prefer-256-bit", 16, 32, 24, 3, true, true, Dots::none, Dots::pairwise, false, false, true},
    {"x86-64-v4-vnni", "x86-64-v4", "-prefer-256-bit,+avx512vnni", 16, 32, 24, 3, true, true, Dots::none, Dots::native, false, false, true},
    // Processors with AVX512_BF16 have AVX512_VNNI.
    {"x86-64-v4-bf16", "x86-64-v4", "-prefer-256-bit,+avx512vnni,+avx512bf16", 16, 32, 24, 3, true, true, Dots::native, Dots::native},
    {"znver4", "x86-64-v4", "-prefer-256-bit,+avx512vnni,+avx512bf16", 16, 32, 24, 3, true, true, Dots::native, Dots::native, true},
    // Dot products of bf16 are slower than multiply-adds of f32 on those that have AVX512_FP16: half as many in a cycle.
    {"x86-64-v4-fp16", "x86-64-v4", "-prefer-256-bit,+avx512vnni,+avx512bf16,+avx512fp16", 16, 32, 24, 3, true, true, Dots::none,
     Dots::native, false, true, true},
};

static_assert(std::all_of(std::begin(levels), std::end(levels),
                          [](const CpuLevel &level) { return level.groupRows() <= linearMostGroupRows; }));

llvm::ArrayRef<CpuLevel> ds::allCpuLevels() { return levels; }

const CpuLevel *ds::findCpuLevel(llvm::StringRef name) {
  for (const CpuLevel &level : levels)
    if (level.name == name)
      return &level;
  return nullptr;
}
