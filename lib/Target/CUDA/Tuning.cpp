#include "ds/Target/CUDA/Tuning.h"
#include "GemmTuning.h"
#include "ds/Import/Json.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/MemoryBuffer.h"
#include <nlohmann/json.hpp>

using namespace ds;

static constexpr int64_t mostInteger = int64_t(1) << 40;
static constexpr double mostNumber = 1e12;

int64_t TuningKey::leastRows() const {
  int64_t least = 1;
  for (int64_t most : {1, 8, 16, 32, 64, 128, 256, 512, 1024})
    if (most < rows)
      least = most + 1;
  return least;
}

std::string TuningKey::text() const {
  return arch + " " + builder + " " + weights + " n " + std::to_string(n) + " k " + std::to_string(k) + " rows " + std::to_string(rows) +
         (norm ? " norm " : " ") + form;
}

std::string ds::textOf(const TuningConfig &config) {
  std::string text;
  for (const auto &[name, value] : config)
    text += (text.empty() ? "" : ", ") + name + " " + std::to_string(value);
  return text;
}

nlohmann::ordered_json ds::jsonOf(const TuningKey &key, const TuningConfig &config) {
  using Object = nlohmann::ordered_json;
  Object json = {{"arch", key.arch}, {"builder", key.builder}, {"weights", key.weights},    {"n", key.n}, {"k", key.k}, {"rows", key.rows},
                 {"norm", key.norm}, {"form", key.form},       {"config", Object::object()}};
  for (const auto &[name, value] : config)
    json["config"][name] = value;
  return json;
}

std::string ds::lineOf(const TuningEntry &entry) {
  using Object = nlohmann::ordered_json;
  Object json = jsonOf(entry.key, entry.config);
  json["source"] = entry.measured ? "measured" : "asked";
  if (const std::optional<TuningMeasurement> &measured = entry.measured) {
    json["us"] = measured->us;
    json["spread"] = measured->spread;
    json["rate"] = measured->rate;
    json["share"] = measured->share;
    json["candidates"] = measured->candidates;
    json["device"] = measured->device;
    json["driver"] = measured->driver;
    json["date"] = measured->date;
    if (!measured->ptxas.empty())
      json["ptxas"] = measured->ptxas;
    if (!measured->commit.empty())
      json["commit"] = measured->commit;
  }
  return json.dump(-1, ' ', false, Object::error_handler_t::replace);
}

namespace {
/// Reads the members of one object; the first error stays.
class Members {
public:
  explicit Members(const JsonReader &reader) : reader(reader) {}

  std::string text(const char *name) { return value(reader.string(name), name); }
  std::string textOr(const char *name) { return value(reader.stringOr(name, ""), name); }
  int64_t integer(const char *name, int64_t low) { return value(reader.integer(name, low, mostInteger), name); }
  double number(const char *name) { return value(reader.number(name, 0, mostNumber), name); }
  bool boolean(const char *name) { return value(reader.boolean(name), name); }
  void fail(const Error &error) {
    if (!failure)
      failure = error;
  }
  /// Members that were not asked for are errors.
  std::optional<Error> end() {
    for (const std::string &key : reader.value().keys)
      if (!llvm::is_contained(known, key))
        fail(Error::badData("'" + reader.fileName() + "': unknown key '" + key + "'"));
    return failure;
  }
  bool failed() const { return failure.has_value(); }
  void know(const char *name) { known.push_back(name); }

private:
  template <typename T> T value(Result<T> read, const char *name) {
    know(name);
    if (read)
      return std::move(*read);
    fail(read.error());
    return T();
  }

  const JsonReader &reader;
  std::vector<std::string> known;
  std::optional<Error> failure;
};
} // namespace

static TuningConfig configOf(const JsonReader &reader, Members &members) {
  TuningConfig config;
  members.know("config");
  const Json *json = reader.find("config");
  if (!json || !json->isObject()) {
    members.fail(reader.wrong("config", "an object"));
    return config;
  }
  JsonReader inside(reader.fileName() + ": config", *json);
  for (const std::string &name : json->keys) {
    Result<int64_t> value = inside.integer(name, 0, mostInteger);
    if (!value)
      members.fail(value.error());
    else
      config[name] = *value;
  }
  return config;
}

static std::optional<TuningMeasurement> measurementOf(const JsonReader &reader, Members &members) {
  const std::string source = members.text("source");
  if (source == "asked" || members.failed())
    return std::nullopt;
  if (source != "measured") {
    members.fail(reader.wrong("source", "measured or asked"));
    return std::nullopt;
  }
  TuningMeasurement measured;
  measured.us = members.number("us");
  measured.spread = members.number("spread");
  measured.rate = members.number("rate");
  measured.share = members.number("share");
  measured.candidates = members.integer("candidates", 1);
  measured.device = members.text("device");
  measured.driver = members.text("driver");
  measured.date = members.text("date");
  measured.ptxas = members.textOr("ptxas");
  measured.commit = members.textOr("commit");
  return measured;
}

