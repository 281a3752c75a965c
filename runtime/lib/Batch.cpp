#include "runtime/lib/Batch.h"
#include "runtime/lib/SizedStruct.h"
#include <limits>

using namespace dsrt;

/// Slots of a cache are counted without padding between tokens, columns of a step with it: both are what the model means where there is
/// none.
static Status checkGaps(const TokenBatch &batch) {
  for (int32_t row = 0; row < batch.batch; ++row) {
    int32_t last = -1;
    for (int32_t column = 0; column < batch.tokens; ++column) {
      if (!batch.isToken(row, column))
        continue;
      if (last >= 0 && last + 1 < column)
        return Status::invalidArgument("attention_mask[", row, "][", last + 1,
                                       "]: expects 1 between tokens, as attention counts how far apart "
                                       "they are (a window or slopes), got 0");
      last = column;
    }
  }
  return Status();
}

static Status checkTokens(const Manifest &manifest, const TokenBatch &batch) {
  for (int32_t row = 0; row < batch.batch; ++row)
    for (int32_t column = 0; column < batch.tokens; ++column) {
      size_t at = batch.at(row, column);
      if (batch.mask && batch.mask[at] != 0 && batch.mask[at] != 1)
        return Status::invalidArgument("attention_mask[", row, "][", column, "]: expects 0 or 1, got ", batch.mask[at]);
      if (!batch.isToken(row, column))
        continue;
      if (batch.ids[at] < 0 || batch.ids[at] >= manifest.model.vocabSize)
        return Status::invalidArgument("input_ids[", row, "][", column, "]: expects an id in 0..", manifest.model.vocabSize - 1, ", got ",
                                       batch.ids[at]);
      if (batch.types && (batch.types[at] < 0 || batch.types[at] >= manifest.model.tokenTypes))
        return Status::invalidArgument("token_type_ids[", row, "][", column, "]: expects a segment in 0..", manifest.model.tokenTypes - 1,
                                       ", got ", batch.types[at]);
    }
  return Status();
}

Status dsrt::readBatch(const Manifest &manifest, const dsrt_batch *given, TokenBatch &batch) {
  dsrt_batch known = {};
  DSRT_TRY(readSized(given, "batch", known));
  if (known.batch < 1 || known.tokens < 1)
    return Status::invalidArgument("batch: expects at least one row and one token, got ", known.batch, " x ", known.tokens);
  if (static_cast<int64_t>(known.batch) * known.tokens > std::numeric_limits<int32_t>::max())
    return Status::invalidArgument("batch: ", known.batch, " x ", known.tokens, " tokens are more than one call takes");
  if (!known.input_ids)
    return Status::invalidArgument("input_ids: expects an array, got none");
  batch = {known.batch, known.tokens, known.input_ids, known.attention_mask, known.token_type_ids};
  DSRT_TRY(checkTokens(manifest, batch));
  return manifest.countsDistances ? checkGaps(batch) : Status();
}

int32_t dsrt::firstPosition(const Manifest &manifest) {
  return manifest.positionRule == PositionRule::fromIds ? manifest.positionPad + 1 : manifest.positionOffset;
}

Status dsrt::positionsOf(const Manifest &manifest, const TokenBatch &batch, int32_t row, int32_t columns, PositionUse use,
                         std::vector<int32_t> &positions) {
  PositionRule rule = manifest.positionRule;
  if (use == PositionUse::generate && rule == PositionRule::arange)
    rule = PositionRule::fromMask;
  positions.resize(columns);
  int64_t count = 0, greatest = 0;
  for (int32_t column = 0; column < columns; ++column) {
    int64_t position = 0;
    switch (rule) {
    case PositionRule::arange:
      position = static_cast<int64_t>(column) + manifest.positionOffset;
      break;
    case PositionRule::fromMask:
      count += batch.isToken(row, column);
      // Padding has the position before the first, where the table has one.
      position = batch.isToken(row, column) ? count - 1 + manifest.positionOffset : manifest.positionOffset - 1;
      position = position > 0 ? position : 0;
      break;
    case PositionRule::fromIds:
      bool padding = batch.ids[batch.at(row, column)] == manifest.positionPad;
      count += !padding;
      position = manifest.positionPad + (padding ? 0 : count);
      break;
    }
    positions[column] = static_cast<int32_t>(position);
    greatest = position > greatest ? position : greatest;
  }
  int64_t longest = greatest + 1 - firstPosition(manifest);
  if (manifest.model.maxPositions >= 0 && longest > manifest.model.maxPositions)
    return Status::invalidArgument("row ", row, ": a sequence of ", longest, " tokens exceeds the model's ", manifest.model.maxPositions,
                                   " positions");
  return Status();
}

Status dsrt::compactRow(const Manifest &manifest, const TokenBatch &batch, int32_t row, PositionUse use, CompactRow &compact) {
  std::vector<int32_t> positions;
  DSRT_TRY(positionsOf(manifest, batch, row, batch.tokens, use, positions));
  compact = CompactRow();
  for (int32_t column = 0; column < batch.tokens; ++column)
    if (batch.isToken(row, column)) {
      compact.ids.push_back(batch.ids[batch.at(row, column)]);
      compact.positions.push_back(positions[column]);
      compact.columns.push_back(column);
    }
  return Status();
}
