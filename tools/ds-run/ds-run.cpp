// Runs a package: arrays in, arrays out, compared or timed; or continues token ids.
#include "Forward.h"
#include "Npy.h"
#include "tools/profiling/Printed.h"
#include "tools/profiling/Profiling.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <unistd.h>

namespace {
constexpr int32_t mostTracedSteps = 4096;

struct Options {
  std::string package, program, device, isa, reference, tokens;
  std::vector<std::string> inputs, outputs, compares;
  double atol = 1e-4, rtol = 0;
  int benchmark = 0, threads = 0;
  bool print = false, info = false, skipHashes = false, hugePages = false;
  dsrt_generation generation;
  Profiling profiling;
};

int fail(const Failure &failure) {
  std::fflush(stdout);
  std::fprintf(stderr, "ds-run: %s\n", failure.message.c_str());
  return failure.code;
}

/// The interpreter is a tool of the compiler: it takes over with the same arguments.
int runReference(int argc, char **argv) {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::string tool = (self.parent_path() / "ds-reference").string();
  std::vector<char *> arguments = {tool.data()};
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument == "--reference")
      continue;
    arguments.push_back(argument.rfind("--reference=", 0) == 0 ? argv[i] + std::string("--reference=").size() : argv[i]);
  }
  arguments.push_back(nullptr);
  execv(tool.c_str(), arguments.data());
  return fail({66, "missing: " + tool + ": the reference interpreter comes with the compiler"});
}

Failure generate(dsrt_model *model, const Options &options) {
  std::vector<int32_t> ids;
  if (Failure failure = readIntegers("--tokens", options.tokens, ids))
    return failure;
  dsrt_batch batch = {};
  batch.size = sizeof(batch);
  batch.batch = 1;
  batch.tokens = static_cast<int32_t>(ids.size());
  batch.input_ids = ids.data();
  dsrt_info info = {};
  info.size = sizeof(info);
  if (dsrt_status status = dsrt_get_info(model, &info); status != DSRT_OK)
    return lastFailure(status);
  dsrt_generation generation = options.generation;
  if (info.context > 0) // no row has more
    generation.max_new_tokens = std::min(generation.max_new_tokens, info.context);
  std::vector<int32_t> made(std::max(generation.max_new_tokens, 1));
  int32_t length = 0, finish = 0;
  generation.do_sample =
      generation.do_sample || generation.temperature != 1 || generation.top_k > 0 || generation.top_p != 1 || generation.min_p > 0;
  if (options.profiling.isOn()) { // what runs for the first time is slower
    dsrt_generation once = generation;
    once.max_new_tokens = std::min(once.max_new_tokens, 2);
    if (dsrt_status status = dsrt_generate(model, &batch, &once, nullptr, nullptr, made.data(), &length, &finish); status != DSRT_OK)
      return lastFailure(status);
    dsrt_trace_start(model, mostTracedSteps);
  }
  auto start = std::chrono::steady_clock::now();
  dsrt_status status = dsrt_generate(model, &batch, &generation, nullptr, nullptr, made.data(), &length, &finish);
  if (status != DSRT_OK)
    return lastFailure(status);
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (int32_t i = 0; i < length; ++i)
    std::printf("%s%d", i ? "," : "", made[i]);
  static const char *const names[] = {"none", "eos", "stop", "length", "cancelled"};
  std::printf("\n");
  std::fprintf(stderr, "finish: %s, %d tokens in %.3f s\n", names[finish], length, seconds);
  return {};
}

/// What the model does without, once.
void printNote(const dsrt_model *model) {
  dsrt_info info = {};
  info.size = sizeof(info);
  if (dsrt_get_info(model, &info) == DSRT_OK && *info.note)
    std::fprintf(stderr, "ds-run: note: %s\n", info.note);
}

