#include "WeightPacker.h"
#include "dialects/DS/Rope.h"
#include "dialects/DSPlan/PanelCodes.h"
#include "dialects/DSPlan/PanelHalves.h"
#include "dialects/DSPlan/PanelSums.h"
#include "dialects/DSPlan/TileCodes.h"
#include "ds/Quantize/QuantizedType.h"
#include <cmath>
#include <cstdio>
#include <cstring>

using namespace mlir;
using namespace ds;
using ds_plan::Layout;
using ds_plan::StorageOp;

static MemRefType typeOf(StorageOp storage) { return cast<MemRefType>(storage.getType()); }
static int64_t elementBytes(StorageOp storage) { return typeOf(storage).getElementTypeBitWidth() / 8; }

int64_t ds::storageBytes(StorageOp storage) { return typeOf(storage).getNumElements() * elementBytes(storage); }

int64_t ds::rowsPerUnit(StorageOp storage) {
  if (isInTiles(storage.getLayout()))
    return ds_plan::Tiles::blockRows;
  return isInPanels(storage.getLayout()) ? ds_plan::panelWidth(typeOf(storage)) : 1;
}

int64_t ds::unitCount(StorageOp storage) { return storage.getLayout() == Layout::vector ? 1 : typeOf(storage).getDimSize(0); }

int64_t ds::unitBytes(StorageOp storage) { return storageBytes(storage) / unitCount(storage); }

static bool holdsF16(StorageOp storage) { return typeOf(storage).getElementType().isF16(); }

/// Rounding to f16 would make infinities of larger numbers. Those that are infinite or NaN stay so.
static Result<void> expectWithinF16(StorageOp storage, ArrayRef<float> values, int64_t firstRow, int64_t columns) {
  constexpr float most = 65504;
  for (auto [i, value] : llvm::enumerate(values))
    if (std::isfinite(value) && std::fabs(value) > most) {
      const int64_t row = firstRow + static_cast<int64_t>(i) / columns, column = static_cast<int64_t>(i) % columns;
      char found[32];
      std::snprintf(found, sizeof(found), "%g", static_cast<double>(value));
      return Error::badData("parameter '" + storage.getParameter()->str() + "', row " + std::to_string(row) + ", column " +
                            std::to_string(column) + ": expects at most 65504 in magnitude, as weights are f16, got " + found);
    }
  return {};
}

/// f32 to bf16, to the nearest, ties to even; a NaN stays a NaN.
static uint16_t toBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (std::isnan(value))
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float fromBf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

namespace {
/// Elements of a storage: the type is asked for once, not for each of a hundred million.
struct Elements {
  Elements(StorageOp storage, uint8_t *out) : isBf16(typeOf(storage).getElementType().isBF16()), isF16(holdsF16(storage)), out(out) {}
  void store(int64_t index, float value) const {
    if (isBf16 || isF16) {
      uint16_t half = isBf16 ? toBf16(value) : toHalf(value);
      std::memcpy(out + index * 2, &half, 2);
    } else {
      std::memcpy(out + index * 4, &value, 4);
    }
  }
  bool isBf16, isF16;
  uint8_t *out;
};
} // namespace

static void packRope(StorageOp storage, int64_t first, int64_t count, uint8_t *out) {
  DictionaryAttr rope = *storage.getRope();
  int64_t rotary = cast<IntegerAttr>(rope.get("rotary")).getInt();
  SmallVector<float> frequencies =
      ropeFrequencies(rotary, cast<FloatAttr>(rope.get("base")).getValueAsDouble(), dyn_cast_or_null<RopeScalingAttr>(rope.get("scaling")));
  const Elements to(storage, out);
  for (int64_t row = 0; row < count; ++row)
    for (int64_t i = 0; i < rotary / 2; ++i) {
      float angle = static_cast<float>(first + row) * frequencies[i];
      to.store(row * rotary + i, static_cast<float>(std::cos(static_cast<double>(angle))));
      to.store(row * rotary + rotary / 2 + i, static_cast<float>(std::sin(static_cast<double>(angle))));
    }
}

