#include "runtime/lib/Profile.h"
#include <algorithm>
#include <set>

using namespace dsrt;

void Totals::add(const Totals &other, double share) {
  for (double Totals::*field : {&Totals::macs, &Totals::flops, &Totals::bytes, &Totals::weightBytes, &Totals::latencyNs, &Totals::idleNs,
                                &Totals::rooflineNs, &Totals::computeNs, &Totals::memoryNs, &Totals::predictedNs, &Totals::measuredNs})
    this->*field += other.*field * share;
}

bool LaunchProfile::isShared() const {
  for (const DescribedOp &op : described->ops)
    if (op.module != described->ops.front().module)
      return true;
  return false;
}

static double median(std::vector<double> values) {
  if (values.empty())
    return 0;
  size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + middle, values.end());
  if (values.size() % 2)
    return values[middle];
  return (values[middle] + *std::max_element(values.begin(), values.begin() + middle)) / 2;
}

static const int64_t *timesAt(const dsrt_traced_step &step, int32_t thread, int32_t launch) {
  return step.times + 2 * (static_cast<int64_t>(thread) * step.launches + launch);
}

namespace {
/// Launches that no point of time separates on all threads: each thread went from one to the next on its own.
class Segment {
public:
  Segment(const dsrt_traced_step &step, StepTimes &times) : times(times), doneBefore(step.begin) {}

  void add(int32_t launch, int64_t begin, int64_t end, double busyNs) {
    // Reading the clock takes part in the out-of-order execution around it.
    constexpr int64_t slackNs = 30;
    if (!launches.empty() && begin + slackNs >= last)
      close();
    if (launches.empty()) {
      first = begin;
      last = end;
      times.afterBarrier[launch] = any;
    }
    launches.push_back({launch, busyNs});
    busy += busyNs;
    last = std::max(last, end);
    any = true;
  }

  /// Shares the time of the segment among its launches and charges what lies before it.
  void close() {
    if (launches.empty())
      return;
    double from = static_cast<double>(std::max(first, doneBefore)), running = std::max(0.0, static_cast<double>(last) - from);
    double gap = from - static_cast<double>(doneBefore);
    if (times.afterBarrier[launches.front().index])
      times.barrierNs[launches.front().index] = gap;
    else
      times.outsideNs += gap;
    for (const Part &part : launches) {
      double share = busy > 0 ? part.busyNs / busy : 1.0 / static_cast<double>(launches.size());
      times.latencyNs[part.index] = running * share;
      times.idleNs[part.index] = std::max(0.0, running - busy) * share;
    }
    doneBefore = std::max(doneBefore, last);
    launches.clear();
    busy = 0;
  }

  int64_t done() const { return doneBefore; }

private:
  struct Part {
    int32_t index;
    double busyNs;
  };
  StepTimes &times;
  std::vector<Part> launches;
  int64_t first = 0, last = 0, doneBefore;
  double busy = 0;
  bool any = false;
};
} // namespace

StepTimes dsrt::timesOf(const dsrt_traced_step &step) {
  StepTimes times;
  for (std::vector<double> *values : {&times.latencyNs, &times.idleNs, &times.barrierNs, &times.slowestNs})
    values->assign(step.launches, 0);
  times.threads.assign(step.launches, 0);
  times.afterBarrier.assign(step.launches, false);
  Segment segment(step, times);
  for (int32_t launch = 0; launch < step.launches; ++launch) {
    int64_t begin = INT64_MAX, end = INT64_MIN;
    double busy = 0, slowest = 0;
    for (int32_t thread = 0; thread < step.threads; ++thread) {
      const int64_t *at = timesAt(step, thread, launch);
      if (at[0] == 0 && at[1] == 0)
        continue;
      begin = std::min(begin, at[0]);
      end = std::max(end, at[1]);
      double took = static_cast<double>(std::max<int64_t>(at[1] - at[0], 0));
      busy += took;
      slowest = std::max(slowest, took);
    }
    if (begin == INT64_MAX)
      continue;
    for (int32_t thread = 0; thread < step.threads; ++thread) {
      const int64_t *at = timesAt(step, thread, launch);
      times.threads[launch] += static_cast<double>(at[1] - at[0]) > slowest / 50;
    }
    times.slowestNs[launch] = std::max(slowest, 1.0); // 0: it did not run
    segment.add(launch, begin, end, busy / step.threads);
  }
  segment.close();
  times.outsideNs += static_cast<double>(std::max<int64_t>(step.end - segment.done(), 0));
  return times;
}