void printInfo(const dsrt_model *model) {
  dsrt_info info = {};
  info.size = sizeof(info);
  dsrt_get_info(model, &info);
  std::printf("name: %s\nfamily: %s\ntask: %s\nparameters: %lld\nweights: %s, %lld bytes\nvocabulary: %d\ncontext: %d\nmax_batch: "
              "%d\nmax_rows: %d\n"
              "cache: %s\nkv_bytes_per_sequence: %lld\nproducer: %s\ndevice: %s%s%s\nlevel: %s\nthreads: %d\n",
              info.name, info.family, info.task, static_cast<long long>(info.parameters), info.weights_dtype,
              static_cast<long long>(info.weights_bytes), info.vocab_size, info.context, info.max_batch, info.max_rows,
              *info.cache_type ? info.cache_type : "none", static_cast<long long>(info.kv_bytes_per_sequence), info.producer, info.device,
              *info.device_name ? ", " : "", info.device_name, info.level, info.threads);
}

Failure runOnce(dsrt_model *model, const Options &options, const NamedArrays &inputs, NamedArrays &outputs) {
  for (auto &[name, array] : outputs)
    array = Array();
  return options.program.empty() ? runForward(model, inputs, outputs) : runProgram(model, options.program, inputs, outputs);
}

Failure benchmark(dsrt_model *model, const Options &options, const NamedArrays &inputs, NamedArrays &outputs) {
  std::vector<double> times;
  for (int i = 0; i < options.benchmark; ++i) {
    auto start = std::chrono::steady_clock::now();
    if (Failure failure = runOnce(model, options, inputs, outputs))
      return failure;
    times.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  std::printf("%d runs: min %.3f ms, median %.3f ms, max %.3f ms\n", options.benchmark, times.front(), times[times.size() / 2],
              times.back());
  return {};
}

Failure runArrays(dsrt_model *model, const Options &options) {
  NamedArrays inputs, outputs, expected;
  std::map<std::string, std::string> files;
  for (const std::string &text : options.inputs) {
    std::string name, rest;
    if (Failure failure = splitName(text, name, rest))
      return failure;
    if (Failure failure = readArray(name, rest, inputs[name]))
      return failure;
  }
  for (const std::string &text : options.outputs) {
    size_t at = text.find("=@");
    outputs[text.substr(0, at)];
    if (at != text.npos)
      files[text.substr(0, at)] = text.substr(at + 2);
  }
  for (const std::string &text : options.compares) {
    std::string name, rest;
    if (Failure failure = splitName(text, name, rest))
      return failure;
    if (Failure failure = readArray(name, rest, expected[name]))
      return failure;
    outputs[name];
  }
  bool print = options.print || (files.empty() && expected.empty() && options.benchmark == 0);
  if (outputs.empty())
    outputs[defaultOutput(model)];
  if (Failure failure = runOnce(model, options, inputs, outputs))
    return failure;
  for (const auto &[name, path] : files)
    if (Failure failure = writeNpy(path, outputs[name]))
      return failure;
  if (print)
    for (const auto &[name, array] : outputs)
      std::fputs(printArray(name, array).c_str(), stdout);
  Failure worst;
  for (const auto &[name, array] : expected)
    if (Failure failure = compareArrays(name, outputs[name], array, options.atol, options.rtol); failure && !worst)
      worst = failure;
  if (worst || (options.benchmark == 0 && !options.profiling.isOn()))
    return worst;
  if (options.profiling.isOn()) // the run above has touched everything once
    dsrt_trace_start(model, mostTracedSteps);
  return options.benchmark > 0 ? benchmark(model, options, inputs, outputs) : runOnce(model, options, inputs, outputs);
}

/// Ends tracing and writes the reports, also on a run that failed: `failure` comes back, else what went wrong here.
Failure writeProfile(dsrt_model *model, const Options &options, Failure failure) {
  if (!options.profiling.isOn())
    return failure;
  std::string error;
  if (model)
    dsrt_trace_stop(model);
  std::fflush(stdout);
  if (dsrt_status status = options.profiling.write(model, failure.message, error); status != DSRT_OK && !failure)
    return {status, error};
  return failure;
}

void addOptions(CLI::App &app, Options &options) {
  app.add_option("PACKAGE", options.package, "the package's folder")->required();
  app.add_option("--input", options.inputs, "NAME=@file.npy or NAME=2x3xi32=1,2,3,4,5,6 (one value fills the array)")
      ->take_all()
      ->expected(1);
  app.add_option("--output", options.outputs, "NAME or NAME=@file.npy: logits, hidden, embedding")->take_all()->expected(1);
  app.add_option("--compare", options.compares, "NAME=@file.npy: exits with 1 when the output differs")->take_all()->expected(1);
  app.add_option("--atol", options.atol, "greatest absolute difference")->capture_default_str();
  app.add_option("--rtol", options.rtol, "greatest difference relative to the expected value")->capture_default_str();
  app.add_option("--program", options.program, "run one step of this program: encode, prefill, decode");
  app.add_option("--benchmark", options.benchmark, "run so many times more and print times")->check(CLI::NonNegativeNumber);
  app.add_option("--threads", options.threads, "threads; 0: as many as this process may use")->capture_default_str();
  app.add_option("--device", options.device, "cpu, cuda, cuda:N or emulate; by default what the package has code for");
  app.add_option("--isa", options.isa, "highest CPU level to use, such as x86-64-v2");
  app.add_flag("--skip-hashes", options.skipHashes, "check the weights by size alone");
  app.add_flag("--huge-pages", options.hugePages, "copy the weights to 2 MiB pages: faster steps, a longer load");
  app.add_flag("--print", options.print, "print the outputs");
  options.profiling.addOptions(app);
  app.add_flag("--info", options.info, "print what the package holds");
  app.add_option("--reference", options.reference, "interpret FILE.mlir in f64 in place of running a package (ds-reference)");
  app.add_option("--tokens", options.tokens, "continue these token ids: 1,2,3");
  dsrt_generation &generation = options.generation;
  app.add_option("--max-new-tokens", generation.max_new_tokens, "tokens to make")->capture_default_str();
  app.add_flag("--do-sample", generation.do_sample, "sample; any of the settings below asks for it as well");
  app.add_option("--temperature", generation.temperature)->capture_default_str();
  app.add_option("--top-k", generation.top_k)->capture_default_str();
  app.add_option("--top-p", generation.top_p)->capture_default_str();
  app.add_option("--min-p", generation.min_p)->capture_default_str();
  app.add_option("--repetition-penalty", generation.repetition_penalty)->capture_default_str();
  app.add_option("--seed", generation.seed)->capture_default_str();
  app.add_option("--prefill-chunk", generation.prefill_chunk, "most tokens of the prompt in one step; 0: as many as fit");
}
} // namespace

