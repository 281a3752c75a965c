// mbarriers, bulk copies and the products of warpgroups, as assembly: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions" and
// "Parallel Synchronization and Communication Instructions: mbarrier".
#include "Assembly.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace ds;

std::string assembly::wgmmaText(MmaType type, int64_t columns) {
  const int64_t sums = columns / 2;
  auto list = [](int64_t first, int64_t count) {
    std::string text = "{";
    for (int64_t i = 0; i < count; ++i)
      text += (i ? ", $" : "$") + std::to_string(first + i);
    return text + "}";
  };
  const std::string element = type == MmaType::bf16 ? "bf16" : "f16";
  return wgmma.str() + "m64n" + std::to_string(columns) + "k16.f32." + element + "." + element + " " + list(0, sums) + ", " +
         list(sums, 4) + ", $" + std::to_string(sums + 4) + ", adds, 1, 1, 0; }";
}

/// Assembly that nothing is moved across.
static LLVM::InlineAsmOp volatileAssembly(Emitter &e, StringRef text, std::string constraints, ValueRange operands, Type result = {}) {
  constraints += constraints.empty() ? "~{memory}" : ",~{memory}";
  return LLVM::InlineAsmOp::create(e.getBuilder(), e.getLoc(), result ? result : LLVM::LLVMVoidType::get(e.getBuilder().getContext()),
                                   operands, text, constraints, /*has_side_effects=*/true, /*is_align_stack=*/false,
                                   LLVM::tailcallkind::TailCallKind::None, LLVM::AsmDialectAttr(), ArrayAttr());
}

static Value castPointer(Emitter &e, Value pointer, NVVM::NVVMMemorySpace space) {
  auto type = LLVM::LLVMPointerType::get(e.getBuilder().getContext(), static_cast<unsigned>(space));
  return LLVM::AddrSpaceCastOp::create(e.getBuilder(), e.getLoc(), type, pointer);
}
/// The address in shared memory, i32.
static Value sharedAddress(Emitter &e, Value pointer) {
  return LLVM::PtrToIntOp::create(e.getBuilder(), e.getLoc(), e.i32(), castPointer(e, pointer, NVVM::NVVMMemorySpace::Shared));
}

void GpuEmitter::initPhase(Value phase, int64_t arrivals) {
  volatileAssembly(*this, assembly::initPhase, "r,r", {sharedAddress(*this, phase), index(arrivals)});
}
void GpuEmitter::showPhases() { volatileAssembly(*this, assembly::showPhases, "", {}); }
void GpuEmitter::arrive(Value phase, Value bytes) {
  if (bytes)
    volatileAssembly(*this, assembly::arriveExpecting, "r,r", {sharedAddress(*this, phase), bytes});
  else
    volatileAssembly(*this, assembly::arrive, "r", sharedAddress(*this, phase));
}
void GpuEmitter::waitPhase(Value phase, Value parity) {
  volatileAssembly(*this, assembly::waitPhase, "r,r", {sharedAddress(*this, phase), parity});
}
void GpuEmitter::copyBulk(Value to, Value from, Value bytes, Value phase) {
  volatileAssembly(*this, assembly::copyBulk, "r,l,r,r",
                   {sharedAddress(*this, to), castPointer(*this, from, NVVM::NVVMMemorySpace::Global), bytes, sharedAddress(*this, phase)});
}

Value GpuEmitter::factorAt(Value pointer, int64_t kBytes, int64_t columnBytes) {
  Value address = arith::ExtUIOp::create(getBuilder(), getLoc(), i64(), bitAnd(sharedAddress(*this, pointer), index(0x3ffff)));
  return bitOr(shiftRight(address, int64_t(4)), constant(kBytes / 16 << 16 | columnBytes / 16 << 32));
}

void GpuEmitter::wgmmaFence(Values &sums, Values &factors) {
  std::string constraints, inputs;
  SmallVector<Type> types;
  Values all(sums);
  llvm::append_range(all, factors);
  for (size_t i = 0; i < all.size(); ++i) {
    constraints += i >= sums.size() ? "=r," : "=f,";
    inputs += (i ? "," : "") + std::to_string(i);
    types.push_back(all[i].getType());
  }
  LLVM::InlineAsmOp op = volatileAssembly(*this, assembly::wgmmaFence, constraints + inputs, all,
                                          LLVM::LLVMStructType::getLiteral(getBuilder().getContext(), types));
  for (size_t i = 0; i < all.size(); ++i) {
    Value &value = i >= sums.size() ? factors[i - sums.size()] : sums[i];
    value = LLVM::ExtractValueOp::create(getBuilder(), getLoc(), op.getResult(0), static_cast<int64_t>(i));
  }
}
void GpuEmitter::wgmmaCommit() { volatileAssembly(*this, assembly::wgmmaCommit, "", {}); }

/// With `operands` before the sums, which are results as well.
static Emitter::Values withSums(Emitter &e, StringRef text, StringRef constraints, ValueRange operands, ValueRange sums) {
  std::string all;
  for (size_t i = 0; i < sums.size(); ++i)
    all += i ? ",=f" : "=f";
  all += constraints.str();
  for (size_t i = 0; i < sums.size(); ++i)
    all += "," + std::to_string(i);
  Emitter::Values inputs(operands);
  llvm::append_range(inputs, sums);
  auto type = LLVM::LLVMStructType::getLiteral(e.getBuilder().getContext(), SmallVector<Type>(sums.size(), e.f32()));
  LLVM::InlineAsmOp op = volatileAssembly(e, text, all, inputs, type);
  Emitter::Values results;
  for (size_t i = 0; i < sums.size(); ++i)
    results.push_back(LLVM::ExtractValueOp::create(e.getBuilder(), e.getLoc(), op.getResult(0), static_cast<int64_t>(i)));
  return results;
}

Emitter::Values GpuEmitter::wgmma(MmaType type, ValueRange a, Value factor, ValueRange sums) {
  Values operands(a);
  operands.push_back(factor);
  return withSums(*this, assembly::wgmmaText(type, static_cast<int64_t>(sums.size()) * 2), ",r,r,r,r,l", operands, sums);
}
Emitter::Values GpuEmitter::wgmmaWait(int64_t pending, ValueRange sums, ValueRange factors) {
  std::string constraints;
  for (size_t i = 0; i < factors.size(); ++i)
    constraints += ",r";
  return withSums(*this, assembly::wgmmaWait.str() + std::to_string(pending) + ";", constraints, factors, sums);
}
