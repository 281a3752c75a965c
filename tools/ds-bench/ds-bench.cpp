// Measures tokens a second of a package, with the words of llama-bench.
#include "Calibrate.h"
#include "Report.h"
#include "tools/profiling/Printed.h"
#include "tools/profiling/Profiling.h"
#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <map>

namespace {
struct Options {
  std::string package, device, isa, output;
  std::vector<int32_t> prompts, generated, batches = {1}, threads = {0};
  std::vector<std::string> pairs;
  int32_t repetitions = 5;
  Format format = Format::md;
  Profiling profiling;
  bool calibrate = false, json = false, quick = false, skipHashes = false;
};

int fail(int code, const std::string &message) {
  std::fflush(stdout);
  std::fprintf(stderr, "ds-bench: %s\n", message.c_str());
  return code;
}

bool readPair(const std::string &text, Test &test) {
  const char *end = text.data() + text.size();
  auto first = std::from_chars(text.data(), end, test.prompt);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ',')
    return false;
  auto second = std::from_chars(first.ptr + 1, end, test.generated);
  return second.ec == std::errc() && second.ptr == end && test.prompt > 0 && test.generated > 0;
}

/// The tests in llama-bench's order: prompts, generation, pairs; each at every batch size.
bool makeTests(const Options &options, bool decoder, std::vector<Test> &tests, std::string &bad) {
  for (int32_t batch : options.batches) {
    for (int32_t prompt : options.prompts)
      if (prompt > 0)
        tests.push_back({prompt, 0, batch});
    if (!decoder)
      continue;
    for (int32_t generated : options.generated)
      if (generated > 0)
        tests.push_back({0, generated, batch});
    for (const std::string &pair : options.pairs) {
      Test test{0, 0, batch};
      if (!readPair(pair, test)) {
        bad = pair;
        return false;
      }
      tests.push_back(test);
    }
  }
  return true;
}

int runThreads(const Options &options, int32_t threads, Report &report) {
  dsrt_load_options load;
  dsrt_load_options_init(&load);
  load.threads = threads;
  load.skip_hashes = options.skipHashes;
  load.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  load.device = options.device.empty() ? nullptr : options.device.c_str();
  dsrt_model *model = nullptr;
  const Profiling &profiling = options.profiling;
  if (dsrt_status status = dsrt_load(options.package.c_str(), &load, &model); status != DSRT_OK) {
    std::string line = dsrt_last_error(), ignored;
    profiling.write(nullptr, line, ignored);
    return fail(status, line);
  }
  dsrt_info info = {};
  info.size = sizeof(info);
  dsrt_get_info(model, &info);
  if (*info.note)
    std::fprintf(stderr, "ds-bench: note: %s\n", info.note);
  std::vector<Test> tests;
  std::string bad;
  std::string error, profileError;
  int code = 0;
  if (dsrt_status status = profiling.begin(model, profileError); status != DSRT_OK) {
    dsrt_free(model);
    return fail(status, profileError);
  }
  if (!makeTests(options, info.is_decoder != 0, tests, bad))
    code = fail(2, "invalid argument: -pg: expects PROMPT,GENERATED, got '" + bad + "'");
  auto run = [&](const Test &test, int32_t repetitions, std::vector<int64_t> &samples) {
    if (code == 0 && (code = measure(model, test, repetitions, samples)) != 0)
      error = dsrt_last_error();
    return code == 0;
  };
  if (profiling.isOn()) { // what runs for the first time is slower: it is not traced
    std::vector<int64_t> none;
    for (const Test &test : tests)
      run(test, 0, none);
    dsrt_trace_start(model, 1 << 14);
  }
  for (const Test &test : tests) {
    Row row = describe(model, test);
    if (run(test, options.repetitions, row.samples))
      report.add(row);
  }
  dsrt_trace_stop(model);
  if (dsrt_status status = profiling.write(model, error, profileError); status != DSRT_OK && code == 0)
    code = fail(status, profileError);
  else if (!error.empty())
    fail(code, error);
  dsrt_free(model);
  return code;
}

