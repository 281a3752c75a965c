// The binding of libdsrt's C API: arrays in, arrays out, errors as exceptions of ds_mlir.errors.
#include "dsrt/dsrt.h"
#include <chrono>
#include <memory>
#include <mutex>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

namespace nb = nanobind;
using namespace nb::literals;

using Ids = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using OptionalIds = std::optional<Ids>;
using Input = nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<float, nb::c_contig, nb::device::cpu>;

/// Raises the exception of `status`, with the runtime's own line.
static void check(dsrt_status status) {
  if (status == DSRT_OK)
    return;
  std::string message = dsrt_last_error();
  nb::module_::import_("ds_mlir.errors").attr("raise_for")(static_cast<int>(status), message);
}

template <typename T> static nb::object makeArray(std::unique_ptr<T[]> data, std::initializer_list<size_t> shape) {
  T *pointer = data.release();
  nb::capsule owner(pointer, [](void *p) noexcept { delete[] static_cast<T *>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T>(pointer, shape, owner));
}

static dsrt_batch makeBatch(const Ids &ids, const OptionalIds &mask, const OptionalIds &types) {
  for (const OptionalIds *other : {&mask, &types})
    if (*other && ((*other)->shape(0) != ids.shape(0) || (*other)->shape(1) != ids.shape(1)))
      throw nb::value_error("expects attention_mask and token_type_ids of the shape of input_ids");
  dsrt_batch batch = {};
  batch.size = sizeof(batch);
  batch.batch = static_cast<int32_t>(ids.shape(0));
  batch.tokens = static_cast<int32_t>(ids.shape(1));
  batch.input_ids = ids.data();
  batch.attention_mask = mask ? mask->data() : nullptr;
  batch.token_type_ids = types ? types->data() : nullptr;
  return batch;
}

namespace {
using Clock = std::chrono::steady_clock;

/// Hands each token on, and asks for signals where nobody takes it: Ctrl-C ends a generation then. Asking waits for Python's lock, so it is
/// done ten times a second.
struct TokenStream {
  std::optional<nb::callable> callback;
  std::optional<nb::python_error> error;
  Clock::time_point asked = Clock::now();

  static int32_t call(void *user, int32_t row, int32_t token, int32_t reason) {
    auto &self = *static_cast<TokenStream *>(user);
    const Clock::time_point now = Clock::now();
    if (!self.callback && now - self.asked < std::chrono::milliseconds(100))
      return 0;
    nb::gil_scoped_acquire acquire;
    self.asked = now;
    try {
      if (self.callback)
        return nb::cast<int32_t>((*self.callback)(row, token, reason));
      if (PyErr_CheckSignals() != 0)
        throw nb::python_error();
      return 0;
    } catch (nb::python_error &raised) {
      self.error.emplace(std::move(raised));
      return 2;
    }
  }
};

class Model {
public:
  Model(const std::string &path, int32_t threads, const std::optional<std::string> &isa, bool skipHashes, bool hugePages,
        const std::optional<std::string> &device) {
    dsrt_load_options options;
    dsrt_load_options_init(&options);
    options.threads = threads;
    options.isa = isa ? isa->c_str() : nullptr;
    options.device = device ? device->c_str() : nullptr;
    options.skip_hashes = skipHashes;
    options.huge_pages = hugePages;
    check(unlocked([&] { return dsrt_load(path.c_str(), &options, &model); }));
  }
  ~Model() { dsrt_free(model); }
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  dsrt_model *handle() const { return model; }
  std::string manifest() const { return dsrt_manifest_json(model); }

  nb::dict info() const {
    dsrt_info info = {};
    info.size = sizeof(info);
    check(dsrt_get_info(model, &info));
    nb::dict result;
    for (auto [name, text] : {std::pair("producer", info.producer),
                              {"family", info.family},
                              {"name", info.name},
                              {"task", info.task},
                              {"weights_dtype", info.weights_dtype},
                              {"cache_type", info.cache_type},
                              {"level", info.level},
                              {"device", info.device},
                              {"device_name", info.device_name},
                              {"note", info.note}})
      result[name] = text;
    for (auto [name, value] : {std::pair<const char *, int64_t>("threads", info.threads),
                               {"vocab_size", info.vocab_size},
                               {"hidden_size", info.hidden_size},
                               {"layers", info.layers},
                               {"label_count", info.label_count},
                               {"max_positions", info.max_positions},
                               {"context", info.context},
                               {"max_batch", info.max_batch},
                               {"max_rows", info.max_rows},
                               {"pad", info.pad},
                               {"parameters", info.parameters},
                               {"weights_bytes", info.weights_bytes},
                               {"kv_bytes_per_sequence", info.kv_bytes_per_sequence}})
      result[name] = value;
    result["is_decoder"] = info.is_decoder != 0;
    result["bos"] = std::vector<int32_t>(info.bos, info.bos + info.bos_count);
    result["eos"] = std::vector<int32_t>(info.eos, info.eos + info.eos_count);
    return result;
  }

  nb::dict memory() const {
    dsrt_memory memory = {};
    memory.size = sizeof(memory);
    check(unlocked([&] { return dsrt_get_memory(model, &memory); }));
    nb::dict result;
    result["weights"] = memory.weights;
    result["arena"] = memory.arena;
    result["huge_weights"] = memory.huge_weights;
    result["kv"] = memory.kv;
    result["device"] = memory.device;
    return result;
  }

  nb::object forward(const Ids &ids, const OptionalIds &mask, const OptionalIds &types, const std::string &output) {
    dsrt_batch batch = makeBatch(ids, mask, types);
    int64_t shape[3] = {1, 1, 1};
    int32_t rank = 0;
    check(dsrt_output_shape(model, output.c_str(), batch.batch, batch.tokens, shape, &rank));
    size_t elements = 1;
    for (int32_t i = 0; i < rank; ++i)
      elements *= static_cast<size_t>(shape[i]);
    std::unique_ptr<float[]> out(new float[elements]);
    check(unlocked([&] { return dsrt_forward(model, &batch, output.c_str(), out.get(), elements); }));
    if (rank == 2)
      return makeArray(std::move(out), {static_cast<size_t>(shape[0]), static_cast<size_t>(shape[1])});
    return makeArray(std::move(out), {static_cast<size_t>(shape[0]), static_cast<size_t>(shape[1]), static_cast<size_t>(shape[2])});
  }

  void runProgram(const std::string &program, int32_t batch, int32_t tokens, const std::vector<std::pair<std::string, Input>> &inputs,
                  const std::vector<std::pair<std::string, Output>> &outputs) {
    std::vector<dsrt_array> given, wanted;
    int32_t rows = 0;
    for (const auto &[name, array] : inputs) { // which the runtime only reads
      given.push_back({name.c_str(), const_cast<int32_t *>(array.data()), array.size()});
      if (name == "rows")
        rows = static_cast<int32_t>(array.size());
    }
    for (const auto &[name, array] : outputs)
      wanted.push_back({name.c_str(), array.data(), array.size()});
    check(unlocked([&] {
      return dsrt_run_program(model, program.c_str(), batch, tokens, rows, given.data(), static_cast<int32_t>(given.size()), wanted.data(),
                              static_cast<int32_t>(wanted.size()));
    }));
  }

  nb::tuple generate(const Ids &ids, const OptionalIds &mask, int32_t maxNewTokens, bool doSample, float temperature, int32_t topK,
                     float topP, float minP, float repetitionPenalty, uint64_t seed, const std::optional<std::vector<int32_t>> &eos,
                     std::optional<int32_t> pad, int32_t prefillChunk, std::optional<nb::callable> callback) {
    dsrt_batch batch = makeBatch(ids, mask, std::nullopt);
    dsrt_generation generation;
    dsrt_generation_init(&generation);
    generation.max_new_tokens = maxNewTokens;
    generation.do_sample = doSample;
    generation.temperature = temperature;
    generation.top_k = topK;
    generation.top_p = topP;
    generation.min_p = minP;
    generation.repetition_penalty = repetitionPenalty;
    generation.seed = seed;
    generation.prefill_chunk = prefillChunk;
    if (eos) {
      generation.eos = eos->data();
      generation.eos_count = static_cast<int32_t>(eos->size());
    }
    if (pad)
      generation.pad_token = *pad;
    size_t rows = ids.shape(0), most = maxNewTokens > 0 ? static_cast<size_t>(maxNewTokens) : 0;
    std::unique_ptr<int32_t[]> tokens(new int32_t[rows * most]), lengths(new int32_t[rows]), finish(new int32_t[rows]);
    TokenStream stream{std::move(callback), {}};
    dsrt_status status = unlocked(
        [&] { return dsrt_generate(model, &batch, &generation, TokenStream::call, &stream, tokens.get(), lengths.get(), finish.get()); });
    if (stream.error)
      throw std::move(*stream.error);
    check(status);
    return nb::make_tuple(makeArray(std::move(tokens), {rows, most}), makeArray(std::move(lengths), {rows}),
                          makeArray(std::move(finish), {rows}));
  }

  void startTrace(int32_t maxSteps) {
    check(unlocked([&] { return dsrt_trace_start(model, maxSteps); }));
  }
  void stopTrace() {
    check(unlocked([&] { return dsrt_trace_stop(model); }));
  }

  nb::str profile(const std::string &format, int32_t depth, int32_t top, bool compatible, const std::optional<std::string> &machine,
                  const std::optional<std::string> &failure) {
    dsrt_profile_options options = profileOptions(depth, top, compatible, machine, failure);
    options.format = format == "text"   ? DSRT_PROFILE_TEXT
                     : format == "json" ? DSRT_PROFILE_JSON
                     : format == "html" ? DSRT_PROFILE_HTML
                                        : DSRT_PROFILE_TRACE;
    std::string text;
    check(unlocked([&] {
      std::lock_guard<std::mutex> lock(reporting); // the next report replaces this one
      const char *made = nullptr;
      size_t length = 0;
      dsrt_status status = dsrt_profile_report(model, &options, &made, &length);
      text.assign(made ? made : "", length);
      return status;
    }));
    return nb::str(text.data(), text.size());
  }

  void saveProfile(const std::string &path, int32_t depth, int32_t top, bool compatible, const std::optional<std::string> &machine,
                   const std::optional<std::string> &failure) {
    dsrt_profile_options options = profileOptions(depth, top, compatible, machine, failure);
    check(unlocked([&] { return dsrt_profile_write(model, &options, path.c_str()); }));
  }

private:
  /// Calls the library without Python's lock: another thread may hold the model and wait for that lock.
  template <typename Callable> static dsrt_status unlocked(Callable &&call) {
    nb::gil_scoped_release release;
    return call();
  }

  static dsrt_profile_options profileOptions(int32_t depth, int32_t top, bool compatible, const std::optional<std::string> &machine,
                                             const std::optional<std::string> &failure) {
    dsrt_profile_options options;
    dsrt_profile_options_init(&options);
    options.depth = depth;
    options.top = top;
    options.compatible = compatible;
    options.machine = machine ? machine->c_str() : nullptr;
    options.failure = failure ? failure->c_str() : nullptr;
    return options;
  }

  dsrt_model *model = nullptr;
  std::mutex reporting;
};

/// A view that keeps the model.
nb::object stateOf(nb::handle self) {
  void *data = nullptr;
  size_t bytes = 0;
  check(dsrt_state(nb::cast<Model &>(self).handle(), &data, &bytes));
  return nb::cast(nb::ndarray<nb::numpy, uint8_t>(data, {bytes}, self));
}
} // namespace

NB_MODULE(_dsrt, module) {
  module.doc() = "Binding of libdsrt; use ds_mlir.load.";
  module.def("version", &dsrt_version, "The version of libdsrt.");
  nb::class_<Model>(module, "Model", "A loaded package.")
      .def(nb::init<const std::string &, int32_t, const std::optional<std::string> &, bool, bool, const std::optional<std::string> &>(),
           "path"_a, "threads"_a = 0, "isa"_a = nb::none(), "skip_hashes"_a = false, "huge_pages"_a = false, "device"_a = nb::none())
      .def("manifest", &Model::manifest, "The text of manifest.json.")
      .def("info", &Model::info, "What the model is, by name.")
      .def("memory", &Model::memory, "Bytes of weights, arena and caches, and of all that is on a device.")
      .def("forward", &Model::forward, "input_ids"_a, "attention_mask"_a.none(), "token_type_ids"_a.none(), "output"_a,
           "One output of a whole batch: logits, hidden or embedding.")
      .def("run_program", &Model::runProgram, "program"_a, "batch"_a, "tokens"_a, "inputs"_a, "outputs"_a,
           "One step of a program: pairs of names and arrays, i32 in (f32 as their bits) and f32 out.")
      .def("state", &stateOf, "What a package that trains keeps from step to step, as bytes that may be changed between steps.")
      .def("generate", &Model::generate, "input_ids"_a, "attention_mask"_a.none(), "max_new_tokens"_a, "do_sample"_a, "temperature"_a,
           "top_k"_a, "top_p"_a, "min_p"_a, "repetition_penalty"_a, "seed"_a, "eos"_a.none(), "pad"_a.none(), "prefill_chunk"_a,
           "callback"_a.none(), "New tokens [B, max_new_tokens], their counts [B] and why each row ended [B].")
      .def("start_trace", &Model::startTrace, "max_steps"_a, "Trace the steps from now on; those of before are forgotten.")
      .def("stop_trace", &Model::stopTrace, "End tracing.")
      .def("profile", &Model::profile, "format"_a, "depth"_a, "top"_a, "compatible"_a, "machine"_a.none(), "failure"_a.none(),
           "A report on the traced steps: text, json, html or trace.")
      .def("save_profile", &Model::saveProfile, "path"_a, "depth"_a, "top"_a, "compatible"_a, "machine"_a.none(), "failure"_a.none(),
           "Write a report in the format that the file's name says.");
}
