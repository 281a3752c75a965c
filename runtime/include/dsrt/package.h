// The contract between the code of a package and the runtime that executes it. The compiler emits against this header, the runtime calls
// through it, and neither includes anything else of the other. docs/package-format.md describes the folder around it.
#ifndef DSRT_PACKAGE_H
#define DSRT_PACKAGE_H

#include <stddef.h>
#include <stdint.h>

#define DS_PACKAGE_FORMAT "ds-package"
#define DS_PACKAGE_VERSION 1
#define DS_ABI 3
#define DS_ALIGN 64

#ifdef __cplusplus
extern "C" {
#endif

/// What one call of a program works on. Every thread gets the same step.
///   inputs   one pointer a declared input, i32, row-major, the declared shape
///   outputs  one pointer a declared output, f32; a null pointer says the caller does not want it
///   kv       [batch], the cache block of each sequence, `bytes_per_sequence` long; null in programs without caches
///   weights  first byte of the data part of the weights file
///   arena    `arena_bytes` of the program, aligned to DS_ALIGN, contents undefined before and after
///   state    what training keeps from step to step, aligned to DS_ALIGN; null in packages that have none
///   barrier  waits until all threads have called it
///   trace    [threads][launches][2], written: the time stamp counter before and after each launch that runs; null: not wanted.
///            Launches that share a thread's time slab by slab stand there as if one had followed the other, with the time of each
typedef struct DsStep {
  int32_t abi;
  int32_t batch;  // B, 1 .. max_batch
  int32_t tokens; // T of each sequence, right-padded; B * T <= max_rows
  int32_t rows;   // R, selected tokens, 0 .. max_rows
  const int32_t *const *inputs;
  void *const *outputs;
  uint8_t *const *kv;
  const uint8_t *weights;
  uint8_t *arena;
  void (*barrier)(void *context, int32_t thread);
  void *barrier_context;
  uint64_t *trace;
  uint8_t *state;
} DsStep;

/// A program: run by every thread of `threads` at once, each with its own `thread` in [0, threads).
typedef void (*DsProgramFn)(const DsStep *step, int32_t thread, int32_t threads);

// Symbols of code/<level>.so: `ds_package_abi`, an int32_t equal to DS_ABI, and for each program the function `ds_program_<name>` and the
// int32_t `ds_launches_<name>`, how many launches it has.
#define DS_ABI_SYMBOL "ds_package_abi"
#define DS_PROGRAM_PREFIX "ds_program_"
#define DS_LAUNCHES_PREFIX "ds_launches_"

#ifdef __cplusplus
}
static_assert(sizeof(DsStep) == 88 && offsetof(DsStep, inputs) == 16 && offsetof(DsStep, barrier_context) == 64,
              "generated code uses these offsets");
#endif
#endif // DSRT_PACKAGE_H
