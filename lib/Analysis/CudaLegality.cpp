// What the builders of the CUDA target leave out of the regions that the CPU's serve.
#include "dialects/DS/DSDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "ds/Analysis/LinearRegion.h"

using namespace mlir;
using namespace ds;

std::optional<std::string> ds::whyNotOnCuda(ArrayRef<Operation *> ops) {
  for (Operation *op : ops)
    if (isa<ScaleOp, DropoutOp, LayerNormGradOp, RmsNormGradOp, L2NormalizeGradOp, SoftmaxGradOp>(op))
      return ("expects no " + op->getName().getStringRef()).str();
  std::string reason;
  std::optional<LinearRegion> region;
  if (llvm::any_of(ops, llvm::IsaPred<LinearOp>))
    region = LinearRegion::match(ops, reason);
  if (!region)
    return std::nullopt;
  // A tile of sums has one or two factors, which one instruction multiplies.
  auto typeOf = [](LinearOp linear) { return cast<ShapedType>(linear.getWeight().getType()).getElementType(); };
  for (const LinearDomain &domain : region->domains) {
    if (domain.linears.size() > 2)
      return "expects one or two products that meet, found " + std::to_string(domain.linears.size());
    if (!llvm::all_equal(llvm::map_range(domain.linears, typeOf)))
      return std::string("expects products that meet to have weights of one type");
  }
  return std::nullopt;
}
