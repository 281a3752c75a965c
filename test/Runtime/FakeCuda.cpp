// A CUDA driver for tests: the functions that the runtime calls, on host memory, with the kernels of the toy model. It notes every call.
// The environment says what it pretends to be: FAKE_CUDA_CAPABILITY (90), FAKE_CUDA_DEVICES (1), FAKE_CUDA_VERSION (12040),
// FAKE_CUDA_MEMORY (bytes), FAKE_CUDA_FAIL (function=code), FAKE_CUDA_HANG.
#include "FakeModel.h"
#include "dsrt/sample.h"
#include "runtime/lib/CudaDriver.h"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace dsrt::cuda;

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
std::string calls;
size_t bytesInUse = 0;
std::map<uint64_t, size_t> sizes;
int64_t clockNs = 0;
std::set<void *> live; // what a lost device never gives back is no leak of the test

template <typename T> T *keep(T *made) {
  live.insert(made);
  return made;
}
template <typename T> void drop(T *made) {
  live.erase(made);
  delete made;
}

int number(const char *name, int otherwise) {
  const char *text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

/// Notes the call; the code it shall fail with, else 0.
Result note(const std::string &name, const std::string &details = "") {
  calls += name + (details.empty() ? "" : " " + details) + "\n";
  const char *fail = std::getenv("FAKE_CUDA_FAIL");
  if (!fail || std::string(fail).rfind(name + "=", 0) != 0)
    return success;
  return std::atoi(fail + name.size() + 1);
}

struct Args {
  const void *const *values;
  uint32_t block;
  template <typename T> T at(int index) const {
    T value;
    std::memcpy(&value, values[index], sizeof(T));
    return value;
  }
};

// ids, positions, past, caches, offset in the cache, sums, counters, batch, tokens: one block a sequence.
void foldTokens(const Args &args) {
  const auto *ids = args.at<const int32_t *>(0), *positions = args.at<const int32_t *>(1), *past = args.at<const int32_t *>(2);
  auto *cache = reinterpret_cast<int32_t *>(args.at<uint8_t **>(3)[args.block] + args.at<int64_t>(4));
  auto *sums = args.at<uint32_t *>(5);
  auto tokens = args.at<int32_t>(8);
  if (*args.at<const int32_t *>(6) != 0 || static_cast<int32_t>(args.block) >= args.at<int32_t>(7))
    abort();
  for (int32_t token = 0; token < tokens; ++token) {
    int32_t item = static_cast<int32_t>(args.block) * tokens + token, last = past[args.block] + token;
    if (last >= fake::context)
      abort();
    cache[2 * last] = ids[item];
    cache[2 * last + 1] = positions[item];
    sums[item] = 0;
    for (int32_t at = 0; at <= last; ++at)
      sums[item] = fake::fold(sums[item], cache[2 * at], cache[2 * at + 1]);
  }
}

// sums, hidden, rows: one block a token.
void hiddenStates(const Args &args) {
  for (int32_t i = 0; i < fake::hidden; ++i)
    args.at<float *>(1)[args.block * fake::hidden + i] = static_cast<float>(args.at<const uint32_t *>(0)[args.block] + i);
}

// sums, rows, weights, logits, selected: a block for each two rows, or for each.
void logitsOfBlock(const Args &args, uint32_t rowsOfBlock) {
  const auto *sums = args.at<const uint32_t *>(0);
  const auto *rows = args.at<const int32_t *>(1);
  const auto *weights = args.at<const float *>(2);
  for (uint32_t row = args.block * rowsOfBlock; row < (args.block + 1) * rowsOfBlock && row < args.at<uint32_t>(4); ++row)
    for (int32_t token = 0; token < fake::vocab; ++token)
      args.at<float *>(3)[row * fake::vocab + token] = fake::logit(sums[rows[row]], token, weights[token]);
}

// x [rows][depth], weights [columns][depth], rows: bf16, of which the latter take every other column of x.
void prepareProduct(const Args &args) {
  for (int32_t i = 0; i < args.at<int32_t>(2) * fake::productDepth; ++i)
    args.at<uint16_t *>(0)[i] = fake::bf16Of(i % 7);
  for (int32_t i = 0; i < fake::productColumns * fake::productDepth; ++i)
    args.at<uint16_t *>(1)[i] = fake::bf16Of(i % fake::productDepth == 2 * (i / fake::productDepth) + 1);
}

// sums, weights, rows. Nothing is left of what has to be there before the next product.
void finishProduct(const Args &args) {
  for (int32_t i = 0; i < args.at<int32_t>(2) * fake::productColumns; ++i) {
    const int32_t from = i / fake::productColumns * fake::productDepth + 2 * (i % fake::productColumns) + 1;
    if (args.at<float *>(0)[i] != static_cast<float>(from % 7))
      abort();
    args.at<float *>(0)[i] = -1;
  }
  for (int32_t i = 0; i < fake::productColumns * fake::productDepth; ++i)
    args.at<uint16_t *>(1)[i] = fake::bf16Of(1);
}

// logits, sampling, chosen, scratch, pass: a block a row.
const DsSampleRow &sampleRow(const Args &args) { return args.at<const DsSampleRow *>(1)[args.block]; }
float *logitsOfRow(const Args &args) { return args.at<float *>(0) + args.block * fake::vocab; }

void samplePenalty(const Args &args) {
  const DsSampleRow &row = sampleRow(args);
  const int32_t *seen = args.at<const int32_t *>(1) + row.seen_begin;
  for (int32_t i = 0; i < row.seen_count; ++i) {
    float &logit = logitsOfRow(args)[seen[i]];
    logit = logit < 0 ? logit * row.penalty : logit / row.penalty;
  }
}

void sampleGreedy(const Args &args) {
  int32_t best = 0;
  for (int32_t token = 1; token < fake::vocab; ++token)
    best = logitsOfRow(args)[token] > logitsOfRow(args)[best] ? token : best;
  args.at<int32_t *>(2)[args.block] = std::isfinite(logitsOfRow(args)[best]) ? best : -1;
}

// The random number alone chooses.
void sampleRandom(const Args &args) { args.at<int32_t *>(2)[args.block] = static_cast<int32_t>(sampleRow(args).random % fake::vocab); }
} // namespace