/// Names the nearest configurations of the space: those that share the most members with `config`, the best by the model first.
static Error notInSpace(const TuningEntry &entry, const std::vector<TuningCandidate> &space) {
  constexpr size_t most = 4;
  auto shared = [&](const TuningCandidate &candidate) {
    return std::count_if(candidate.config.begin(), candidate.config.end(), [&](const auto &member) {
      auto found = entry.config.find(member.first);
      return found != entry.config.end() && found->second == member.second;
    });
  };
  std::vector<const TuningCandidate *> nearest;
  for (const TuningCandidate &candidate : space)
    nearest.push_back(&candidate);
  std::stable_sort(nearest.begin(), nearest.end(), [&](const auto *a, const auto *b) { return shared(*a) > shared(*b); });
  std::string names;
  for (const TuningCandidate *candidate : llvm::ArrayRef(nearest).take_front(most))
    names += (names.empty() ? "{" : "}, {") + textOf(candidate->config);
  return Error::badData("'" + entry.place + "': key 'config': expects one of the " + std::to_string(space.size()) + " configurations of " +
                        entry.key.text() + ", such as " + names + "}, found {" + textOf(entry.config) + "}");
}

static Result<TuningEntry> entryOf(const Json &json, const std::string &place, bool check) {
  if (!json.isObject())
    return Error::badData("'" + place + "': expects an object, found " + json.describe());
  JsonReader reader(place, json);
  Members members(reader);
  TuningEntry entry;
  entry.place = place;
  entry.key.arch = members.text("arch");
  entry.key.builder = members.text("builder");
  entry.key.weights = members.text("weights");
  entry.key.n = members.integer("n", 1);
  entry.key.k = members.integer("k", 1);
  entry.key.rows = members.integer("rows", 1);
  entry.key.norm = members.boolean("norm");
  entry.key.form = members.text("form");
  entry.config = configOf(reader, members);
  entry.measured = measurementOf(reader, members);
  if (std::optional<Error> error = members.end())
    return *error;
  if (std::optional<KeyFault> fault = faultOf(entry.key))
    return reader.wrong(fault->member, fault->expected);
  if (!check)
    return entry;
  Result<std::vector<TuningCandidate>> space = tuningSpace(entry.key);
  if (!space)
    return space.error();
  if (llvm::none_of(*space, [&](const TuningCandidate &candidate) { return candidate.config == entry.config; }))
    return notInSpace(entry, *space);
  return entry;
}

Result<TuningDatabase> TuningDatabase::parse(std::string_view text, const std::string &file, bool check) {
  TuningDatabase database;
  llvm::StringRef rest(text.data(), text.size());
  for (int64_t number = 1; !rest.empty(); ++number) {
    auto [line, behind] = rest.split('\n');
    rest = behind;
    if (line.trim().empty())
      continue;
    const std::string place = file + ":" + std::to_string(number);
    Result<Json> json = Json::parse({line.data(), line.size()}, place);
    if (!json)
      return json.error();
    Result<TuningEntry> entry = entryOf(*json, place, check);
    if (!entry)
      return entry.error();
    auto [at, isNew] = database.entries.try_emplace(entry->key, *entry);
    if (!isNew)
      return Error::badData("'" + place + "': expects one entry for " + entry->key.text() + ", found another at " + at->second.place);
  }
  return database;
}

Result<TuningDatabase> TuningDatabase::read(const std::string &path) {
  auto file = llvm::MemoryBuffer::getFile(path);
  if (!file)
    return Error::missing("cannot read '" + path + "': " + file.getError().message());
  return parse(std::string_view((*file)->getBufferStart(), (*file)->getBufferSize()), path);
}

const TuningDatabase &TuningDatabase::builtIn() {
  // Tests hold each entry against its space.
  static const TuningDatabase all = [] {
    TuningDatabase all;
    for (const auto &[name, text] : builtInFiles()) {
      Result<TuningDatabase> one = parse(text, name, /*check=*/false);
      if (!one)
        llvm::report_fatal_error(llvm::StringRef("built-in tuning entries: " + one.error().message));
      all.entries.insert(one->entries.begin(), one->entries.end());
    }
    return all;
  }();
  return all;
}

const TuningEntry *TuningDatabase::find(const TuningKey &key) const {
  auto found = entries.find(key);
  return found == entries.end() ? nullptr : &found->second;
}

const TuningEntry *TuningDatabase::findAlike(const TuningKey &key) const {
  for (bool sameNorm : {true, false})
    for (const std::string &form : {key.form, std::string("plain"), std::string("pairs"), std::string("heads")}) {
      TuningKey other = key;
      other.norm = sameNorm ? key.norm : !key.norm;
      other.form = form;
      if (const TuningEntry *entry = find(other))
        return entry;
    }
  return nullptr;
}

static TuningChoice choiceOf(const TuningKey &key, const TuningEntry &entry, TuningChoice::From from) {
  return {"", key, entry.config, from, entry.place, from == TuningChoice::From::alike ? entry.key.text() : ""};
}

TuningChoice Tuning::choose(const TuningKey &key) const {
  const TuningDatabase *both[] = {&asked, &TuningDatabase::builtIn()};
  for (const TuningDatabase *database : both)
    if (const TuningEntry *entry = database->find(key))
      return choiceOf(key, *entry, TuningChoice::From::entry);
  for (const TuningDatabase *database : both)
    if (const TuningEntry *entry = database->findAlike(key))
      return choiceOf(key, *entry, TuningChoice::From::alike);
  return {"", key, *tuningRule(key), TuningChoice::From::model, "", ""};
}

std::vector<const TuningEntry *> Tuning::unused() const {
  std::vector<const TuningEntry *> found;
  for (const auto &[key, entry] : asked.all())
    if (llvm::none_of(choices, [&](const TuningChoice &choice) { return choice.place == entry.place; }))
      found.push_back(&entry);
  llvm::sort(found, [](const TuningEntry *a, const TuningEntry *b) { return a->key < b->key; });
  return found;
}