void addOptions(CLI::App &app, Options &options) {
  app.add_option("PACKAGE,-m,--model", options.package, "the package's folder");
  app.add_option("-p,--n-prompt", options.prompts, "tokens of a prompt; of a sequence for encoders (128)")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("-n,--n-gen", options.generated, "tokens to make (128)")->delimiter(',')->check(CLI::Range(0, 1 << 20));
  app.add_option("--pg", options.pairs, "-pg PROMPT,GENERATED: both in one test")->take_all()->expected(1);
  app.add_option("-b,--batch-size", options.batches, "sequences at once (1)")->delimiter(',')->check(CLI::Range(1, 4096));
  app.add_option("-t,--threads", options.threads, "threads; 0: as many as this process may use (0)")
      ->delimiter(',')
      ->check(CLI::Range(0, 1024));
  app.add_option("-r,--repetitions", options.repetitions, "runs of each test")->check(CLI::Range(1, 100000))->capture_default_str();
  app.add_option("-o,--output", options.output, "md, json, jsonl or csv; with --calibrate the file to write, such as machine.json");
  app.add_option("--device", options.device, "cpu, cuda, cuda:N or emulate; by default what the package has code for");
  app.add_option("--isa", options.isa, "highest CPU level to use, such as x86-64-v2");
  app.add_flag("--skip-hashes", options.skipHashes, "check the weights by size alone");
  options.profiling.addOptions(app);
  app.add_flag("--calibrate", options.calibrate, "measure this machine for the cost model (docs/cost-model.md), without a package");
  app.add_flag("--json", options.json, "with --calibrate: print the description in place of a table");
  app.add_flag("--quick", options.quick, "with --calibrate: rough numbers in a moment");
}

int runCalibrate(const CLI::App &app, const Options &options) {
  if (!options.package.empty())
    return fail(2, "invalid argument: --calibrate expects no package, got '" + options.package + "'");
  for (const char *option : {"-p", "-n", "--pg", "-b", "-r", "--device", "--isa", "--skip-hashes", "--profile"})
    if (app.count(option))
      return fail(2, std::string("invalid argument: --calibrate expects no ") + option);
  std::string error;
  int code = runCalibrate(CalibrateOptions{options.threads, options.quick}, options.json, options.output, error);
  return code ? fail(code, error) : 0;
}

/// What -o means without --calibrate.
bool readFormat(Options &options) {
  static const std::map<std::string, Format> formats = {
      {"", Format::md}, {"md", Format::md}, {"json", Format::json}, {"jsonl", Format::jsonl}, {"csv", Format::csv}};
  auto found = formats.find(options.output);
  if (found != formats.end())
    options.format = found->second;
  return found != formats.end();
}
} // namespace

static int run(int argc, char **argv) {
  Options options;
  CLI::App app("Measures tokens a second of a package, with the words of llama-bench.", "ds-bench");
  app.set_version_flag("--version", std::string("ds-bench ") + dsrt_version());
  addOptions(app, options);
  // -pg is llama-bench's word; as a short option it would be -p with the value g.
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i)
    arguments.push_back(std::string(argv[i]) == "-pg" ? "--pg" : profileArgument(argv[i]));
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    return fail(2, std::string("invalid argument: ") + error.what());
  }
  if (options.calibrate)
    return runCalibrate(app, options);
  if (options.json || options.quick)
    return fail(2, std::string("invalid argument: ") + (options.json ? "--json" : "--quick") + " expects --calibrate");
  if (options.package.empty())
    return fail(2, "invalid argument: PACKAGE is required");
  if (options.profiling.isOn() && options.threads.size() != 1)
    return fail(2, "invalid argument: --profile expects one number of threads");
  if (!readFormat(options))
    return fail(2, "invalid argument: -o: expects md, json, jsonl or csv, got '" + options.output + "'");
  if (options.profiling.prints() && options.format != Format::md)
    return fail(2, "invalid argument: --profile expects a file beside -o " + options.output + ", such as --profile=profile.txt");
  if (app.count("-p") == 0 && app.count("-n") == 0 && app.count("--pg") == 0) {
    options.prompts = {128};
    options.generated = {128};
  }
  bool showBatch = options.batches != std::vector<int32_t>{1};
  Report report(options.format, showBatch);
  report.begin();
  int code = 0;
  for (int32_t threads : options.threads)
    if (code == 0)
      code = runThreads(options, threads, report);
  if (code == 0 || options.format == Format::json) // of which a part is none
    report.end();
  return code;
}

int main(int argc, char **argv) { return afterPrinting("ds-bench", run(argc, argv)); }
