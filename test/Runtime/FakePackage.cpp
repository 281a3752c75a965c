#include "FakePackage.h"
#include "dsrt/package.h"
#include "runtime/lib/Hash.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <unistd.h>

using namespace fake;

std::string fake::readFile(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

void fake::writeFile(const std::string &path, const std::string &content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

static std::string quote(const std::string &text) { return "\"" + text + "\""; }
static std::string number(int64_t value) { return std::to_string(value); }

static std::string fileEntry(const std::string &name, const std::string &content, int64_t chunk) {
  std::string entry = quote(name) + ": {\"bytes\": " + number(static_cast<int64_t>(content.size())) + ", ";
  if (chunk == 0)
    return entry + "\"sha256\": " + quote(dsrt::sha256Hex(content.data(), content.size())) + "}";
  std::string hashes;
  for (size_t at = 0; at < content.size(); at += chunk)
    hashes += (at ? ", " : "") + quote(dsrt::xxh3Hex(content.data() + at, std::min<size_t>(chunk, content.size() - at)));
  return entry + "\"xxh3_chunks\": {\"bytes\": " + number(chunk) + ", \"hashes\": [" + hashes + "]}}";
}

static std::string program(const std::string &name, int batch, int rows, const std::string &inputs, const std::string &outputs) {
  return "{\"name\": " + quote(name) + ", \"symbol\": " + quote("ds_program_" + name) + ", \"max_batch\": " + number(batch) +
         ", \"max_rows\": " + number(rows) + ", \"arena_bytes\": " + number(arenaBytes) + ", \"inputs\": [" + inputs + "], \"outputs\": [" +
         outputs + "]}";
}

static std::string programs(Package::Kind kind) {
  const std::string ofTokens = ", \"shape\": [\"batch\", \"tokens\"]}";
  const std::string ids = "{\"name\": \"input_ids\"" + ofTokens, positions = "{\"name\": \"positions\"" + ofTokens;
  const std::string rows = "{\"name\": \"rows\", \"shape\": [\"rows\"]}";
  const std::string hiddenOut = "{\"name\": \"hidden\", \"shape\": [\"batch\", \"tokens\", " + number(hidden) + "]}";
  const std::string logitsOut = "{\"name\": \"logits\", \"shape\": [\"rows\", " + number(vocab) + "]}";
  if (kind == Package::encoder)
    return program("encode", maxBatch, maxRows,
                   ids + ", {\"name\": \"mask\"" + ofTokens + ", {\"name\": \"token_type_ids\"" + ofTokens + ", " + positions + ", " + rows,
                   hiddenOut + ", " + logitsOut + ", {\"name\": \"embedding\", \"shape\": [\"batch\", " + number(hidden) + "]}");
  std::string inputs = ids + ", " + positions + ", {\"name\": \"past\", \"shape\": [\"batch\"]}, " + rows;
  std::string outputs = hiddenOut + ", " + logitsOut;
  return program("prefill", maxBatch, maxRows, inputs, outputs) + ", " + program("decode", maxBatch, maxBatch, inputs, outputs);
}

std::filesystem::path fake::temporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "dsrt-test-XXXXXX").string();
  return mkdtemp(name.data());
}

Package::Package(Kind kind, const std::string &rule, int offset) {
  folder = temporaryFolder();
  std::filesystem::create_directory(folder / "code");
  std::string weights(4096 + vocab * sizeof(float) + 4096, '\0');
  for (int32_t token = 0; token < vocab; ++token) {
    float value = weightOf(token);
    std::memcpy(weights.data() + 4096 + token * sizeof(float), &value, sizeof(float));
  }
  std::string code = readFile(FAKE_PROGRAM), tokenizer = "{}";
  writeFile(file("weights-00001.safetensors"), weights);
  writeFile(file("code/x86-64-v2.so"), code);
  writeFile(file("tokenizer.json"), tokenizer);
  std::string cache =
      kind == encoder ? "" : "\"cache\": {\"context\": " + number(context) + ", \"bytes_per_sequence\": " + number(kvBytes) + "},\n";
  rewrite("{\"format\": \"ds-package\", \"version\": 1, \"abi\": " + number(DS_ABI) +
          ", \"producer\": \"test\",\n"
          "\"model\": {\"family\": \"fake\", \"name\": \"toy\", \"task\": " +
          quote(kind == encoder ? "encoder" : "causal-lm") + ", \"vocab_size\": " + number(vocab) + ", \"hidden_size\": " + number(hidden) +
          ", \"layers\": 1, \"max_positions\": " + number(maxPositions) +
          ", \"parameters\": 32, \"weights_dtype\": \"f32\", \"bos\": [1], \"eos\": [], \"pad\": null, \"labels\": []},\n"
          "\"positions\": {\"rule\": " +
          quote(rule) + ", \"offset\": " + number(offset) + ", \"pad_id\": 1},\n" + cache +
          "\"weights\": {\"file\": \"weights-00001.safetensors\", \"data_offset\": 4096, \"data_bytes\": " + number(vocab * sizeof(float)) +
          "},\n\"code\": [{\"level\": \"x86-64-v2\", \"file\": \"code/x86-64-v2.so\"}],\n\"programs\": [" + programs(kind) +
          "],\n\"files\": {" + fileEntry("code/x86-64-v2.so", code, 0) + ", " + fileEntry("tokenizer.json", tokenizer, 0) + ", " +
          fileEntry("weights-00001.safetensors", weights, 4096) + "}}\n");
}

