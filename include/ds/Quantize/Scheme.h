// How the elements of a matrix are quantized.
#ifndef DS_QUANTIZE_SCHEME_H
#define DS_QUANTIZE_SCHEME_H

#include "ds/Import/Result.h"
#include "ds/Import/TensorSource.h"
#include "ds/Quantize/MoqGrid.h"
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ds {

/// Codes of `bits` bits with a scale for each `group` of k of a row: value = scale * code, or scale * code + offset. A code is an integer,
/// or with `e4m3` the byte of a number that `e4m3ToFloat` gives (Float8.h), and that number counts.
struct QuantizationScheme {
  int64_t bits = 8;        // 2 to 8
  int64_t group = 0;       // k of one scale; 0: the whole row
  bool asymmetric = false; // codes are unsigned and there are offsets
  bool halfScales = false; // scales and offsets are f16 in place of f32
  bool e4m3 = false;       // codes are numbers of 8 bits; without offsets
  bool factors = false;    // scales and offsets are integers times one of f16 for each 256 k, as GGUF's K blocks have them

  bool operator==(const QuantizationScheme &) const = default;
  /// k of one scale in rows of `columns`.
  int64_t groupOf(int64_t columns) const { return group ? group : columns; }
  /// Bits of a weight in rows of `columns`, its share of scales and offsets included, and of bits that are left unused: an odd number of
  /// bits lies in parts for 32 k, scales of f16 in pairs (dialects/DSPlan/PanelCodes.h).
  double bitsOfWeight(int64_t columns) const;
  /// The codes there are, both included.
  int64_t leastCode() const { return asymmetric || e4m3 ? 0 : -(int64_t(1) << (bits - 1)); }
  int64_t greatestCode() const { return leastCode() + (int64_t(1) << bits) - 1; }
};

/// k of one scale in the schemes `int8`, as good as f32 on what was measured (benchmarks/RESULTS.md) while whole rows were not, and `fp8`,
/// which loses half of what it does with whole rows.
inline constexpr int64_t int8Group = 64;

/// Reads `int8` (groups of `int8Group`), `int8-row`, `int8-gN`, `intB-gN` of B bits from 2 to 7, each also with `-asym` behind it, and
/// `fp8` (the same groups), `fp8-row`, `fp8-gN`. Groups have scales of f16, whole rows of f32.
/// Errors: Usage, for another name, and a group that is no multiple of 16.
Result<QuantizationScheme> parseScheme(std::string_view name);

/// What a matrix is asked to be: `none`, as it is; `stored`, as its source's blocks; of a scheme; or on a grid of MoQ, whose scheme
/// follows from the matrix (MoqScheme.h).
struct SchemeChoice {
  enum class Kind { none, stored, scheme, grid } kind = Kind::none;
  QuantizationScheme scheme;
  bool adapts = false; // to columns that its groups do not divide: `int8` names no group
  MoqGrid grid;
};

/// Reads `none`, `stored`, or what `parseScheme` and, of names with `moq`, `parseMoqGrid` read. Errors: theirs.
Result<SchemeChoice> parseSchemeChoice(std::string_view name);

/// The name `parseScheme` reads; behind it stands `-f32` for groups whose scales are f32, `-k` where they are factors.
std::string nameOf(const QuantizationScheme &scheme);

/// The scheme that keeps the codes and scales of a type of GGUF's blocks as they are, none for other types.
std::optional<QuantizationScheme> schemeOfStored(StoredType type);
/// The type of blocks with that name (`storedTypeName`), none for other types.
std::optional<StoredType> blockTypeNamed(std::string_view name);

} // namespace ds
#endif // DS_QUANTIZE_SCHEME_H
