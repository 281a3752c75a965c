#include "Assembly.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ds;

/// What the vector code shared with the CPU may use on a GPU.
static const CpuLevel &gpuLevel() {
  static const CpuLevel level{"gpu", "", "", /*lanes=*/4, 0, 0, 0, /*fma=*/true, /*f16=*/true, Dots::none, Dots::none};
  return level;
}

GpuEmitter::GpuEmitter(OpBuilder &builder, ModuleOp module) : Emitter(builder, module, gpuLevel()) {}

static constexpr gpu::Dimension dimensions[] = {gpu::Dimension::x, gpu::Dimension::y, gpu::Dimension::z};

static Value toIndex32(Emitter &e, Value value) { return arith::IndexCastOp::create(e.getBuilder(), e.getLoc(), e.i32(), value); }

Value GpuEmitter::thread() { return toIndex32(*this, gpu::ThreadIdOp::create(getBuilder(), getLoc(), gpu::Dimension::x)); }
Value GpuEmitter::lane() { return bitAnd(thread(), index(warpThreads - 1)); }
Value GpuEmitter::warp() { return shiftRight(thread(), 5); }
Value GpuEmitter::block(unsigned dimension) {
  return toIndex32(*this, gpu::BlockIdOp::create(getBuilder(), getLoc(), dimensions[dimension]));
}
Value GpuEmitter::gridSize(unsigned dimension) {
  return toIndex32(*this, gpu::GridDimOp::create(getBuilder(), getLoc(), dimensions[dimension]));
}

void GpuEmitter::barrier() { gpu::BarrierOp::create(getBuilder(), getLoc()); }

static Value shuffled(Emitter &e, Value value, Value which, gpu::ShuffleMode mode) {
  Value width = e.constantI32(GpuEmitter::warpThreads);
  return gpu::ShuffleOp::create(e.getBuilder(), e.getLoc(), value, which, width, mode).getShuffleResult();
}
Value GpuEmitter::shuffleXor(Value value, int64_t offset) { return shuffled(*this, value, index(offset), gpu::ShuffleMode::XOR); }
Value GpuEmitter::shuffleIndex(Value value, Value lane) { return shuffled(*this, value, lane, gpu::ShuffleMode::IDX); }

Value GpuEmitter::warpSum(Value value, int64_t lanes) {
  for (int64_t offset = lanes / 2; offset > 0; offset /= 2)
    value = add(value, shuffleXor(value, offset));
  return value;
}
Value GpuEmitter::warpMax(Value value, int64_t lanes) {
  for (int64_t offset = lanes / 2; offset > 0; offset /= 2)
    value = max(value, shuffleXor(value, offset));
  return value;
}

Value GpuEmitter::reduceBlock(Value value, Value scratch, int64_t threads, llvm::function_ref<Value(Value, Value)> combine,
                              Value identity) {
  int64_t warps = threads / warpThreads;
  if (warps == 1)
    return value;
  barrier();
  ifThen(eq(lane(), 0), [&] { store(value, element(scratch, f32(), warp())); });
  barrier();
  // Each warp reduces the values of all, so that no third barrier is needed.
  Value mine = select(lt(lane(), warps), load(f32(), element(scratch, f32(), min(lane(), warps - 1))), identity);
  for (int64_t offset = llvm::PowerOf2Ceil(warps) / 2; offset > 0; offset /= 2)
    mine = combine(mine, shuffleXor(mine, offset));
  return shuffleIndex(mine, index(0));
}
Value GpuEmitter::blockSum(Value value, Value scratch, int64_t threads) {
  return reduceBlock(warpSum(value), scratch, threads, [&](Value a, Value b) { return add(a, b); }, constantF32(0));
}
Value GpuEmitter::blockMax(Value value, Value scratch, int64_t threads) {
  return reduceBlock(warpMax(value), scratch, threads, [&](Value a, Value b) { return max(a, b); }, infinity(f32(), /*negative=*/true));
}

static LLVM::LLVMPointerType pointerTo(OpBuilder &builder, NVVM::NVVMMemorySpace space) {
  return LLVM::LLVMPointerType::get(builder.getContext(), static_cast<unsigned>(space));
}
static Value castPointer(Emitter &e, Value pointer, NVVM::NVVMMemorySpace space) {
  return LLVM::AddrSpaceCastOp::create(e.getBuilder(), e.getLoc(), pointerTo(e.getBuilder(), space), pointer);
}

Value GpuEmitter::shared(int64_t offset) {
  Value base = LLVM::AddressOfOp::create(getBuilder(), getLoc(), pointerTo(getBuilder(), NVVM::NVVMMemorySpace::Shared), sharedName);
  return at(LLVM::AddrSpaceCastOp::create(getBuilder(), getLoc(), ptr(), base), offset);
}

