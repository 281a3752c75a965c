// The report as text, in the layout of DeepSpeed's flops profiler (deepspeed/profiling/flops_profiler/profiler.py), with what it lacks
// after it.
#include "runtime/lib/Profile.h"
#include "runtime/lib/ProfileNumbers.h"
#include <algorithm>

using namespace dsrt;

namespace {
constexpr size_t lineWidth = 100, mostPredictions = 30;

std::string rule(const std::string &title) {
  std::string text = title.empty() ? "" : " " + title + " ";
  size_t dashes = lineWidth - std::min(lineWidth, text.size());
  return std::string(dashes / 2, '-') + text + std::string(dashes - dashes / 2, '-') + "\n";
}

/// A table of right-aligned columns after a left-aligned first one.
class Table {
public:
  explicit Table(std::vector<std::string> header) { rows.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows.push_back(std::move(row)); }
  size_t size() const { return rows.size() - 1; }
  std::string text() const {
    std::vector<size_t> widths(rows[0].size(), 0);
    for (const auto &row : rows)
      for (size_t i = 0; i < row.size(); ++i)
        widths[i] = std::max(widths[i], row[i].size());
    std::string result;
    for (const auto &row : rows) {
      std::string line = padded(row[0], widths[0]);
      for (size_t i = 1; i < row.size(); ++i)
        line += "  " + rightAligned(row[i], widths[i]);
      line.erase(line.find_last_not_of(' ') + 1);
      result += line + "\n";
    }
    return result;
  }

private:
  std::vector<std::vector<std::string>> rows;
};

class Text {
public:
  explicit Text(const Profile &profile) : profile(profile), input(*profile.input) {}

  std::string make() {
    out = rule("ds-mlir Profiler");
    out += "model:      " + input.modelName + " (" + input.family + ", " + input.weightsType + " weights, " +
           parametersText(input.parameters) + " parameters)\npackage:    " + input.packagePath + "\nprocessor:  " + profile.processor +
           ", code for " + input.level +
           "\nmachine:    " + (profile.hasMachine() ? input.machinePath + " (" + profile.machineName() + ")" : std::string("none given")) +
           "\ncounting:   " + (input.compatible ? "compatible (as DeepSpeed counts)" : "exact (all arithmetic that is done)") + "\n";
    for (const std::string &note : profile.notes)
      out += "note: " + note + "\n";
    for (const StepProfile &step : profile.steps)
      addStep(step);
    return out + rule("");
  }

private:
  void line(const std::string &name, const std::string &value) { out += padded(name, 64) + value + "\n"; }

  void addStep(const StepProfile &step) {
    out += "\n" + rule(step.program + ", batch " + std::to_string(step.batch) + " x " + std::to_string(step.tokens) + " tokens");
    out += concat("Profile Summary of ", step.steps, step.steps == 1 ? " step" : " steps (medians)", " on ", step.threads,
                  step.threads == 1 ? " thread" : " threads", ":\n");
    out += "Notations:\nnumber of parameters (params), number of multiply-accumulate operations (MACs),\n"
           "number of floating-point operations (flops), floating-point operations per second (FLOPS),\n"
           "fwd latency (forward propagation latency), roofline (the least time the machine could take)\n\n";
    const Totals &totals = step.totals;
    line("params that the step reads:", parametersText(step.root.parameters()));
    line("fwd MACs:", withPrefix(totals.macs, "MACs"));
    line("fwd flops:", withPrefix(totals.flops, ""));
    line("bytes read and written by launches:", withPrefix(totals.bytes, "B"));
    line("fwd latency:", timeText(step.ns) + " (" + timeText(step.leastNs) + " to " + timeText(step.mostNs) + ")");
    line("fwd FLOPS = fwd flops / fwd latency:", withPrefix(step.ns > 0 ? 1e9 * totals.flops / step.ns : 0, "FLOPS"));
    line("bytes per second = bytes / fwd latency:", withPrefix(step.ns > 0 ? 1e9 * totals.bytes / step.ns : 0, "B/s"));
    if (profile.hasMachine())
      line("share of the roofline:", percentText(totals.rooflineNs, step.ns) + " (at best " + timeText(totals.rooflineNs) + ")");
    line("samples/second = batch / fwd latency:", rounded(step.ns > 0 ? 1e9 * step.batch / step.ns : 0));
    out += "\n";
    auto part = [&](const char *name, double ns) { line(name, padded(timeText(ns), 12) + percentText(ns, step.ns)); };
    part("launches, threads at work:", totals.busyNs());
    part("launches, threads waiting for the slowest (imbalance):", totals.idleNs);
    part("between launches (barriers):", step.barrierNs);
    part("outside launches:", step.outsideNs);
    addAggregated(step);
    addDetailed(step);
    addKernels(step);
    addRegions(step);
    addPredictions(step);
    addFindings(step);
  }

