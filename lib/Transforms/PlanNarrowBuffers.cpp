// Rounded rows in as many bits as they have left.
#include "PlanMemory.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANNARROWBUFFERS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

/// Whether the builder of `kernel` reads its argument as rows of 16 bits.
static bool canRead(KernelOp kernel, BlockArgument argument) {
  StringRef family = kernel.getFamily();
  Block &body = kernel.getBody().front();
  if (family == "row" || family == "embed")
    return true;
  if (family == "gemm") // rows that are multiplied are widened on the stack, those of a product alone a pass at a time
    return llvm::all_of(argument.getUsers(), isElementwise) || llvm::hasNItems(body, 2) ||
           llvm::all_of(body.getOps<LinearOp>(), [](LinearOp linear) { return linearRowsFit(linear.getDepth()); });
  if (family == "column_sum" || family == "store_cache" || family == "gemm_gradient" || family == "attention_gradient")
    return true;
  return family == "attention" && llvm::all_of(argument.getUses(), [](OpOperand &use) {
           auto attention = dyn_cast<AttentionOp>(use.getOwner());
           return attention && &use == &attention.getQueryMutable();
         });
}

/// Whether it writes such rows.
static bool canWrite(KernelOp kernel) { return llvm::is_contained({"row", "embed", "gemm"}, kernel.getFamily()); }

/// Rows of other widths begin anywhere and end in a part of a vector, which few values would notice.
static bool hasGoodWidth(int64_t width) { return width % linearGroup == 0 || width >= 1024; }

namespace {
struct PlanNarrowBuffers : ds::impl::PlanNarrowBuffersBase<PlanNarrowBuffers> {
  /// What `buffer` is rounded to by the one launch that writes it, or null; `allServed` says whether all launches can touch it then.
  static Type roundedType(BufferOp buffer, const SymbolTable &symbols, bool &allServed) {
    Type type;
    int64_t writers = 0;
    allServed = true;
    for (OpOperand &use : buffer->getUses()) {
      auto launch = dyn_cast<LaunchOp>(use.getOwner());
      if (!launch) { // a switch
        allServed = false;
        continue;
      }
      auto kernel = symbols.lookup<KernelOp>(launch.getKernel());
      const unsigned number = use.getOperandNumber(), ins = launch.getIns().size(), inputs = ins + launch.getAux().size();
      if (number < inputs) {
        allServed &= number < ins && canRead(kernel, kernel.getBody().getArgument(number));
        continue;
      }
      auto round = kernel.getBody().front().getTerminator()->getOperand(number - inputs).getDefiningOp<RoundOp>();
      type = round ? round.getTarget() : Type();
      allServed &= canWrite(kernel);
      ++writers;
    }
    return writers == 1 ? type : Type();
  }

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (auto program : getOperation().getOps<ProgramOp>()) {
      int64_t narrow = 0, wide = 0, narrowBytes = 0, wideBytes = 0;
      for (auto buffer : program.getOps<BufferOp>()) {
        auto memref = cast<MemRefType>(buffer.getType());
        bool allServed = false;
        Type type = memref.getElementType().isF32() && !buffer.getGrouped() && hasGoodWidth(memref.getDimSize(1))
                        ? roundedType(buffer, symbols, allServed)
                        : Type();
        if (!type)
          continue;
        if (allServed)
          buffer.getResult().setType(MemRefType::get(memref.getShape(), type));
        (allServed ? narrow : wide) += 1;
        (allServed ? narrowBytes : wideBytes) += bufferBytes(buffer);
      }
      remark::analysis(program.getLoc(),
                       remark::RemarkOpts::name("narrow").category("ds-plan-narrow-buffers").function(program.getSymName()))
          << remark::metric("buffers of 16 bits", narrow) << remark::metric("their bytes", narrowBytes)
          << remark::metric("rounded buffers of f32", wide) << remark::metric("bytes of those", wideBytes);
    }
  }
};
} // namespace