void GpuEmitter::copyAsync(Value to, Value from, Value bytes) {
  NVVM::CpAsyncOp::create(getBuilder(), getLoc(), castPointer(*this, to, NVVM::NVVMMemorySpace::Shared),
                          castPointer(*this, from, NVVM::NVVMMemorySpace::Global), 16, NVVM::LoadCacheModifierKind::CG, bytes);
}
void GpuEmitter::commitCopies() { NVVM::CpAsyncCommitGroupOp::create(getBuilder(), getLoc()); }
void GpuEmitter::waitCopies(int64_t pending) { NVVM::CpAsyncWaitGroupOp::create(getBuilder(), getLoc(), static_cast<uint32_t>(pending)); }

Value GpuEmitter::shiftRight(Value a, Value bits) { return arith::ShRUIOp::create(getBuilder(), getLoc(), a, bits); }

SmallVector<Value> GpuEmitter::mma(MmaType type, ValueRange a, ValueRange b, ValueRange c) {
  OpBuilder &builder = getBuilder();
  auto result = LLVM::LLVMStructType::getLiteral(builder.getContext(), SmallVector<Type>(4, f32()));
  NVVM::MMATypes element = type == MmaType::bf16 ? NVVM::MMATypes::bf16 : NVVM::MMATypes::f16;
  Values left(a), right(b);
  if (type == MmaType::f16) // the instruction takes f16 in pairs, bf16 as integers
    for (Values *list : {&left, &right})
      for (Value &value : *list)
        value = bitcast(value, vec(2, builder.getF16Type()));
  auto op = NVVM::MmaOp::create(builder, getLoc(), result, left, right, c, ArrayRef<int64_t>{16, 8, 16}, std::nullopt, std::nullopt,
                                std::array<NVVM::MMATypes, 2>{element, element},
                                std::array<NVVM::MMALayout, 2>{NVVM::MMALayout::row, NVVM::MMALayout::col});
  Values sums;
  for (int64_t i = 0; i < 4; ++i)
    sums.push_back(LLVM::ExtractValueOp::create(builder, getLoc(), op, i));
  return sums;
}

Value GpuEmitter::pack(MmaType type, Value low, Value high) {
  Value pair = insert(high, insert(low, zero(vec(2)), 0), 1);
  Type element = type == MmaType::bf16 ? Type(getBuilder().getBF16Type()) : Type(getBuilder().getF16Type());
  return bitcast(arith::TruncFOp::create(getBuilder(), getLoc(), vec(2, element), pair), i32());
}

Value GpuEmitter::truncate(Value x, Type to) { return arith::TruncIOp::create(getBuilder(), getLoc(), to, x); }
Value GpuEmitter::narrow(Value x) { return arith::TruncFOp::create(getBuilder(), getLoc(), getBuilder().getF16Type(), x); }

static Value intrinsic(Emitter &e, StringRef name, Value operand) {
  return LLVM::CallIntrinsicOp::create(e.getBuilder(), e.getLoc(), operand.getType(), e.getBuilder().getStringAttr(name),
                                       ValueRange(operand))
      .getResult(0);
}
Value GpuEmitter::exp2(Value x) { return intrinsic(*this, "llvm.nvvm.ex2.approx.ftz.f", x); }
Value GpuEmitter::rsqrt(Value x) { return intrinsic(*this, "llvm.nvvm.rsqrt.approx.ftz.f", x); }

Value GpuEmitter::loadStream(Value pointer) {
  OpBuilder &builder = getBuilder();
  // Volatile assembly: LLVM would sink a load to its first use, behind the wait for the launch before; and of loads marked .nc ptxas puts
  // the wait first.
  auto result = LLVM::LLVMStructType::getLiteral(builder.getContext(), SmallVector<Type>(4, i32()));
  auto op = LLVM::InlineAsmOp::create(
      builder, getLoc(), result, castPointer(*this, pointer, NVVM::NVVMMemorySpace::Global), assembly::loadStream, "=r,=r,=r,=r,l",
      /*has_side_effects=*/true, /*is_align_stack=*/false, LLVM::tailcallkind::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
  Value lanes = zero(vec(4, i32()));
  for (int64_t i = 0; i < 4; ++i)
    lanes = insert(LLVM::ExtractValueOp::create(builder, getLoc(), op.getResult(0), i), lanes, i);
  return lanes;
}

Value GpuEmitter::atomicAdd(Value pointer, Value value) {
  return LLVM::AtomicRMWOp::create(getBuilder(), getLoc(), LLVM::AtomicBinOp::add, pointer, value, LLVM::AtomicOrdering::acq_rel, "device");
}
void GpuEmitter::fence() { LLVM::FenceOp::create(getBuilder(), getLoc(), LLVM::AtomicOrdering::acq_rel, "device"); }

void GpuEmitter::gridWait() { NVVM::GriddepcontrolOp::create(getBuilder(), getLoc(), NVVM::GridDepActionKind::wait); }
void GpuEmitter::gridLaunchDependents() {
  NVVM::GriddepcontrolOp::create(getBuilder(), getLoc(), NVVM::GridDepActionKind::launch_dependents);
}
