// ds-run and ds-bench on the fake packages: what they print and their exit codes.
#include "FakePackage.h"
#include "dsrt/machine.h"
#include <cstdio>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/wait.h>

using namespace fake;

namespace {
struct Ran {
  int code;
  std::string text; // stdout and stderr
};

Ran shell(const std::string &command) {
  Ran ran{-1, ""};
  FILE *pipe = popen((command + " 2>&1").c_str(), "r");
  if (!pipe)
    return ran;
  char buffer[4096];
  while (size_t count = fread(buffer, 1, sizeof(buffer), pipe))
    ran.text.append(buffer, count);
  ran.code = WEXITSTATUS(pclose(pipe));
  return ran;
}

Ran run(const std::string &arguments) { return shell(DS_RUN " " + arguments); }
Ran bench(const std::string &arguments) { return shell(DS_BENCH " " + arguments); }

bool contains(const std::string &text, const std::string &part) { return text.find(part) != text.npos; }

std::string npy(const std::string &type, const std::string &shape, const std::string &data) {
  std::string header = "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  std::string text = std::string("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(header.size());
  text += '\0';
  return text + header + data;
}
} // namespace

TEST(Tools, RunForwardWritesAndCompares) {
  Package package(Package::encoder);
  std::string path = package.path(), out = path + "/out.npy";
  Ran ran = run(path + " --input input_ids=1x3xi32=1,2,3 --output hidden");
  EXPECT_EQ(ran.code, 0) << ran.text;
  EXPECT_EQ(ran.text, "hidden 1x3x4xf32\n  100 101 102 103\n  201 202 203 204\n  302 303 304 305\n");
  EXPECT_EQ(run(path + " --input input_ids=2x3xi32=1 --output hidden=@" + out).code, 0);
  ran = run(path + " --input input_ids=2x3xi32=1 --compare hidden=@" + out + " --benchmark 3");
  EXPECT_EQ(ran.code, 0) << ran.text;
  EXPECT_TRUE(contains(ran.text, "hidden: 24 elements agree, greatest difference 0")) << ran.text;
  EXPECT_TRUE(contains(ran.text, "3 runs: min "));
  ran = run(path + " --input input_ids=2x3xi32=1,1,1,1,1,2 --compare hidden=@" + out);
  EXPECT_EQ(ran.code, 1);
  EXPECT_EQ(ran.text, "ds-run: hidden[1][2][0]: expects 102, got 202, difference 100; 4 of 24 elements differ\n");
}

TEST(Tools, RunProgramsAndTokens) {
  Package package(Package::decoder);
  std::vector<int32_t> made = expectedGreedy({1, 2, 3}, 4);
  std::string expected;
  for (int32_t token : made)
    expected += (expected.empty() ? "" : ",") + std::to_string(token);
  Ran ran = run(package.path() + " --tokens 1,2,3 --max-new-tokens 4");
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(contains(ran.text, expected + "\n")) << ran.text;
  EXPECT_TRUE(contains(ran.text, "finish: length, 4 tokens"));
  ran = run(package.path() + " --program prefill --input input_ids=1x2xi32=3,4 --output hidden");
  EXPECT_EQ(ran.code, 0) << ran.text;
  EXPECT_TRUE(contains(ran.text, "hidden 1x2x4xf32\n  52 53 54 55\n")) << ran.text;
  EXPECT_TRUE(contains(run(package.path() + " --info").text, "task: causal-lm\n"));
}

