// Inline assembly keeps what is measured from being optimised away. A multiply-add takes 4 or 5 cycles and two start in each, so 12 to 16
// sums that do not wait for each other fill both ports.
#include "CalibrateKernels.h"
#include <immintrin.h>

#define DS_TARGET(features) __attribute__((target(features)))
#define DS_REPEAT_12(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)
#define DS_REPEAT_16(step) DS_REPEAT_12(step) step(12) step(13) step(14) step(15)

// ---- Arithmetic -----------------------------------------------------------------------------------------------------------------

DS_TARGET("avx512f") static void multiplyAddV4(int64_t rounds) {
  __m512 x = _mm512_set1_ps(0.5f), sums[16] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#define DS_STEP(i) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sums[i]) : "v"(x));
    DS_REPEAT_16(DS_STEP)
#undef DS_STEP
  }
}

DS_TARGET("avx512f") static void dotV4(int64_t rounds) {
  __m512 x = _mm512_set1_ps(0.5f), sums[16] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#define DS_STEP(i) asm volatile("vdpbf16ps %1, %1, %0" : "+v"(sums[i]) : "v"(x));
    DS_REPEAT_16(DS_STEP)
#undef DS_STEP
  }
}

DS_TARGET("avx2,fma") static void multiplyAddV3(int64_t rounds) {
  __m256 x = _mm256_set1_ps(0.5f), sums[12] = {};
  for (int64_t round = 0; round < rounds; ++round) {
#define DS_STEP(i) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(sums[i]) : "x"(x));
    DS_REPEAT_12(DS_STEP)
#undef DS_STEP
  }
}

/// Six products and six sums a round; the products stay 1.
static void multiplyAndAddV2(int64_t rounds) {
  __m128 x = _mm_set1_ps(1.0f), values[12];
  for (__m128 &value : values)
    value = x;
  for (int64_t round = 0; round < rounds; ++round) {
#define DS_STEP(i)                                                                                                                         \
  if (i % 2)                                                                                                                               \
    asm volatile("mulps %1, %0" : "+x"(values[i]) : "x"(x));                                                                               \
  else                                                                                                                                     \
    asm volatile("addps %1, %0" : "+x"(values[i]) : "x"(x));
    DS_REPEAT_12(DS_STEP)
#undef DS_STEP
  }
}

PeakKernel peakKernel(int level) {
  if (level == 4)
    return {__builtin_cpu_supports("avx512f") ? multiplyAddV4 : nullptr, 16 * 16 * 2};
  if (level == 3)
    return {__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? multiplyAddV3 : nullptr, 12 * 8 * 2};
  return {multiplyAndAddV2, 12 * 4};
}

PeakKernel dotKernel() { return {__builtin_cpu_supports("avx512bf16") ? dotV4 : nullptr, 16 * 32 * 2}; }

// ---- Memory ---------------------------------------------------------------------------------------------------------------------

/// One load a register of `Bytes`; four are in flight in each step so that no sum is waited for. Nothing but loads: as fast as they come.
#define DS_READER(name, features, load, bytesOfVector)                                                                                     \
  template <size_t Ahead> DS_TARGET(features) static void name(const char *data, size_t bytes) {                                           \
    for (const char *end = data + bytes; data < end; data += 8 * bytesOfVector) {                                                          \
      for (size_t line = 0; Ahead && line < 8 * bytesOfVector; line += 64)                                                                 \
        _mm_prefetch(data + Ahead + line, _MM_HINT_T0);                                                                                    \
      asm volatile(load(0) load(1) load(2) load(3) load(4) load(5) load(6) load(7)                                                         \
                   :                                                                                                                       \
                   : [at] "r"(data)                                                                                                        \
                   : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");                                            \
    }                                                                                                                                      \
  }
#define DS_LOAD_V4(i) "vmovaps " #i "*64(%[at]), %%zmm" #i "\n\t"
#define DS_LOAD_V3(i) "vmovaps " #i "*32(%[at]), %%ymm" #i "\n\t"
#define DS_LOAD_V2(i) "movaps " #i "*16(%[at]), %%xmm" #i "\n\t"
DS_READER(readV4, "avx512f", DS_LOAD_V4, 64)
DS_READER(readV3, "avx2", DS_LOAD_V3, 32)
DS_READER(readV2, "sse2", DS_LOAD_V2, 16)

void readBytes(const void *data, size_t bytes, size_t ahead) {
  const auto *at = static_cast<const char *>(data);
  if (__builtin_cpu_supports("avx512f"))
    (ahead ? readV4<4096> : readV4<0>)(at, bytes);
  else if (__builtin_cpu_supports("avx2"))
    (ahead ? readV3<4096> : readV3<0>)(at, bytes);
  else
    (ahead ? readV2<4096> : readV2<0>)(at, bytes);
}

DS_TARGET("avx512f") static void writeV4(char *data, size_t bytes) {
  for (char *end = data + bytes; data < end; data += 64)
    asm volatile("vmovaps %0, (%1)" : : "v"(_mm512_setzero_ps()), "r"(data) : "memory");
}

static void writeV2(char *data, size_t bytes) {
  for (char *end = data + bytes; data < end; data += 16)
    asm volatile("movaps %0, (%1)" : : "x"(_mm_setzero_ps()), "r"(data) : "memory");
}

void writeBytes(void *data, size_t bytes) { (__builtin_cpu_supports("avx512f") ? writeV4 : writeV2)(static_cast<char *>(data), bytes); }
