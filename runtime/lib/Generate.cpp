#include "runtime/lib/Generate.h"
#include "runtime/lib/Decoder.h"
#include "runtime/lib/Sampler.h"
#include <algorithm>
#include <cstdlib>

using namespace dsrt;

namespace {
struct Settings {
  SamplingOptions sampling;
  std::vector<int32_t> eos;
  std::vector<std::vector<int32_t>> stops;
  int32_t maxNew = 0, pad = 0, chunk = 0;
  bool onDevice = false; // where tokens are chosen
};

/// One row on its way.
struct Row {
  CompactRow prompt;
  int32_t length = 0; // tokens in the cache
  int32_t step = 0;   // tokens made
  int32_t finish = DSRT_FINISH_NONE;
  std::vector<int32_t> made;
  std::vector<int32_t> seen; // distinct tokens, for the repetition penalty
  std::vector<bool> isSeen;

  void see(int32_t token) {
    if (!isSeen[token])
      seen.push_back(token);
    isSeen[token] = true;
  }
};
} // namespace

bool dsrt::endsWith(const std::vector<int32_t> &tokens, const std::vector<int32_t> &stop) {
  return tokens.size() >= stop.size() && std::equal(stop.begin(), stop.end(), tokens.end() - static_cast<ptrdiff_t>(stop.size()));
}

/// DS_SAMPLE: `device` (default) where the model can, or `host`.
static Status readPlace(const Model &model, bool &onDevice) {
  const char *place = std::getenv("DS_SAMPLE");
  const std::string_view text = place && *place ? place : "device";
  if (text != "device" && text != "host")
    return Status::invalidArgument("DS_SAMPLE: expects device or host, got ", inQuotes(text));
  onDevice = text == "device" && model.choosesTokens();
  return Status();
}

static Status readSettings(const Manifest &manifest, const dsrt_generation &given, Settings &settings) {
  if (given.max_new_tokens < 1)
    return Status::invalidArgument("max_new_tokens: expects at least 1, got ", given.max_new_tokens);
  if (given.prefill_chunk < 0)
    return Status::invalidArgument("prefill_chunk: expects 0 or more, got ", given.prefill_chunk);
  SamplingOptions &sampling = settings.sampling;
  sampling.sample = given.do_sample != 0;
  sampling.temperature = given.temperature;
  sampling.topK = given.top_k;
  sampling.topP = given.top_p;
  sampling.minP = given.min_p;
  sampling.repetitionPenalty = given.repetition_penalty;
  sampling.seed = given.seed;
  DSRT_TRY(checkSampling(sampling));
  if (given.eos_count > 0 && !given.eos)
    return Status::invalidArgument("eos: expects ", given.eos_count, " tokens, got null");
  if (given.eos_count < 0)
    settings.eos = manifest.model.eos;
  else
    settings.eos.assign(given.eos, given.eos + given.eos_count);
  if (given.stop_count < 0 || (given.stop_count > 0 && (!given.stop_tokens || !given.stop_lengths)))
    return Status::invalidArgument("stop sequences: expects arrays of tokens and lengths for ", given.stop_count, " of them");
  const int32_t *next = given.stop_tokens;
  for (int32_t i = 0; i < given.stop_count; ++i) {
    if (given.stop_lengths[i] < 1)
      return Status::invalidArgument("stop sequence ", i, ": expects at least one token, got ", given.stop_lengths[i]);
    settings.stops.emplace_back(next, next + given.stop_lengths[i]);
    next += given.stop_lengths[i];
  }
  settings.maxNew = given.max_new_tokens;
  settings.chunk = given.prefill_chunk;
  settings.pad = given.pad_token;
  if (settings.pad < 0)
    settings.pad = manifest.model.pad >= 0 ? manifest.model.pad : !settings.eos.empty() ? settings.eos[0] : 0;
  return Status();
}