TEST(Tools, RunNamesBadInput) {
  Package package(Package::decoder);
  std::string path = package.path(), bad = path + "/bad.npy";
  const std::string four(4, '\0'), eight = std::string(7, '\0') + "\x7f";
  struct {
    std::string arguments;
    int code;
    std::string message;
  } cases[] = {
      {"", 2, "ds-run: invalid argument: PACKAGE is required\n"},
      {path + " --nonsense", 2, "ds-run: invalid argument: The following argument was not expected: --nonsense\n"},
      {path, 2, "ds-run: invalid argument: input_ids: expects --input input_ids=..., got none\n"},
      {path + " --input input_ids", 2, "ds-run: invalid argument: expects NAME=@file.npy or NAME=2x3xi32=values, got 'input_ids'\n"},
      {path + " --input input_ids=1x2xi32=1,2,3", 2, "ds-run: invalid argument: input_ids: expects one value or 2, got 3\n"},
      {path + " --input input_ids=1x0xi32=1", 2, "ds-run: invalid argument: input_ids: expects sizes of at least 1, got '0'\n"},
      {path + " --input input_ids=99999999x99999999xi32=1", 2,
       "ds-run: invalid argument: input_ids: 99999999x99999999xi32 has too many elements\n"},
      {path + " --input input_ids=1x2xi32=7,99", 2, "ds-run: invalid argument: input_ids[0][1]: expects an id in 0..31, got 99\n"},
      {path + " --input input_ids=@" + path + "/none.npy", 66, "ds-run: missing: " + path + "/none.npy: No such file or directory\n"},
      {path + "-none --tokens 1", 66, "ds-run: missing: " + path + "-none/manifest.json: No such file or directory\n"},
      {path + " --input input_ids=1x2xi32=1 --output logits=@" + path + "/no/where.npy", 73,
       "ds-run: cannot write: " + path + "/no/where.npy: No such file or directory\n"},
      {path + " --tokens 1 --device tpu", 2, "ds-run: invalid argument: device: expects cpu, cuda, cuda:N or emulate, got 'tpu'\n"},
      {path + " --tokens 1 --device cuda", 69, "ds-run: unavailable: " + path + " has code for x86-64-v2, nothing for the device cuda:0\n"},
      {path + " --tokens 1,x", 2, "ds-run: invalid argument: --tokens: expects a number, got 'x'\n"},
      {path + " --tokens 1 --benchmark 3", 2, "ds-run: invalid argument: --tokens expects no --benchmark\n"},
  };
  for (const auto &test : cases) {
    Ran ran = run(test.arguments);
    EXPECT_EQ(ran.code, test.code) << test.arguments;
    EXPECT_EQ(ran.text, test.message);
  }
  const std::pair<std::string, std::string> files[] = {
      {"", "expects an .npy file"},
      {npy("<f4", "(1,)", four).substr(0, 20), "expects a header of"},
      {npy("<c8", "(1,)", four), "expects elements of <f4, <f8, <i4 or <i8, found '<c8'"},
      {npy("<i4", "(2,)", four), "expects 8 bytes of data, found 4"},
      {npy("<i4", "(99999999999,99999999999)", four), "expects a shape"},
      {npy("<i4", "(-1,)", four), "expects a shape"},
      {npy("<i8", "(1,)", eight), "element 0: expects an i32, found 9151314442816847872"},
  };
  for (const auto &[content, message] : files) {
    writeFile(bad, content);
    Ran ran = run(path + " --input input_ids=@" + bad);
    EXPECT_EQ(ran.code, 65) << message;
    EXPECT_TRUE(contains(ran.text, "ds-run: bad data: " + bad + ": " + message)) << ran.text;
  }
  writeFile(bad, npy("<i8", "(1, 2)", std::string(16, '\0')));
  EXPECT_EQ(run(path + " --input input_ids=@" + bad).code, 0);
}

/// What does not fit the place it is printed to.
TEST(Tools, OutputThatIsLostIsAnError) {
  Package decoder(Package::decoder), encoder(Package::encoder);
  for (const std::string &command :
       {DS_RUN " " + decoder.path() + " --info", DS_RUN " " + decoder.path() + " --tokens 1",
        DS_RUN " " + encoder.path() + " --input input_ids=1x3xi32=1 --profile", DS_BENCH " " + encoder.path() + " -p 8 -r 1 -o json"}) {
    Ran ran = shell("{ " + command + " >/dev/full; }");
    EXPECT_EQ(ran.code, 73) << command;
    EXPECT_TRUE(contains(ran.text, ": cannot write: standard output")) << ran.text;
  }
}

TEST(Tools, BenchPrintsWholeJson) {
  Package decoder(Package::decoder);
  Ran ran = bench(decoder.path() + " -p 4 -n 0 -r 1 -o json --profile");
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.text, "ds-bench: invalid argument: --profile expects a file beside -o json, such as --profile=profile.txt\n");
  ran = shell(DS_BENCH " " + decoder.path() + " -p 4,100000 -n 0 -r 1 -o json 2>/dev/null");
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.text.substr(ran.text.size() - 3), "\n]\n") << ran.text;
}

