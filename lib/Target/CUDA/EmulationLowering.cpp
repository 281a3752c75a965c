#include "EmulationLowering.h"
#include "ds/Target/CUDA/GpuEmitter.h"
#include "dsrt/package.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/AsmState.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace ds;

static LLVM::LLVMFunctionType functionType(OpBuilder &builder, Type result, ValueRange arguments) {
  if (!result)
    result = LLVM::LLVMVoidType::get(builder.getContext());
  return LLVM::LLVMFunctionType::get(result, llvm::to_vector(arguments.getTypes()));
}

Value EmulationLowering::callRuntime(size_t function, Type result, ValueRange arguments) {
  Value pointer = invariant(e.ptr(), e.at(field(e.ptr(), offsetof(DsEmulatedThread, calls)), static_cast<int64_t>(function)));
  SmallVector<Value> passed{thread};
  llvm::append_range(passed, arguments);
  LLVM::LLVMFunctionType type = functionType(builder, result, passed);
  passed.insert(passed.begin(), pointer);
  auto call = LLVM::CallOp::create(builder, e.getLoc(), type, passed);
  return result ? call.getResult() : Value();
}

Value EmulationLowering::number(Operation *op, const DsEmulatedOp &described) {
  opTexts += texts.lookup(op);
  opTexts += '\0';
  ops.push_back(described);
  return e.constantI32(static_cast<int32_t>(ops.size()) - 1);
}

EmulationLowering::Rewrite EmulationLowering::refuse(Operation *op, const Twine &why) {
  return llvm::createStringError("kernel '" + kernel + "': emulation has no '" + op->getName().getStringRef() + "'" + why);
}

EmulationLowering::Rewrite EmulationLowering::rewrite(Operation *op) {
  auto none = [] { return SmallVector<Value>(); };
  auto id = [&](size_t offset, gpu::Dimension dimension) {
    Value value = field(e.i32(), offset + 4 * static_cast<size_t>(dimension));
    return SmallVector<Value>{arith::IndexCastOp::create(builder, e.getLoc(), builder.getIndexType(), value)};
  };
  auto call = [&](size_t function, ValueRange arguments = {}) {
    callRuntime(function, {}, arguments);
    return SmallVector<Value>();
  };
  return llvm::TypeSwitch<Operation *, Rewrite>(op)
      .Case([&](gpu::ThreadIdOp op) {
        if (op.getDimension() != gpu::Dimension::x)
          return refuse(op, " but of dimension x");
        return Rewrite(id(offsetof(DsEmulatedThread, thread), gpu::Dimension::x));
      })
      .Case([&](gpu::BlockIdOp op) { return id(offsetof(DsEmulatedThread, block), op.getDimension()); })
      .Case([&](gpu::GridDimOp op) { return id(offsetof(DsEmulatedThread, grid), op.getDimension()); })
      .Case([&](gpu::BarrierOp op) { return call(offsetof(DsEmulatedCalls, barrier), number(op)); })
      .Case([&](gpu::ShuffleOp op) { return shuffle(op); })
      .Case([&](gpu::ReturnOp op) {
        LLVM::ReturnOp::create(builder, e.getLoc(), ValueRange());
        return none();
      })
      .Case([&](LLVM::AddressOfOp op) {
        if (op.getGlobalName() != GpuEmitter::sharedName)
          return refuse(op, " but of @" + GpuEmitter::sharedName);
        return Rewrite(SmallVector<Value>{field(e.ptr(), offsetof(DsEmulatedThread, shared))});
      })
      .Case([&](LLVM::AddrSpaceCastOp op) { return SmallVector<Value>{op.getArg()}; })
      .Case([&](NVVM::CpAsyncOp op) { return copy(op); })
      .Case([&](NVVM::CpAsyncCommitGroupOp) { return call(offsetof(DsEmulatedCalls, commit)); })
      .Case([&](NVVM::CpAsyncWaitGroupOp op) { return call(offsetof(DsEmulatedCalls, wait), e.constantI32(op.getN())); })
      .Case([&](NVVM::MmaOp op) { return mma(op); })
      .Case([&](NVVM::GriddepcontrolOp op) {
        if (op.getKind() == NVVM::GridDepActionKind::wait)
          call(offsetof(DsEmulatedCalls, grid_wait));
        return none();
      })
      .Case([&](LLVM::CallIntrinsicOp op) { return intrinsic(op); })
      .Case([&](LLVM::InlineAsmOp op) { return assembly(op); })
      .Case([&](arith::TruncFOp op) { return truncate(op); })
      .Case([&](LLVM::Prefetch) { return none(); })
      .Case([&](LLVM::LoadOp op) { return checked(op, {op.getAddr(), op.getType(), {}, 0, op.getAlignment().value_or(0)}); })
      .Case([&](LLVM::StoreOp op) {
        return checked(op, {op.getAddr(), op.getValue().getType(), {}, DS_EMULATE_WRITE, op.getAlignment().value_or(0)});
      })
      .Case([&](LLVM::MaskedLoadOp op) { return checked(op, {op.getData(), op.getType(), op.getMask(), 0, op.getAlignment()}); })
      .Case([&](LLVM::MaskedStoreOp op) {
        return checked(op, {op.getData(), op.getValue().getType(), op.getMask(), DS_EMULATE_WRITE, op.getAlignment()});
      })
      .Case([&](LLVM::AtomicRMWOp op) {
        op.setSyncscope(std::nullopt);
        return checked(op, {op.getPtr(), op.getVal().getType(), {}, DS_EMULATE_WRITE | DS_EMULATE_ATOMIC, 0});
      })
      .Case([&](LLVM::FenceOp op) {
        op.setSyncscope(std::nullopt);
        return Replacement();
      })
      .Case([&](LLVM::AllocaOp) { return Replacement(); })
      .Default([&](Operation *op) -> Rewrite {
        const bool known =
            isa<arith::ArithDialect, cf::ControlFlowDialect, LLVM::LLVMDialect, scf::SCFDialect, vector::VectorDialect>(op->getDialect());
        if (!known || (op->getNumRegions() == 0 && !isMemoryEffectFree(op)))
          return refuse(op);
        return Replacement();
      });
}

