// The arithmetic of sampling, which the runtime on the CPU and kernels on a device share, so that a seed gives the same tokens on both:
// weights are integers, and their sums do not depend on an order.
//
// The distance of a logit x from the greatest g is floor(min((g / t - x / t) * DS_SAMPLE_OCTAVE, DS_SAMPLE_FAR)), in f32, each operation
// rounded: 2^-24 octaves. Its weight is 2^-distance in units of 2^-40; from DS_SAMPLE_FAR on (40 octaves) there is none.
#ifndef DSRT_SAMPLE_H
#define DSRT_SAMPLE_H

#include <stdint.h>

/// log2(e) * 2^24, as f32.
#define DS_SAMPLE_OCTAVE 24204406.0f
#define DS_SAMPLE_FAR (40 << 24)
/// Bits of a distance: passes of DS_SAMPLE_DIGIT bits find a bound of it.
#define DS_SAMPLE_BITS 30
#define DS_SAMPLE_DIGIT 5
/// 2^y for y in 0..1 as a polynomial with coefficients in units of 2^-32, the constant first; within 6e-10 (a Chebyshev fit). They add up
/// to 2^33, so that the greatest weighs exactly 2^40.
#define DS_SAMPLE_POWERS {4294967296, 2977044503, 1031764350, 238393414, 41289822, 5768060, 614155, 92992}

#ifdef __cplusplus
extern "C" {
#endif

/// How the token of one row is chosen. The tokens that the penalty meets lie in the same array of i32 as this.
typedef struct DsSampleRow {
  float temperature; // above 0
  int32_t top_k;     // tokens that stay, and those equal to the last; 0: all
  int64_t top_p;     // in units of 2^-32; 0: all
  int64_t least;     // weight of a token that stays; 0: all
  uint64_t random;   // which part of the sum of weights the token covers, in units of 2^-64
  float penalty;     // of the tokens seen
  int32_t seen_begin, seen_count, reserved;
} DsSampleRow;

#ifdef __cplusplus
}
static_assert(sizeof(DsSampleRow) == 48, "as kernels read it");
#endif
#endif // DSRT_SAMPLE_H
