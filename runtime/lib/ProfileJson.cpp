// The report as JSON, as a trace for chrome://tracing and Perfetto, and as a page that holds the JSON and shows it.
#include "runtime/lib/CpuLevel.h"
#include "runtime/lib/Profile.h"
#include "runtime/lib/ProfilePage.h"
#define JSON_NOEXCEPTION 1
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

using namespace dsrt;
using Json = nlohmann::ordered_json;

static std::string dump(const Json &json, int indent = -1) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

/// Times as whole tenths of a ns, so that files stay small.
static double tidy(double value) { return std::round(value * 10) / 10; }

static Json toJson(const Totals &totals, const StepProfile &step, bool hasMachine) {
  Json json = {{"macs", std::round(totals.macs)},
               {"flops", std::round(totals.flops)},
               {"bytes", std::round(totals.bytes)},
               {"weight_bytes", std::round(totals.weightBytes)},
               {"latency_ns", tidy(totals.latencyNs)},
               {"idle_ns", tidy(totals.idleNs)},
               {"share_of_step", step.ns > 0 ? totals.latencyNs / step.ns : 0},
               {"flops_per_second", std::round(totals.flopsPerSecond())},
               {"bytes_per_second", std::round(totals.bytesPerSecond())}};
  if (hasMachine) {
    json["roofline_ns"] = tidy(totals.rooflineNs);
    json["roofline_share"] = totals.rooflineShare();
    json["bound"] = totals.isMemoryBound() ? "memory" : "compute";
    json["memory_floor_ns"] = tidy(totals.memoryNs);
    json["measured_ns"] = tidy(totals.measuredNs);
    json["predicted_ns"] = tidy(totals.predictedNs);
  }
  return json;
}

namespace {
/// Writes one step.
class StepJson {
public:
  StepJson(const Profile &profile, const StepProfile &step) : profile(profile), input(*profile.input), step(step) {}

  Json make() const {
    Json json = {{"program", step.program},
                 {"batch", step.batch},
                 {"tokens", step.tokens},
                 {"rows", step.rows},
                 {"threads", step.threads},
                 {"steps", step.steps},
                 {"keys", step.keys},
                 {"pairs", step.pairs},
                 {"latency_ns", {{"median", step.ns}, {"least", step.leastNs}, {"most", step.mostNs}}},
                 {"busy_ns", tidy(step.totals.busyNs())},
                 {"idle_ns", tidy(step.totals.idleNs)},
                 {"barrier_ns", tidy(step.barrierNs)},
                 {"outside_ns", tidy(step.outsideNs)},
                 {"barriers", step.barriers},
                 {"totals", totals(step.totals)}};
    if (profile.hasMachine())
      json["limits"] = limits();
    json["modules"] = module(step.root, 0);
    json["kernels"] = kernels();
    json["launches"] = launches();
    Json &timeline = json["timeline"] = Json::array();
    for (const TimelineSpan &span : step.timeline)
      timeline.push_back({span.thread, span.launch, span.begin, span.end});
    Json &findings = json["findings"] = Json::array();
    for (const Finding &finding : step.findings)
      findings.push_back({{"ns", tidy(finding.ns)},
                          {"share_of_step", step.ns > 0 ? finding.ns / step.ns : 0},
                          {"text", finding.text},
                          {"remedy", finding.remedy}});
    return json;
  }

private:
  Json totals(const Totals &of) const { return toJson(of, step, profile.hasMachine()); }

  Json limits() const {
    if (const std::optional<GpuMachine> &gpu = input.gpu)
      return {{"flops_f32", gpu->flopsF32},
              {"flops_tensor", gpu->tensorFlops},
              {"l2_bytes", gpu->l2Bytes},
              {"memory_bytes", gpu->memoryBytes},
              {"launch_ns", gpu->launchNs}};
    MachineLimits at = limitsAt(*input.machine, step.threads);
    double peak = at.flopsF32;
    if (input.level == "x86-64-v2" && at.flopsF32V2 > 0)
      peak = at.flopsF32V2;
    if (input.level == "x86-64-v3" && at.flopsF32V3 > 0)
      peak = at.flopsF32V3;
    return {{"flops_f32", peak},
            {"flops_bf16", hasBf16Dots(cpuLevelOf(input.level).value_or(CpuLevel::none)) ? at.flopsBf16 : 0},
            {"l2_bytes", at.l2Bytes},
            {"l3_bytes", at.l3Bytes},
            {"memory_bytes", at.memoryBytes},
            {"barrier_ns", at.barrierNs},
            {"launch_ns", at.launchNs}};
  }