static bool sameShape(const dsrt_traced_step &a, const dsrt_traced_step &b) {
  return std::string_view(a.program) == b.program && a.batch == b.batch && a.tokens == b.tokens && a.rows == b.rows &&
         a.threads == b.threads && a.launches == b.launches;
}

/// What one op does in a step.
static Totals countsOf(const DescribedOp &op, const LaunchWork &work, const StepSizes &sizes, bool compatible) {
  double all = sizes.keys * sizes.tokens; // DeepSpeed counts every pair, seen or not
  double pairs = op.causal && !compatible ? sizes.seen(op.window).pairs : all;
  Totals totals;
  totals.macs = op.macsPerRow * work.rows + op.macsPerPair * pairs;
  totals.flops = compatible ? op.compatibleFlopsPerRow * work.rows + op.compatibleFlopsPerPair * pairs
                            : op.flopsPerRow * work.rows + op.flopsPerPair * pairs + op.flopsPerKey * sizes.keys;
  return totals;
}

/// How long an op of a fused launch takes in proportion to the others: its multiply-adds or its weights, whichever takes longer, and its
/// other arithmetic and moves. Only ratios count; they are those of a processor with 64 FLOP/ns, 8 FLOP/ns outside products, 16 bytes/ns.
static double costOf(const DescribedOp &op, const LaunchWork &work, const StepSizes &sizes, double weightBytes) {
  Totals counts = countsOf(op, work, sizes, false);
  double products = 2 * counts.macs;
  return std::max(products / 64, weightBytes / 16) + std::max(0.0, counts.flops - products) / 8 + work.rows / 4;
}

/// Counts of a launch and of each of its ops; times are filled by then.
static void countLaunch(const ProfileInput &input, const StepSizes &sizes, int32_t threads, LaunchProfile &launch) {
  const DescribedLaunch &described = *launch.described;
  LaunchWork work = workOf(described.facts, sizes);
  Totals &totals = launch.totals;
  totals.bytes = work.bytes();
  totals.weightBytes = work.weightBytes;
  totals.measuredNs = launch.slowestNs;
  if (input.gpu && launch.slowestNs > 0) {
    GpuPrediction prediction = predict(gpuLaunchOf(described.facts, sizes), *input.gpu);
    totals.rooflineNs = std::max(prediction.peakNs, prediction.floorNs);
    totals.computeNs = prediction.peakNs;
    totals.memoryNs = prediction.floorNs;
    totals.predictedNs = prediction.ns;
  }
  if (input.machine && launch.slowestNs > 0) {
    Prediction limit = roofline(work, *input.machine, threads, input.level);
    totals.rooflineNs = limit.ns;
    totals.computeNs = limit.computeNs;
    totals.memoryNs = limit.memoryNs;
    totals.predictedNs = predict(work, *input.machine, threads, input.level).ns;
  }
  double elements = 0, costs = 0;
  for (const DescribedOp &op : described.ops)
    for (const auto &[name, count] : op.weights)
      elements += count;
  for (const DescribedOp &op : described.ops) {
    double own = 0;
    for (const auto &[name, count] : op.weights)
      own += count;
    double weightBytes = elements > 0 ? work.weightBytes * own / elements : 0;
    launch.ops.push_back(countsOf(op, work, sizes, input.compatible));
    launch.ops.back().weightBytes = weightBytes;
    launch.opShares.push_back(costOf(op, work, sizes, weightBytes));
    costs += launch.opShares.back();
  }
  for (size_t i = 0; i < launch.ops.size(); ++i) {
    double share = launch.opShares[i] = costs > 0 ? launch.opShares[i] / costs : 1.0 / static_cast<double>(launch.ops.size());
    Totals &op = launch.ops[i];
    totals.macs += op.macs;
    totals.flops += op.flops;
    Totals rest = totals;
    rest.macs = rest.flops = rest.weightBytes = 0;
    rest.bytes = work.bytes() - work.weightBytes;
    op.bytes = elements > 0 ? op.weightBytes : work.weightBytes * share;
    op.add(rest, share);
  }
}

static double workingSet(const std::vector<LaunchProfile> &launches, const StepSizes &sizes) {
  double bytes = 0;
  for (const LaunchProfile &launch : launches)
    if (launch.slowestNs > 0) {
      LaunchWork work = workOf(launch.described->facts, sizes);
      bytes += work.weightBytes + work.cacheBytes;
    }
  return bytes;
}

