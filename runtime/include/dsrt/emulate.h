// The contract between kernels of the GPU compiled for the processor and the runtime that runs them as a GPU would: one call of a function
// for each thread of a launch. The compiler emits against this header, the runtime calls through it.
#ifndef DSRT_EMULATE_H
#define DSRT_EMULATE_H

#include <stddef.h>
#include <stdint.h>

#define DS_EMULATE_ABI 2
/// The most stack that a kernel uses for itself.
#define DS_EMULATE_STACK_BYTES 65536

#ifdef __cplusplus
extern "C" {
#endif

typedef struct DsEmulatedThread DsEmulatedThread;

/// How an access touches memory.
#define DS_EMULATE_WRITE 1
#define DS_EMULATE_ATOMIC 2

/// Which lane a shuffle takes its value from.
#define DS_EMULATE_SHUFFLE_XOR 0
#define DS_EMULATE_SHUFFLE_INDEX 1

/// The type of the factors of a matrix product.
#define DS_EMULATE_BF16 0
#define DS_EMULATE_F16 1

/// What one lane gives to m16n8k16 and gets from it, as the PTX instruction has it.
typedef struct DsEmulatedFragments {
  uint32_t a[4], b[2]; // two values each
  float c[4];          // read, then written
} DsEmulatedFragments;

/// What one lane gives to wgmma m64nNk16 and gets from it: its factors of 16 rows of its warp, and N / 2 sums, of columns 8 j + 2 t and the
/// next one of rows g and g + 8, as the PTX instruction has them.
#define DS_EMULATE_WARPGROUP_SUMS 128
typedef struct DsEmulatedWarpgroup {
  uint32_t a[4];
  float sums[DS_EMULATE_WARPGROUP_SUMS]; // read, then written; what stands here until a wait is no number
} DsEmulatedWarpgroup;

/// How an op accesses memory: lane i of `lanes` is `bytes` long and lies `i * bytes` behind its address.
typedef struct DsEmulatedOp {
  int32_t bytes, lanes;
  int32_t how;       // DS_EMULATE_WRITE, DS_EMULATE_ATOMIC
  int32_t alignment; // of the address; 0: the op accesses nothing by `access`
} DsEmulatedOp;

/// What threads ask of the runtime. `op` numbers the op that asks, from 0 over the whole of the code.
typedef struct DsEmulatedCalls {
  /// An access that `ranges` does not cover. Lane i is touched when bit i of `mask` is set.
  void (*access)(DsEmulatedThread *thread, int32_t op, uint64_t address, uint64_t mask);
  void (*barrier)(DsEmulatedThread *thread, int32_t op);
  uint32_t (*shuffle)(DsEmulatedThread *thread, int32_t op, int32_t mode, uint32_t value, int32_t lane);
  void (*mma)(DsEmulatedThread *thread, int32_t op, int32_t type, DsEmulatedFragments *fragments);
  /// cp.async of 16 bytes, of which `bytes` are read and the rest is zero.
  void (*copy)(DsEmulatedThread *thread, int32_t op, uint64_t to, uint64_t from, int32_t bytes);
  void (*commit)(DsEmulatedThread *thread);
  void (*wait)(DsEmulatedThread *thread, int32_t pending);
  void (*grid_wait)(DsEmulatedThread *thread);
  // mbarriers. Addresses in shared memory are the low 32 bits of a pointer.
  void (*phase_init)(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t arrivals);
  void (*phase_show)(DsEmulatedThread *thread);
  /// An arrival that also expects `bytes` of copies.
  void (*phase_arrive)(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t bytes);
  /// Until the phase of this parity has ended.
  void (*phase_wait)(DsEmulatedThread *thread, int32_t op, uint32_t barrier, int32_t parity);
  /// cp.async.bulk, counted by `barrier`.
  void (*bulk_copy)(DsEmulatedThread *thread, int32_t op, uint32_t to, uint64_t from, int32_t bytes, uint32_t barrier);
  // wgmma: N is `columns`, `descriptor` the second factor.
  void (*wgmma_fence)(DsEmulatedThread *thread, int32_t op);
  void (*wgmma)(DsEmulatedThread *thread, int32_t op, int32_t type, int32_t columns, uint64_t descriptor, DsEmulatedWarpgroup *values);
  void (*wgmma_commit)(DsEmulatedThread *thread, int32_t op);
  /// Until all but the last `pending` groups are done. `values` has `count` sums, which become numbers where theirs are done.
  void (*wgmma_wait)(DsEmulatedThread *thread, int32_t op, int32_t pending, int32_t count, DsEmulatedWarpgroup *values);
} DsEmulatedCalls;

/// Where an op may touch memory without a call: from addresses `begin` .. `begin + starts - 1` on that have no bit of `misaligned`.
typedef struct DsEmulatedRange {
  uint64_t begin, starts, misaligned, reserved;
} DsEmulatedRange;

/// A thread of a launch.
struct DsEmulatedThread {
  int32_t thread; // in its block
  int32_t block[3];
  int32_t grid[3];
  int32_t reserved;
  uint8_t *shared;               // of its block
  const DsEmulatedRange *ranges; // one an op
  const DsEmulatedCalls *calls;
};

/// A kernel: `args` has a pointer to the value of each parameter, as cuLaunchKernel takes them.
typedef void (*DsEmulatedKernelFn)(DsEmulatedThread *thread, const void *const *args);

// Symbols of code/emulate.so: `ds_emulate_abi`, an int32_t equal to DS_EMULATE_ABI, besides `ds_package_abi` of package.h; for each kernel
// the function `ds_emulated_<name>`, and `ds_emulate_params_<name>`, a text with the bytes of each parameter, a digit each;
// `ds_emulate_op_count`, an int32_t, `ds_emulate_ops`, a DsEmulatedOp for each op, and `ds_emulate_op_texts`. Texts end by a zero byte.
#define DS_EMULATE_ABI_SYMBOL "ds_emulate_abi"
#define DS_EMULATED_PREFIX "ds_emulated_"
#define DS_EMULATE_PARAMS_PREFIX "ds_emulate_params_"
#define DS_EMULATE_OP_COUNT_SYMBOL "ds_emulate_op_count"
#define DS_EMULATE_OPS_SYMBOL "ds_emulate_ops"
#define DS_EMULATE_OP_TEXTS_SYMBOL "ds_emulate_op_texts"

#ifdef __cplusplus
}
static_assert(sizeof(DsEmulatedThread) == 56 && offsetof(DsEmulatedThread, shared) == 32 && sizeof(DsEmulatedCalls) == 136 &&
                  sizeof(DsEmulatedFragments) == 40 && sizeof(DsEmulatedWarpgroup) == 528 && sizeof(DsEmulatedRange) == 32 &&
                  sizeof(DsEmulatedOp) == 16,
              "generated code uses these offsets");
#endif
#endif // DSRT_EMULATE_H
