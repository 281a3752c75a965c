// The gaps and bottlenecks of a step in words, each with what it costs and what would remove it. They do not overlap: waiting is told apart
// from working, and a kernel is either a product (it multiplies and adds) or one of the others, which are summed.
#include "runtime/lib/Profile.h"
#include "runtime/lib/ProfileNumbers.h"
#include <algorithm>

using namespace dsrt;

namespace {
constexpr double leastShare = 0.005; // of the step: what is shorter goes into the last finding
constexpr size_t mostFindings = 12;
constexpr double shortLaunchNs = 3000;                // entering it and the tails of its tiles rule
constexpr double memoryLimit = 0.85, peakLimit = 0.9; // from here on it is at the limit

class Findings {
public:
  Findings(const Profile &profile, StepProfile &step) : profile(profile), step(step) {}

  void collect() {
    barriers();
    outside();
    interruptions();
    waiting();
    others();
    products();
    finish();
  }

private:
  void add(double ns, std::string text, std::string remedy) {
    if (ns >= leastShare * step.ns && ns > 0)
      step.findings.push_back({ns, std::move(text), std::move(remedy)});
    else
      smallNs += std::max(ns, 0.0);
  }

  static bool isProduct(const KernelProfile &kernel) { return kernel.totals.macs > 0; }
  static std::string launchesText(const KernelProfile &kernel) {
    return concat(kernel.name, " (", kernel.launches, kernel.launches == 1 ? " launch)" : " launches)");
  }

  void barriers() {
    if (step.barriers == 0)
      return;
    double eachNs = step.barrierNs / step.barriers;
    if (step.threads == 1)
      return add(step.barrierNs, concat("going from launch to launch takes ", timeText(eachNs), " each, ", step.barriers, " times"),
                 "fewer, larger launches: fuse what follows each other");
    std::string text = concat("all threads meet ", step.barriers, " times between launches, ", timeText(eachNs), " each");
    if (profile.input->machine)
      text += concat(" (a barrier alone takes ", timeText(limitsAt(*profile.input->machine, step.threads).barrierNs), ")");
    add(step.barrierNs, text, "fewer barriers: fuse launches that follow each other, let independent ones share one");
  }

  void outside() {
    add(step.outsideNs, "the step begins and ends outside launches: threads wake, meet and report",
        "longer steps (a larger batch), or a thread pool that spins between steps");
  }

  /// What the medians of the parts leave of the median step: launches that take longer in some steps than they usually do.
  void interruptions() {
    add(step.ns - step.totals.latencyNs - step.barrierNs - step.outsideNs,
        "launches take longer in some steps than they usually do: threads are interrupted",
        "an idle machine, as many threads as free cores, pinned threads; look at the timeline for the long ones");
  }

  void waiting() {
    double restNs = 0;
    int32_t rest = 0;
    for (const KernelProfile &kernel : step.kernels) {
      double ns = kernel.totals.idleNs;
      if (ns < 2 * leastShare * step.ns) {
        restNs += ns;
        rest += ns > 0;
      } else if (kernel.threads < step.threads) {
        add(ns, concat(launchesText(kernel), " keeps ", kernel.threads, " of ", step.threads, " threads busy, the others wait"),
            "split its rows or columns over all threads, or run it beside another launch");
      } else {
        add(ns,
            concat("threads wait for the slowest one in ", launchesText(kernel), ": imbalance of ",
                   percentText(ns, kernel.totals.latencyNs)),
            "more and smaller tiles, or tiles dealt out by what they cost");
      }
    }
    add(restNs, concat("threads wait for the slowest one in ", rest, " other kernels"), "balance their tiles; fuse short launches");
  }