TEST(Tools, CalibrateRefusesWhatItCannotServe) {
  for (const char *option : {"-p 5", "--isa x86-64-v9", "--device cuda", "--profile", "-r 2"}) {
    Ran ran = bench(std::string("--calibrate --quick ") + option);
    EXPECT_EQ(ran.code, 2) << option;
    EXPECT_TRUE(contains(ran.text, "ds-bench: invalid argument: --calibrate expects no -")) << ran.text;
  }
  Ran ran = bench("--calibrate -o /nowhere/machine.json"); // before anything is measured
  EXPECT_EQ(ran.code, 73);
  EXPECT_EQ(ran.text, "ds-bench: cannot write: /nowhere/machine.json: No such file or directory\n");
}

TEST(Tools, BenchPrintsLlamaBenchsWords) {
  Package decoder(Package::decoder), encoder(Package::encoder);
  Ran ran = bench(decoder.path() + " -p 8 -n 4 -pg 8,4 -b 1,2 -t 1,2 -r 2");
  EXPECT_EQ(ran.code, 0) << ran.text;
  EXPECT_TRUE(
      contains(ran.text, "| model                          |       size |     params | backend    | threads | batch |            test |"));
  for (const char *word : {" pp8 |", " tg4 |", " pp8+tg4 |", "±"})
    EXPECT_TRUE(contains(ran.text, word)) << word << '\n' << ran.text;
  ran = bench(encoder.path() + " -p 8 -r 3 -o json");
  EXPECT_EQ(ran.code, 0) << ran.text;
  for (const char *word : {"\"test\": \"enc8\"", "\"package_version\": 1", "\"producer\": \"test\"", "\"cpu_level\": \"x86-64-v2\"",
                           "\"dsrt_version\": \"0.1.0\"", "\"test_time\": \"20", "\"cpu_info\": \""})
    EXPECT_TRUE(contains(ran.text, word)) << word << '\n' << ran.text;
  ran = bench(encoder.path() + " -p 4,8 -r 1 -o csv");
  EXPECT_EQ(std::count(ran.text.begin(), ran.text.end(), '\n'), 3) << ran.text;
  EXPECT_EQ(bench(decoder.path() + " -p 4,8 -r 1 -o jsonl").code, 0);
  ran = bench(decoder.path() + " -p 25 -r 1 -o json");
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(contains(ran.text, "exceed the context of 24")) << ran.text;
  EXPECT_EQ(bench(decoder.path() + " -pg 8").code, 2);
  EXPECT_EQ(bench(decoder.path() + " -o xml").code, 2);
  EXPECT_EQ(bench(decoder.path() + "-none").code, 66);
  EXPECT_EQ(bench(decoder.path() + " --device cuda:1").code, 69);
}

TEST(Tools, BenchCalibratesThisMachine) {
  Package package(Package::encoder);
  const std::string file = package.path() + "/machine.json";
  Ran ran = bench("--calibrate --quick --threads 1,2 -o " + file);
  EXPECT_EQ(ran.code, 0) << ran.text;
  for (const char *word : {"multiply-add", "read memory", "barrier", "empty launch"})
    EXPECT_TRUE(contains(ran.text, word)) << word << '\n' << ran.text;
  dsrt::MachineDescription machine;
  std::string error;
  ASSERT_EQ(dsrt::readMachine(file, machine, error), 0) << error;
  EXPECT_EQ(machine.processor, dsrt::currentProcessor());
  EXPECT_TRUE(contains(ran.text, machine.processor + ", " + machine.level)) << ran.text;
  ASSERT_EQ(machine.limits.size(), 2u);
  EXPECT_EQ(machine.limits[1].threads, 2);
  std::ifstream third("/sys/devices/system/cpu/cpu0/cache/index3/size"); // "32768K"
  if (int64_t kilobytes = 0; third >> kilobytes)
    EXPECT_EQ(machine.l3Size, kilobytes << 10) << "of one cache, not of all dies of a package";
  ran = bench("--calibrate --quick --threads 1 --json");
  EXPECT_EQ(ran.code, 0) << ran.text;
  ASSERT_EQ(dsrt::parseMachine(ran.text, "stdout", machine, error), 0) << error << '\n' << ran.text;
  EXPECT_EQ(bench("--calibrate --quick -o /nowhere/machine.json").code, 73);
  EXPECT_EQ(bench("--calibrate " + package.path()).code, 2);
  EXPECT_EQ(bench(package.path() + " --quick").code, 2);
  EXPECT_EQ(bench("").code, 2);
}