  Json module(const ModuleProfile &of, int32_t depth) const {
    Json json = {{"name", of.name}, {"path", of.path}, {"ops", of.ops}, {"shared", of.isShared}, {"parameters", of.parameters()}};
    json.update(totals(of.totals));
    Json &children = json["children"] = Json::array();
    if (input.depth < 0 || depth < input.depth)
      for (const ModuleProfile &child : of.children)
        children.push_back(module(child, depth + 1));
    return json;
  }

  Json kernels() const {
    Json list = Json::array();
    for (const KernelProfile &kernel : step.kernels) {
      Json json = {{"name", kernel.name}, {"family", kernel.family}, {"launches", kernel.launches}, {"threads", kernel.threads}};
      json.update(totals(kernel.totals));
      json["modules"] = kernel.modules;
      Json &ops = json["ops"] = Json::array();
      for (size_t i = 0; i < kernel.ops.size(); ++i)
        ops.push_back({{"op", kernel.ops[i]},
                       {"attributed", kernel.ops.size() > 1},
                       {"macs", std::round(kernel.opTotals[i].macs)},
                       {"flops", std::round(kernel.opTotals[i].flops)},
                       {"latency_ns", tidy(kernel.opTotals[i].latencyNs)}});
      list.push_back(std::move(json));
    }
    return list;
  }

  Json launches() const {
    Json list = Json::array();
    for (const LaunchProfile &launch : step.launches) {
      Json json = {{"kernel", launch.described->kernel}, {"module", launch.described->module},   {"ran", launch.slowestNs > 0},
                   {"threads", launch.threads},          {"barrier_ns", tidy(launch.barrierNs)}, {"slowest_ns", tidy(launch.slowestNs)}};
      json.update(totals(launch.totals));
      Json &ops = json["ops"] = Json::array();
      for (size_t i = 0; i < launch.ops.size(); ++i)
        ops.push_back({{"op", launch.described->ops[i].op},
                       {"module", launch.described->ops[i].module},
                       {"flops", std::round(launch.ops[i].flops)},
                       {"share_of_launch", launch.opShares[i]}});
      list.push_back(std::move(json));
    }
    return list;
  }

  const Profile &profile;
  const ProfileInput &input;
  const StepProfile &step;
};
} // namespace

static Json toJson(const Profile &profile) {
  const ProfileInput &input = *profile.input;
  Json json = {{"format", "ds-profile-report"},
               {"version", 1},
               {"runtime", DSRT_VERSION},
               {"model",
                {{"name", input.modelName},
                 {"family", input.family},
                 {"parameters", input.parameters},
                 {"weights", input.weightsType},
                 {"package", input.packagePath}}},
               {"processor", profile.processor},
               {"level", input.level},
               {"machine", nullptr},
               {"fusion", input.description ? Json(input.description->fusion) : Json(nullptr)},
               {"counting", input.compatible ? "compatible" : "exact"},
               {"depth", input.depth},
               {"top", input.top},
               {"failure", input.failure.empty() ? Json(nullptr) : Json(input.failure)},
               {"notes", profile.notes},
               {"programs", Json::array()}};
  if (profile.hasMachine())
    json["machine"] = {{"path", input.machinePath},
                       {"processor", profile.machineName()},
                       {"level", input.gpu ? input.gpu->arch : input.machine->level},
                       {"is_this_machine", profile.isOfMachine()}};
  for (const StepProfile &step : profile.steps)
    json["programs"].push_back(StepJson(profile, step).make());
  return json;
}