Package::~Package() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void Package::rewrite(const std::string &text) {
  manifest = text;
  writeFile(file("manifest.json"), text);
  writeFile(file("manifest.sha256"), dsrt::sha256Hex(text.data(), text.size()) + "\n");
}

void Package::replace(const std::string &from, const std::string &to) {
  std::string text = manifest;
  size_t at = text.find(from);
  if (at == text.npos)
    abort();
  rewrite(text.replace(at, from.size(), to));
}

static std::string moduleFile(const std::string &arch) {
  return "code/" + arch + (arch == "emulate" ? ".so" : arch[0] == 's' ? ".cubin" : ".ptx");
}

/// The launches that choose tokens, where the fake driver has kernels for them.
static std::string samplingText(bool isSampled) {
  if (!isSampled)
    return "";
  auto launch = [](int kernel, const char *part) {
    return "{\"kernel\": " + std::to_string(kernel) + ", \"part\": " + quote(part) +
           R"(, "grid": [[1, ["selected", 1]], [1], [1]], "args": [["output", 1], ["sampling"], ["chosen"], ["arena", 0], ["i64", 0]]})";
  };
  return R"(, "sampling": {"output": 1, "launches": [)" + launch(4, "penalty") + ", " + launch(5, "greedy") + ", " + launch(6, "random") +
         "]}";
}

std::string fake::launchesText(const std::vector<std::string> &archs, bool isSampled) {
  std::string modules, programs;
  for (const std::string &arch : archs)
    modules += (modules.empty() ? "" : ", ") + std::string("{\"target\": ") + quote(arch == "emulate" ? "emulate" : "cuda") +
               ", \"arch\": " + quote(arch == "emulate" ? "x86-64-v2" : arch) + ", \"file\": " + quote(moduleFile(arch)) + "}";
  for (const char *name : {"prefill", "decode"})
    programs += (programs.empty() ? "" : ", ") + std::string("{\"name\": ") + quote(name) +
                R"(, "arena_bytes": 4096, "counters_bytes": 64, "launches": [
    {"kernel": 0, "launch": 0, "grid": [[1, ["batch", 1]], [1], [1]], "args": [["input", 0], ["input", 1], ["input", 2], ["kv"], ["i64", 0],
     ["arena", 256], ["counters", 4], ["batch"], ["tokens"]]},
    {"kernel": 1, "launch": 1, "wants": [0], "grid": [[1, ["token_rows", 1]], [1], [1]],
     "args": [["arena", 256], ["output", 0], ["token_rows"]]},
    {"kernel": 2, "launch": 2, "wants": [1], "when": [["selected", 1, 2]], "grid": [[1, ["selected", 1]], [1], [1]],
     "args": [["arena", 256], ["input", 3], ["weights", 0], ["output", 1], ["selected"]]},
    {"kernel": 3, "launch": 2, "wants": [1], "when": [["selected", 3, 1000], ["batch", 1, 4]], "grid": [[1, ["selected", 2]], [1], [1]],
     "args": [["arena", 256], ["input", 3], ["weights", 0], ["output", 1], ["selected"]]}])" +
                samplingText(isSampled) + "}";
  return "{\"format\": \"ds-launches\", \"version\": 1,\n\"modules\": [" + modules +
         "],\n\"kernels\": [{\"name\": \"fold_tokens\", \"threads\": 32, \"shared_bytes\": 0}, {\"name\": \"hidden_states\", \"threads\": "
         "128, \"shared_bytes\": 1024}, {\"name\": \"logits_1\", \"threads\": 256, \"shared_bytes\": 65536}, {\"name\": \"logits_2\", "
         "\"threads\": 256, \"shared_bytes\": 0}" +
         (isSampled ? R"(, {"name": "sample_penalty", "threads": 32, "shared_bytes": 0}, {"name": "sample_greedy", "threads": 32,
         "shared_bytes": 0}, {"name": "sample_random", "threads": 32, "shared_bytes": 0})"
                    : "") +
         "],\n\"programs\": [" + programs + "]}\n";
}