namespace dsrt::cuda {
struct FunctionData {
  const char *name;
  void (*run)(const Args &);
  std::vector<size_t> parameters;
};
struct GraphData {
  struct Node {
    Function function;
    unsigned grid;
    std::vector<uint64_t> values;
    std::function<void()> run; // of a library, in place of a function
  };
  std::vector<Node> nodes;
};
struct GraphExecData : GraphData {};
struct StreamData {
  GraphData *capture = nullptr;
};
struct EventData {
  int64_t ns = 0;
};
struct ContextData {};
struct ModuleData {};
} // namespace dsrt::cuda

namespace {
FunctionData kernels[] = {{"fold_tokens", foldTokens, {8, 8, 8, 8, 8, 8, 8, 4, 4}},
                          {"hidden_states", hiddenStates, {8, 8, 4}},
                          {"logits_1", [](const Args &args) { logitsOfBlock(args, 1); }, {8, 8, 8, 8, 4}},
                          {"logits_2", [](const Args &args) { logitsOfBlock(args, 2); }, {8, 8, 8, 8, 4}},
                          {"prepare_product", prepareProduct, {8, 8, 4}},
                          {"finish_product", finishProduct, {8, 8, 4}},
                          {"own_product", [](const Args &) {}, {4}},
                          {"sample_penalty", samplePenalty, {8, 8, 8, 8, 8}},
                          {"sample_greedy", sampleGreedy, {8, 8, 8, 8, 8}},
                          {"sample_random", sampleRandom, {8, 8, 8, 8, 8}}};
ContextData onlyContext;
ModuleData onlyModule;

void execute(const GraphData::Node &node) {
  clockNs += 1000;
  if (node.run)
    return node.run();
  std::vector<const void *> args;
  for (const uint64_t &value : node.values)
    args.push_back(&value);
  for (uint32_t block = 0; block < node.grid; ++block)
    node.function->run({args.data(), block});
}

void enqueue(Stream stream, GraphData::Node node) {
  if (stream->capture)
    stream->capture->nodes.push_back(std::move(node));
  else
    execute(node);
}

Result launchAny(const std::string &call, Function function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned shared,
                 Stream stream, void **args) {
  Result result = note(call, std::string(function->name) + " " + std::to_string(x) + "x" + std::to_string(y) + "x" + std::to_string(z) +
                                 " " + std::to_string(threads) + " " + std::to_string(shared));
  if (result != success)
    return result;
  GraphData::Node node{function, x, {}, {}};
  for (size_t i = 0; i < function->parameters.size(); ++i) {
    node.values.push_back(0);
    std::memcpy(&node.values.back(), args[i], function->parameters[i]);
  }
  enqueue(stream, std::move(node));
  return success;
}

Result pending() { return std::getenv("FAKE_CUDA_HANG") ? notReady : success; }
} // namespace