std::string dsrt::profileJson(const Profile &profile) { return dump(toJson(profile), 1) + "\n"; }

// ---- Trace ----------------------------------------------------------------------------------------------------------------------

static Json traceName(const char *kind, int32_t thread, const std::string &name) {
  Json json = {{"ph", "M"}, {"pid", 1}, {"name", kind}, {"args", {{"name", name}}}};
  if (thread >= 0)
    json["tid"] = thread;
  return json;
}

/// Trace Event Format: one track a thread, the calling thread's steps on a track of their own; times in us.
std::string dsrt::profileTrace(const Profile &profile) {
  constexpr int64_t mostEvents = 200'000;
  const ProfileInput &input = *profile.input;
  Json events = Json::array();
  int32_t threads = 0, cutSteps = 0, stepTrack = 1000;
  for (const dsrt_traced_step &step : input.steps)
    threads = std::max(threads, step.threads);
  events.push_back(traceName("process_name", -1, input.modelName));
  events.push_back(traceName("thread_name", stepTrack, "steps"));
  for (int32_t thread = 0; thread < threads; ++thread)
    events.push_back(traceName("thread_name", thread, concat("thread ", thread)));
  int64_t count = 0;
  for (const dsrt_traced_step &step : input.steps) {
    if (count + static_cast<int64_t>(step.threads) * step.launches > mostEvents) {
      ++cutSteps;
      continue;
    }
    events.push_back({{"ph", "X"},
                      {"pid", 1},
                      {"tid", stepTrack},
                      {"name", step.program},
                      {"cat", "step"},
                      {"ts", static_cast<double>(step.begin) / 1e3},
                      {"dur", static_cast<double>(step.end - step.begin) / 1e3},
                      {"args", {{"batch", step.batch}, {"tokens", step.tokens}, {"rows", step.rows}}}});
    const DescribedProgram *program = input.description ? input.description->program(step.program) : nullptr;
    if (program && program->launches.size() != static_cast<size_t>(step.launches))
      program = nullptr;
    for (int32_t thread = 0; thread < step.threads; ++thread)
      for (int32_t launch = 0; launch < step.launches; ++launch) {
        const int64_t *at = step.times + 2 * (static_cast<int64_t>(thread) * step.launches + launch);
        if (at[0] == 0 && at[1] == 0)
          continue;
        ++count;
        events.push_back({{"ph", "X"},
                          {"pid", 1},
                          {"tid", thread},
                          {"name", program ? program->launches[launch].kernel : concat("launch ", launch)},
                          {"cat", program ? program->launches[launch].facts.family : std::string("launch")},
                          {"ts", static_cast<double>(at[0]) / 1e3},
                          {"dur", static_cast<double>(at[1] - at[0]) / 1e3},
                          {"args", {{"launch", launch}, {"module", program ? program->launches[launch].module : std::string()}}}});
      }
  }
  Json notes = profile.notes;
  if (cutSteps > 0)
    notes.push_back(concat(cutSteps, " steps are left out, so that the file stays readable"));
  return dump({{"traceEvents", std::move(events)},
               {"displayTimeUnit", "ns"},
               {"otherData", {{"model", input.modelName}, {"processor", profile.processor}, {"notes", std::move(notes)}}}}) +
         "\n";
}

// ---- Page -----------------------------------------------------------------------------------------------------------------------

/// Replaces the first `mark`, which is there.
static void replace(std::string &text, std::string_view mark, std::string_view with) { text.replace(text.find(mark), mark.size(), with); }

std::string dsrt::profilePage(const Profile &profile) {
  // A `<` in a name could end the script element that holds the data.
  std::string data, json = dump(toJson(profile));
  for (char letter : json)
    data += letter == '<' ? std::string("\\u003c") : std::string(1, letter);
  std::string page(profilePageHtml);
  replace(page, "@STYLE@", profilePageStyle);
  replace(page, "@SCRIPT@", profilePageScript);
  replace(page, "@DATA@", data);
  return page;
}
