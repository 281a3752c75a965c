// What this machine can do, on the threads of the caller: multiply-adds from registers, and reading memory.
//   limits_peak    FLOP/s of a loop of fused multiply-adds (kind 0: f32; kind 1: pairs of bf16, vdpbf16ps); -1 when the compiler has none
//   limits_read    bytes/s of the best of two ways to sum `bytes` of `data`: one stream, and four with prefetch
// Vectors are as wide as the machine's; compiled with -march=native where it runs.
#include <immintrin.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define REGISTER "+v"
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define REGISTER "+x"
#else
#define VECTOR_BYTES 16
#define REGISTER "+x"
#endif
typedef float vec __attribute__((vector_size(VECTOR_BYTES)));
enum { LANES = VECTOR_BYTES / 4, CHAINS = VECTOR_BYTES == 64 ? 20 : 12 };

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double limits_peak(int kind, long turns) {
  vec sums[CHAINS], x, y;
  for (int i = 0; i < LANES; ++i)
    x[i] = 1.0000001f, y[i] = 1e-9f;
#pragma GCC unroll 20
  for (int c = 0; c < CHAINS; ++c)
    sums[c] = x;
  double start = seconds(), flops = 2;
  if (kind == 0) {
    for (long turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 20
      for (int c = 0; c < CHAINS; ++c) {
        sums[c] = sums[c] * x + y;
        __asm__ volatile("" : REGISTER(sums[c]));
      }
    }
  } else {
#if defined(__AVX512BF16__)
    flops = 4;
    __m512i ones = _mm512_set1_epi32(0x3f803f80);
    for (long turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 20
      for (int c = 0; c < CHAINS; ++c)
        __asm__ volatile("vdpbf16ps %1,%2,%0" : REGISTER(sums[c]) : "v"(ones), "v"(ones));
    }
#else
    return -1;
#endif
  }
  double elapsed = seconds() - start;
  volatile float sink = 0;
#pragma GCC unroll 20
  for (int c = 0; c < CHAINS; ++c)
    sink += sums[c][0];
  return flops * LANES * CHAINS * (double)turns / elapsed;
}

/// Memory on huge pages where they are allowed, touched by the caller. Returns null when there is none.
void *limits_memory(size_t bytes) {
  void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED)
    return NULL;
  madvise(data, bytes, MADV_HUGEPAGE);
  memset(data, 0, bytes);
  return data;
}

static double readOnce(const char *data, size_t bytes, int streams, int ahead) {
  vec sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    sums[i] = (vec){0};
  size_t part = bytes / streams & ~(size_t)1023;
  double start = seconds();
  for (size_t at = 0; at + 512 <= part; at += 512)
    for (int s = 0; s < streams; ++s) {
      const char *from = data + s * part + at;
#pragma GCC unroll 8
      for (int line = 0; line < 512; line += 64) {
        if (ahead)
          __builtin_prefetch(from + line + ahead, 0, 3);
#pragma GCC unroll 4
        for (int i = 0; i < 64; i += VECTOR_BYTES)
          sums[line / 64] += *(const vec *)(from + line + i);
      }
    }
  double elapsed = seconds() - start;
  volatile float sink = 0;
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    sink += sums[i][0];
  return (double)(part * streams) / elapsed;
}

double limits_read(const void *data, size_t bytes) {
  double one = readOnce(data, bytes, 1, 0), four = readOnce(data, bytes, 4, 2048);
  return one > four ? one : four;
}
