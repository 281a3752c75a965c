// Which launches a layer that is off does without.
#include "ConvertDSToPlan.h"
#include <set>

using namespace mlir;
using namespace ds;
using namespace ds_plan;

namespace {
/// The gates that all have to be on for a value to be needed; nothing when nobody has read it yet.
using Gates = std::optional<std::set<int64_t>>;
} // namespace

/// What two readers need together.
static void meet(Gates &gates, const std::set<int64_t> &others) {
  if (!gates) {
    gates = others;
    return;
  }
  for (auto gate = gates->begin(); gate != gates->end();)
    gate = others.count(*gate) ? std::next(gate) : gates->erase(gate);
}

void ds::gateLaunches(ProgramOp program) {
  llvm::DenseMap<Value, Gates> needed;
  for (Operation &op : llvm::reverse(program.getBody().front())) {
    if (auto choice = dyn_cast<ds_plan::SwitchOp>(op)) {
      std::set<int64_t> gates = needed[choice].value_or(std::set<int64_t>());
      meet(needed[choice.getOff()], gates);
      gates.insert(static_cast<int64_t>(choice.getGate()));
      meet(needed[choice.getOn()], gates);
      continue;
    }
    auto launch = dyn_cast<LaunchOp>(op);
    if (!launch)
      continue;
    Gates gates;
    for (Value out : launch.getOuts()) {
      std::set<int64_t> ofOut;
      if (out.getDefiningOp<BufferOp>())
        ofOut = needed[out].value_or(std::set<int64_t>());
      else if (auto gate = launch->getAttrOfType<IntegerAttr>(gateAttrName))
        ofOut.insert(gate.getInt());
      meet(gates, ofOut);
    }
    launch->removeDiscardableAttr(gateAttrName);
    if (gates && !gates->empty())
      launch.setGate(*gates->begin());
    for (ValueRange read : {ValueRange(launch.getIns()), ValueRange(launch.getAux())})
      for (Value in : read)
        meet(needed[in], gates.value_or(std::set<int64_t>()));
  }
}
