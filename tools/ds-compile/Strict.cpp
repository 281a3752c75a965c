#include "Strict.h"
#include "ds/Transforms/Refusal.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/MapVector.h"

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
  explicit Collector(std::vector<ds::RefusedFusion> &refused) : refused(refused) {}

  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    StringRef reason;
    bool isKernel = false;
    for (const remark::detail::Remark::Arg &arg : remark.getArgs()) {
      if (arg.key == "Reason")
        reason = arg.val;
      isKernel |= arg.key == ds::refusalKey && arg.val == ds::stringifyRefusal(ds::Refusal::kernel);
    }
    if (isKernel)
      refused.push_back({remark.getRemarkName().str(), placeOf(remark.getLocation()), reason.str()});
  }

private:
  std::vector<ds::RefusedFusion> &refused;
};
} // namespace

std::string ds::RefusedFusion::text(size_t places) const {
  return "fusion '" + fusion + "' refused at '" + place + "'" + (places > 1 ? " and " + std::to_string(places - 1) + " more" : "") + ": " +
         reason;
}

std::vector<std::string> ds::linesOf(const std::vector<RefusedFusion> &refused) {
  llvm::MapVector<std::pair<StringRef, StringRef>, std::vector<const RefusedFusion *>> alike;
  for (const RefusedFusion &one : refused)
    alike[{one.fusion, one.reason}].push_back(&one);
  std::vector<std::string> lines;
  for (const auto &[key, places] : alike)
    lines.push_back(places.front()->text(places.size()));
  return lines;
}

LogicalResult ds::collectRefusedFusions(MLIRContext &context, std::vector<RefusedFusion> &refused) {
  remark::RemarkCategories categories;
  categories.missed = "ds-(fuse|form)-.*";
  return remark::enableOptimizationRemarks(context, std::make_unique<Collector>(refused),
                                           std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
}
