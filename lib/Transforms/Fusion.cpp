#include "Fusion.h"
#include "ds/Analysis/FusionLegality.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Remarks.h"

using namespace mlir;
using namespace ds;

SmallVector<Operation *> ds::opsOf(Operation *part) {
  auto fusion = dyn_cast<FusionOp>(part);
  if (!fusion)
    return {part};
  SmallVector<Operation *> ops;
  for (Operation &op : fusion.getBody().front().without_terminator())
    ops.push_back(&op);
  return ops;
}

std::optional<LinearRegion> ds::linearRegionOf(Operation *part) {
  std::string reason;
  return LinearRegion::match(opsOf(part), reason);
}

void ds::forEachModelBlock(Operation *root, llvm::function_ref<void(Block &)> run) {
  SmallVector<Block *> blocks;
  root->walk([&](Operation *op) {
    if (isa<func::FuncOp, LayerOp>(op))
      for (Region &region : op->getRegions())
        for (Block &block : region)
          blocks.push_back(&block);
  });
  for (Block *block : blocks)
    run(*block);
}

void Fuser::refuse(Operation *op, StringRef what, Refusal kind, const Twine &reason) {
  std::string text = reason.str();
  remark::missed(op->getLoc(), remark::RemarkOpts::name(what).category(pass))
      << remark::reason("{0}", text) << remark::metric(refusalKey, stringifyRefusal(kind));
}

SmallVector<Operation *> Fuser::readersOf(Operation *part) {
  SmallVector<Operation *> readers;
  for (Operation *user : part->getUsers())
    if (Operation *reader = block.findAncestorOpInBlock(*user); reader && !llvm::is_contained(readers, reader))
      readers.push_back(reader);
  llvm::sort(readers, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  return readers;
}

Operation *Fuser::producerOf(Value value) {
  Operation *op = value.getDefiningOp();
  return op && op->getBlock() == &block ? op : nullptr;
}

/// True when a write to a cache would move past an op that reads caches as they stand: no value ties the two.
static bool movesPastCacheRead(ArrayRef<Operation *> ordered) {
  if (llvm::none_of(ordered, [](Operation *part) { return llvm::any_of(opsOf(part), isCacheStore); }))
    return false;
  for (Operation *op = ordered.front(); op != ordered.back(); op = op->getNextNode())
    if (isa<CacheReadOp>(op))
      return true;
  return false;
}

/// True when an op outside `parts` reads one of them and is read, through any number of others, by one of them.
bool Fuser::dependsOnItself(ArrayRef<Operation *> parts) {
  Operation *last = *llvm::max_element(parts, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  llvm::SmallPtrSet<Operation *, 16> seen;
  SmallVector<Operation *> waiting(parts);
  while (!waiting.empty()) {
    Operation *op = waiting.pop_back_val();
    bool isPart = llvm::is_contained(parts, op);
    for (Operation *reader : readersOf(op)) {
      if (llvm::is_contained(parts, reader)) {
        if (!isPart)
          return true;
      } else if (reader->isBeforeInBlock(last) && seen.insert(reader).second) {
        waiting.push_back(reader);
      }
    }
  }
  return false;
}

void Fuser::moveReadersBehind(Operation *op) {
  llvm::SmallSetVector<Operation *, 16> early;
  SmallVector<Operation *> waiting{op};
  while (!waiting.empty())
    for (Operation *reader : readersOf(waiting.pop_back_val()))
      if (reader->isBeforeInBlock(op) && early.insert(reader))
        waiting.push_back(reader);
  SmallVector<Operation *> ordered = early.takeVector();
  llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  for (Operation *reader : ordered) {
    reader->moveAfter(op);
    op = reader;
  }
}

FusionOp Fuser::join(ArrayRef<Operation *> parts, StringRef what) {
  SmallVector<Operation *> ordered(parts);
  llvm::sort(ordered, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  Operation *last = ordered.back();
  if (dependsOnItself(ordered)) {
    refuse(last, what, Refusal::dataFlow, "a value would depend on itself");
    return {};
  }
  if (movesPastCacheRead(ordered)) {
    refuse(last, what, Refusal::dataFlow, "a write to a cache would move past a read of it");
    return {};
  }

  // The body is made beside the block and judged before anything changes.
  OpBuilder builder(block.getParentOp()->getContext());
  auto body = std::make_unique<Block>();
  builder.setInsertionPointToEnd(body.get());
  IRMapping mapping;
  SmallVector<Value> results, replaced; // results of the fusion, and what they stand for
  SmallVector<Location> locations;
  for (Operation *part : ordered) {
    for (Operation *op : opsOf(part))
      builder.clone(*op, mapping);
    if (auto fusion = dyn_cast<FusionOp>(part))
      for (auto [outer, inner] : llvm::zip_equal(fusion.getOutputs(), fusion.getBody().front().getTerminator()->getOperands()))
        mapping.map(outer, mapping.lookup(inner));
    locations.push_back(part->getLoc());
    for (Value result : part->getResults())
      if (llvm::any_of(result.getUsers(), [&](Operation *user) {
            Operation *reader = block.findAncestorOpInBlock(*user);
            return !llvm::is_contained(ordered, reader);
          })) {
        results.push_back(mapping.lookup(result));
        replaced.push_back(result);
      }
  }
  // A result is read outside a region once something behind it reads it, which the yield stands for.
  YieldOp::create(builder, last->getLoc(), results);
  SmallVector<Operation *> ops;
  for (Operation &op : body->without_terminator())
    ops.push_back(&op);
  std::optional<std::string> why = results.empty() ? std::string("nobody reads it") : whyNotOneKernel(ops);
  if (!why && target == "cuda")
    why = whyNotOnCuda(ops);
  if (why) {
    refuse(last, what, results.empty() ? Refusal::dataFlow : Refusal::kernel, *why);
    body->dropAllReferences();
    return {};
  }

  builder.setInsertionPoint(last);
  auto fusion = FusionOp::create(builder, builder.getFusedLoc(locations), ValueRange(results).getTypes());
  fusion.getBody().push_back(body.release());
  for (auto [from, to] : llvm::zip_equal(replaced, fusion.getOutputs()))
    from.replaceAllUsesWith(to);
  for (Operation *part : llvm::reverse(ordered))
    part->erase();
  moveReadersBehind(fusion);
  remark::passed(fusion.getLoc(), remark::RemarkOpts::name(what).category(pass)) << remark::metric("ops", static_cast<int64_t>(ops.size()));
  return fusion;
}
