#include "PlannedGraph.h"
#include "dialects/DSPlan/DSPlanDialect.h"
#include "lib/Target/Package/WeightPacker.h"
#include <cmath>
#include <cstring>

using namespace mlir;
using namespace ds;
using namespace ds::test;

// f32 against f64, as a part of the largest value of a row. One rounding is 6e-8 of its value. A graph here chains at most some forty ops
// and sums at most 2060 products, whose errors grow about as the root of their number; norms, products of values and attention magnify what
// comes in a few times each. Of the first 48 seeds the largest error is 6e-6, while a lost bias, residual or tail is of the size of the
// row.
static constexpr double f32Tolerance = 5e-5;
// Where products of many rows round their rows to bf16 as well, by 2^-9 of each value: the largest error of the first 36 seeds is 2.2e-3.
static constexpr double bf16Tolerance = 1e-2;

// Where keys and values of f32 and of f64 lie on the two sides of a tie, their codes differ by one, by 1/127 of the largest of a head. None
// do in the first 36 seeds, whose largest error is 5e-6.
static constexpr double codesTolerance = 1e-2;
// The same of bf16, by 2^-8 of the value; the largest error of the first 36 seeds is 1.8e-4.
static constexpr double bf16CacheTolerance = 5e-4;

PlannedGraph::PlannedGraph(const RandomGraph &graph, const GraphTensors &tensors, const GraphTarget &target, bool planOnly)
    : tolerance(target.cache == "int8"                                      ? codesTolerance
                : target.cache == "bf16"                                    ? bf16CacheTolerance
                : target.weights == "bf16" && target.level->roundsForBf16() ? bf16Tolerance
                                                                            : f32Tolerance) {
  GraphModule module(graph.text());
  std::string options = "max-batch=" + std::to_string(graphMaxBatch) + " max-rows=" + std::to_string(graphMaxRows) +
                        " weights=" + target.weights + " fusion=" + target.fusion + " cache=" + target.cache +
                        (target.level->addsBeside && target.weights == "f32" ? " panel-sums" : "") +
                        (target.level->multipliesF16 && target.weights == "bf16" && target.fusion == "specialized" ? " panel-halves" : "");
  if (!module.run("ds-plan{" + options + "}")) {
    message = "planning: " + module.error();
    return;
  }
  describe(module.get());
  if (planOnly)
    return;
  pack(module.get(), tensors);
  if (!message.empty())
    return;
  code = std::make_unique<CompiledPlan>(module.text(), *target.level);
  if (!*code)
    message = "compiling: " + code->error();
}

void PlannedGraph::describe(ModuleOp planned) {
  for (auto op : planned.getOps<ds_plan::ProgramOp>()) {
    Program &program = programs[op.getSymName().str()];
    program.arenaBytes = op.getArenaBytes();
    program.cacheBytes = op.getKvBytes();
    auto place = [](std::vector<Place> &list, int64_t index, const Place &place) {
      if (static_cast<int64_t>(list.size()) <= index)
        list.resize(index + 1);
      list[index] = place;
    };
    for (auto input : op.getOps<ds_plan::InputOp>())
      place(program.inputs, input.getIndex(), {input.getName().str(), 0, 0});
    for (auto output : op.getOps<ds_plan::OutputOp>())
      place(program.outputs, output.getIndex(),
            {output.getName().str(), cast<MemRefType>(output.getType()).getShape().back(), static_cast<int64_t>(output.getRows())});
    launchCount += llvm::range_size(op.getOps<ds_plan::LaunchOp>());
  }
}

void PlannedGraph::pack(ModuleOp planned, const GraphTensors &tensors) {
  int64_t bytes = 0;
  for (auto storage : planned.getOps<ds_plan::StorageOp>())
    bytes = std::max(bytes, static_cast<int64_t>(*storage.getOffset()) + storageBytes(storage));
  weights = std::make_unique<GuardedBytes>(bytes);
  memset(weights->as<uint8_t>(), 0xFF, bytes);
  for (auto storage : planned.getOps<ds_plan::StorageOp>()) {
    uint8_t *out = weights->as<uint8_t>() + *storage.getOffset();
    Result<void> packed;
    if (std::optional<StringRef> name = storage.getParameter()) {
      Result<ParameterReader> reader = ParameterReader::create(planned.lookupSymbol<ParameterOp>(*name), tensors);
      packed = reader ? packUnits(storage, &*reader, 0, unitCount(storage), out) : Result<void>(reader.error());
    } else {
      packed = packUnits(storage, nullptr, 0, unitCount(storage), out);
    }
    if (!packed)
      message = "packing: " + packed.error().message;
  }
}

