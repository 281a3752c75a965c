// Buffers between two products in the layout that the second one reads.
#include "PlanMemory.h"
#include "ds/Analysis/LinearRegion.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANGROUPROWS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

namespace {
struct PlanGroupRows : ds::impl::PlanGroupRowsBase<PlanGroupRows> {
  /// The products of a launch, or null where its kernel has none.
  const LinearRegion *regionOf(LaunchOp launch) {
    auto kernel = symbols->lookup<KernelOp>(launch.getKernel());
    auto [known, isNew] = regions.try_emplace(kernel);
    if (isNew && kernel.getFamily() == "gemm") {
      SmallVector<Operation *> ops;
      for (Operation &op : kernel.getBody().front().without_terminator())
        ops.push_back(&op);
      std::string reason;
      known->second = LinearRegion::match(ops, reason);
    }
    return known->second ? &*known->second : nullptr;
  }

  /// `launch` writes its result `index` from element-wise ops behind a product.
  bool canWrite(LaunchOp launch, unsigned index) {
    const LinearRegion *region = regionOf(launch);
    Value result = symbols->lookup<KernelOp>(launch.getKernel()).getBody().front().getTerminator()->getOperand(index);
    return region && llvm::any_of(region->domains, [&](const LinearDomain &domain) {
             return !domain.hasHeads() && llvm::is_contained(domain.results, result);
           });
  }

  /// `launch` multiplies its operand `index` as f32, and does nothing else with it: what rounds rows reads them one by one.
  bool canRead(LaunchOp launch, unsigned index) {
    const LinearRegion *region = regionOf(launch);
    Value argument = symbols->lookup<KernelOp>(launch.getKernel()).getBody().getArgument(index);
    return region && region->input == argument && region->multipliesInputAlone() && !region->roundsActivations();
  }

  bool isBetweenProducts(BufferOp buffer) {
    int64_t writers = 0, readers = 0;
    for (OpOperand &use : buffer->getUses()) {
      auto launch = dyn_cast<LaunchOp>(use.getOwner());
      if (!launch)
        return false; // a switch
      const unsigned number = use.getOperandNumber(), ins = launch.getIns().size(), inputs = ins + launch.getAux().size();
      if (number >= inputs ? !canWrite(launch, number - inputs) : number >= ins || !canRead(launch, number))
        return false;
      ++(number >= inputs ? writers : readers);
    }
    return writers == 1 && readers > 0;
  }

  void runOnOperation() override {
    SymbolTable table(getOperation());
    symbols = &table;
    regions.clear();
    for (auto program : getOperation().getOps<ProgramOp>()) {
      int64_t grouped = 0;
      for (auto buffer : program.getOps<BufferOp>()) {
        auto type = cast<MemRefType>(buffer.getType());
        buffer.setGrouped(type.getElementType().isF32() && type.getDimSize(1) % linearGroup == 0 &&
                          boundOfRows(program, buffer.getRows()) > linearFewRows && isBetweenProducts(buffer));
        grouped += buffer.getGrouped();
      }
      remark::analysis(program.getLoc(), remark::RemarkOpts::name("grouped").category("ds-plan-group-rows").function(program.getSymName()))
          << remark::metric("buffers", grouped);
    }
  }

  SymbolTable *symbols = nullptr;
  llvm::DenseMap<Operation *, std::optional<LinearRegion>> regions;
};
} // namespace
