#include "runtime/lib/ProfileDescription.h"
#include "runtime/lib/ManifestReader.h"

using namespace dsrt;

const DescribedProgram *ProfileDescription::program(std::string_view name) const {
  for (const DescribedProgram &program : programs)
    if (program.name == name)
      return &program;
  return nullptr;
}

namespace {
struct NumberKey {
  const char *name;
  double *field;
};
} // namespace

/// Adds the member to `out` when it is there.
static Status addNumber(const JsonPlace &place, const NumberKey &key) {
  const JsonValue *value = place.value->find(key.name);
  if (!value)
    return Status();
  if ((value->kind != JsonKind::integer && value->kind != JsonKind::number) || !(value->number >= 0))
    return Status::badData(place.placeOf(key.name), ": expects a number from 0 on, found ", describe(*value));
  *key.field += value->number;
  return Status();
}

static Status readRows(const JsonPlace &place, LaunchRows &rows) {
  std::string text;
  DSRT_TRY(place.text("rows", text));
  if (text == "selected")
    rows = LaunchRows::selected;
  else if (text == "batch")
    rows = LaunchRows::batch;
  else if (text != "tokens")
    return Status::badData(place.placeOf("rows"), ": expects tokens, selected or batch, found ", inQuotes(text));
  return Status();
}

static Status readOp(const JsonPlace &place, DescribedOp &op, LaunchFacts &facts) {
  DSRT_TRY(place.text("op", op.op));
  DSRT_TRY(place.text("module", op.module));
  const NumberKey keys[] = {{"macs_per_row", &op.macsPerRow},
                            {"macs_per_pair", &op.macsPerPair},
                            {"flops_per_row", &op.flopsPerRow},
                            {"flops_per_pair", &op.flopsPerPair},
                            {"flops_per_key", &op.flopsPerKey},
                            {"compatible_flops_per_row", &op.compatibleFlopsPerRow},
                            {"compatible_flops_per_pair", &op.compatibleFlopsPerPair},
                            {"lane_ops_per_row", &facts.laneOpsPerRow},
                            {"lane_ops_per_pair", &facts.laneOpsPerPair},
                            {"lane_ops_per_key", &facts.laneOpsPerKey},
                            {"window", &op.window}};
  for (const NumberKey &key : keys)
    DSRT_TRY(addNumber(place, key));
  if (const JsonValue *causal = place.value->find("causal"))
    op.causal = causal->boolean;
  if (const JsonValue *matrix = place.value->find("matrix"))
    facts.matrix = matrixTypeNamed(matrix->string);
  if (!place.value->find("weights"))
    return Status();
  JsonPlace weights;
  DSRT_TRY(place.member("weights", JsonKind::object, weights));
  for (const std::string &name : weights.value->keys) {
    double elements = 0;
    DSRT_TRY(addNumber(weights, {name.c_str(), &elements}));
    op.weights.emplace_back(name, elements);
  }
  return Status();
}

static Status readLaunch(const JsonPlace &place, DescribedLaunch &launch) {
  LaunchFacts &facts = launch.facts;
  DSRT_TRY(place.text("kernel", launch.kernel));
  DSRT_TRY(place.text("family", facts.family));
  DSRT_TRY(place.text("module", launch.module));
  DSRT_TRY(readRows(place, facts.rows));
  double bytesPerRow = 0;
  const NumberKey keys[] = {{"weight_bytes", &facts.weightBytes},
                            {"bytes_per_row", &bytesPerRow},
                            {"written_bytes_per_row", &facts.writtenBytesPerRow},
                            {"output_bytes_per_row", &facts.outputBytesPerRow},
                            {"lookup_bytes_per_row", &facts.lookupBytesPerRow},
                            {"table_bytes_per_row", &facts.tableBytesPerRow},
                            {"table_size", &facts.tableSize},
                            {"codes", &facts.codes},
                            {"heads", &facts.heads},
                            {"key_block_bytes", &facts.keyBlockBytes},
                            {"bytes_per_key", &facts.bytesPerKey},
                            {"scratch_bytes_per_row", &facts.scratchBytesPerRow},
                            {"lane_ops_per_row", &facts.laneOpsPerRow},
                            {"lane_ops_per_pair", &facts.laneOpsPerPair},
                            {"lane_ops_per_key", &facts.laneOpsPerKey}};
  for (const NumberKey &key : keys)
    DSRT_TRY(addNumber(place, key));
  facts.readBytesPerRow = std::max(0.0, bytesPerRow - facts.writtenBytesPerRow - facts.lookupBytesPerRow);
  if (const JsonValue *tiles = place.value->find("rows_are_tiles"))
    facts.rowsAreTiles = tiles->boolean;
  JsonPlace ops;
  DSRT_TRY(place.member("ops", JsonKind::array, ops));
  for (size_t i = 0; i < ops.value->elements.size(); ++i) {
    DescribedOp &op = launch.ops.emplace_back();
    DSRT_TRY(readOp(ops.element(i), op, facts));
    facts.macsPerRow += op.macsPerRow;
    facts.macsPerPair += op.macsPerPair;
    facts.flopsPerRow += op.flopsPerRow;
    facts.flopsPerPair += op.flopsPerPair;
    facts.flopsPerKey += op.flopsPerKey;
    facts.causal |= op.causal;
    facts.window = std::max(facts.window, op.window);
  }
  return Status();
}

Status dsrt::parseProfileDescription(std::string_view text, std::string_view place, ProfileDescription &description) {
  JsonValue value;
  DSRT_TRY(parseJson(text, place, value));
  JsonPlace root{&value, std::string(place)}, programs;
  std::string format;
  int32_t version = 0;
  DSRT_TRY(root.text("format", format));
  if (format != "ds-profile")
    return Status::badData(root.placeOf("format"), ": expects 'ds-profile', found ", inQuotes(format));
  DSRT_TRY(root.integer("version", 1, 1, version));
  DSRT_TRY(root.text("fusion", description.fusion));
  DSRT_TRY(root.member("programs", JsonKind::array, programs));
  for (size_t i = 0; i < programs.value->elements.size(); ++i) {
    JsonPlace from = programs.element(i), launches;
    DescribedProgram &program = description.programs.emplace_back();
    DSRT_TRY(from.text("name", program.name));
    DSRT_TRY(from.member("launches", JsonKind::array, launches));
    for (size_t j = 0; j < launches.value->elements.size(); ++j)
      DSRT_TRY(readLaunch(launches.element(j), program.launches.emplace_back()));
  }
  return Status();
}