/// A copy of `values` that ends at a page which must not be touched.
static std::unique_ptr<GuardedBytes> guarded(const std::vector<int32_t> &values) {
  auto bytes = std::make_unique<GuardedBytes>(values.size() * 4);
  memcpy(bytes->as<uint8_t>(), values.data(), values.size() * 4);
  return bytes;
}

/// Bytes that are NaN as f32.
static std::unique_ptr<GuardedBytes> poisoned(int64_t bytes) {
  auto made = std::make_unique<GuardedBytes>(bytes);
  memset(made->as<uint8_t>(), 0xFF, bytes);
  return made;
}

std::string PlannedGraph::checkStep(const GraphStep &step, int32_t threads, std::vector<std::unique_ptr<GuardedBytes>> &caches) {
  const Program &program = programs.at(step.program);
  StepData data;
  data.batch = static_cast<int32_t>(step.batch);
  data.tokens = static_cast<int32_t>(step.tokens);
  data.rows = static_cast<int32_t>(step.rows);
  data.weights = weights->as<void>();
  std::unique_ptr<GuardedBytes> arena = poisoned(program.arenaBytes);
  data.arena = arena->as<void>();
  std::vector<std::unique_ptr<GuardedBytes>> inputs, outputs;
  for (const Place &input : program.inputs) {
    inputs.push_back(guarded(step.inputs.at(input.name)));
    data.inputs.push_back(inputs.back()->as<int32_t>());
  }
  for (const Place &output : program.outputs) {
    const int64_t rows[] = {step.batch * step.tokens, step.rows, step.batch};
    outputs.push_back(poisoned(rows[output.perStep] * output.width * 4));
    data.outputs.push_back(output.name == step.unwanted ? nullptr : outputs.back()->as<void>());
  }
  for (int64_t sequence : step.sequences)
    data.kv.push_back(caches[sequence]->as<uint8_t>());
  code->run(step.program, data, threads);

  for (size_t i = 0; i < program.outputs.size(); ++i) {
    const Place &output = program.outputs[i];
    auto expected = step.expected.find(output.name);
    if (expected == step.expected.end() || output.name == step.unwanted)
      continue;
    for (const GraphStep::Row &row : expected->second) {
      double scale = 0;
      for (double value : row.values)
        scale = std::max(scale, std::abs(value));
      if (static_cast<int64_t>(row.values.size()) != output.width)
        return "output '" + output.name + "' is " + std::to_string(output.width) + " wide, expected " + std::to_string(row.values.size());
      const float *found = outputs[i]->as<float>() + row.index * output.width;
      for (int64_t j = 0; j < output.width; ++j) {
        double error = std::abs(found[j] - row.values[j]) / tolerance;
        if (scale > 0)
          worst = std::max(worst, error / scale);
        if (!(error <= scale)) {
          char text[200];
          snprintf(text, sizeof text, "output '%s' at row %ld column %ld: expected %.9g, found %.9g; the row's largest is %.3g",
                   output.name.c_str(), static_cast<long>(row.index), static_cast<long>(j), row.values[j], found[j], scale);
          return text;
        }
      }
    }
  }
  return "";
}

std::string PlannedGraph::check(const std::vector<GraphStep> &steps) {
  int64_t cacheBytes = 0;
  for (const auto &[name, program] : programs)
    cacheBytes = std::max(cacheBytes, program.cacheBytes);
  std::vector<std::unique_ptr<GuardedBytes>> caches;
  for (int64_t i = 0; i < graphMaxSequences; ++i)
    caches.push_back(poisoned(cacheBytes));
  for (const GraphStep &step : steps) {
    std::vector<std::vector<uint8_t>> before;
    for (int64_t sequence : step.sequences)
      before.emplace_back(caches[sequence]->as<uint8_t>(), caches[sequence]->as<uint8_t>() + cacheBytes);
    for (int32_t threads : {1, 2, 3}) {
      // Each begins with what the caches held, so that a slot which only some of them write is missed.
      for (size_t i = 0; i < before.size(); ++i)
        memcpy(caches[step.sequences[i]]->as<uint8_t>(), before[i].data(), before[i].size());
      if (std::string wrong = checkStep(step, threads, caches); !wrong.empty())
        return step.program + " of batch " + std::to_string(step.batch) + ", tokens " + std::to_string(step.tokens) + ", rows " +
               std::to_string(step.rows) + ", threads " + std::to_string(threads) +
               (step.unwanted.empty() ? "" : ", without output '" + step.unwanted + "'") + ": " + wrong;
    }
  }
  return "";
}