/// The factors of group `g` of column `n`, and what multiplies them.
static void packFactors(const ds_plan::PanelCodes &panel, const GroupFactors &group, int64_t g, int64_t n, uint8_t *out) {
  const uint16_t scale = toHalf(group.scale), offset = toHalf(group.offset);
  std::memcpy(out + panel.scalesOf(g) + n * 2, &scale, 2);
  const auto both = static_cast<uint32_t>(group.ofScale) | static_cast<uint32_t>(group.ofOffset) << 6;
  out[panel.factorsOf(g) + n] = static_cast<uint8_t>(both);
  if (!panel.type.isAsymmetric())
    return;
  std::memcpy(out + panel.offsetsOf(g) + n * 2, &offset, 2);
  out[panel.highFactorsOf(g) + n] |= static_cast<uint8_t>(both >> 8 << panel.highFactorShift(g));
}

/// One panel of layout `panel_codes`: `count` rows from `first` on, zeros for those behind them.
static Result<void> packCodes(const ds_plan::PanelCodes &panel, const ParameterReader &reader, int64_t first, int64_t count, uint8_t *out) {
  const QuantizationScheme scheme = schemeOf(panel.type);
  const auto scaleBytes = static_cast<int64_t>(panel.half ? sizeof(uint16_t) : sizeof(float));
  const auto planes = panel.planes();
  auto storeScale = [&](float value, uint8_t *to) {
    const uint16_t half = toHalf(value);
    panel.half ? std::memcpy(to, &half, 2) : std::memcpy(to, &value, 4);
  };
  QuantizedRow row;
  for (int64_t n = 0; n < count; ++n) {
    if (Result<void> read = reader.readCodes(first + n, row); !read)
      return read;
    for (int64_t g = 0; g < panel.groups(); ++g) {
      if (panel.factors) {
        packFactors(panel, row.factors[g], g, n, out);
      } else {
        storeScale(row.scales[g], out + panel.scalesOf(g) + n * scaleBytes);
        if (scheme.asymmetric)
          storeScale(row.offsets[g], out + panel.offsetsOf(g) + n * scaleBytes);
      }
      uint8_t *codes = out + panel.codesOf(g) + n * 4;
      for (const ds_plan::PanelCodes::Plane plane : planes)
        for (int64_t k = 0; k < panel.group; k += 4) { // which share a word of every plane
          const int64_t inRun = panel.firstOfRun(g) + k;
          uint32_t parts = 0;
          for (int64_t i = 0; i < 4; ++i) {
            const auto code = static_cast<uint32_t>(row.codes[g * panel.group + k + i] + panel.zeroCode());
            parts |= (code >> plane.low & ((1U << plane.bits) - 1)) << panel.shiftOf(plane, inRun + i);
          }
          uint32_t word;
          uint8_t *place = codes + panel.rowOf(plane, inRun) * panel.rowBytes();
          std::memcpy(&word, place, 4);
          word |= parts;
          std::memcpy(place, &word, 4);
        }
    }
  }
  return {};
}

