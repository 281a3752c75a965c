// Launches that take turns on some rows, so that wide rows are never there all at once.
#include "PlanMemory.h"
#include "ds/Analysis/LinearTiling.h"
#include "ds/Transforms/Passes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Remarks.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;

namespace ds {
#define GEN_PASS_DEF_PLANSLABROWS
#include "ds/Transforms/Passes.h.inc"
} // namespace ds

using namespace ds;
using namespace ds_plan;

/// The rows of a slab that a product packs its weights for once.
static constexpr int64_t productRows = 2 * linearMostRows;

namespace {
struct PlanSlabRows : ds::impl::PlanSlabRowsBase<PlanSlabRows> {
  using PlanSlabRowsBase::PlanSlabRowsBase;

  static int64_t rowBytes(BufferOp buffer) {
    auto type = cast<MemRefType>(buffer.getType());
    return type.getDimSize(1) * type.getElementTypeBitWidth() / 8;
  }

  /// Rows at a time, or nothing where all rows of the widest buffer are no more than that.
  std::optional<int64_t> rowsOfSlab(ProgramOp program) const {
    int64_t widest = 0;
    for (auto buffer : program.getOps<BufferOp>())
      if (buffer.getRows() == Rows::selected)
        widest = std::max(widest, rowBytes(buffer));
    if (widest == 0)
      return std::nullopt;
    const int64_t rows = std::max<int64_t>(slabBytes / widest / productRows, 1) * productRows;
    return boundOfRows(program, Rows::selected) > rows && widest * rows >= slabBytes / 2 ? std::optional(rows) : std::nullopt;
  }

  /// Why a launch cannot run on some rows and later on others.
  static std::optional<std::string> whyNot(LaunchOp launch, const SymbolTable &symbols) {
    StringRef family = symbols.lookup<KernelOp>(launch.getKernel()).getFamily();
    if (launch.getGate())
      return std::string("a launch of a layer that may be off");
    if (!llvm::is_contained({"column_sum", "copy", "gemm", "gemm_gradient", "row"}, family))
      return ("a kernel of family " + family).str();
    for (Value place : launch->getOperands()) {
      auto buffer = place.getDefiningOp<BufferOp>();
      auto output = place.getDefiningOp<OutputOp>();
      std::optional<Rows> rows = output ? output.getRows() : rowsOf(place);
      if (place.getDefiningOp<ds_plan::WeightOp>() || rows == Rows::single)
        continue;
      if (rows != Rows::selected || (buffer && buffer.getGrouped()))
        return std::string("other rows than those that are chosen");
    }
    return std::nullopt;
  }

  void slabRows(ProgramOp program, const SymbolTable &symbols) const {
    std::optional<int64_t> rows = rowsOfSlab(program);
    if (!rows)
      return;
    SmallVector<LaunchOp> launches(program.getOps<LaunchOp>());
    auto touchesWide = [&](LaunchOp launch) {
      return llvm::any_of(launch->getOperands(), [&](Value place) {
        auto buffer = place.getDefiningOp<BufferOp>();
        return buffer && buffer.getRows() == Rows::selected && rowBytes(buffer) * *rows >= slabBytes / 2;
      });
    };
    while (!launches.empty() && !touchesWide(launches.back()))
      launches.pop_back();
    if (launches.empty())
      return;
    const MutableArrayRef<LaunchOp> together(llvm::find_if(launches, touchesWide), launches.end());
    constexpr StringLiteral name = "slab", category = "ds-plan-slab-rows";
    for (LaunchOp launch : together)
      if (std::optional<std::string> why = whyNot(launch, symbols)) {
        remark::missed(launch.getLoc(), remark::RemarkOpts::name(name).category(category).function(program.getSymName()))
            << remark::reason("{0}", *why);
        return;
      }
    int64_t saved = 0;
    for (LaunchOp launch : together)
      launch.setSlab(*rows);
    for (auto buffer : program.getOps<BufferOp>()) {
      auto isTogether = [&](Operation *user) { return llvm::is_contained(together, dyn_cast<LaunchOp>(user)); };
      if (buffer.getRows() != Rows::selected || buffer->use_empty() || !llvm::all_of(buffer->getUsers(), isTogether))
        continue;
      saved += bufferBytes(buffer);
      buffer.setSlab(*rows);
      saved -= bufferBytes(buffer);
    }
    remark::passed(together.front().getLoc(), remark::RemarkOpts::name(name).category(category).function(program.getSymName()))
        << remark::metric("rows", *rows) << remark::metric("launches", static_cast<int64_t>(together.size()))
        << remark::metric("bytes saved", saved);
  }

  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    for (auto program : getOperation().getOps<ProgramOp>())
      slabRows(program, symbols);
  }
};
} // namespace
