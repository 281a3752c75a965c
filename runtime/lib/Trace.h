// When each thread ran each launch of the steps that are traced.
#ifndef DSRT_LIB_TRACE_H
#define DSRT_LIB_TRACE_H

#include "dsrt/dsrt.h"
#include <deque>
#include <vector>

namespace dsrt {

struct ProgramRecord;

/// B, T, R of a step.
struct TracedSizes {
  int32_t batch, tokens, rows;
};

/// What stamps count: the processor's time stamp counter, or ns since the step began by the clock of a device.
enum class TraceClock { processor, device };

/// One traced step; what the C API shows of it is put together when tracing stops.
struct TracedStep {
  const ProgramRecord *program;
  int32_t batch, tokens, rows, threads, launches;
  TraceClock clock;
  int64_t keys, pairs;
  std::vector<int32_t> past;    // of each sequence
  uint64_t begin, end;          // time stamps
  std::vector<uint64_t> stamps; // [threads][launches][2], both 0 where a launch did not run
  std::vector<int64_t> times;   // the same in ns since tracing began
};

class Trace {
public:
  void start(int32_t newMaxSteps);
  void stop();
  bool isOn() const { return on; }
  int32_t count() const { return static_cast<int32_t>(steps.size()); }
  int32_t leftOut() const { return skipped; }

  /// Where to trace a step of `sizes`; null when it is not traced. `finish` follows.
  uint64_t *begin(const ProgramRecord &program, int32_t launches, int32_t threads, const TracedSizes &sizes,
                  const std::vector<int32_t> &past, TraceClock clock = TraceClock::processor);
  void finish();
  dsrt_traced_step get(int32_t index) const;

private:
  int64_t toNs(uint64_t stamp) const;
  void convert(TracedStep &step) const;

  bool on = false;
  int32_t maxSteps = 0, skipped = 0;
  uint64_t firstStamp = 0;
  int64_t firstNs = 0;
  double nsPerTick = 0;
  std::deque<TracedStep> steps;
};

} // namespace dsrt
#endif // DSRT_LIB_TRACE_H
