// The matrix instruction of a warp. Emulated code is for x86-64-v3, and so is this.
#include "runtime/lib/EmulatorBlock.h"
#include <cstring>
#include <immintrin.h>

using namespace dsrt;

#define DSRT_V3 __attribute__((target("avx2,fma,f16c")))

/// 8 values as f32.
DSRT_V3 static inline __m256 widen(int32_t type, const uint16_t *halves) {
  const __m128i values = _mm_load_si128(reinterpret_cast<const __m128i *>(halves));
  return type == DS_EMULATE_BF16 ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(values), 16)) : _mm256_cvtph_ps(values);
}

DSRT_V3 void dsrt::emulateMma(int32_t type, DsEmulatedFragments *const *fragments) {
  alignas(32) uint16_t halvesA[16][16], halvesB[8][16]; // [row][k], [column][k]
  alignas(32) float a[16], b[16][8], c[16][8];          // [k] of a row, [k][column], [row][column]
  for (int lane = 0; lane < 32; ++lane) {
    const DsEmulatedFragments &f = *fragments[lane];
    const int group = lane / 4, k = lane % 4 * 2;
    memcpy(&halvesA[group][k], &f.a[0], 4);
    memcpy(&halvesA[group + 8][k], &f.a[1], 4);
    memcpy(&halvesA[group][k + 8], &f.a[2], 4);
    memcpy(&halvesA[group + 8][k + 8], &f.a[3], 4);
    memcpy(&halvesB[group][k], &f.b[0], 4);
    memcpy(&halvesB[group][k + 8], &f.b[1], 4);
    memcpy(&c[group][k], &f.c[0], 8);
    memcpy(&c[group + 8][k], &f.c[2], 8);
  }
  for (int column = 0; column < 8; ++column)
    for (int half = 0; half < 2; ++half) {
      alignas(32) float values[8];
      _mm256_store_ps(values, widen(type, &halvesB[column][half * 8]));
      for (int k = 0; k < 8; ++k)
        b[half * 8 + k][column] = values[k];
    }
  for (int row = 0; row < 16; ++row) {
    _mm256_store_ps(a, widen(type, halvesA[row]));
    _mm256_store_ps(a + 8, widen(type, halvesA[row] + 8));
    __m256d low = _mm256_cvtps_pd(_mm_load_ps(c[row])), high = _mm256_cvtps_pd(_mm_load_ps(c[row] + 4));
    for (int k = 0; k < 16; ++k) {
      const __m256d factor = _mm256_set1_pd(a[k]);
      low = _mm256_fmadd_pd(factor, _mm256_cvtps_pd(_mm_load_ps(b[k])), low);
      high = _mm256_fmadd_pd(factor, _mm256_cvtps_pd(_mm_load_ps(b[k] + 4)), high);
    }
    _mm_store_ps(c[row], _mm256_cvtpd_ps(low));
    _mm_store_ps(c[row] + 4, _mm256_cvtpd_ps(high));
  }
  for (int lane = 0; lane < 32; ++lane) {
    memcpy(&fragments[lane]->c[0], &c[lane / 4][lane % 4 * 2], 8);
    memcpy(&fragments[lane]->c[2], &c[lane / 4 + 8][lane % 4 * 2], 8);
  }
}