  // ---- Modules ------------------------------------------------------------------------------------------------------------------

  struct Group {
    std::string name;
    double parameters = 0, macs = 0, ns = 0;
  };

  /// What modules of one depth are called: the last part of the path that is no number, with * for numbers after it.
  static std::string groupName(const ModuleProfile &module) {
    std::string pattern = pathPattern(module.path);
    size_t end = pattern.size();
    while (end >= 2 && pattern.compare(end - 2, 2, ".*") == 0)
      end -= 2;
    size_t begin = pattern.rfind('.', end == 0 ? 0 : end - 1);
    return begin == pattern.npos ? pattern : pattern.substr(begin + 1);
  }

  static void group(const ModuleProfile &module, size_t depth, std::vector<std::vector<Group>> &depths) {
    if (depths.size() <= depth)
      depths.resize(depth + 1);
    std::string name = depth == 0 ? module.name : groupName(module);
    auto at = std::find_if(depths[depth].begin(), depths[depth].end(), [&](const Group &group) { return group.name == name; });
    Group &found = at == depths[depth].end() ? depths[depth].emplace_back(Group{name}) : *at;
    found.parameters += module.parameters();
    found.macs += module.totals.macs;
    found.ns += module.totals.latencyNs;
    for (const ModuleProfile &child : module.children)
      group(child, depth + 1, depths);
  }

  template <typename Print> std::string largest(std::vector<Group> groups, double Group::*field, Print print) {
    std::stable_sort(groups.begin(), groups.end(), [&](const Group &a, const Group &b) { return a.*field > b.*field; });
    std::string list;
    for (size_t i = 0; i < groups.size() && i < static_cast<size_t>(input.top); ++i)
      list += (i ? ", '" : "'") + groups[i].name + "': '" + print(groups[i].*field) + "'";
    return "{" + list + "}\n";
  }

  void addAggregated(const StepProfile &step) {
    std::vector<std::vector<Group>> depths;
    group(step.root, 0, depths);
    out += "\n" + rule("Aggregated Profile") +
           concat("Top ", input.top, " modules in terms of params, MACs or fwd latency at different model depths:\n");
    for (size_t depth = 0; depth < depths.size() && (input.depth < 0 || depth <= static_cast<size_t>(input.depth)); ++depth) {
      out += concat("depth ", depth, ":\n");
      out += "    params      - " + largest(depths[depth], &Group::parameters, parametersText);
      out += "    MACs        - " + largest(depths[depth], &Group::macs, [](double macs) { return withPrefix(macs, "MACs"); });
      out += "    fwd latency - " + largest(depths[depth], &Group::ns, timeText);
    }
  }

  std::string numbersOf(const ModuleProfile &module, const StepProfile &step) const {
    const Totals &totals = module.totals;
    std::string text = parametersText(module.parameters()) + " = " + percentText(module.parameters(), step.root.parameters()) +
                       " Params, " + withPrefix(totals.macs, "MACs") + " = " + percentText(totals.macs, step.totals.macs) + " MACs, " +
                       timeText(totals.latencyNs) + " = " + percentText(totals.latencyNs, step.ns) + " latency, " +
                       withPrefix(totals.flopsPerSecond(), "FLOPS") + ", " + withPrefix(totals.bytes, "B") + ", " +
                       withPrefix(totals.bytesPerSecond(), "B/s");
    if (profile.hasMachine())
      text += ", " + percentText(totals.rooflineShare(), 1) + " of roofline, " + (totals.isMemoryBound() ? "memory" : "compute") + "-bound";
    return text;
  }

  void addModule(const ModuleProfile &module, const StepProfile &step, size_t depth) {
    std::string indent(2 * depth, ' '), kinds;
    for (const std::string &op : module.ops)
      kinds += (kinds.empty() ? "" : "+") + op;
    std::string mark = module.isShared ? " [shared]" : "";
    out += indent + (depth ? "(" + module.name + "): " : module.name) + kinds + "(";
    bool isLast = module.children.empty() || (input.depth >= 0 && depth >= static_cast<size_t>(input.depth));
    if (isLast) {
      out += numbersOf(module, step) + mark + ")\n";
      return;
    }
    out += "\n" + indent + "  " + numbersOf(module, step) + mark + "\n";
    for (const ModuleProfile &child : module.children)
      addModule(child, step, depth + 1);
    out += indent + ")\n";
  }

  static bool anyShared(const ModuleProfile &module) {
    return module.isShared || std::any_of(module.children.begin(), module.children.end(), anyShared);
  }