llvm::Error EmulationLowering::lowerFunction(gpu::GPUFuncOp function) {
  if (!function.isKernel() || function.isExternal())
    return llvm::createStringError("kernel '" + function.getName() + "': emulation expects kernels with a body");
  kernel = function.getName();
  fragments = warpgroupValues = {};
  texts.clear();
  AsmState names(function);
  builder.setInsertionPointToEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), {e.ptr(), e.ptr()});
  auto lowered = LLVM::LLVMFuncOp::create(builder, e.getLoc(), (DS_EMULATED_PREFIX + kernel).str(), type);
  SmallVector<Operation *> body;
  function.getBody().walk<WalkOrder::PreOrder>([&](Operation *op) {
    body.push_back(op);
    if (op->getNumRegions() == 0 && !isMemoryEffectFree(op)) {
      llvm::raw_string_ostream stream(texts[op]);
      op->print(stream, names);
    }
  });
  Block *entry = lowered.addEntryBlock(builder);
  thread = entry->getArgument(0);
  builder.setInsertionPointToEnd(entry);
  Block &first = function.getBody().front();
  SmallVector<Value> arguments;
  std::string bytes;
  for (BlockArgument argument : first.getArguments()) {
    Type type = argument.getType();
    bytes += static_cast<char>('0' + (type.isIntOrFloat() ? type.getIntOrFloatBitWidth() / 8 : 8));
    Value pointer = invariant(e.ptr(), e.at(entry->getArgument(1), argument.getArgNumber() * 8));
    arguments.push_back(invariant(argument.getType(), pointer));
  }
  for (Operation *op : body) {
    builder.setInsertionPoint(op);
    Rewrite results = rewrite(op);
    if (!results)
      return results.takeError();
    if (!*results)
      continue;
    op->replaceAllUsesWith(**results);
    op->erase();
  }
  Region &region = lowered.getBody();
  region.getBlocks().splice(region.end(), function.getBody().getBlocks());
  for (auto [old, value] : llvm::zip_equal(first.getArguments(), arguments))
    old.replaceAllUsesWith(value);
  first.eraseArguments(0, first.getNumArguments());
  entry->getOperations().splice(entry->end(), first.getOperations());
  first.replaceAllUsesWith(entry);
  first.erase();
  addText(DS_EMULATE_PARAMS_PREFIX + kernel, bytes);
  return llvm::Error::success();
}

void EmulationLowering::addText(const Twine &name, std::string text) {
  text += '\0';
  builder.setInsertionPointToEnd(module.getBody());
  LLVM::GlobalOp::create(builder, e.getLoc(), LLVM::LLVMArrayType::get(e.i8(), text.size()), /*isConstant=*/true, LLVM::Linkage::External,
                         name.str(), builder.getStringAttr(text));
}

void EmulationLowering::addConstant(llvm::StringRef name, int32_t value) {
  builder.setInsertionPointToEnd(module.getBody());
  LLVM::GlobalOp::create(builder, e.getLoc(), e.i32(), /*isConstant=*/true, LLVM::Linkage::External, name,
                         builder.getI32IntegerAttr(value));
}

llvm::Error EmulationLowering::run() {
  addCheckFunctions();
  SmallVector<gpu::GPUModuleOp> modules(module.getOps<gpu::GPUModuleOp>());
  for (gpu::GPUModuleOp gpuModule : modules) {
    for (Operation &op : *gpuModule.getBody())
      if (auto function = dyn_cast<gpu::GPUFuncOp>(op)) {
        if (llvm::Error error = lowerFunction(function))
          return error;
      } else if (auto global = dyn_cast<LLVM::GlobalOp>(op); !global || global.getSymName() != GpuEmitter::sharedName) {
        kernel = gpuModule.getName();
        return refuse(&op).takeError();
      }
    gpuModule.erase();
  }
  addConstant(DS_ABI_SYMBOL, DS_ABI);
  addConstant(DS_EMULATE_ABI_SYMBOL, DS_EMULATE_ABI);
  addConstant(DS_EMULATE_OP_COUNT_SYMBOL, static_cast<int32_t>(ops.size()));
  addText(DS_EMULATE_OP_TEXTS_SYMBOL, opTexts);
  addText(DS_EMULATE_OPS_SYMBOL, std::string(reinterpret_cast<const char *>(ops.data()), ops.size() * sizeof(DsEmulatedOp)));
  return llvm::Error::success();
}
