#include "runtime/lib/Decoder.h"
#include <algorithm>
#include <cstring>

using namespace dsrt;

namespace {
/// One step's share of the work: which sequences, how many tokens of each.
struct Share {
  std::vector<size_t> members; // indices into the appends
  int32_t tokens = 0;          // T, the longest part
};

class Appender {
public:
  Appender(Model &model, std::vector<Append> &appends, const AppendOptions &options, const Place &place)
      : model(model), appends(appends), options(options), place(place), done(appends.size(), 0), prefill(*model.program("prefill")),
        decode(*model.program("decode")) {
    decodeGives = options.output < 0 || decode.record->indexOfOutput(prefill.record->outputs[options.output].name) >= 0;
  }

  Status run() {
    while (true) {
      Share share = nextShare();
      if (share.members.empty())
        return Status();
      DSRT_TRY(runShare(share));
    }
  }

private:
  int32_t left(size_t index) const { return appends[index].count - done[index]; }
  int32_t part(size_t index, int32_t tokens) const { return std::min(left(index), tokens); }
  Share nextShare() const;
  int32_t chunkFor(const std::vector<size_t> &members) const;
  const Program &programFor(const Share &share) const;
  void fill(const Share &share, const Program &program);
  Status runShare(const Share &share);
  Status runChoosing(const Share &share, const Program &program);
  void advance(const Share &share);

  Model &model;
  std::vector<Append> &appends;
  const AppendOptions &options;
  const Place &place;
  std::vector<int32_t> done;
  const Program &prefill, &decode;
  bool decodeGives; // what is wanted
  StepArrays arrays;
  std::vector<float> staging;
  std::vector<int32_t> tokens;
};
} // namespace

/// T for these sequences: as much as fits, within the context of each, and not mostly padding.
int32_t Appender::chunkFor(const std::vector<size_t> &members) const {
  auto batch = static_cast<int32_t>(members.size());
  int32_t longest = 0, shortest = left(members[0]), room = model.manifest().context;
  for (size_t index : members) {
    longest = std::max(longest, left(index));
    shortest = std::min(shortest, left(index));
    room = std::min(room, model.manifest().context - *appends[index].length);
  }
  int32_t tokens = std::min({longest, room, std::max(prefill.record->maxRows / batch, 1)});
  if (options.chunk > 0)
    tokens = std::min(tokens, options.chunk);
  int64_t useful = 0;
  for (size_t index : members)
    useful += part(index, tokens);
  if (useful * 2 < static_cast<int64_t>(tokens) * batch)
    tokens = std::min(tokens, shortest);
  return std::max(tokens, 1);
}

Share Appender::nextShare() const {
  Share share;
  bool single = decodeGives;
  for (size_t index = 0; index < appends.size(); ++index)
    single = single && left(index) <= 1;
  const ProgramRecord &record = single ? *decode.record : *prefill.record;
  auto most = static_cast<size_t>(std::min(record.maxBatch, record.maxRows));
  for (size_t index = 0; index < appends.size() && share.members.size() < most; ++index)
    if (left(index) > 0)
      share.members.push_back(index);
  if (!share.members.empty())
    share.tokens = chunkFor(share.members);
  return share;
}

/// decode where it fits and gives what is wanted, else prefill.
const Program &Appender::programFor(const Share &share) const {
  const ProgramRecord &record = *decode.record;
  auto batch = static_cast<int32_t>(share.members.size());
  return share.tokens == 1 && batch <= record.maxBatch && batch <= record.maxRows && decodeGives ? decode : prefill;
}

void Appender::fill(const Share &share, const Program &program) {
  auto batch = static_cast<int32_t>(share.members.size());
  arrays.reset(batch, share.tokens, program.record->outputs.size());
  for (int32_t row = 0; row < batch; ++row) {
    size_t index = share.members[row];
    const Append &append = appends[index];
    arrays.kv.push_back(append.kv);
    arrays.of(InputKind::past)[row] = *append.length;
    int32_t count = part(index, share.tokens);
    for (int32_t token = 0; token < share.tokens; ++token) {
      size_t to = static_cast<size_t>(row) * share.tokens + token;
      // Padding repeats the last token: its id and position are in range, and nobody reads what it computes.
      int32_t from = done[index] + std::min(token, count - 1);
      arrays.of(InputKind::inputIds)[to] = append.ids[from];
      arrays.of(InputKind::positions)[to] = append.positions[from];
      arrays.of(InputKind::mask)[to] = token < count;
    }
  }
}

