#include "Strict.h"
#include "ds/Transforms/Refusal.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;

/// The module of the model that `loc` names, that of the last part where it joins several; the location as text where none does.
static std::string placeOf(Location loc) {
  std::string place;
  loc->walk([&](Location part) {
    if (auto name = dyn_cast<NameLoc>(part))
      place = name.getName().str();
    return WalkResult::advance();
  });
  if (place.empty())
    llvm::raw_string_ostream(place) << loc;
  return place;
}

namespace {
class Collector : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit Collector(std::vector<std::string> &refused) : refused(refused) {}

  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    StringRef reason;
    bool isKernel = false;
    for (const remark::detail::Remark::Arg &arg : remark.getArgs()) {
      if (arg.key == "Reason")
        reason = arg.val;
      isKernel |= arg.key == ds::refusalKey && arg.val == ds::stringifyRefusal(ds::Refusal::kernel);
    }
    if (isKernel)
      refused.push_back(("fusion '" + remark.getRemarkName() + "' refused at '" + placeOf(remark.getLocation()) + "': " + reason).str());
  }

private:
  std::vector<std::string> &refused;
};
} // namespace

LogicalResult ds::collectRefusedFusions(MLIRContext &context, std::vector<std::string> &refused) {
  remark::RemarkCategories categories;
  categories.missed = "ds-(fuse|form)-.*";
  return remark::enableOptimizationRemarks(context, std::make_unique<Collector>(refused),
                                           std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
}
