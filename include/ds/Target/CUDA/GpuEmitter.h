// The emitter for kernels of the GPU: what one thread does, and what the threads of a warp or a block do together.
#ifndef DS_TARGET_CUDA_GPUEMITTER_H
#define DS_TARGET_CUDA_GPUEMITTER_H

#include "ds/Target/CPU/Emitter.h"

namespace ds {

/// Element type of the factors of a matrix instruction; sums are f32.
enum class MmaType { bf16, f16 };

/// Adds to `Emitter` the ops of the `gpu` and `nvvm` dialects that kernels use. This class alone creates them, so that code generation and
/// emulation (Emulation.h) have one list to serve. Sizes and indices on the GPU are i32 where they can be; pointers are generic
/// `!llvm.ptr`. `vec()` has 4 lanes: 16 bytes of f32.
class GpuEmitter : public Emitter {
public:
  GpuEmitter(mlir::OpBuilder &builder, mlir::ModuleOp module);

  static constexpr int64_t warpThreads = 32;
  /// Name of the global that stands for the dynamic shared memory of a block.
  static constexpr llvm::StringLiteral sharedName = "ds_shared";

  /// i32 constant.
  Value index(int64_t value) { return constantI32(static_cast<int32_t>(value)); }

  // Where this thread is; i32.
  Value thread();                      // in its block, 0 .. threads - 1; blocks have one dimension
  Value lane();                        // in its warp
  Value warp();                        // of its block
  Value block(unsigned dimension = 0); // in the grid
  Value gridSize(unsigned dimension = 0);

  // Together.
  /// All threads of the block meet; what they wrote to shared and global memory before is seen by all of them behind it.
  void barrier();
  /// The value (f32 or i32) of lane `lane ^ offset`; every lane of the warp takes part.
  Value shuffleXor(Value value, int64_t offset);
  /// The value of lane `lane`, i32.
  Value shuffleIndex(Value value, Value lane);
  /// Over the lanes of the warp (or each aligned group of `lanes`), the result in every one.
  Value warpSum(Value value, int64_t lanes = warpThreads);
  Value warpMax(Value value, int64_t lanes = warpThreads);
  /// Over the threads of the block, the result in every thread. `scratch` is shared memory for one f32 a warp; barriers stand before and
  /// behind its use, so that it may be used again.
  Value blockSum(Value value, Value scratch, int64_t threads);
  Value blockMax(Value value, Value scratch, int64_t threads);

  // Shared memory.
  /// Byte `offset` of the block's dynamic shared memory, aligned to 16 at offset 0. Undefined contents at the start.
  Value shared(int64_t offset = 0);
  /// Copies 16 bytes from global to shared memory, both aligned to 16, some time before a wait for its group. With `bytes` (i32, 0..16)
  /// only so many are read and the rest is zero.
  void copyAsync(Value to, Value from, Value bytes = {});
  /// Makes the copies of this thread since the last commit a group.
  void commitCopies();
  /// Waits until all but the last `pending` groups of this thread have arrived; a barrier makes them seen by others.
  void waitCopies(int64_t pending);

  // Since sm_90: phases, which are mbarriers in 8 bytes of shared memory. A phase ends when all have arrived and the bytes that they expect
  // have; its parity is 0 for the first one, 1 for the next, and so on.
  /// One thread makes it, then calls `showPhases`, and a `barrier` stands before all other uses.
  void initPhase(Value phase, int64_t arrivals);
  void showPhases();
  /// One arrival, that expects `bytes` (i32) more where they are given.
  void arrive(Value phase, Value bytes = {});
  /// Until the phase of `parity` (i32) has ended: what was done before the arrivals, and what copies wrote, is seen behind it.
  void waitPhase(Value phase, Value parity);
  /// Copies `bytes` (i32) from global to shared memory, all multiples of 16, which `phase` counts when they are there.
  void copyBulk(Value to, Value from, Value bytes, Value phase);

  // Since sm_90a: products of warpgroups, four warps from a multiple of four on, that run while the threads go on.
  static constexpr int64_t warpgroupThreads = 128;
  /// The second factor of `wgmma` at `pointer`, aligned to 16, in pieces of 8 columns and 8 k: 16 bytes a column, 128 in all. The pieces of
  /// the next 8 k are `kBytes` behind, those of the next 8 columns `columnBytes`. i64.
  Value factorAt(Value pointer, int64_t kBytes, int64_t columnBytes);
  /// Before the first `wgmma` of a group: the registers of `sums` and first factors that it will take are written. They come out anew.
  void wgmmaFence(Values &sums, Values &factors);
  /// Begins sums += a * b, m64nNk16: a warp has 16 rows, whose fragments `a` and sums are those of `mma` for each 8 columns, one behind the
  /// other: N / 2 values. They may be given to `wgmma` and `wgmmaWait` alone until they have come out of the latter.
  Values wgmma(MmaType type, mlir::ValueRange a, Value factor, mlir::ValueRange sums);
  /// Ends a group; waits until all but the last `pending` groups are done. `factors` are the first factors of what is waited for: their
  /// registers hold nothing else until then.
  void wgmmaCommit();
  Values wgmmaWait(int64_t pending, mlir::ValueRange sums, mlir::ValueRange factors);

  // Arithmetic of its own.
  using Emitter::shiftRight;
  Value shiftRight(Value a, Value bits); // logical
  /// d = a * b + c of a warp, m16n8k16: `a` is 4 and `b` 2 i32 of two values each, `c` 4 f32; PTX ISA, "Matrix Fragments for mma.m16n8k16".
  /// With g = lane / 4 and t = lane % 4: a[0] = (row g, k 2t, 2t + 1), a[1] = (row g + 8, the same k), a[2], a[3] = k + 8;
  /// b[0] = (k 2t, 2t + 1; column g), b[1] = k + 8; c[0], c[1] = (row g; columns 2t, 2t + 1), c[2], c[3] = row g + 8.
  Values mma(MmaType type, mlir::ValueRange a, mlir::ValueRange b, mlir::ValueRange c);
  /// The low bits of an integer.
  Value truncate(Value x, mlir::Type to);
  /// An f32 as f16, to the nearest.
  Value narrow(Value x);
  /// Two f32 as bf16 or f16 in an i32, to the nearest, `low` in the low half.
  Value pack(MmaType type, Value low, Value high);
  /// 2^x of an f32, ex2.approx.ftz: 2 units in the last place, subnormal results are 0.
  Value exp2(Value x);
  /// e^x by exp2.
  Value exp(Value x) { return exp2(mul(x, constantF32(1.44269504088896341f))); }
  /// 1 / sqrt(x), rsqrt.approx.ftz.
  Value rsqrt(Value x);

  // Global memory.
  /// 16 bytes of constant data that this launch reads once, as 4 lanes of i32: past the first-level cache. Never moved behind `gridWait`.
  Value loadStream(Value pointer);
  /// Adds to an i32 in global memory, seen by the whole device; the value before.
  Value atomicAdd(Value pointer, Value value);
  /// What this thread wrote to global memory before is seen by the device before what it writes behind.
  void fence();

  // Between launches of a stream (programmatic dependent launch). Without effect before sm_90.
  /// Waits until the launches before this one have finished and their writes are seen.
  void gridWait();
  /// Lets the launch behind this one begin; it waits by `gridWait` for this one's results.
  void gridLaunchDependents();

private:
  Value reduceBlock(Value value, Value scratch, int64_t threads, llvm::function_ref<Value(Value, Value)> combine, Value identity);
};

} // namespace ds
#endif // DS_TARGET_CUDA_GPUEMITTER_H