/// The step chooses the tokens of the sequences that end with it.
Status Appender::runChoosing(const Share &share, const Program &program) {
  std::vector<size_t> ended;
  for (size_t row = 0; row < share.members.size(); ++row) {
    const size_t index = share.members[row];
    const int32_t count = part(index, share.tokens);
    if (count < left(index))
      continue;
    arrays.of(InputKind::rows).push_back(static_cast<int32_t>(row) * share.tokens + count - 1);
    arrays.sampling.rows.push_back(options.sampling->rows[index]);
    arrays.sampling.seen.push_back(options.sampling->seen[index]);
    ended.push_back(index);
  }
  tokens.assign(ended.size(), 0);
  arrays.sampling.isGreedy = options.sampling->isGreedy;
  arrays.sampling.tokens = tokens.data();
  DSRT_TRY(model.run(program, arrays));
  for (size_t i = 0; i < ended.size(); ++i)
    options.sampling->tokens[ended[i]] = tokens[i];
  advance(share);
  return Status();
}

Status Appender::runShare(const Share &share) {
  const Program &program = programFor(share);
  fill(share, program);
  if (options.sampling)
    return runChoosing(share, program);
  // The items that are wanted: their place in the step and where they go.
  std::vector<int32_t> &rows = arrays.of(InputKind::rows);
  std::vector<float *> targets;
  if (options.output >= 0)
    for (size_t row = 0; row < share.members.size(); ++row) {
      size_t index = share.members[row];
      int32_t count = part(index, share.tokens);
      for (int32_t token = 0; token < count; ++token) {
        if (options.wanted == Wanted::last && done[index] + token + 1 != appends[index].count)
          continue;
        rows.push_back(static_cast<int32_t>(row) * share.tokens + token);
        targets.push_back(place(index, done[index] + token));
      }
    }
  std::vector<int32_t> items = rows;
  if (!items.empty()) {
    int output = program.record->indexOfOutput(prefill.record->outputs[options.output].name);
    const OutputRecord &record = program.record->outputs[output];
    bool byRows = record.axes == OutputAxes::rows;
    size_t count = byRows ? items.size() : arrays.of(InputKind::inputIds).size();
    bool direct = items.size() == count;
    for (size_t i = 1; i < targets.size() && direct; ++i)
      direct = targets[i] == targets[i - 1] + record.width;
    if (!byRows)
      rows.clear();
    if (!direct)
      staging.resize(count * record.width);
    arrays.outputs[output] = direct ? targets[0] : staging.data();
    DSRT_TRY(model.run(program, arrays));
    for (size_t i = 0; i < targets.size() && !direct; ++i)
      std::memcpy(targets[i], staging.data() + (byRows ? i : items[i]) * record.width, record.width * sizeof(float));
  } else {
    DSRT_TRY(model.run(program, arrays));
  }
  advance(share);
  return Status();
}

void Appender::advance(const Share &share) {
  for (size_t index : share.members) {
    int32_t count = part(index, share.tokens);
    done[index] += count;
    *appends[index].length += count;
  }
}

Status dsrt::appendTokens(Model &model, std::vector<Append> &appends, const AppendOptions &options, const Place &place) {
  return Appender(model, appends, options, place).run();
}

Status dsrt::decodeBatch(Model &model, const TokenBatch &batch, int output, float *out) {
  const Manifest &manifest = model.manifest();
  int64_t width = model.forwardProgram().record->outputs[output].width;
  if (batch.tokens > manifest.context)
    return Status::invalidArgument("a sequence of ", batch.tokens, " tokens exceeds the context of ", manifest.context);
  std::vector<CompactRow> rows(batch.batch);
  for (int32_t row = 0; row < batch.batch; ++row)
    DSRT_TRY(compactRow(manifest, batch, row, PositionUse::forward, rows[row]));
  if (batch.mask)
    std::memset(out, 0, static_cast<size_t>(batch.batch) * batch.tokens * width * sizeof(float));
  // As many rows at a time as a step takes, so that no more caches are needed than that.
  int32_t most = std::min(model.forwardProgram().record->maxBatch, model.forwardProgram().record->maxRows);
  KvBlocks blocks(model);
  DSRT_TRY(blocks.acquire(std::min(most, batch.batch)));
  for (int32_t first = 0; first < batch.batch; first += most) {
    int32_t count = std::min(most, batch.batch - first);
    std::vector<int32_t> lengths(count, 0);
    std::vector<Append> appends;
    for (int32_t i = 0; i < count; ++i) {
      const CompactRow &row = rows[first + i];
      appends.push_back({blocks[i], &lengths[i], row.ids.data(), row.positions.data(), static_cast<int32_t>(row.ids.size())});
    }
    AppendOptions options;
    options.output = output;
    options.wanted = Wanted::all;
    DSRT_TRY(appendTokens(model, appends, options, [&](size_t index, int32_t token) {
      return out + (batch.at(first + static_cast<int32_t>(index), rows[first + index].columns[token])) * width;
    }));
  }
  return Status();
}