/// One panel of layout `panel_sums`: `length` rows of `depth` columns in a panel of `width`.
static void packSums(ArrayRef<float> rows, int64_t length, int64_t depth, int64_t width, uint8_t *out) {
  const ds_plan::PanelSums panel(depth);
  auto store = [&](int64_t line, int64_t n, float value) { std::memcpy(out + (line * width + n) * 4, &value, 4); };
  for (int64_t n = 0; n < length; ++n) {
    ArrayRef<float> row = rows.slice(n * depth, depth);
    double squares = 0;
    for (float value : row)
      squares += static_cast<double>(value) * value;
    // What a column of zeros leaves of a row is taken far down; one with an infinity or a NaN stays as it is.
    constexpr int most = 100;
    int exponent = std::isfinite(squares) ? most : 0;
    if (std::isfinite(squares) && squares > 0)
      exponent = std::clamp(-std::ilogb(std::sqrt(squares / static_cast<double>(depth))), -most, most);
    const float down = std::ldexp(1.0F, -exponent);
    std::vector<float> sums(panel.passes());
    for (int64_t k = 0; k < depth; ++k) {
      const float value = std::ldexp(row[k], exponent);
      store(panel.values + k, n, value);
      // As the kernels add them, so that what a row of zeros leaves is zero.
      if (ds_plan::PanelSums::isFirstOfPair(k) && k + 1 < depth)
        sums[k / ds_plan::PanelSums::pass] = std::fma(value, std::ldexp(row[k + 1], exponent), sums[k / ds_plan::PanelSums::pass]);
    }
    store(panel.powers, n, down);
    for (auto [pass, sum] : llvm::enumerate(sums))
      store(panel.sums() + static_cast<int64_t>(pass), n, -sum * down);
  }
}

/// One panel of layout `panel_halves`, as `packSums` has it; values are rounded to bf16 first.
static void packHalves(ArrayRef<float> rows, int64_t length, int64_t depth, int64_t width, uint8_t *out) {
  using ds_plan::PanelHalves;
  std::vector<float> row(depth);
  for (int64_t n = 0; n < length; ++n) {
    float most = 0;
    for (int64_t k = 0; k < depth; ++k) {
      row[k] = fromBf16(toBf16(rows[n * depth + k]));
      if (std::isfinite(row[k]))
        most = std::max(most, std::fabs(row[k]));
    }
    // Both powers are f32.
    constexpr int limit = 126;
    const int exponent = most > 0 ? std::clamp<int>(PanelHalves::largest - std::ilogb(most), -limit, limit) : 0;
    const float down = std::ldexp(1.0F, -exponent);
    std::memcpy(out + (PanelHalves::powers * width + n) * 4, &down, 4);
    for (int64_t k = 0; k < depth; ++k) {
      const uint16_t half = toHalf(std::ldexp(row[k], exponent));
      std::memcpy(out + ((PanelHalves::values + k / 2) * width + n) * 4 + k % 2 * 2, &half, 2);
    }
  }
}

/// One block of layout `tile_codes`.
static Result<void> packTileCodes(const ds_plan::Tiles &tiles, const ParameterReader &reader, int64_t first, int64_t count, uint8_t *out) {
  const QuantizationScheme scheme = schemeOf(*tiles.type);
  auto storeScale = [&](float value, int64_t place) {
    const uint16_t half = toHalf(value);
    tiles.half() ? std::memcpy(out + place, &half, 2) : std::memcpy(out + place, &value, 4);
  };
  // What pads a row or stands behind the last has the value 0 where the type has one.
  const auto zero = static_cast<uint8_t>(tiles.zeroCode());
  std::memset(out, tiles.bits() == 8 ? zero : zero << 4 | zero, tiles.codeBytes());
  QuantizedRow row;
  for (int64_t n = 0; n < count; ++n) {
    if (Result<void> read = reader.readCodes(first + n, row); !read)
      return read;
    for (int64_t g = 0; g < tiles.groups(); ++g) {
      storeScale(row.scales[g], tiles.scaleOf(n, g));
      if (scheme.asymmetric)
        storeScale(row.offsets[g], tiles.offsetOf(n, g));
    }
    for (int64_t k = 0; k < tiles.depth; k += 8) { // 8 k of a row stand together
      uint8_t *place = out + tiles.placeOf(n, k);
      uint32_t word = 0;
      std::memcpy(&word, place, 4);
      for (int64_t i = 0; i < std::min<int64_t>(8, tiles.depth - k); ++i) {
        const auto code = static_cast<uint32_t>(row.codes[k + i] + tiles.zeroCode());
        const int64_t shift = ds_plan::Tiles::shiftOf(i);
        if (tiles.bits() == 8)
          place[i] = static_cast<uint8_t>(code);
        else
          word = (word & ~(uint32_t(15) << shift)) | (code & 15) << shift;
      }
      if (tiles.bits() == 4)
        std::memcpy(place, &word, 4);
    }
  }
  return {};
}

