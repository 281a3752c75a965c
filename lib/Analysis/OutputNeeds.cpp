#include "ds/Analysis/OutputNeeds.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace ds;
using namespace ds_plan;

namespace {
/// What somebody reads of a launch.
struct Needs {
  llvm::SmallSetVector<Operation *, 2> outputs;
  bool always = false; // it changes caches or the state, or what is not known

  void add(const Needs &other) {
    outputs.insert(other.outputs.begin(), other.outputs.end());
    always |= other.always;
  }
};
} // namespace

llvm::DenseMap<Operation *, OutputOp> ds::launchesForOneOutput(ProgramOp program) {
  llvm::DenseMap<Operation *, OutputOp> found;
  if (llvm::range_size(program.getOps<OutputOp>()) < 2)
    return found;
  llvm::DenseMap<Operation *, Needs> needs;
  // A reader behind another launch that overwrites the buffer counts as well: more is needed than has to be, never less.
  for (Operation &op : llvm::reverse(program.getBody().front())) {
    auto launch = dyn_cast<LaunchOp>(op);
    if (!launch)
      continue;
    Needs &mine = needs[launch];
    mine.always = launch.getGate().has_value();
    bool writesOutput = false;
    for (Value out : launch.getOuts()) {
      if (auto output = out.getDefiningOp<OutputOp>()) {
        mine.outputs.insert(output);
        writesOutput = true;
        continue;
      }
      mine.always |= !out.getDefiningOp<BufferOp>();
      for (Operation *user : out.getUsers())
        if (auto reader = dyn_cast<LaunchOp>(user); !reader)
          mine.always = true;
        else if (reader != launch && launch->isBeforeInBlock(reader))
          mine.add(needs.lookup(reader));
    }
    if (!writesOutput && !mine.always && mine.outputs.size() == 1)
      found[launch] = cast<OutputOp>(mine.outputs.front());
  }
  return found;
}

llvm::SmallPtrSet<Operation *, 8> ds::launchesLeftOut(ProgramOp program) {
  llvm::SmallPtrSet<Operation *, 8> leftOut;
  auto isHidden = [](OutputOp output) { return output && output.getName() == "hidden"; };
  if (llvm::all_of(program.getOps<OutputOp>(), isHidden))
    return leftOut;
  for (auto [launch, output] : launchesForOneOutput(program))
    if (isHidden(output))
      leftOut.insert(launch);
  for (LaunchOp launch : program.getOps<LaunchOp>())
    if (llvm::any_of(launch.getOuts(), [&](Value out) { return isHidden(out.getDefiningOp<OutputOp>()); }))
      leftOut.insert(launch);
  return leftOut;
}
