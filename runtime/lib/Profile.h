// Where the time of traced steps went: by launch, kernel, fused region and source module, against what the machine could do.
// The layout of the text follows DeepSpeed's flops profiler; the roofline is that of Williams, Waterman and Patterson 2009.
#ifndef DSRT_LIB_PROFILE_H
#define DSRT_LIB_PROFILE_H

#include "dsrt/gpu_machine.h"
#include "runtime/lib/ProfileDescription.h"
#include <map>
#include <optional>

namespace dsrt {

/// What is summed over launches. Times are ns of the step: they add up to its duration with `StepProfile::barrierNs` and `outsideNs`.
struct Totals {
  double macs = 0, flops = 0;             // in the counting mode of the report
  double bytes = 0, weightBytes = 0;      // read and written once by each launch
  double latencyNs = 0;                   // while the launch ran on any thread and no thread had gone on
  double idleNs = 0;                      // of latencyNs: threads that had no work left, or none at all, averaged over the threads
  double rooflineNs = 0;                  // the least it could take on the machine; 0 without a description
  double computeNs = 0, memoryNs = 0;     // the two limits it comes from: the peak, and the memory floor
  double predictedNs = 0, measuredNs = 0; // by the cost model, and the slowest thread
  void add(const Totals &other, double share = 1);

  double busyNs() const { return latencyNs - idleNs; }
  double flopsPerSecond() const { return latencyNs > 0 ? 1e9 * flops / latencyNs : 0; }
  double bytesPerSecond() const { return latencyNs > 0 ? 1e9 * bytes / latencyNs : 0; }
  /// The share of the roofline, 1 at the limit.
  double rooflineShare() const { return latencyNs > 0 ? rooflineNs / latencyNs : 0; }
  bool isMemoryBound() const { return memoryNs > computeNs; }
};

struct LaunchProfile {
  const DescribedLaunch *described = nullptr; // null: the package does not say what it is
  Totals totals;
  double barrierNs = 0;         // from the last thread's end before it to the first thread's begin
  double slowestNs = 0;         // of its threads
  int32_t threads = 0;          // that worked on it, as far as 1 % of the slowest
  std::vector<double> opShares; // of latency, by op: in proportion to what the ops cost
  std::vector<Totals> ops;      // by op; the time of a fused launch is attributed by opShares

  /// Ops of it belong to more than one module.
  bool isShared() const;
};

/// A module of the model's source, with everything below it.
struct ModuleProfile {
  std::string name; // the last part of its path; of the root the model's name
  std::string path;
  std::map<std::string, double> weights; // parameter -> elements, of it and all below, each once
  Totals totals;                         // of it and all below
  std::vector<std::string> ops;          // of itself, in the order of the program
  bool isShared = false;                 // it shares a launch with another module: its time is attributed
  std::vector<ModuleProfile> children;

  double parameters() const;
};

/// All launches of one kernel; a kernel of several ops is a fused region.
struct KernelProfile {
  std::string name, family;
  int32_t launches = 0;
  int32_t threads = 0; // most that worked on one of them
  Totals totals;
  std::vector<std::string> ops;     // "linear in encoder.layer.*.output.dense"
  std::vector<Totals> opTotals;     // by op
  std::vector<std::string> modules; // of its launches, numbers as *, each once
};

struct Finding {
  double ns = 0; // of the step
  std::string text, remedy;
};

/// When each thread ran each launch in one step, for the timeline.
struct TimelineSpan {
  int32_t thread, launch;
  int64_t begin, end; // ns since the step began
};

/// Steps of one program and shape, summarised: medians over the steps.
struct StepProfile {
  std::string program;
  int32_t batch = 0, tokens = 0, rows = 0, threads = 0, steps = 0;
  double keys = 0, pairs = 0; // means over the steps
  double ns = 0, leastNs = 0, mostNs = 0;
  double barrierNs = 0, idleNs = 0, outsideNs = 0; // idle is inside launches, outside before the first and after the last
  int32_t barriers = 0;                            // times that all threads met
  Totals totals;
  std::vector<LaunchProfile> launches;
  ModuleProfile root;
  std::vector<KernelProfile> kernels; // longest first
  std::vector<Finding> findings;      // largest first
  std::vector<TimelineSpan> timeline; // of the step of median duration
};

/// What a report is made of. Pointers stay valid while it is used.
struct ProfileInput {
  std::vector<dsrt_traced_step> steps;
  const ProfileDescription *description = nullptr; // null: the package has no profile.json
  // The limits of what ran the steps, one of them at most.
  std::optional<MachineDescription> machine;
  std::optional<GpuMachine> gpu;
  std::string machinePath;
  std::string device = "cpu", deviceProduct; // as dsrt_info has them
  std::string modelName, family, weightsType, level, packagePath;
  double parameters = 0;
  int32_t leftOut = 0; // steps that were not traced
  bool compatible = false;
  int32_t depth = -1, top = 3; // of modules shown; -1: all
  std::string failure;         // why the run failed; empty: it did not
  std::string note;            // as dsrt_info has it
};

struct Profile {
  const ProfileInput *input = nullptr;
  std::string processor;          // of this machine; the GPU, where steps ran on one
  std::vector<std::string> notes; // what a reader must know, such as a machine description of another machine
  std::vector<StepProfile> steps; // by program and shape, longest together first

  bool hasMachine() const { return input->machine || input->gpu; }
  /// The processor or the GPU that the description is of.
  const std::string &machineName() const { return input->gpu ? input->gpu->name : input->machine->processor; }
  /// Whether that is what ran the steps.
  bool isOfMachine() const;
};

/// Summarises the steps. Never fails: what is missing is a note.
Profile makeProfile(const ProfileInput &input);

// The parts of makeProfile.
/// The time of each launch in one step and what lies between them.
struct StepTimes {
  double outsideNs = 0;
  std::vector<double> latencyNs, idleNs, barrierNs, slowestNs; // by launch; 0 where it did not run
  std::vector<int32_t> threads;
  std::vector<bool> afterBarrier;
};
StepTimes timesOf(const dsrt_traced_step &step);
/// Fills root and kernels from the launches.
void collectModules(const ProfileInput &input, StepProfile &step);
void collectKernels(StepProfile &step);
/// Fills findings from all else.
void collectFindings(const Profile &profile, StepProfile &step);
/// A module's path with each number as *.
std::string pathPattern(std::string_view path);

// What a report is written as.
std::string profileText(const Profile &profile);
std::string profileJson(const Profile &profile);
std::string profileTrace(const Profile &profile);
std::string profilePage(const Profile &profile);

} // namespace dsrt
#endif // DSRT_LIB_PROFILE_H