static Status readRows(const Manifest &manifest, const TokenBatch &batch, const Settings &settings, std::vector<Row> &rows) {
  rows.resize(batch.batch);
  for (int32_t index = 0; index < batch.batch; ++index) {
    Row &row = rows[index];
    DSRT_TRY(compactRow(manifest, batch, index, PositionUse::generate, row.prompt));
    if (row.prompt.ids.empty())
      return Status::invalidArgument("row ", index, ": expects at least one token, got none");
    if (row.prompt.ids.size() > static_cast<size_t>(manifest.context))
      return Status::invalidArgument("row ", index, ": a prompt of ", row.prompt.ids.size(), " tokens exceeds the context of ",
                                     manifest.context);
    if (settings.sampling.repetitionPenalty != 1) {
      row.isSeen.assign(manifest.model.vocabSize, false);
      for (int32_t token : row.prompt.ids)
        row.see(token);
    }
    if (row.prompt.ids.size() == static_cast<size_t>(manifest.context))
      row.finish = DSRT_FINISH_LENGTH;
  }
  return Status();
}

/// Whether the row ends with the token it has just made.
static int32_t finishOf(const Manifest &manifest, const Settings &settings, const Row &row) {
  if (std::find(settings.eos.begin(), settings.eos.end(), row.made.back()) != settings.eos.end())
    return DSRT_FINISH_EOS;
  for (const std::vector<int32_t> &stop : settings.stops)
    if (endsWith(row.made, stop))
      return DSRT_FINISH_STOP;
  bool full = row.step >= settings.maxNew || static_cast<int64_t>(row.prompt.ids.size()) + row.step >= manifest.context;
  return full ? DSRT_FINISH_LENGTH : DSRT_FINISH_NONE;
}

namespace {
class Generation {
public:
  Generation(Model &model, const Settings &settings, std::vector<Row> &rows, const GenerateTarget &target)
      : model(model), settings(settings), rows(rows), target(target), blocks(model) {}

  /// Runs rows first .. first + count - 1 to their ends.
  Status run(size_t first, size_t count);
  bool cancelled() const { return isCancelled; }

private:
  Status forward(const std::vector<size_t> &live, bool isPrompt);
  Status chosen(const std::vector<size_t> &live, size_t i, int32_t &token);
  Status choose(const std::vector<size_t> &live);

  Model &model;
  const Settings &settings;
  std::vector<Row> &rows;
  const GenerateTarget &target;
  KvBlocks blocks;
  size_t blockCount = 0, firstRow = 0;
  std::vector<float> logits;   // [live, vocab], or
  std::vector<int32_t> tokens; // [live], where the device chooses
  bool isCancelled = false;
};
} // namespace

Status Generation::forward(const std::vector<size_t> &live, bool isPrompt) {
  const Manifest &manifest = model.manifest();
  std::vector<int32_t> ids, positions;
  for (size_t index : live) {
    ids.push_back(isPrompt ? 0 : rows[index].made.back());
    positions.push_back(positionAfter(manifest, rows[index].length));
  }
  std::vector<Append> appends;
  for (size_t i = 0; i < live.size(); ++i) {
    Row &row = rows[live[i]];
    uint8_t *kv = blocks[live[i] - firstRow];
    if (isPrompt)
      appends.push_back({kv, &row.length, row.prompt.ids.data(), row.prompt.positions.data(), static_cast<int32_t>(row.prompt.ids.size())});
    else
      appends.push_back({kv, &row.length, &ids[i], &positions[i], 1});
  }
  AppendOptions options;
  options.chunk = settings.chunk;
  if (settings.onDevice) {
    SampleArrays sampling;
    sampling.isGreedy = !settings.sampling.sample;
    for (size_t index : live) {
      sampling.rows.push_back(sampleRowOf(settings.sampling, static_cast<uint32_t>(index), rows[index].step));
      sampling.seen.push_back(&rows[index].seen);
    }
    tokens.assign(live.size(), 0);
    sampling.tokens = tokens.data();
    options.sampling = &sampling;
    return appendTokens(model, appends, options, {});
  }
  size_t vocab = manifest.model.vocabSize;
  logits.resize(live.size() * vocab);
  options.output = model.forwardProgram().record->indexOfOutput("logits");
  return appendTokens(model, appends, options, [&](size_t index, int32_t) { return logits.data() + index * vocab; });
}

