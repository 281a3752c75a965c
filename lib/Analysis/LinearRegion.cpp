#include "ds/Analysis/LinearRegion.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "ds/Analysis/FusionLegality.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"
#include <numeric>

using namespace mlir;
using namespace ds;

/// A row and its norm have to fit a worker's stack sixteen times.
static constexpr int64_t deepestNorm = 8192;
/// Columns of several heads that have to be computed together.
static constexpr int64_t widestChunk = 512;

static int64_t width(Value value) { return cast<RankedTensorType>(value.getType()).getShape().back(); }
static bool isF32(Value value) { return cast<RankedTensorType>(value.getType()).getElementType().isF32(); }

bool ds::isCacheStore(Operation *op) { return isa<CacheAppendOp, ds_plan::StoreCacheOp>(op); }

bool ds::hasHeads(LinearOp linear) {
  return llvm::any_of(linear.getOutput().getUsers(), [](Operation *user) { return isa<RopeOp>(user) || isCacheStore(user); });
}

/// True where a head has one scale for its codes, so that all of it is needed at once.
static bool roundsHeads(Operation *store) {
  return isa<QuantizedType>(cast<RankedTensorType>(store->getResult(0).getType()).getElementType());
}

/// Key heads of a store; 0 where the op does not say.
static int64_t headsOf(Operation *store) {
  auto typed = dyn_cast<ds_plan::StoreCacheOp>(store);
  return typed ? static_cast<int64_t>(typed.getKvHeads()) : 0;
}

bool LinearRegion::multipliesInputAlone() const {
  return !norm && llvm::all_of(input.getUses(), [](OpOperand &use) {
    auto linear = dyn_cast<LinearOp>(use.getOwner());
    return linear && &use == &linear.getInputMutable();
  });
}

bool LinearRegion::roundsActivations() const {
  return llvm::all_of(domains, [](const LinearDomain &domain) {
    return llvm::all_of(domain.linears, [](LinearOp linear) { return linear.getActivationBits().has_value(); });
  });
}

namespace {
/// Sorts the ops of a region into domains.
class Matcher {
public:
  Matcher(ArrayRef<Operation *> ops, std::string &reason) : ops(ops), reason(reason) {}
  std::optional<LinearRegion> run();

private:
  bool refuse(const Twine &why) {
    reason = why.str();
    return false;
  }
  bool isInside(Value value) const { return value.getDefiningOp() && llvm::is_contained(ops, value.getDefiningOp()); }
  bool isReadOutside(Value value) const {
    return llvm::any_of(value.getUsers(), [&](Operation *user) { return !llvm::is_contained(ops, user); });
  }
  bool takeNorm(Operation *op);
  bool takeLinear(LinearOp op);
  bool takeElementwise(Operation *op);
  bool takeRopeOrStore(Operation *op);
  bool finish();
  bool finishDomain(LinearDomain &domain, ArrayRef<Operation *> members);

  ArrayRef<Operation *> ops;
  std::string &reason;
  LinearRegion region;
  llvm::EquivalenceClasses<Operation *> classes; // ops of one domain
  SmallVector<Operation *> members;              // of any domain, in order
};
} // namespace

bool Matcher::takeNorm(Operation *op) {
  if (region.norm)
    return refuse("two norms in one region");
  if (isInside(op->getOperand(0)))
    return refuse("the norm needs whole rows, which the region computes");
  if (width(op->getResult(0)) > deepestNorm)
    return refuse("rows of " + Twine(width(op->getResult(0))) + " values exceed " + Twine(deepestNorm));
  if (!isF32(op->getOperand(0)))
    return refuse("the norm is not of f32");
  region.norm = op;
  region.normIsResult = isReadOutside(op->getResult(0));
  return true;
}

bool Matcher::takeLinear(LinearOp op) {
  if (!isF32(op.getInput()) || !isF32(op.getOutput()))
    return refuse("activations are not f32");
  if (!op.getWeight().getDefiningOp<WeightOp>() && !isa<BlockArgument>(op.getWeight()))
    return refuse("the matrix is computed");
  if (region.depth && op.getInput() != members.front()->getOperand(0))
    return refuse("linears of different inputs");
  if (isInside(op.getInput()) && op.getInput().getDefiningOp() != region.norm)
    return refuse("a linear reads what the region computes");
  region.depth = width(op.getInput());
  classes.insert(op);
  members.push_back(op);
  return true;
}

bool Matcher::takeElementwise(Operation *op) {
  Operation *first = nullptr;
  for (Value operand : op->getOperands()) {
    if (!isInside(operand))
      continue;
    Operation *from = operand.getDefiningOp();
    if (from == region.norm)
      return refuse("an element-wise op reads the norm");
    if ((isa<RopeOp>(from) && !(isa<RoundOp>(op) && from->hasOneUse())) || isCacheStore(from))
      return refuse("an element-wise op reads " + from->getName().getStringRef());
    if (first)
      classes.unionSets(first, from);
    first = from;
  }
  if (!first)
    return refuse(op->getName().getStringRef() + " reads no product of the region");
  classes.unionSets(first, op);
  members.push_back(op);
  return true;
}