  void addDetailed(const StepProfile &step) {
    out += "\n" + rule("Detailed Profile");
    out +=
        "Each module profile is listed after its name in the following order:\n"
        "params, percentage of total params, MACs, percentage of total MACs, fwd latency, percentage of the step, fwd FLOPS, bytes, bytes "
        "per second";
    out += profile.hasMachine() ? ", share of the roofline, what bounds it\n" : "\n";
    out += "Note: a parameter that several modules read counts in each of them and once above them.\n";
    if (anyShared(step.root))
      out += "Note: [shared] modules have ops in one launch with ops of other modules. The time, bytes and roofline of such a launch are\n"
             "      attributed to its ops in proportion to what they cost by themselves; they are not measured one by one.\n";
    out += "\n";
    addModule(step.root, step, 0);
  }

  // ---- Kernels ------------------------------------------------------------------------------------------------------------------

  static std::string ratio(double predicted, double measured) { return measured > 0 ? rounded(predicted / measured) : "-"; }

  void addKernels(const StepProfile &step) {
    out += "\n" + rule("Kernels");
    std::vector<std::string> header = {"kernel", "launches", "latency", "of step", "each", "FLOPS", "B/s", "imbalance"};
    if (profile.hasMachine())
      header.insert(header.end(), {"memory floor", "predicted", "roofline", "bound", "predicted/measured"});
    Table table(header);
    for (const KernelProfile &kernel : step.kernels) {
      const Totals &totals = kernel.totals;
      std::vector<std::string> row = {kernel.name,
                                      std::to_string(kernel.launches),
                                      timeText(totals.latencyNs),
                                      percentText(totals.latencyNs, step.ns),
                                      timeText(totals.latencyNs / kernel.launches),
                                      withPrefix(totals.flopsPerSecond(), "FLOPS"),
                                      withPrefix(totals.bytesPerSecond(), "B/s"),
                                      percentText(totals.idleNs, totals.latencyNs)};
      if (profile.hasMachine())
        row.insert(row.end(), {timeText(totals.memoryNs / kernel.launches), timeText(totals.predictedNs / kernel.launches),
                               percentText(totals.rooflineShare(), 1), totals.isMemoryBound() ? "memory" : "compute",
                               ratio(totals.predictedNs, totals.measuredNs)});
      table.add(row);
    }
    out += table.text();
  }

  void addRegions(const StepProfile &step) {
    std::string text;
    for (const KernelProfile &kernel : step.kernels) {
      if (kernel.ops.size() < 2)
        continue;
      text += concat(kernel.name, ": ", kernel.launches, kernel.launches == 1 ? " launch, " : " launches, ",
                     timeText(kernel.totals.latencyNs), " = ", percentText(kernel.totals.latencyNs, step.ns), " of the step\n");
      for (size_t i = 0; i < kernel.ops.size(); ++i)
        text += concat("    ", padded(kernel.ops[i], 72), " ", rightAligned(timeText(kernel.opTotals[i].latencyNs), 10), " attributed, ",
                       withPrefix(kernel.opTotals[i].flops, ""), " flops\n");
    }
    if (!text.empty())
      out += "\n" + rule("Fused regions") + text;
  }

  void addPredictions(const StepProfile &step) {
    if (!profile.hasMachine())
      return;
    Table table({"launch", "kernel", "module", "measured", "predicted", "off by"});
    int32_t counted = 0, more = 0;
    for (size_t i = 0; i < step.launches.size(); ++i) {
      const Totals &totals = step.launches[i].totals;
      if (totals.measuredNs < 20'000 || totals.predictedNs <= 0)
        continue;
      ++counted;
      double off = totals.predictedNs / totals.measuredNs - 1;
      bool isOff = off > 0.25 || off < -0.25;
      if (isOff && table.size() >= mostPredictions)
        ++more;
      else if (isOff)
        table.add({std::to_string(i), step.launches[i].described->kernel, step.launches[i].described->module, timeText(totals.measuredNs),
                   timeText(totals.predictedNs), (off > 0 ? "+" : "") + percentText(off, 1)});
    }
    out += "\n" + rule("Predictions") + concat(counted, " launches take over 20 us");
    out += table.size() == 0 ? ", each predicted within 25 %\n" : "; predicted more than 25 % off:\n" + table.text();
    if (more > 0)
      out += concat("and ", more, " more\n");
  }

  void addFindings(const StepProfile &step) {
    out += "\n" + rule("Findings");
    if (step.findings.empty())
      out += "nothing that costs 0.5 % of the step or more\n";
    for (size_t i = 0; i < step.findings.size(); ++i) {
      const Finding &finding = step.findings[i];
      out += concat(i + 1, ". ", timeText(finding.ns), " (", percentText(finding.ns, step.ns), "): ", finding.text, "\n   -> ",
                    finding.remedy, "\n");
    }
  }

  const Profile &profile;
  const ProfileInput &input;
  std::string out;
};
} // namespace

std::string dsrt::profileText(const Profile &profile) { return Text(profile).make(); }