Result<void> ds::packUnits(StorageOp storage, const ParameterReader *reader, int64_t first, int64_t count, uint8_t *out) {
  if (storage.getLayout() == Layout::rope) {
    packRope(storage, first, count, out);
    return {};
  }
  std::memset(out, 0, count * unitBytes(storage));
  int64_t columns = reader->columns(), group = storage.getLayout() == Layout::vector ? reader->rows() : rowsPerUnit(storage);
  if (storage.getLayout() == Layout::panel_codes) {
    if (!reader->quantizedType())
      return Error::internal("storage '" + storage.getSymName().str() + "' is of codes, its parameter is not");
    const ds_plan::PanelCodes panel(reader->quantizedType(), columns, group);
    for (int64_t unit = 0; unit < count; ++unit) {
      const int64_t begin = (first + unit) * group;
      if (Result<void> packed = packCodes(panel, *reader, begin, std::min(group, reader->rows() - begin), out + unit * unitBytes(storage));
          !packed)
        return packed;
    }
    return {};
  }
  if (storage.getLayout() == Layout::tile_codes) {
    if (!reader->quantizedType())
      return Error::internal("storage '" + storage.getSymName().str() + "' is of codes, its parameter is not");
    const ds_plan::Tiles tiles(reader->quantizedType(), reader->rows(), columns);
    for (int64_t unit = 0; unit < count; ++unit) {
      const int64_t begin = (first + unit) * group, length = std::clamp<int64_t>(reader->rows() - begin, 0, group);
      if (Result<void> packed = packTileCodes(tiles, *reader, begin, length, out + unit * unitBytes(storage)); !packed)
        return packed;
    }
    return {};
  }
  std::vector<float> rows(group * columns);
  for (int64_t unit = 0; unit < count; ++unit, out += unitBytes(storage)) {
    int64_t begin = (first + unit) * group, length = std::clamp<int64_t>(reader->rows() - begin, 0, group);
    if (length == 0)
      continue; // the second half of the last pair of blocks
    if (Result<void> result = reader->read(begin, length, rows.data()); !result)
      return result;
    if (storage.getLayout() == Layout::panel_halves) {
      packHalves(rows, length, columns, group, out);
      continue;
    }
    if (holdsF16(storage))
      if (Result<void> within = expectWithinF16(storage, ArrayRef(rows).take_front(length * columns), begin, columns); !within)
        return within;
    const Elements to(storage, out);
    if (storage.getLayout() == Layout::tiles) {
      const ds_plan::Tiles tiles(std::nullopt, reader->rows(), columns);
      for (int64_t n = 0; n < length; ++n)
        for (int64_t k = 0; k < columns; k += 8) { // 8 k of a row stand together
          const int64_t place = tiles.placeOf(n, k) / 2;
          for (int64_t i = 0; i < std::min<int64_t>(8, columns - k); ++i)
            to.store(place + i, rows[n * columns + k + i]);
        }
      continue;
    }
    if (!isInPanels(storage.getLayout())) {
      for (int64_t i = 0; i < length * columns; ++i)
        to.store(i, rows[i]);
      continue;
    }
    if (storage.getLayout() == Layout::panel_sums) {
      packSums(rows, length, columns, group, out);
      continue;
    }
    const int64_t together = storage.getLayout() == Layout::panel_pairs ? 2 : 1; // k that stand side by side
    for (int64_t k = 0; k < columns; ++k)
      for (int64_t n = 0; n < length; ++n)
        to.store((k / together * group + n) * together + k % together, rows[n * columns + k]);
  }
  return {};
}