/// The token of live[i]: what the device chose, or what its logits say.
Status Generation::chosen(const std::vector<size_t> &live, size_t i, int32_t &token) {
  const Row &row = rows[live[i]];
  const auto index = static_cast<uint32_t>(live[i]), step = static_cast<uint32_t>(row.step);
  const int32_t vocab = model.manifest().model.vocabSize;
  if (!settings.onDevice)
    return chooseToken(logits.data() + i * vocab, vocab, row.seen, settings.sampling, index, step, token);
  token = tokens[i];
  if (token >= vocab)
    return Status::internal("row ", index, ": the device chose token ", token, " of ", vocab);
  return token < 0 ? noNumberToChoose(index, step) : Status();
}

Status Generation::choose(const std::vector<size_t> &live) {
  const Manifest &manifest = model.manifest();
  for (size_t i = 0; i < live.size(); ++i) {
    Row &row = rows[live[i]];
    if (isCancelled) {
      row.finish = DSRT_FINISH_CANCELLED;
      continue;
    }
    int32_t token = 0;
    DSRT_TRY(chosen(live, i, token));
    row.made.push_back(token);
    if (settings.sampling.repetitionPenalty != 1)
      row.see(token);
    target.tokens[live[i] * settings.maxNew + row.step++] = token;
    row.finish = finishOf(manifest, settings, row);
    if (!target.callback)
      continue;
    int32_t answer = target.callback(target.user, static_cast<int32_t>(live[i]), token, row.finish);
    if (answer != 0 && row.finish == DSRT_FINISH_NONE)
      row.finish = answer == 1 ? DSRT_FINISH_STOP : DSRT_FINISH_CANCELLED;
    isCancelled = answer != 0 && answer != 1;
  }
  return Status();
}

Status Generation::run(size_t first, size_t count) {
  firstRow = first;
  if (blockCount < count) {
    DSRT_TRY(blocks.acquire(count - blockCount));
    blockCount = count;
  }
  for (bool isPrompt = true;; isPrompt = false) {
    std::vector<size_t> live;
    for (size_t index = first; index < first + count; ++index)
      if (rows[index].finish == DSRT_FINISH_NONE)
        live.push_back(index);
    if (live.empty())
      return Status();
    DSRT_TRY(forward(live, isPrompt));
    DSRT_TRY(choose(live));
  }
}

Status dsrt::generate(Model &model, const TokenBatch &batch, const dsrt_generation &given, const GenerateTarget &target) {
  Settings settings;
  std::vector<Row> rows;
  DSRT_TRY(readSettings(model.manifest(), given, settings));
  DSRT_TRY(readPlace(model, settings.onDevice));
  DSRT_TRY(readRows(model.manifest(), batch, settings, rows));
  std::fill_n(target.tokens, static_cast<size_t>(batch.batch) * settings.maxNew, settings.pad);
  // As many rows at a time as both programs take in one step.
  size_t most = rows.size();
  for (const char *name : {"prefill", "decode"}) {
    const ProgramRecord &record = *model.program(name)->record;
    most = std::min<size_t>(most, std::min(record.maxBatch, record.maxRows));
  }
  Generation generation(model, settings, rows, target);
  Status status;
  for (size_t first = 0; first < rows.size() && status.ok(); first += most) {
    if (generation.cancelled())
      break;
    status = generation.run(first, std::min(most, rows.size() - first));
  }
  for (size_t index = 0; index < rows.size(); ++index) {
    if (generation.cancelled() && rows[index].finish == DSRT_FINISH_NONE)
      rows[index].finish = DSRT_FINISH_CANCELLED;
    target.lengths[index] = rows[index].step;
    if (target.finish)
      target.finish[index] = rows[index].finish;
  }
  return status;
}