/// The calls since the last time, one a line.
EXPORT const char *fakeCudaCalls() {
  static std::string given;
  given.swap(calls);
  calls.clear();
  return given.c_str();
}
EXPORT size_t fakeCudaBytes() { return bytesInUse; }
/// Work of a library on the stream, noted as `name`.
EXPORT void fakeCudaEnqueue(Stream stream, const char *name, const std::function<void()> &run) {
  note(name, stream->capture ? "captured" : "at once");
  enqueue(stream, {nullptr, 0, {}, run});
}

EXPORT Result cuInit(unsigned) { return note("cuInit"); }
EXPORT Result cuDriverGetVersion(int *version) {
  *version = number("FAKE_CUDA_VERSION", 12040);
  return success;
}
EXPORT Result cuGetErrorName(Result result, const char **name) {
  *name = result == 100   ? "CUDA_ERROR_NO_DEVICE"
          : result == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : result == 222 ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
                          : "CUDA_ERROR_OTHER";
  return success;
}
EXPORT Result cuGetErrorString(Result, const char **text) {
  *text = "as asked";
  return success;
}
EXPORT Result cuDeviceGetCount(int *count) {
  *count = number("FAKE_CUDA_DEVICES", 1);
  return note("cuDeviceGetCount");
}
EXPORT Result cuDeviceGet(DeviceId *id, int index) {
  *id = index;
  return success;
}
EXPORT Result cuDeviceGetName(char *name, int bytes, DeviceId) {
  std::strncpy(name, "Fake GPU", bytes);
  return success;
}
EXPORT Result cuDeviceGetAttribute(int *value, int attribute, DeviceId) {
  int capability = number("FAKE_CUDA_CAPABILITY", 90);
  *value = attribute == computeMajor ? capability / 10 : attribute == computeMinor ? capability % 10 : 100 << 10;
  return success;
}
EXPORT Result cuDevicePrimaryCtxRetain(Context *context, DeviceId) {
  *context = &onlyContext;
  return note("cuDevicePrimaryCtxRetain");
}
EXPORT Result cuDevicePrimaryCtxRelease_v2(DeviceId) { return note("cuDevicePrimaryCtxRelease"); }
EXPORT Result cuCtxPushCurrent_v2(Context) { return success; }
EXPORT Result cuCtxPopCurrent_v2(Context *) { return success; }
EXPORT Result cuModuleLoadDataEx(Module *module, const void *image, unsigned, int *, void **) {
  *module = &onlyModule;
  return note("cuModuleLoadDataEx", static_cast<const char *>(image));
}
EXPORT Result cuModuleUnload(Module) { return note("cuModuleUnload"); }
EXPORT Result cuModuleGetFunction(Function *function, Module, const char *name) {
  for (FunctionData &kernel : kernels)
    if (std::strcmp(kernel.name, name) == 0) {
      *function = &kernel;
      return success;
    }
  return notFound;
}
EXPORT Result cuFuncGetAttribute(int *value, int attribute, Function) {
  *value = attribute == maxThreadsPerBlock ? 256 : 0;
  return success;
}
EXPORT Result cuFuncSetAttribute(Function function, int, int value) {
  return note("cuFuncSetAttribute", std::string(function->name) + " " + std::to_string(value));
}
EXPORT Result cuFuncGetParamInfo(Function function, size_t index, size_t *, size_t *bytes) {
  if (index >= function->parameters.size())
    return 1;
  *bytes = function->parameters[index];
  return success;
}
EXPORT Result cuMemAlloc_v2(Address *address, size_t bytes) {
  size_t total = static_cast<size_t>(number("FAKE_CUDA_MEMORY", 1 << 30));
  if (Result result = note("cuMemAlloc"); result != success)
    return result;
  if (bytesInUse + bytes > total)
    return outOfMemory;
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(memory, 0xcc, bytes);
  *address = reinterpret_cast<uint64_t>(memory);
  sizes[*address] = bytes;
  bytesInUse += bytes;
  return success;
}
EXPORT Result cuMemFree_v2(Address address) {
  bytesInUse -= sizes.at(address);
  sizes.erase(address);
  std::free(reinterpret_cast<void *>(address));
  return success;
}
EXPORT Result cuMemGetInfo_v2(size_t *free, size_t *total) {
  *total = static_cast<size_t>(number("FAKE_CUDA_MEMORY", 1 << 30));
  *free = *total - bytesInUse;
  return success;
}
EXPORT Result cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
  *memory = keep(std::malloc(bytes));
  return note("cuMemHostAlloc", std::to_string(bytes));
}
EXPORT Result cuMemFreeHost(void *memory) {
  live.erase(memory);
  std::free(memory);
  return success;
}
EXPORT Result cuMemsetD8Async(Address address, unsigned char value, size_t bytes, Stream) {
  std::memset(reinterpret_cast<void *>(address), value, bytes);
  return success;
}
EXPORT Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t bytes, Stream) {
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  return note("upload", std::to_string(bytes));
}
EXPORT Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t bytes, Stream) {
  std::memcpy(to, reinterpret_cast<const void *>(from), bytes);
  return note("download", std::to_string(bytes));
}
EXPORT Result cuStreamCreate(Stream *stream, unsigned) {
  *stream = keep(new StreamData);
  return success;
}
EXPORT Result cuStreamDestroy_v2(Stream stream) {
  drop(stream);
  return success;
}
EXPORT Result cuStreamQuery(Stream) {
  Result result = note("cuStreamQuery");
  return result != success ? result : pending();
}
EXPORT Result cuStreamBeginCapture_v2(Stream stream, int) {
  stream->capture = new GraphData;
  return note("cuStreamBeginCapture");
}
EXPORT Result cuStreamEndCapture(Stream stream, Graph *graph) {
  *graph = stream->capture;
  stream->capture = nullptr;
  return note("cuStreamEndCapture");
}
EXPORT Result cuGraphInstantiateWithFlags(GraphExec *exec, Graph graph, unsigned long long) {
  *exec = keep(new GraphExecData{*graph});
  return note("cuGraphInstantiate");
}
EXPORT Result cuGraphLaunch(GraphExec exec, Stream) {
  for (const GraphData::Node &node : exec->nodes)
    execute(node);
  return note("cuGraphLaunch");
}
EXPORT Result cuGraphDestroy(Graph graph) {
  delete graph;
  return success;
}
EXPORT Result cuGraphExecDestroy(GraphExec exec) {
  drop(exec);
  return note("cuGraphExecDestroy");
}
EXPORT Result cuEventCreate(Event *event, unsigned) {
  *event = keep(new EventData);
  return success;
}
EXPORT Result cuEventDestroy_v2(Event event) {
  drop(event);
  return success;
}
EXPORT Result cuEventRecord(Event event, Stream) {
  event->ns = clockNs;
  return success;
}
EXPORT Result cuEventQuery(Event) { return pending(); }
EXPORT Result cuEventElapsedTime(float *ms, Event from, Event to) {
  *ms = static_cast<float>(to->ns - from->ns) * 1e-6f;
  return success;
}
EXPORT Result cuLaunchKernel(Function function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared,
                             Stream stream, void **args, void **) {
  return launchAny("launch", function, x, y, z, threads, shared, stream, args);
}
EXPORT Result cuLaunchKernelEx(const LaunchConfig *config, Function function, void **args, void **) {
  bool overlaps =
      config->attributeCount == 1 && config->attributes->id == programmaticSerialization && config->attributes->value.allowed == 1;
  return launchAny(overlaps ? "overlapping" : "launch", function, config->gridX, config->gridY, config->gridZ, config->blockX,
                   config->sharedBytes, config->stream, args);
}
