// Where scales and codes lie in a panel of layout `panel_codes`.
#ifndef DIALECTS_DSPLAN_PANELCODES_H
#define DIALECTS_DSPLAN_PANELCODES_H

#include "dialects/DS/DSDialect.h"
#include "llvm/Support/MathExtras.h"

namespace ds_plan {

/// A panel of `width` columns and `depth` k is a list of rows of `width` words of 32 bits, so that it is read from its beginning to its
/// end. A span is one or two groups of k, their scales first. Scales of f16 fill one row: those of two symmetric groups one behind the
/// other, or scale and offset of an asymmetric one. Scales of f32 fill a row of their own, and so do their offsets. Of scales that are
/// integers a span is a block of 256 k: its f16 in one row (scales, then offsets), then bytes [group][width] of signed scales, or, of 12
/// bits for scale and offset, of the low 8 of each group, scale first, and of the high 4 of two groups, the first lowest. Codes follow,
/// unit by unit of 16 k. Codes are unsigned: symmetric ones have half their range added. So `vpdpbusd` multiplies them as they are (AVX-512
/// VNNI).
///
/// A code is cut into planes, parts of 8, 4, 2 and 1 bits, the lowest bits first: 8, 7 = 4 + 2 + 1, 6 = 4 + 2, 5 = 4 + 1, 4, 3 = 2 + 1, 2.
/// A unit has the rows of its planes one behind the other, those of the highest bits first: each row of these is read with several of the
/// others, so that memory is read forward. In a word of p bits stand 32 / p k, k in byte k % 4, and in a byte the k that are 4 apart, the
/// first lowest. A plane of 1 bit holds 32 k in a word, so that its row stands before two units of a group, for both, and half of it is
/// unused where the group has one unit left. Groups of one unit in blocks of 256 k have it in common with their neighbour.
struct PanelCodes {
  PanelCodes(ds::QuantizedType type, int64_t depth, int64_t width)
      : type(type), depth(depth), width(width), group(type.getGroup() ? type.getGroup() : depth), half(type.getScale().isF16()),
        factors(type.hasFactors()) {}

  /// `bits` bits of each code, from bit `low` on.
  struct Plane {
    int64_t bits, low;
  };
  static constexpr int64_t unit = 16; // k; groups are multiples of it

  int64_t bits() const { return type.getBits(); }
  llvm::SmallVector<Plane, 3> planes() const {
    llvm::SmallVector<Plane, 3> list;
    int64_t low = 0;
    for (int64_t part : {8, 4, 2, 1})
      if (bits() - low >= part)
        list.push_back({part, low}), low += part;
    return list;
  }
  bool hasBitPlane() const { return bits() % 2 != 0; }
  /// The first row of a plane of more than 1 bit, counted in its unit.
  int64_t firstRowOf(Plane plane) const { return unitRows() - (plane.low + plane.bits) / 2; }

  int64_t groups() const { return depth / group; }
  int64_t rowBytes() const { return width * 4; }
  int64_t scaleBytes() const { return width * (half || factors ? 2 : 4); } // of the scales of one group, of those of a block of factors
  int64_t unitRows() const { return bits() / 2; }                          // without a plane of 1 bit
  /// Groups whose codes lie like those of one.
  int64_t groupsOfRun() const { return factors && hasBitPlane() && group == unit ? 2 : 1; }
  int64_t runLength() const { return groupsOfRun() * group; } // k
  int64_t runRows() const { return runLength() / unit * unitRows() + (hasBitPlane() ? llvm::divideCeil(runLength(), 2 * unit) : 0); }
  int64_t runBytes() const { return runRows() * rowBytes(); }
  int64_t groupsOfSpan() const { return factors ? ds::QuantizedType::kBlock / group : half && !type.isAsymmetric() ? 2 : 1; }
  int64_t scaleRows() const { return factors ? 1 + factorRows() : !half && type.isAsymmetric() ? 2 : 1; } // of a span
  int64_t factorRows() const { return groupsOfSpan() * (type.isAsymmetric() ? 12 : 8) / 32; }
  int64_t spanBytes() const { return scaleRows() * rowBytes() + groupsOfSpan() / groupsOfRun() * runBytes(); }
  /// Rows of the panel; where groups are odd the last span is one group short.
  int64_t rows() const { return llvm::divideCeil(groups(), groupsOfSpan()) * scaleRows() + groups() / groupsOfRun() * runRows(); }
  int64_t bytes() const { return rows() * rowBytes(); }

  // Bytes from the beginning of the panel.
  int64_t scalesOf(int64_t g) const { return g / groupsOfSpan() * spanBytes() + (factors ? 0 : g % groupsOfSpan() * scaleBytes()); }
  int64_t offsetsOf(int64_t g) const { return scalesOf(g) + scaleBytes(); }
  int64_t codesOf(int64_t g) const { // of its run
    return g / groupsOfSpan() * spanBytes() + scaleRows() * rowBytes() + g % groupsOfSpan() / groupsOfRun() * runBytes();
  }
  /// The k of its run that a group begins with.
  int64_t firstOfRun(int64_t g) const { return g % groupsOfRun() * group; }

  // Of factors.
  int64_t factorsOf(int64_t g) const { return scalesOf(g) + rowBytes() + g % groupsOfSpan() * width; }
  int64_t highFactorsOf(int64_t g) const { return scalesOf(g) + rowBytes() + (groupsOfSpan() + g % groupsOfSpan() / 2) * width; }
  static int64_t highFactorShift(int64_t g) { return g % 2 * 4; }

  /// What a symmetric code has added.
  int64_t zeroCode() const { return type.getKind() == ds::QuantizedKind::symmetric ? int64_t(1) << (bits() - 1) : 0; }
  /// The row of the run's codes that holds a plane of k, counted in the run.
  int64_t rowOf(Plane plane, int64_t k) const {
    const int64_t u = k / unit, pair = hasBitPlane() ? u / 2 * bits() : 0;
    if (plane.bits == 1)
      return pair;
    return (hasBitPlane() ? pair + 1 + u % 2 * unitRows() : u * unitRows()) + firstRowOf(plane) + k % unit * plane.bits / 32;
  }
  /// Where it stands in its word, in bits.
  static int64_t shiftOf(Plane plane, int64_t k) { return k % 4 * 8 + k / 4 * plane.bits % 8; }

  ds::QuantizedType type;
  int64_t depth, width, group;
  bool half;    // scales are f16
  bool factors; // scales are integers that an f16 of a block multiplies
};

} // namespace ds_plan
#endif // DIALECTS_DSPLAN_PANELCODES_H