static void takeTimeline(const dsrt_traced_step &step, std::vector<TimelineSpan> &timeline) {
  for (int32_t thread = 0; thread < step.threads; ++thread)
    for (int32_t launch = 0; launch < step.launches; ++launch)
      if (const int64_t *at = timesAt(step, thread, launch); at[0] != 0 || at[1] != 0)
        timeline.push_back({thread, launch, at[0] - step.begin, at[1] - step.begin});
}

/// Medians of the times of steps that have one shape.
static void summarise(const std::vector<const dsrt_traced_step *> &steps, StepProfile &profile) {
  const dsrt_traced_step &first = *steps.front();
  std::vector<StepTimes> times;
  std::vector<double> durations, outside, barriers, idle;
  for (const dsrt_traced_step *step : steps) {
    const StepTimes &added = times.emplace_back(timesOf(*step));
    durations.push_back(static_cast<double>(step->end - step->begin));
    outside.push_back(added.outsideNs);
    barriers.push_back(0);
    idle.push_back(0);
    for (int32_t launch = 0; launch < first.launches; ++launch) {
      barriers.back() += added.barrierNs[launch];
      idle.back() += added.idleNs[launch];
    }
    profile.keys += static_cast<double>(step->keys) / static_cast<double>(steps.size());
    profile.pairs += static_cast<double>(step->pairs) / static_cast<double>(steps.size());
  }
  profile.ns = median(durations);
  profile.leastNs = *std::min_element(durations.begin(), durations.end());
  profile.mostNs = *std::max_element(durations.begin(), durations.end());
  profile.outsideNs = median(outside);
  profile.barrierNs = median(barriers);
  profile.idleNs = median(idle);
  profile.barriers = static_cast<int32_t>(std::count(times[0].afterBarrier.begin(), times[0].afterBarrier.end(), true));
  profile.launches.resize(first.launches);
  for (int32_t i = 0; i < first.launches; ++i) {
    LaunchProfile &launch = profile.launches[i];
    auto over = [&](std::vector<double> StepTimes::*field) {
      std::vector<double> values;
      for (const StepTimes &of : times)
        values.push_back((of.*field)[i]);
      return median(values);
    };
    launch.totals.latencyNs = over(&StepTimes::latencyNs);
    launch.totals.idleNs = std::min(over(&StepTimes::idleNs), launch.totals.latencyNs);
    launch.barrierNs = over(&StepTimes::barrierNs);
    launch.slowestNs = over(&StepTimes::slowestNs);
    for (const StepTimes &of : times)
      launch.threads = std::max(launch.threads, of.threads[i]);
  }
  size_t middle = 0;
  for (size_t i = 1; i < steps.size(); ++i)
    if (std::abs(durations[i] - profile.ns) < std::abs(durations[middle] - profile.ns))
      middle = i;
  takeTimeline(*steps[middle], profile.timeline);
}

/// What attention with `window` sees, on average over steps of one shape.
static SeenKeys seenKeys(const std::vector<const dsrt_traced_step *> &steps, double window) {
  SeenKeys mean;
  for (const dsrt_traced_step *step : steps)
    for (int32_t row = 0; row < step->batch; ++row) {
      const SeenKeys seen = seenKeys(static_cast<int64_t>(window), step->past[row], step->tokens);
      mean.keys += seen.keys / static_cast<double>(steps.size());
      mean.pairs += seen.pairs / static_cast<double>(steps.size());
    }
  return mean;
}

static StepProfile profileOf(const std::vector<const dsrt_traced_step *> &steps, const ProfileInput &input,
                             const DescribedLaunch &unknown) {
  StepProfile profile;
  const dsrt_traced_step &first = *steps.front();
  profile.program = first.program;
  profile.batch = first.batch;
  profile.tokens = first.tokens;
  profile.rows = first.rows;
  profile.threads = first.threads;
  profile.steps = static_cast<int32_t>(steps.size());
  summarise(steps, profile);
  const DescribedProgram *program = input.description ? input.description->program(profile.program) : nullptr;
  bool fits = program && program->launches.size() == profile.launches.size();
  for (size_t i = 0; i < profile.launches.size(); ++i)
    profile.launches[i].described = fits ? &program->launches[i] : &unknown;
  StepSizes sizes{profile.batch, profile.tokens, profile.rows, profile.keys, profile.pairs, 0};
  std::set<double> windows;
  for (const LaunchProfile &launch : profile.launches)
    windows.insert(launch.described->facts.window);
  windows.erase(0);
  for (double window : windows)
    sizes.windows.emplace_back(window, seenKeys(steps, window));
  sizes.workingSet = workingSet(profile.launches, sizes);
  for (LaunchProfile &launch : profile.launches) {
    countLaunch(input, sizes, profile.threads, launch);
    if (launch.slowestNs > 0)
      profile.totals.add(launch.totals);
  }
  collectModules(input, profile);
  collectKernels(profile);
  return profile;
}

