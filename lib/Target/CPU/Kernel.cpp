#include "ds/Target/CPU/Kernel.h"
#include "dsrt/package.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace ds;

std::pair<Value, Value> KernelContext::tilesOfThread(Value count) const {
  Value begin = e.div(e.mul(count, thread), threads);
  Value end = e.div(e.mul(count, e.add(thread, 1)), threads);
  return {begin, end};
}

void KernelContext::forTiles(Value count, llvm::function_ref<void(Value)> body) const {
  auto [begin, end] = tilesOfThread(count);
  e.forRange(begin, end, 1, body);
}

void ds::emitBarrier(Emitter &e, Value step, Value thread) {
  mlir::OpBuilder &builder = e.getBuilder();
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), {e.ptr(), e.i32()});
  Value barrier = e.load(e.ptr(), e.at(step, static_cast<int64_t>(offsetof(DsStep, barrier))));
  Value barrierContext = e.load(e.ptr(), e.at(step, static_cast<int64_t>(offsetof(DsStep, barrier_context))));
  LLVM::CallOp::create(builder, e.getLoc(), type, ValueRange{barrier, barrierContext, e.toI32(thread)});
}

llvm::Error KernelContext::error(const llvm::Twine &message) const {
  return llvm::createStringError("kernel '" + ds_plan::KernelOp(kernel).getSymName() + "': " + message);
}

KernelBuilder ds::findKernelBuilder(llvm::StringRef family) {
  return llvm::StringSwitch<KernelBuilder>(family)
      .Case("attention", buildAttention)
      .Case("attention_gradient", buildAttentionGradient)
      .Case("column_sum", buildColumnSum)
      .Case("copy", buildCopy)
      .Case("embed", buildEmbed)
      .Case("embed_gradient", buildEmbedGradient)
      .Case("gather", buildGather)
      .Case("gather_gradient", buildGatherGradient)
      .Case("gemm", buildGemm)
      .Case("gemm_gradient", buildGemmGradient)
      .Case("multi_tensor", buildMultiTensor)
      .Case("pool", buildPool)
      .Case("pool_gradient", buildPoolGradient)
      .Case("rope", buildRope)
      .Case("row", buildRow)
      .Case("store_cache", buildStoreCache)
      .Default(nullptr);
}
