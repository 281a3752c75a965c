// Tuning entries: their lines, how they are looked up, what is wrong with others; and those in the repository.
#include "ds/Target/CUDA/Tuning.h"
#include "llvm/ADT/StringRef.h"
#include <gtest/gtest.h>
#include <set>

using namespace ds;

namespace {

const std::string asked = R"({"arch":"sm_90a","builder":"rows1","weights":"bf16","n":2048,"k":2048,"rows":1,"norm":false,"form":"plain",)"
                          R"("config":{"ahead":8,"persistent":1,"resident":2,"splits":8,"warps":8},"source":"asked"})";
const std::string measured =
    R"({"arch":"sm_90a","builder":"rows8","weights":"int4-g64","n":4096,"k":14336,"rows":8,"norm":true,"form":"plain",)"
    R"("config":{"ahead":4,"persistent":1,"resident":1,"splits":8,"warps":16},"source":"measured","us":12.5,"spread":0.003,"rate":2500.0,)"
    R"("share":0.54,"candidates":3,"device":"NVIDIA H200","driver":"580.159.04","date":"2026-11-27","ptxas":"13.0.88","commit":"abc"})";

/// `line` with `from` replaced.
std::string with(std::string line, const std::string &from, const std::string &to) {
  const size_t at = line.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return line.replace(at, from.size(), to);
}

TuningDatabase parsed(const std::string &text) {
  Result<TuningDatabase> read = TuningDatabase::parse(text, "t.jsonl");
  EXPECT_TRUE(bool(read)) << read.error().message;
  return *read;
}

std::string errorOf(const std::string &text) {
  Result<TuningDatabase> read = TuningDatabase::parse(text, "t.jsonl");
  if (read)
    return "no error";
  EXPECT_EQ(read.error().code, ErrorCode::BadData);
  return read.error().message;
}

/// Lines come back as they were, sorted by key.
TEST(GpuTuning, linesComeBack) {
  TuningDatabase database = parsed(measured + "\n\n" + asked + "\n");
  ASSERT_EQ(database.all().size(), 2u);
  EXPECT_EQ(lineOf(database.all().begin()->second), asked);
  EXPECT_EQ(lineOf(database.all().rbegin()->second), measured);
  EXPECT_EQ(database.all().begin()->second.place, "t.jsonl:3");
  EXPECT_EQ(database.all().rbegin()->second.measured->candidates, 3);
  EXPECT_EQ(database.all().begin()->first.text(), "sm_90a rows1 bf16 n 2048 k 2048 rows 1 plain");
}

TEST(GpuTuning, keysAreSorted) {
  TuningKey key{"sm_90a", "rows1", "bf16", 2048, 2048, 1, false, "plain"}, other = key;
  other.n = 10240; // not as text
  EXPECT_LT(key, other);
  other.arch = "sm_80";
  EXPECT_LT(other, key);
  for (auto [most, least] : {std::pair<int64_t, int64_t>{1, 1}, {8, 2}, {16, 9}, {32, 17}, {64, 33}, {1024, 513}, {2048, 1025}}) {
    key.rows = most;
    EXPECT_EQ(key.leastRows(), least);
  }
}

/// An exact hit, then one of the same product, then the rule; what was asked for before what is built in.
TEST(GpuTuning, looksUp) {
  Tuning tuning;
  tuning.asked = parsed(asked);
  TuningKey key = tuning.asked.all().begin()->first;
  TuningChoice choice = tuning.choose(key);
  EXPECT_EQ(choice.from, TuningChoice::From::entry);
  EXPECT_EQ(choice.place, "t.jsonl:1");
  EXPECT_EQ(choice.config.at("splits"), 8);

  TuningKey normed = key;
  normed.norm = true;
  normed.form = "heads";
  choice = tuning.choose(normed);
  EXPECT_EQ(choice.from, TuningChoice::From::alike);
  EXPECT_EQ(choice.of, key.text());
  EXPECT_EQ(choice.key, normed);

  // Another depth is another product.
  TuningKey deeper = key;
  deeper.k = 2080;
  choice = tuning.choose(deeper);
  EXPECT_EQ(choice.from, TuningChoice::From::model);
  EXPECT_EQ(choice.config, *tuningRule(deeper));

  tuning.choices.push_back(choice);
  ASSERT_EQ(tuning.unused().size(), 1u);
  tuning.choices.push_back(tuning.choose(key));
  EXPECT_TRUE(tuning.unused().empty());
}

/// The same norm counts for more than the same form.
TEST(GpuTuning, likestFirst) {
  const std::string pairs = with(with(asked, R"("form":"plain")", R"("form":"pairs")"), R"("splits":8)", R"("splits":4)"),
                    normed = with(asked, R"("norm":false)", R"("norm":true)");
  TuningDatabase database = parsed(pairs + "\n" + normed + "\n");
  TuningKey key = database.all().begin()->first;
  key.norm = true;
  key.form = "pairs";
  EXPECT_EQ(database.findAlike(key)->key.form, "plain");
  key.norm = false;
  key.form = "heads";
  EXPECT_EQ(database.findAlike(key)->key.form, "pairs");
  key.n = 4096;
  EXPECT_EQ(database.findAlike(key), nullptr);
}

TEST(GpuTuning, errorsNameLineAndMember) {
  auto of = [](const std::string &from, const std::string &to) { return errorOf("\n" + with(asked, from, to)); };
  EXPECT_EQ(of(R"("n":2048)", R"("n":2040)"), "'t.jsonl:2': key 'n': expects a multiple of 16 up to 16777216, found 2040");
  EXPECT_EQ(of(R"("n":2048,)", ""), "'t.jsonl:2': key 'n': expects an integer of 1 to 1099511627776, found none");
  EXPECT_EQ(of(R"("sm_90a")", R"("sm_75")"),
            "'t.jsonl:2': key 'arch': expects compute_80, sm_80, sm_86, sm_89, sm_90, sm_90a, sm_100a, sm_120, found \"sm_75\"");
  EXPECT_EQ(of(R"("rows1")", R"("rows2")"), "'t.jsonl:2': key 'builder': expects rows1, rows8, rows16, tiles or wgmma, found \"rows2\"");
  EXPECT_EQ(of(R"("rows":1)", R"("rows":8)"), "'t.jsonl:2': key 'rows': expects 1 for builder rows1, found 8");
  EXPECT_EQ(of(R"("bf16")", R"("int8")"), "'t.jsonl:2': key 'weights': expects bf16, f16, or the name of a scheme such as int8-g64, "
                                          "int4-g32-asym or fp8-row, found \"int8\"");
  EXPECT_EQ(of(R"("form":"plain")", R"("form":"odd")"), "'t.jsonl:2': key 'form': expects plain, pairs or heads, found \"odd\"");
  EXPECT_EQ(of(R"("source":"asked")", R"("source":"said")"), "'t.jsonl:2': key 'source': expects measured or asked, found \"said\"");
  EXPECT_EQ(of(R"("source":"asked")", R"("source":"asked","us":3)"), "'t.jsonl:2': unknown key 'us'");
  EXPECT_EQ(of(R"("warps":8)", R"("warps":"8")"),
            "'t.jsonl:2: config': key 'warps': expects an integer of 0 to 1099511627776, found \"8\"");
  EXPECT_EQ(errorOf(with(measured, R"("us":12.5,)", "")), "'t.jsonl:1': key 'us': expects a number of 0 to 1e+12, found none");
  EXPECT_EQ(errorOf("[1]"), "'t.jsonl:1': expects an object, found an array");
  EXPECT_NE(errorOf("{").find("'t.jsonl:1': expects JSON"), std::string::npos);
  EXPECT_EQ(errorOf(asked + "\n" + asked),
            "'t.jsonl:2': expects one entry for sm_90a rows1 bf16 n 2048 k 2048 rows 1 plain, found another at t.jsonl:1");
  // wgmma is of one machine.
  EXPECT_NE(errorOf(with(with(with(asked, "sm_90a", "sm_80"), "rows1", "wgmma"), R"("rows":1)", R"("rows":32)"))
                .find("key 'builder': expects rows1, rows8, rows16 or tiles on sm_80, found \"wgmma\""),
            std::string::npos);
}

/// A configuration that the builder cannot make names some that it can.
TEST(GpuTuning, configurationsOfTheSpace) {
  const std::string what = errorOf(with(asked, R"("splits":8)", R"("splits":3)"));
  EXPECT_NE(what.find("'t.jsonl:1': key 'config': expects one of the "), std::string::npos) << what;
  EXPECT_NE(
      what.find(" configurations of sm_90a rows1 bf16 n 2048 k 2048 rows 1 plain, such as {ahead 8, persistent 1, resident 2, splits "),
      std::string::npos)
      << what;
  EXPECT_NE(what.find("}, found {ahead 8, persistent 1, resident 2, splits 3, warps 8}"), std::string::npos) << what;
  EXPECT_NE(errorOf(with(asked, R"("warps":8)", R"("warps":8,"stages":2)")).find("key 'config': expects one of"), std::string::npos);
}

std::vector<TuningCandidate> spaceOf(const TuningKey &key) {
  Result<std::vector<TuningCandidate>> space = tuningSpace(key);
  EXPECT_TRUE(bool(space)) << space.error().message;
  return *space;
}

/// What is in the repository: sorted, as it is written, and for each key one of its configurations.
TEST(GpuTuning, builtIn) {
  std::set<std::string> files;
  for (const auto &[name, text] : TuningDatabase::builtInFiles()) {
    EXPECT_TRUE(files.insert(name).second);
    Result<TuningDatabase> read = TuningDatabase::parse(text, name);
    ASSERT_TRUE(bool(read)) << read.error().message;
    std::string sorted;
    for (const auto &[key, entry] : read->all()) {
      sorted += lineOf(entry) + "\n";
      EXPECT_TRUE(entry.measured) << entry.place << " is not measured";
    }
    // The model predicts what was measured of few rows, about.
    for (const auto &[key, entry] : read->all())
      if (key.rows <= 16)
        for (const TuningCandidate &candidate : spaceOf(key))
          if (candidate.config == entry.config) {
            EXPECT_GT(candidate.us, 0.5 * entry.measured->us) << key.text();
            EXPECT_LT(candidate.us, 1.8 * entry.measured->us) << key.text();
          }
    EXPECT_EQ(sorted, text) << name << " is not sorted, or has lines that are written otherwise";
  }
}

} // namespace
