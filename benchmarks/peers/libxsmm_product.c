// y[M, N] = x[M, K] * transposed w[N, K] by libxsmm: matrices packed in blocks of 64 outputs, as it has no kernel for the turned layout.
//   f32: a block is [K][64]; bf16: [K / 2][64][2], accumulated and written in f32
#include <libxsmm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK = 64, ROWS = 32 };

typedef struct {
  int rows, outputs, inputs, bf16;
  size_t bytes; // of one packed matrix
  int count, next;
  char *matrices;
  void *x;
  float *y;
  libxsmm_smmfunction f32, f32Rest;
  libxsmm_bsmmfunction b16, b16Rest;
} Product;

static uint16_t rounded(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/// Packs `count` copies of w [N, K] and keeps x [M, K]. Returns null when libxsmm has no kernel for the sizes.
void *product_open(int rows, int outputs, int inputs, int bf16, int count, const float *x, const float *w) {
  Product *p = calloc(1, sizeof(Product));
  *p = (Product){.rows = rows, .outputs = outputs, .inputs = inputs, .bf16 = bf16, .count = count};
  int full = rows < ROWS ? rows : ROWS, rest = rows % full, block = BLOCK, k = inputs, n = outputs;
  float one = 1, zero = 0;
  libxsmm_init();
  if (outputs % BLOCK || (bf16 && inputs % 2))
    return NULL;
  if (bf16) {
    int flags = LIBXSMM_GEMM_FLAG_VNNI_A;
    p->b16 = libxsmm_bsmmdispatch(block, full, k, &block, &k, &n, &one, &zero, &flags, NULL);
    p->b16Rest = rest ? libxsmm_bsmmdispatch(block, rest, k, &block, &k, &n, &one, &zero, &flags, NULL) : p->b16;
  } else {
    p->f32 = libxsmm_smmdispatch(block, full, k, &block, &k, &n, &one, &zero, NULL, NULL);
    p->f32Rest = rest ? libxsmm_smmdispatch(block, rest, k, &block, &k, &n, &one, &zero, NULL, NULL) : p->f32;
  }
  if (!(bf16 ? p->b16 && p->b16Rest : p->f32 && p->f32Rest))
    return NULL;
  p->bytes = (size_t)outputs * inputs * (bf16 ? 2 : 4);
  p->matrices = mmap(NULL, p->bytes * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p->matrices == MAP_FAILED)
    return NULL;
  madvise(p->matrices, p->bytes * count, MADV_HUGEPAGE);
  p->x = malloc((size_t)rows * inputs * 4);
  p->y = malloc((size_t)rows * outputs * 4);
  for (int o = 0; o < outputs; ++o)
    for (int i = 0; i < inputs; ++i) {
      size_t start = (size_t)(o / BLOCK) * BLOCK * inputs, lane = o % BLOCK;
      if (bf16)
        ((uint16_t *)p->matrices)[start + (size_t)(i / 2) * 2 * BLOCK + 2 * lane + i % 2] = rounded(w[(size_t)o * inputs + i]);
      else
        ((float *)p->matrices)[start + (size_t)i * BLOCK + lane] = w[(size_t)o * inputs + i];
    }
  for (int c = 1; c < count; ++c)
    memcpy(p->matrices + c * p->bytes, p->matrices, p->bytes);
  for (size_t i = 0; i < (size_t)rows * inputs; ++i)
    if (bf16)
      ((uint16_t *)p->x)[i] = rounded(x[i]);
    else
      ((float *)p->x)[i] = x[i];
  return p;
}

/// One product with the next matrix, on the OpenMP threads of the process. Returns y.
const float *product_run(void *product) {
  Product *p = product;
  const char *matrix = p->matrices + p->bytes * p->next;
  p->next = p->next + 1 < p->count ? p->next + 1 : 0;
#pragma omp parallel for schedule(static)
  for (int block = 0; block < p->outputs / BLOCK; ++block)
    for (int row = 0; row < p->rows; row += ROWS) {
      size_t at = (size_t)block * BLOCK * p->inputs, from = (size_t)row * p->inputs;
      float *to = p->y + (size_t)row * p->outputs + block * BLOCK;
      int full = p->rows - row >= ROWS || p->rows < ROWS;
      if (p->bf16)
        (full ? p->b16 : p->b16Rest)((const libxsmm_bfloat16 *)matrix + at, (const libxsmm_bfloat16 *)p->x + from, to);
      else
        (full ? p->f32 : p->f32Rest)((const float *)matrix + at, (const float *)p->x + from, to);
    }
  return p->y;
}

void product_close(void *product) {
  Product *p = product;
  munmap(p->matrices, p->bytes * p->count);
  free(p->x);
  free(p->y);
  free(p);
}
