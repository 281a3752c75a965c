// A random graph as code of one level, and whether it gives what the oracle gives.
#ifndef DS_TEST_NUMERICS_PLANNEDGRAPH_H
#define DS_TEST_NUMERICS_PLANNEDGRAPH_H

#include "../Target/CPU/CompiledPlan.h"
#include "GraphOracle.h"

namespace ds::test {

/// How a graph is planned and compiled.
struct GraphTarget {
  std::string fusion, weights; // as the options of `ds-plan`
  const CpuLevel *level;
  std::string cache = "f32";
};

class PlannedGraph {
public:
  /// Plans `graph`, and compiles it unless `planOnly`.
  PlannedGraph(const RandomGraph &graph, const GraphTensors &tensors, const GraphTarget &target, bool planOnly = false);

  /// Why there is no code, or empty.
  const std::string &error() const { return message; }
  /// Launches of all programs.
  int64_t launches() const { return launchCount; }
  /// Runs the steps with 1, 2 and 3 threads each. The first thing that is wrong in words, or empty.
  std::string check(const std::vector<GraphStep> &steps);
  /// The largest error of `check` so far; 1 is what is allowed.
  double worstError() const { return worst; }

private:
  struct Place {
    std::string name;
    int64_t width;   // of outputs
    int64_t perStep; // rows: 0 tokens, 1 selected, 2 batch
  };
  struct Program {
    std::vector<Place> inputs, outputs;
    int64_t arenaBytes = 0, cacheBytes = 0;
  };

  void describe(mlir::ModuleOp planned);
  void pack(mlir::ModuleOp planned, const GraphTensors &tensors);
  std::string checkStep(const GraphStep &step, int32_t threads, std::vector<std::unique_ptr<GuardedBytes>> &caches);

  double tolerance; // as a part of the largest value of a row
  std::map<std::string, Program> programs;
  std::unique_ptr<GuardedBytes> weights;
  std::unique_ptr<CompiledPlan> code;
  std::string message;
  int64_t launchCount = 0;
  double worst = 0;
};

} // namespace ds::test
#endif // DS_TEST_NUMERICS_PLANNEDGRAPH_H
