#include "runtime/lib/Trace.h"
#include "dsrt/machine.h"
#include "runtime/lib/Manifest.h"
#include <algorithm>
#include <ctime>

#ifndef __x86_64__
#error "the time stamp counter of this processor has no reader here"
#endif

using namespace dsrt;

static int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

void Trace::start(int32_t newMaxSteps) {
  steps.clear();
  skipped = 0;
  maxSteps = newMaxSteps;
  on = true;
  firstNs = now();
  firstStamp = __builtin_ia32_rdtsc();
}

int64_t Trace::toNs(uint64_t stamp) const { return static_cast<int64_t>(static_cast<double>(stamp - firstStamp) * nsPerTick); }

void Trace::stop() {
  if (!on)
    return;
  on = false;
  // The counter's rate is that of the system's clock over what was traced, at least 2 ms.
  while (now() - firstNs < 2'000'000) {
  }
  nsPerTick = static_cast<double>(now() - firstNs) / static_cast<double>(__builtin_ia32_rdtsc() - firstStamp);
  for (TracedStep &step : steps)
    convert(step);
}

void Trace::convert(TracedStep &step) const {
  step.times.assign(step.stamps.size(), 0);
  for (size_t i = 0; i + 1 < step.stamps.size(); i += 2)
    for (size_t side = i; side < i + 2 && step.stamps[i + 1] != 0; ++side)
      step.times[side] =
          step.clock == TraceClock::processor ? toNs(step.stamps[side]) : toNs(step.begin) + static_cast<int64_t>(step.stamps[side]);
}

uint64_t *Trace::begin(const ProgramRecord &program, int32_t launches, int32_t threads, const TracedSizes &sizes,
                       const std::vector<int32_t> &past, TraceClock clock) {
  if (!on)
    return nullptr;
  if (count() >= maxSteps) {
    ++skipped;
    return nullptr;
  }
  TracedStep &traced = steps.emplace_back();
  traced.program = &program;
  traced.batch = sizes.batch;
  traced.tokens = sizes.tokens;
  traced.rows = sizes.rows;
  traced.clock = clock;
  traced.threads = threads;
  traced.launches = launches;
  traced.keys = traced.pairs = 0;
  traced.past = past;
  traced.past.resize(sizes.batch, 0);
  for (int64_t before : traced.past) {
    const SeenKeys seen = seenKeys(/*window=*/0, before, sizes.tokens);
    traced.keys += static_cast<int64_t>(seen.keys);
    traced.pairs += static_cast<int64_t>(seen.pairs);
  }
  traced.stamps.assign(static_cast<size_t>(threads) * launches * 2, 0);
  traced.begin = __builtin_ia32_rdtsc();
  return traced.stamps.data();
}

void Trace::finish() { steps.back().end = __builtin_ia32_rdtsc(); }

dsrt_traced_step Trace::get(int32_t index) const {
  const TracedStep &traced = steps[index];
  dsrt_traced_step step = {};
  step.size = sizeof(step);
  step.program = traced.program->name.c_str();
  step.batch = traced.batch;
  step.tokens = traced.tokens;
  step.rows = traced.rows;
  step.threads = traced.threads;
  step.launches = traced.launches;
  step.keys = traced.keys;
  step.pairs = traced.pairs;
  step.begin = toNs(traced.begin);
  step.end = toNs(traced.end);
  step.times = traced.times.data();
  step.past = traced.past.data();
  return step;
}