bool Matcher::takeRopeOrStore(Operation *op) {
  Operation *from = op->getOperand(0).getDefiningOp();
  if (!from || !llvm::is_contained(ops, from) || !(isa<LinearOp>(from) || (isa<RopeOp>(from) && isCacheStore(op))))
    return refuse(op->getName().getStringRef() + " does not read a product of the region");
  for (Value operand : op->getOperands().drop_front())
    if (isInside(operand))
      return refuse(op->getName().getStringRef() + " reads what the region computes");
  classes.unionSets(from, op);
  members.push_back(op);
  return true;
}

bool Matcher::finishDomain(LinearDomain &domain, ArrayRef<Operation *> members) {
  for (Operation *op : members) {
    if (auto linear = dyn_cast<LinearOp>(op))
      domain.linears.push_back(linear);
    else if (auto rope = dyn_cast<RopeOp>(op))
      domain.rope = rope;
    else if (isCacheStore(op))
      domain.stores.push_back(op);
    else if (auto round = dyn_cast<RoundOp>(op); round && round.getInput().getDefiningOp<RopeOp>())
      domain.roundedRope = round;
    if (!isCacheStore(op) && isReadOutside(op->getResult(0)))
      domain.results.push_back(op->getResult(0));
  }
  domain.columns = width(domain.linears.front().getOutput());
  if (!domain.hasHeads())
    return true;
  domain.chunk = linearPanel;
  // Heads are worked on where the product left them.
  int64_t simple = 1 + (domain.rope ? 1 : 0) + (domain.roundedRope ? 1 : 0) + static_cast<int64_t>(domain.stores.size());
  if (static_cast<int64_t>(members.size()) != simple)
    return refuse("rope or a cache in one domain with element-wise ops");
  if (domain.rope && !domain.linears.front().getOutput().hasOneUse())
    return refuse("a product is read with and without rope");
  auto need = [&](int64_t heads, bool whole) {
    int64_t size = heads > 0 ? domain.columns / heads : domain.columns;
    if (whole || (linearPanel % size != 0 && size % linearPanel != 0))
      domain.chunk = std::lcm(domain.chunk, size);
  };
  if (domain.rope)
    need(domain.rope.getHeads(), /*whole=*/true);
  for (Operation *store : domain.stores)
    need(headsOf(store), /*whole=*/headsOf(store) == 0 || roundsHeads(store));
  for (Operation *store : domain.stores)
    if (int64_t size = domain.columns / std::max<int64_t>(headsOf(store), 1); domain.chunk % size != 0 && size % domain.chunk != 0)
      return refuse("heads of rope and of the caches end in different columns");
  if (domain.chunk > widestChunk)
    return refuse("heads fill " + Twine(domain.chunk) + " columns before a panel ends, more than " + Twine(widestChunk));
  return true;
}

bool Matcher::finish() {
  if (members.empty())
    return refuse("no product in the region");
  Value read = members.front()->getOperand(0);
  if (region.norm && read != region.norm->getResult(0))
    return refuse("the norm is not what the linears read");
  region.input = region.norm ? region.norm->getOperand(0) : read;
  llvm::MapVector<Operation *, SmallVector<Operation *>> domains;
  for (Operation *op : members)
    domains[classes.getLeaderValue(op)].push_back(op);
  for (auto &[leader, inDomain] : domains)
    if (!finishDomain(region.domains.emplace_back(), inDomain))
      return false;
  bool writes = region.normIsResult;
  for (LinearDomain &domain : region.domains)
    writes |= !domain.results.empty() || !domain.stores.empty();
  return writes || refuse("nobody reads the region");
}

std::optional<LinearRegion> Matcher::run() {
  for (Operation *op : ops) {
    bool taken = false;
    if (isa<LayerNormOp, RmsNormOp>(op))
      taken = takeNorm(op);
    else if (auto linear = dyn_cast<LinearOp>(op))
      taken = takeLinear(linear);
    else if (isa<RopeOp>(op) || isCacheStore(op))
      taken = takeRopeOrStore(op);
    else if (isElementwise(op))
      taken = takeElementwise(op);
    else
      taken = refuse(op->getName().getStringRef() + " has no place beside a product");
    if (!taken)
      return std::nullopt;
  }
  if (!finish())
    return std::nullopt;
  return std::move(region);
}

std::optional<LinearRegion> LinearRegion::match(ArrayRef<Operation *> ops, std::string &reason) { return Matcher(ops, reason).run(); }
