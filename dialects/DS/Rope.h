// Frequencies of rotary positions, in one place for the reference interpreter and the planner.
#ifndef DIALECTS_DS_ROPE_H
#define DIALECTS_DS_ROPE_H

#include "dialects/DS/DSDialect.h"

namespace ds {

/// The `rotary / 2` frequencies of a rope op: `base^(-2 i / rotary)`, stretched by `scaling` (may be null), computed in f32 as
/// the models were trained. Source: Su et al. 2021, arXiv:2104.09864; the llama3 stretch: Llama 3.1's published code.
llvm::SmallVector<float> ropeFrequencies(int64_t rotary, double base, RopeScalingAttr scaling);

} // namespace ds
#endif // DIALECTS_DS_ROPE_H
