#include "runtime/lib/LaunchProduct.h"

using namespace dsrt;

// Far beyond any matrix, and small enough that no sum below overflows.
static constexpr int64_t sizeMost = 1 << 24, bytesPerRowMost = int64_t(1) << 30;
static constexpr int64_t sizeMultiple = 16, alignment = 256;

/// `bytes` at the most rows of a step: places and sizes grow with the rows.
static Status readPlace(const JsonPlace &product, const char *key, int64_t rows, int64_t bytes, int64_t arenaBytes, ArenaPlace &place) {
  JsonPlace json;
  DSRT_TRY(product.member(key, JsonKind::object, json));
  DSRT_TRY(json.integer("offset", 0, arenaBytes, place.offset));
  DSRT_TRY(json.integer("bytes_per_row", 0, bytesPerRowMost, place.bytesPerRow));
  if (place.offset % alignment != 0)
    return Status::badData(json.placeOf("offset"), ": expects a multiple of ", alignment, ", found ", place.offset);
  if (place.bytesPerRow % 2 != 0)
    return Status::badData(json.placeOf("bytes_per_row"), ": expects a multiple of 2, found ", place.bytesPerRow);
  if (const int64_t end = place.at(rows) + bytes; end > arenaBytes)
    return Status::badData(json.place, ": expects to end within the ", arenaBytes, " bytes of the arena at ", rows, " rows, found ", end);
  return Status();
}

static Status readSize(const JsonPlace &product, const char *key, int64_t &size) {
  DSRT_TRY(product.integer(key, 1, sizeMost, size));
  if (size % sizeMultiple != 0)
    return Status::badData(product.placeOf(key), ": expects a multiple of ", sizeMultiple, ", found ", size);
  return Status();
}

static Status readProduct(const JsonPlace &json, int64_t rows, int64_t arenaBytes, ProductRecord &product) {
  std::string type;
  DSRT_TRY(json.text("type", type));
  if (type != "bf16" && type != "f16")
    return Status::badData(json.placeOf("type"), ": expects bf16 or f16, found ", inQuotes(type));
  product.type = type == "bf16" ? HalfType::bf16 : HalfType::f16;
  DSRT_TRY(readSize(json, "columns", product.columns));
  DSRT_TRY(readSize(json, "depth", product.depth));
  DSRT_TRY(readPlace(json, "x", rows, rows * product.depth * 2, arenaBytes, product.x));
  DSRT_TRY(readPlace(json, "weights", rows, product.columns * product.depth * 2, arenaBytes, product.weights));
  return readPlace(json, "sums", rows, rows * product.columns * 4, arenaBytes, product.sums);
}

Status dsrt::readLibraryUse(const JsonPlace &launch, const ProgramRecord &program, int64_t arenaBytes, LaunchRecord &record) {
  if (const JsonValue *library = launch.value->find("library")) {
    if (library->kind != JsonKind::boolean)
      return Status::badData(launch.placeOf("library"), ": expects a boolean, found ", describe(*library));
    record.library = library->boolean ? LibraryUse::with : LibraryUse::without;
  }
  if (!launch.value->find("product"))
    return Status();
  JsonPlace json;
  DSRT_TRY(launch.member("product", JsonKind::object, json));
  if (record.library != LibraryUse::with)
    return Status::badData(launch.placeOf("library"), ": expects true beside a product");
  if (launch.value->find("kernel"))
    return Status::badData(launch.placeOf("kernel"), ": expects none beside a product");
  record.kernel = -1;
  return readProduct(json, program.maxRows, arenaBytes, record.product.emplace());
}