/// Whether a kernel that takes part of a step worth naming is more than 10 % beyond the roofline.
static bool beatsMachine(const Profile &profile) {
  for (const StepProfile &step : profile.steps)
    for (const KernelProfile &kernel : step.kernels)
      if (kernel.totals.macs > 0 && kernel.totals.latencyNs > 0.02 * step.ns && kernel.totals.rooflineNs > 1.1 * kernel.totals.busyNs())
        return true;
  return false;
}

static bool isOnCpu(const ProfileInput &input) { return input.device == "cpu"; }

bool Profile::isOfMachine() const {
  if (!input->gpu)
    return input->machine->processor == processor;
  const GpuMachine *known = gpuMachineOfDevice(processor);
  return input->gpu->name == processor || (known && known->name == input->gpu->name);
}

static void addNotes(const ProfileInput &input, Profile &profile) {
  if (!input.failure.empty())
    profile.notes.push_back("the run failed: " + input.failure);
  if (!input.note.empty())
    profile.notes.push_back(input.note);
  if (input.steps.empty())
    profile.notes.push_back("no step was traced, so there is nothing to show");
  if (!input.description && !input.steps.empty())
    profile.notes.push_back("the package has no profile.json: launches have times alone; compile the model again to see what they are");
  if (input.leftOut > 0)
    profile.notes.push_back(concat(input.leftOut, " further steps were not traced"));
  if (!profile.hasMachine())
    profile.notes.push_back(isOnCpu(input)
                                ? "no machine description: no roofline and no predictions; `ds-bench --calibrate -o machine.json` writes "
                                  "one, --profile-machine machine.json uses it"
                                : "no machine description: no roofline and no predictions; --profile-machine takes a100, h100, h200 or a "
                                  "file that describes a GPU");
  else if (input.device == "emulate")
    profile.notes.push_back("times are the emulator's, roofline and predictions those of the machine description " + input.machinePath +
                            ", '" + profile.machineName() + "'");
  else if (!profile.isOfMachine())
    profile.notes.push_back("the machine description " + input.machinePath + " is of another machine, '" + profile.machineName() +
                            "', and this is '" + profile.processor + "': shares of its roofline do not mean much here");
  if (input.gpu && input.device != "emulate")
    profile.notes.push_back("traced launches do not overlap; predictions are of steps whose launches do, as they run untraced");
  if (profile.hasMachine() && beatsMachine(profile))
    profile.notes.push_back(input.gpu ? "kernels are faster than the machine description allows: its rates are too low for this machine"
                                      : "kernels are faster than the machine description allows: it was measured while the machine was "
                                        "busy; calibrate again on an idle one");
  for (const StepProfile &step : profile.steps)
    if (const DescribedProgram *program = input.description ? input.description->program(step.program) : nullptr;
        input.description && (!program || program->launches.size() != step.launches.size()))
      profile.notes.push_back(concat("profile.json does not describe the ", step.launches.size(), " launches of program ", step.program,
                                     ": they have times alone"));
}

Profile dsrt::makeProfile(const ProfileInput &input) {
  static const DescribedLaunch unknown = [] {
    DescribedLaunch launch;
    launch.kernel = launch.facts.family = "unknown";
    return launch;
  }();
  Profile profile;
  profile.input = &input;
  profile.processor = isOnCpu(input) || input.deviceProduct.empty() ? currentProcessor() : input.deviceProduct;
  std::vector<std::vector<const dsrt_traced_step *>> groups;
  for (const dsrt_traced_step &step : input.steps) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto &steps) { return sameShape(*steps.front(), step); });
    (group == groups.end() ? groups.emplace_back() : *group).push_back(&step);
  }
  for (const auto &steps : groups)
    profile.steps.push_back(profileOf(steps, input, unknown));
  std::stable_sort(profile.steps.begin(), profile.steps.end(),
                   [](const StepProfile &a, const StepProfile &b) { return a.ns * a.steps > b.ns * b.steps; });
  addNotes(input, profile);
  for (StepProfile &step : profile.steps)
    collectFindings(profile, step);
  return profile;
}
