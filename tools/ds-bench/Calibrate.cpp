// A rate is the ninth decile of short runs: neighbours on the machine only ever slow a run down, so the best ones show the limit, and the
// decile keeps a single odd clock reading out. A cost (barrier, launch) is the median, as a program pays the usual one.
#include "Calibrate.h"
#include "CalibrateKernels.h"
#include "runtime/lib/CpuBudget.h"
#include "runtime/lib/CpuLevel.h"
#include "runtime/lib/Memory.h"
#include "runtime/lib/SavedText.h"
#include "runtime/lib/WorkerPool.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sched.h>
#include <unistd.h>

using namespace dsrt;

namespace {
using Clock = std::chrono::steady_clock;

double secondsBetween(Clock::time_point begin, Clock::time_point end) { return std::chrono::duration<double>(end - begin).count(); }

/// What the runs of one measurement gave.
struct Sample {
  std::vector<double> values;

  double quantile(double part) const {
    if (values.empty())
      return 0;
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<size_t>(static_cast<double>(sorted.size() - 1) * part + 0.5)];
  }
};

/// The measurements at one number of threads.
class Calibration {
public:
  Calibration(WorkerPool &pool, bool quick) : pool(pool), pin(pool), quick(quick), threads(pool.size()) {}

  /// FLOP/s of all threads.
  Sample peak(const PeakKernel &kernel);
  /// Bytes/s of all threads, each reading `bytes` of its own again and again, at least `atLeast` bytes a run.
  Sample readAgain(int64_t bytes, int64_t atLeast);
  /// The same of memory: each run goes on where the last ended, those of the measurement before included, and so through all of the buffer:
  /// a run is short and yet finds nothing in a cache.
  Sample readOn(size_t ahead);
  Sample writeOn();
  /// ns
  Sample barrier();
  Sample launch();

  /// Makes the buffer that `read` and `write` work on. The memory of a worker is touched first by it.
  Status prepare(int64_t bytes);
  static constexpr int64_t sliceBytes = 4 << 20; // of a thread in one run, below half a millisecond
  uint8_t *slice(int32_t worker, int64_t index) const;
  int64_t bytesPerThread() const { return buffer.size() / threads / 4096 * 4096; }

private:
  /// Runs `work` for a while, when the runs to come are too short for the processor to leave its lower clock.
  template <typename Work> void warmUp(const Work &work);
  /// Runs `work(worker, run)` on all threads at once, `runs` times after one that does not count; amount / seconds of each run.
  template <typename Work> Sample rates(int runs, double amount, const Work &work);
  /// Rates of `runs` slices of each thread, from the next one on.
  template <typename Work> Sample ratesOfSlices(int runs, const Work &work);

  WorkerPool &pool;
  WorkerPool::CallerPin pin;
  bool quick;
  int32_t threads;
  int64_t nextSlice = 0;
  Mapping buffer;
};
} // namespace

template <typename Work> void Calibration::warmUp(const Work &work) {
  // A core asks for the power that wide vectors need when it meets the first of them; until it is granted, within 0.5 ms, they run at a
  // quarter of their rate. The clock follows within some ms.
  constexpr double warmSeconds = 4e-3;
  if (!quick)
    return; // the first of its many runs do that
  std::atomic<bool> isWarm = false;
  const Clock::time_point begin = Clock::now();
  while (!isWarm)
    pool.run([&](int32_t worker) {
      pool.barrier().arrive();
      work(worker, 0);
      if (worker == 0)
        isWarm = secondsBetween(begin, Clock::now()) > warmSeconds;
    });
}

template <typename Work> Sample Calibration::rates(int runs, double amount, const Work &work) {
  Sample sample;
  std::vector<Clock::time_point> begin(threads), end(threads);
  warmUp(work);
  for (int run = 0; run <= (quick ? 1 : runs); ++run) {
    pool.run([&](int32_t worker) {
      pool.barrier().arrive();
      begin[worker] = Clock::now();
      work(worker, run);
      end[worker] = Clock::now();
    });
    double seconds = secondsBetween(*std::min_element(begin.begin(), begin.end()), *std::max_element(end.begin(), end.end()));
    if (run > 0)
      sample.values.push_back(amount / std::max(seconds, 1e-9));
  }
  return sample;
}

