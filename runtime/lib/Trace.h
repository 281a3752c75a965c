// When each thread ran each launch of the steps that are traced.
#ifndef DSRT_LIB_TRACE_H
#define DSRT_LIB_TRACE_H

#include "dsrt/dsrt.h"
#include "dsrt/package.h"
#include <deque>
#include <vector>

namespace dsrt {

struct ProgramRecord;

/// One traced step; what the C API shows of it is put together when tracing stops.
struct TracedStep {
  const ProgramRecord *program;
  int32_t batch, tokens, rows, threads, launches;
  int64_t keys, pairs;
  uint64_t begin, end;          // time stamps
  std::vector<uint64_t> stamps; // [threads][launches][2], 0 where a launch did not run
  std::vector<int64_t> times;   // the same in ns since tracing began
};

class Trace {
public:
  void start(int32_t newMaxSteps);
  void stop();
  bool isOn() const { return on; }
  int32_t count() const { return static_cast<int32_t>(steps.size()); }
  int32_t leftOut() const { return skipped; }

  /// Where to trace the step that `step` describes; null when it is not traced. `finish` follows.
  uint64_t *begin(const ProgramRecord &program, int32_t launches, int32_t threads, const DsStep &step, const std::vector<int32_t> &past);
  void finish();
  dsrt_traced_step get(int32_t index) const;

private:
  int64_t toNs(uint64_t stamp) const;

  bool on = false;
  int32_t maxSteps = 0, skipped = 0;
  uint64_t firstStamp = 0;
  int64_t firstNs = 0;
  double nsPerTick = 0;
  std::deque<TracedStep> steps;
};

} // namespace dsrt
#endif // DSRT_LIB_TRACE_H