std::string fake::libraryLaunchesText() {
  std::string text = launchesText({"sm_90a"});
  auto replace = [&](const std::string &from, const std::string &to) {
    size_t at = text.find(from);
    if (at == text.npos)
      abort();
    for (; at != text.npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  };
  const std::string when = R"("launch": 0, "when": [["token_rows", 2, 1000]])", one = R"("grid": [[1], [1], [1]], "args": [)";
  replace("\"version\": 1", "\"version\": 4");
  replace("\"logits_2\", \"threads\": 256, \"shared_bytes\": 0}", R"("logits_2", "threads": 256, "shared_bytes": 0},
    {"name": "prepare_product", "threads": 32, "shared_bytes": 0}, {"name": "finish_product", "threads": 32, "shared_bytes": 0},
    {"name": "own_product", "threads": 32, "shared_bytes": 0})");
  replace("\"launches\": [", "\"launches\": [\n{\"kernel\": 4, \"library\": true, " + when + ", " + one +
                                 R"(["arena", 512], ["arena", 3072], ["token_rows"]]},
    {"product": {"type": "bf16", "columns": 16, "depth": 32, "x": {"offset": 512, "bytes_per_row": 0},
     "weights": {"offset": 3072, "bytes_per_row": 0}, "sums": {"offset": 0, "bytes_per_row": 16}}, "library": true, )" +
                                 when + "},\n{\"kernel\": 5, \"library\": true, " + when + ", " + one +
                                 R"(["arena", 2048], ["arena", 3072], ["token_rows"]]},
    {"kernel": 6, "library": false, )" +
                                 when + ", " + one + R"(["token_rows"]]},)");
  return text;
}

void Package::addLaunches(const std::vector<std::string> &archs, bool keepCpu, std::string text) {
  std::string entries;
  if (text.empty())
    text = launchesText(archs);
  writeFile(file("code/launches.json"), text);
  for (const std::string &arch : archs) {
    writeFile(file(moduleFile(arch)), arch);
    entries += fileEntry(moduleFile(arch), arch, 0) + ", ";
  }
  std::string changed = manifest;
  auto swap = [&](const std::string &from, const std::string &to) { changed.replace(changed.find(from), from.size(), to); };
  swap("\"files\": {", "\"launches\": \"code/launches.json\",\n\"files\": {" + entries + fileEntry("code/launches.json", text, 0) + ", ");
  if (!keepCpu)
    swap("{\"level\": \"x86-64-v2\", \"file\": \"code/x86-64-v2.so\"}", "");
  rewrite(changed);
}

Loaded::Loaded(const std::string &path, int threads, const char *isa, const char *device) {
  dsrt_load_options options;
  dsrt_load_options_init(&options);
  options.threads = threads;
  options.isa = isa;
  options.device = device;
  status = dsrt_load(path.c_str(), &options, &model);
}

dsrt_batch fake::batchOf(int32_t rows, const std::vector<int32_t> &ids, const std::vector<int32_t> *mask) {
  dsrt_batch batch = {};
  batch.size = sizeof(batch);
  batch.batch = rows;
  batch.tokens = static_cast<int32_t>(ids.size()) / rows;
  batch.input_ids = ids.data();
  batch.attention_mask = mask ? mask->data() : nullptr;
  return batch;
}

std::vector<float> fake::expectedLogits(const std::vector<int32_t> &ids, const std::vector<int32_t> &positions) {
  uint32_t state = 0;
  for (size_t i = 0; i < ids.size(); ++i)
    state = fold(state, ids[i], positions[i]);
  std::vector<float> logits(vocab);
  for (int32_t token = 0; token < vocab; ++token)
    logits[token] = logit(state, token, weightOf(token));
  return logits;
}

std::vector<int32_t> fake::expectedGreedy(std::vector<int32_t> ids, int count, int offset) {
  std::vector<int32_t> made, positions;
  for (size_t i = 0; i < ids.size(); ++i)
    positions.push_back(static_cast<int32_t>(i) + offset);
  for (int i = 0; i < count; ++i) {
    std::vector<float> logits = expectedLogits(ids, positions);
    auto token = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    made.push_back(token);
    positions.push_back(static_cast<int32_t>(ids.size()) + offset);
    ids.push_back(token);
  }
  return made;
}