  /// Everything that is no product: norms, activations, moves.
  void others() {
    double ns = 0;
    int32_t launches = 0, kernels = 0;
    std::string names;
    for (const KernelProfile &kernel : step.kernels) {
      if (isProduct(kernel) || kernel.opTotals.empty())
        continue;
      ns += kernel.totals.busyNs();
      launches += kernel.launches;
      if (++kernels <= 3)
        names += (names.empty() ? "" : ", ") + kernel.name;
    }
    add(ns, concat(launches, " launches outside matrix products and attention do work (", names, kernels > 3 ? ", ...)" : ")"),
        "fuse them into the products before and after: their rows are in the cache there");
  }

  void products() {
    int32_t shown = 0;
    for (const KernelProfile &kernel : step.kernels) {
      if (!isProduct(kernel))
        continue;
      if (profile.hasMachine())
        againstMachine(kernel);
      else if (++shown <= 3)
        add(kernel.totals.busyNs(), concat(launchesText(kernel), " runs at ", rates(kernel)),
            "a machine description tells how far that is from the limit");
      else
        smallNs += kernel.totals.busyNs();
    }
  }

  static std::string rates(const KernelProfile &kernel) {
    Totals busy = kernel.totals;
    busy.latencyNs = kernel.totals.busyNs();
    return withPrefix(busy.flopsPerSecond(), "FLOPS") + " and " + withPrefix(busy.bytesPerSecond(), "B/s");
  }

  void againstMachine(const KernelProfile &kernel) {
    const Totals &totals = kernel.totals;
    double busyNs = totals.busyNs(), share = busyNs > 0 ? totals.rooflineNs / busyNs : 0, gapNs = busyNs - totals.rooflineNs;
    std::string reached = percentText(share, 1), name = launchesText(kernel);
    if (busyNs / kernel.launches < shortLaunchNs && share < memoryLimit)
      return add(gapNs,
                 concat(name, " is short, ", timeText(busyNs / kernel.launches), " a launch, and reaches ", reached, " of its roofline"),
                 "fuse it with its neighbours, so that entering it and its tails count less");
    if (totals.isMemoryBound() && share >= memoryLimit)
      return add(busyNs, concat(name, " is memory-bound at ", reached, " of what is read at best (", rates(kernel), ")"),
                 fewerBytes(totals));
    if (totals.isMemoryBound())
      return add(gapNs, concat(name, " is memory-bound and reaches ", reached, " of what is read at best (", rates(kernel), ")"),
                 "read every byte once and in order, prefetch further ahead, keep what is read again in the cache");
    if (share >= peakLimit)
      return add(busyNs, concat(name, " is compute-bound at ", reached, " of the measured peak (", rates(kernel), ")"),
                 profile.input->weightsType == "f32" ? "fewer operations, or a type that the processor multiplies faster (bf16)"
                                                     : "fewer operations");
    add(gapNs, concat(name, " is compute-bound and reaches ", reached, " of the measured peak (", rates(kernel), ")"),
        "better blocking: fewer tails, operands packed for the registers, other work of the region in fewer instructions");
  }

  std::string fewerBytes(const Totals &totals) const {
    if (totals.weightBytes < totals.bytes / 2)
      return "only fewer bytes help: a smaller cache (fewer key-value heads, bf16), or more queries for each key that is read";
    const std::string &type = profile.input->weightsType;
    const char *narrower = type == "f32" ? "bf16 or int8 weights, or " : type == "bf16" || type == "f16" ? "int8 or int4 weights, or " : "";
    return concat("only fewer bytes help: ", narrower, "more rows for each weight that is read");
  }

  void finish() {
    auto &list = step.findings;
    std::stable_sort(list.begin(), list.end(), [](const Finding &a, const Finding &b) { return a.ns > b.ns; });
    for (; list.size() > mostFindings; list.pop_back())
      smallNs += list.back().ns;
    if (smallNs >= leastShare * step.ns && smallNs > 0)
      list.push_back({smallNs, "smaller gaps together", "see the kernels above"});
  }

  const Profile &profile;
  StepProfile &step;
  double smallNs = 0;
};
} // namespace

void dsrt::collectFindings(const Profile &profile, StepProfile &step) { Findings(profile, step).collect(); }