Sample Calibration::peak(const PeakKernel &kernel) {
  if (!kernel.run)
    return {};
  // About 2 ms.
  int64_t rounds = quick ? 10000 : 300000;
  return rates(31, static_cast<double>(rounds) * kernel.flopsPerRound * threads, [&](int32_t, int) { kernel.run(rounds); });
}

Status Calibration::prepare(int64_t bytes) {
  DSRT_TRY(Mapping::anonymous(bytes, /*huge=*/true, buffer));
  pool.run([&](int32_t worker) { std::memset(buffer.data() + worker * bytesPerThread(), 1, bytesPerThread()); });
  return Status();
}

Sample Calibration::readAgain(int64_t bytes, int64_t atLeast) {
  int64_t mine = std::min(bytes / 4096 * 4096, bytesPerThread()), times = std::max<int64_t>(1, (quick ? atLeast / 64 : atLeast) / mine);
  double amount = static_cast<double>(mine) * static_cast<double>(times) * threads;
  return rates(21, amount, [&](int32_t worker, int) {
    for (int64_t i = 0; i < times; ++i)
      readBytes(buffer.data() + worker * bytesPerThread(), mine, 0);
  });
}

uint8_t *Calibration::slice(int32_t worker, int64_t index) const {
  return buffer.data() + worker * bytesPerThread() + index % (bytesPerThread() / sliceBytes) * sliceBytes;
}

template <typename Work> Sample Calibration::ratesOfSlices(int runs, const Work &work) {
  Sample sample =
      rates(runs, static_cast<double>(sliceBytes) * threads, [&](int32_t worker, int run) { work(slice(worker, nextSlice + run)); });
  nextSlice += runs + 1;
  return sample;
}

Sample Calibration::readOn(size_t ahead) {
  return ratesOfSlices(64, [&](uint8_t *from) { readBytes(from, sliceBytes, ahead); });
}

Sample Calibration::writeOn() {
  return ratesOfSlices(32, [](uint8_t *to) { writeBytes(to, sliceBytes); });
}

static Sample inNs(Sample perSecond) {
  for (double &value : perSecond.values)
    value = 1e9 / value;
  return perSecond;
}

Sample Calibration::barrier() {
  int64_t times = quick ? 100 : 2000;
  // As a program calls it.
  void (*arrive)(void *, int32_t) = [](void *context, int32_t) { static_cast<Barrier *>(context)->arrive(); };
  return inNs(rates(15, static_cast<double>(times), [&](int32_t worker, int) {
    for (int64_t i = 0; i < times; ++i)
      arrive(&pool.barrier(), worker);
  }));
}

/// What generated code does for a launch without rows: the call, the share of this thread, a loop that does not begin.
__attribute__((noinline)) static void emptyKernel(const float *in, float *out, int64_t rows, int64_t thread, int64_t count) {
  int64_t begin = rows * thread / count, end = rows * (thread + 1) / count;
  for (int64_t row = begin; row < end; ++row)
    out[row] = in[row];
  asm volatile("" : : : "memory");
}

Sample Calibration::launch() {
  int64_t times = quick ? 1000 : 50000;
  return inNs(rates(15, static_cast<double>(times), [&](int32_t worker, int) {
    float value = 0;
    int64_t rows = 0, count = threads;
    for (int64_t i = 0; i < times; ++i) {
      asm volatile("" : "+r"(rows), "+r"(count));
      emptyKernel(&value, &value, rows, worker, count);
    }
  }));
}

/// Reads the first word of a file of the kernel's; an empty string if there is none.
static std::string wordOf(const std::string &path) {
  std::ifstream stream(path);
  std::string word;
  stream >> word;
  return word;
}

