#include "runtime/lib/Encoder.h"
#include <algorithm>
#include <cstring>

using namespace dsrt;

Status dsrt::findOutput(const Model &model, std::string_view name, int &index) {
  if (model.manifest().trains())
    return Status::invalidArgument("the package trains its model: it has no outputs to ask for; compile the model without --train");
  const ProgramRecord &record = *model.forwardProgram().record;
  index = record.indexOfOutput(name);
  if (index >= 0)
    return Status();
  std::string names;
  for (const OutputRecord &output : record.outputs)
    names += (names.empty() ? "" : ", ") + output.name;
  return Status::invalidArgument("output: expects one of ", names, ", got ", inQuotes(name));
}

int64_t dsrt::outputElements(const OutputRecord &output, int32_t batch, int32_t tokens) {
  int64_t items = output.axes == OutputAxes::batch ? batch : static_cast<int64_t>(batch) * tokens;
  return items * output.width;
}

/// Columns up to the last token of any of the rows.
static int32_t usedColumns(const TokenBatch &batch, int32_t first, int32_t count) {
  int32_t used = 1;
  for (int32_t row = first; row < first + count; ++row)
    for (int32_t column = batch.tokens - 1; column >= used; --column)
      if (batch.isToken(row, column))
        used = column + 1;
  return used;
}

static void fillStep(const Manifest &manifest, const TokenBatch &batch, int32_t first, int32_t count, int32_t columns,
                     const std::vector<std::vector<int32_t>> &positions, StepArrays &arrays) {
  for (int32_t row = 0; row < count; ++row)
    for (int32_t column = 0; column < columns; ++column) {
      size_t to = static_cast<size_t>(row) * columns + column, from = batch.at(first + row, column);
      int32_t id = batch.ids[from];
      // A masked id may be anything; a program reads only rows of its tables.
      arrays.of(InputKind::inputIds)[to] = id >= 0 && id < manifest.model.vocabSize ? id : 0;
      arrays.of(InputKind::positions)[to] = positions[first + row][column];
      arrays.of(InputKind::mask)[to] = batch.isToken(first + row, column);
      arrays.of(InputKind::tokenTypeIds)[to] = batch.types && batch.isToken(first + row, column) ? batch.types[from] : 0;
    }
}

Status dsrt::encodeBatch(Model &model, const Program &program, const TokenBatch &batch, int output, float *out) {
  const ProgramRecord &record = *program.record;
  const OutputRecord &wanted = record.outputs[output];
  bool ofTokens = wanted.axes != OutputAxes::batch;
  int32_t columns = ofTokens ? batch.tokens : usedColumns(batch, 0, batch.batch);
  if (columns > record.maxRows)
    return Status::invalidArgument("a sequence of ", columns, " tokens exceeds the ", record.maxRows, " rows of a step");
  std::vector<std::vector<int32_t>> positions(batch.batch);
  for (int32_t row = 0; row < batch.batch; ++row)
    DSRT_TRY(positionsOf(model.manifest(), batch, row, columns, PositionUse::forward, positions[row]));
  // Steps of equal size, so that the last is no remnant.
  int32_t most = std::min(record.maxBatch, record.maxRows / columns);
  int32_t steps = (batch.batch + most - 1) / most;
  int32_t each = (batch.batch + steps - 1) / steps;
  StepArrays arrays;
  for (int32_t first = 0; first < batch.batch; first += each) {
    int32_t count = std::min(each, batch.batch - first);
    // What is padding in every row of a step cannot change a pooled output.
    int32_t here = ofTokens ? columns : usedColumns(batch, first, count);
    arrays.reset(count, here, record.outputs.size());
    fillStep(model.manifest(), batch, first, count, here, positions, arrays);
    if (wanted.axes == OutputAxes::rows)
      for (int32_t row = 0; row < count * here; ++row)
        arrays.of(InputKind::rows).push_back(row);
    arrays.outputs[output] = out + outputElements(wanted, first, here);
    DSRT_TRY(model.run(program, arrays));
  }
  return Status();
}
