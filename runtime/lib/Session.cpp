#include "runtime/lib/Session.h"
#include "runtime/lib/Decoder.h"
#include <cstring>

using namespace dsrt;

Status Session::create(int32_t batch) {
  constexpr int32_t most = 1 << 12;
  if (!model.isDecoder())
    return Status::invalidArgument("a session needs a model of task causal-lm, this one is of task ", nameOf(model.manifest().model.task));
  if (batch < 1 || batch > most)
    return Status::invalidArgument("batch: expects 1..", most, ", got ", batch);
  DSRT_TRY(blocks.acquire(batch));
  lengths.assign(batch, 0);
  return Status();
}

Status Session::truncate(int32_t sequence, int32_t length) {
  if (sequence < 0 || static_cast<size_t>(sequence) >= lengths.size())
    return Status::invalidArgument("sequence: expects 0..", lengths.size() - 1, ", got ", sequence);
  if (length < 0 || length > lengths[sequence])
    return Status::invalidArgument("length: expects 0..", lengths[sequence], ", got ", length);
  lengths[sequence] = length;
  return Status();
}

Status Session::forward(const TokenBatch &batch, float *logits) {
  const Manifest &manifest = model.manifest();
  if (static_cast<size_t>(batch.batch) != lengths.size())
    return Status::invalidArgument("batch: expects the session's ", lengths.size(), " rows, got ", batch.batch);
  std::vector<std::vector<int32_t>> ids(batch.batch), positions(batch.batch);
  std::vector<Append> appends;
  for (int32_t row = 0; row < batch.batch; ++row) {
    for (int32_t column = 0; column < batch.tokens; ++column)
      if (batch.isToken(row, column)) {
        positions[row].push_back(positionAfter(manifest, lengths[row] + static_cast<int32_t>(ids[row].size())));
        ids[row].push_back(batch.ids[batch.at(row, column)]);
      }
    auto count = static_cast<int32_t>(ids[row].size());
    if (count > manifest.context - lengths[row])
      return Status::invalidArgument("sequence ", row, ": ", lengths[row], " tokens and ", count, " more exceed the context of ",
                                     manifest.context);
    appends.push_back({blocks[row], &lengths[row], ids[row].data(), positions[row].data(), count});
  }
  size_t vocab = manifest.model.vocabSize;
  AppendOptions options;
  if (logits) {
    std::memset(logits, 0, batch.batch * vocab * sizeof(float));
    options.output = model.forwardProgram().record->indexOfOutput("logits");
  }
  return appendTokens(model, appends, options, [&](size_t index, int32_t) { return logits + index * vocab; });
}