/// Returns the bytes of one cache of a level, of a processor. sysconf comes second, as glibc counts the third level of all dies of an AMD
/// package, of which a core has one.
static int64_t cacheSize(int processor, int level, int name, int64_t fallback) {
  const std::string caches = "/sys/devices/system/cpu/cpu" + std::to_string(std::max(0, processor)) + "/cache/index";
  for (int i = 0; i < 8; ++i) {
    const std::string cache = caches + std::to_string(i) + "/", size = wordOf(cache + "size");
    if (wordOf(cache + "level") != std::to_string(level) || wordOf(cache + "type") == "Instruction")
      continue;
    const int64_t kilobytes = std::strtoll(size.c_str(), nullptr, 10);
    if (kilobytes > 0 && size.back() == 'K')
      return kilobytes << 10;
  }
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : fallback;
}

static std::vector<int32_t> threadCounts(const CalibrateOptions &options, int32_t most) {
  std::vector<int32_t> counts;
  for (int32_t threads : options.threads)
    if (threads > 0)
      counts.push_back(threads);
  if (counts.empty()) {
    for (int32_t threads = 1; threads < most; threads *= 2)
      counts.push_back(threads);
    counts.push_back(most);
  }
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

namespace {
/// One number of a description: how it is measured, and where it goes.
struct Measurement {
  const char *what, *unit;
  double scale, quantile;
  double MachineLimits::*field;
  std::function<Sample(Calibration &)> measure;
};
} // namespace

static std::vector<Measurement> measurementsOf(const MachineDescription &machine, int32_t threads) {
  // Of L3 each thread takes a part that no L2 holds and that leaves room for what else is running.
  const int64_t ofL1 = machine.l1Size / 2, ofL2 = machine.l2Size / 2;
  const int64_t ofL3 = std::max(machine.l3Size / 4 / threads, machine.l2Size * 3 / 2);
  constexpr double rate = 0.9, cost = 0.5;
  auto peak = [](const PeakKernel &kernel) { return [kernel](Calibration &at) { return at.peak(kernel); }; };
  auto read = [](int64_t bytes, int64_t atLeast) { return [=](Calibration &at) { return at.readAgain(bytes, atLeast); }; };
  return {{"multiply and add, 4 lanes", "GFLOP/s", 1e9, rate, &MachineLimits::flopsF32V2, peak(peakKernel(2))},
          {"multiply-add, 8 lanes", "GFLOP/s", 1e9, rate, &MachineLimits::flopsF32V3, peak(peakKernel(3))},
          {"multiply-add, 16 lanes", "GFLOP/s", 1e9, rate, &MachineLimits::flopsF32, peak(peakKernel(4))},
          {"dot product of bf16 pairs", "GFLOP/s", 1e9, rate, &MachineLimits::flopsBf16, peak(dotKernel())},
          {"read L1", "GB/s", 1e9, rate, &MachineLimits::l1Bytes, read(ofL1, 64 << 20)},
          {"read L2", "GB/s", 1e9, rate, &MachineLimits::l2Bytes, read(ofL2, 32 << 20)},
          {"read L3", "GB/s", 1e9, rate, &MachineLimits::l3Bytes, read(ofL3, 16 << 20)},
          {"read memory", "GB/s", 1e9, rate, &MachineLimits::memoryBytes, [](Calibration &at) { return at.readOn(0); }},
          {"read memory, prefetched", "GB/s", 1e9, rate, &MachineLimits::memoryBytes, [](Calibration &at) { return at.readOn(4096); }},
          {"write memory", "GB/s", 1e9, rate, &MachineLimits::memoryWrite, [](Calibration &at) { return at.writeOn(); }},
          {"barrier", "ns", 1, cost, &MachineLimits::barrierNs, [](Calibration &at) { return at.barrier(); }},
          {"empty launch", "ns", 1, cost, &MachineLimits::launchNs, [](Calibration &at) { return at.launch(); }}};
}

static Status calibrateAt(int32_t threads, const CalibrateOptions &options, MachineDescription &machine,
                          const std::function<void(const CalibrateSample &)> &seen) {
  std::unique_ptr<WorkerPool> pool;
  DSRT_TRY(WorkerPool::create(threads, 0, pool));
  Calibration calibration(*pool, options.quick);
  // Far more than the last cache holds, so that every byte comes from memory.
  int64_t all = options.quick ? int64_t(threads) * 4 * Calibration::sliceBytes
                              : std::max({6 * machine.l3Size, int64_t(256) << 20, threads * 32 * Calibration::sliceBytes});
  DSRT_TRY(calibration.prepare(all));
  std::vector<Measurement> measurements = measurementsOf(machine, threads);
  std::vector<Sample> samples(measurements.size());
  // Several passes, so that a bad second on a shared machine is not all that one measurement sees.
  for (int pass = 0; pass < (options.quick ? 1 : 3); ++pass)
    for (size_t i = 0; i < measurements.size(); ++i)
      for (double value : measurements[i].measure(calibration).values)
        samples[i].values.push_back(value);
  MachineLimits limits;
  limits.threads = threads;
  for (size_t i = 0; i < measurements.size(); ++i) {
    const Measurement &one = measurements[i];
    double value = samples[i].quantile(one.quantile);
    limits.*one.field = std::max(limits.*one.field, value); // of both ways to read memory the better
    seen({threads, one.what, one.unit, samples[i].quantile(0.5) / one.scale, value / one.scale});
  }
  limits.flopsF32 = std::max({limits.flopsF32, limits.flopsF32V3, limits.flopsF32V2});
  machine.limits.push_back(limits);
  return Status();
}

int calibrate(const CalibrateOptions &options, MachineDescription &machine, const std::function<void(const CalibrateSample &)> &seen,
              std::string &error) {
  machine = MachineDescription();
  machine.processor = currentProcessor();
  machine.level = nameOf(machineCpuLevel());
  const int processor = sched_getcpu();
  machine.l1Size = cacheSize(processor, 1, _SC_LEVEL1_DCACHE_SIZE, 32 << 10);
  machine.l2Size = cacheSize(processor, 2, _SC_LEVEL2_CACHE_SIZE, 1 << 20);
  machine.l3Size = cacheSize(processor, 3, _SC_LEVEL3_CACHE_SIZE, machine.l2Size * 8);
  int32_t most = 0;
  Status status = chooseThreads(0, most);
  for (int32_t threads : threadCounts(options, most))
    if (status.ok())
      status = calibrateAt(threads, options, machine, seen);
  error = status.message();
  return status.code();
}

int runCalibrate(const CalibrateOptions &options, bool json, const std::string &output, std::string &error) {
  MachineDescription machine;
  auto failed = [&](const Status &status) {
    error = status.message();
    return status.code();
  };
  if (Status writable = output.empty() ? Status() : expectWritable(output); !writable.ok())
    return failed(writable);
  if (!json)
    std::printf("| %7s | %-26s | %-7s | %9s | %9s |\n| ------: | %s | ------- | --------: | --------: |\n", "threads", "limit", "unit",
                "median", "limit", std::string(26, '-').c_str());
  int code = calibrate(
      options, machine,
      [&](const CalibrateSample &sample) {
        if (!json && sample.reported > 0)
          std::printf("| %7d | %-26s | %-7s | %9.1f | %9.1f |\n", sample.threads, sample.what, sample.unit, sample.median, sample.reported);
        std::fflush(stdout);
      },
      error);
  if (code != 0)
    return code;
  const std::string text = machineText(machine);
  if (json)
    std::fputs(text.c_str(), stdout);
  else
    std::printf("\n%s, %s\n", machine.processor.c_str(), machine.level.c_str());
  if (output.empty())
    return 0;
  Status written = saveText(output, text);
  return written.ok() ? 0 : failed(written);
}