static int run(int argc, char **argv) {
  Options options;
  dsrt_generation_init(&options.generation);
  CLI::App app("Runs a package: arrays in, arrays out, compared or timed; or continues token ids.", "ds-run");
  app.set_version_flag("--version", std::string("ds-run ") + dsrt_version());
  addOptions(app, options);
  try {
    std::vector<std::string> arguments;
    for (int i = argc - 1; i > 0; --i)
      arguments.push_back(profileArgument(argv[i]));
    app.parse(arguments);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail({2, std::string("invalid argument: ") + error.what()});
  }
  for (const char *option : {"--input", "--output", "--compare", "--program", "--benchmark", "--print"})
    if (app.count("--tokens") && app.count(option))
      return fail({2, std::string("invalid argument: --tokens expects no ") + option});
  dsrt_load_options load;
  dsrt_load_options_init(&load);
  load.threads = options.threads;
  load.skip_hashes = options.skipHashes;
  load.huge_pages = options.hugePages;
  load.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  load.device = options.device.empty() ? nullptr : options.device.c_str();
  dsrt_model *model = nullptr;
  Failure failure;
  if (dsrt_status status = dsrt_load(options.package.c_str(), &load, &model); status != DSRT_OK)
    return fail(writeProfile(nullptr, options, lastFailure(status)));
  printNote(model);
  if (options.info)
    printInfo(model);
  std::string error;
  if (dsrt_status status = options.profiling.begin(model, error); status != DSRT_OK) {
    dsrt_free(model);
    return fail({status, error});
  }
  if (!options.tokens.empty())
    failure = generate(model, options);
  else if (!options.info || !options.inputs.empty())
    failure = runArrays(model, options);
  failure = writeProfile(model, options, failure);
  dsrt_free(model);
  return failure ? fail(failure) : 0;
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]).rfind("--reference", 0) == 0)
      return runReference(argc, argv);
  return afterPrinting("ds-run", run(argc, argv));
}
