// Sums over modules of the source and over kernels.
#include "runtime/lib/Profile.h"
#include <algorithm>

using namespace dsrt;

double ModuleProfile::parameters() const {
  double sum = 0;
  for (const auto &[name, elements] : weights)
    sum += elements;
  return sum;
}

std::string dsrt::pathPattern(std::string_view path) {
  std::string pattern;
  while (!path.empty()) {
    std::string_view part = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(part.size() + 1, path.size()));
    bool isNumber = !part.empty() && part.find_first_not_of("0123456789") == part.npos;
    pattern += pattern.empty() ? "" : ".";
    pattern += isNumber ? "*" : std::string(part);
  }
  return pattern;
}

static void addOnce(std::vector<std::string> &list, const std::string &value) {
  if (std::find(list.begin(), list.end(), value) == list.end())
    list.push_back(value);
}

static ModuleProfile &childOf(ModuleProfile &module, std::string_view name) {
  for (ModuleProfile &child : module.children)
    if (child.name == name)
      return child;
  ModuleProfile &child = module.children.emplace_back();
  child.name = std::string(name);
  child.path = module.path.empty() ? child.name : module.path + "." + child.name;
  return child;
}

/// Adds an op to its module and to all around it.
static void addOp(ModuleProfile &root, const DescribedOp &op, const Totals &totals, bool shared) {
  ModuleProfile *module = &root;
  std::string_view rest = op.module;
  while (true) {
    module->totals.add(totals);
    for (const auto &[name, elements] : op.weights)
      module->weights[name] = elements;
    if (rest.empty())
      break;
    std::string_view part = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(part.size() + 1, rest.size()));
    module = &childOf(*module, part);
  }
  addOnce(module->ops, op.op);
  module->isShared |= shared;
}

void dsrt::collectModules(const ProfileInput &input, StepProfile &step) {
  step.root.name = input.modelName.empty() ? "model" : input.modelName;
  for (const LaunchProfile &launch : step.launches) {
    if (launch.slowestNs <= 0)
      continue;
    const DescribedLaunch &described = *launch.described;
    for (size_t i = 0; i < described.ops.size(); ++i)
      addOp(step.root, described.ops[i], launch.ops[i], launch.isShared());
    if (described.ops.empty())
      step.root.totals.add(launch.totals);
  }
}

void dsrt::collectKernels(StepProfile &step) {
  std::map<std::string, size_t> indices;
  std::vector<std::vector<std::vector<std::string>>> modules; // of each op of each kernel: launches of several share one
  for (const LaunchProfile &launch : step.launches) {
    if (launch.slowestNs <= 0)
      continue;
    const DescribedLaunch &described = *launch.described;
    auto [at, isNew] = indices.try_emplace(described.kernel, step.kernels.size());
    if (isNew) {
      KernelProfile &made = step.kernels.emplace_back();
      made.name = described.kernel;
      made.family = described.facts.family;
      made.opTotals.resize(described.ops.size());
      for (const DescribedOp &op : described.ops)
        made.ops.push_back(op.op);
      modules.emplace_back(described.ops.size());
    }
    KernelProfile &kernel = step.kernels[at->second];
    ++kernel.launches;
    kernel.threads = std::max(kernel.threads, launch.threads);
    kernel.totals.add(launch.totals);
    addOnce(kernel.modules, pathPattern(described.module));
    for (size_t i = 0; i < described.ops.size() && i < kernel.opTotals.size(); ++i) {
      kernel.opTotals[i].add(launch.ops[i]);
      const std::string &module = described.ops[i].module;
      addOnce(modules[at->second][i], module.empty() ? "the model" : pathPattern(module));
    }
  }
  for (size_t k = 0; k < modules.size(); ++k)
    for (size_t i = 0; i < modules[k].size(); ++i)
      for (const std::string &module : modules[k][i])
        step.kernels[k].ops[i] += (&module == &modules[k][i].front() ? " in " : ", ") + module;
  std::stable_sort(step.kernels.begin(), step.kernels.end(),
                   [](const KernelProfile &a, const KernelProfile &b) { return a.totals.latencyNs > b.totals.latencyNs; });
}
