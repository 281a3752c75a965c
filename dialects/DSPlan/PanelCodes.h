// Where scales and codes lie in a panel of layout `panel_codes`.
#ifndef DIALECTS_DSPLAN_PANELCODES_H
#define DIALECTS_DSPLAN_PANELCODES_H

#include "dialects/DS/DSDialect.h"
#include "llvm/Support/MathExtras.h"

namespace ds_plan {

/// A panel of `width` columns and `depth` k is a list of rows of `width` words of 32 bits, so that it is read from its beginning to its
/// end. A span is one or two groups of k, their scales first. Scales of f16 fill one row: those of two symmetric groups one behind the
/// other, or scale and offset of an asymmetric one. Scales of f32 fill a row of their own, and so do their offsets. Codes follow: a word
/// holds 4 k of 8 bits or 8 of 4, k in byte k % 4, of 4 bits the first four in the low halves of the bytes. Codes are unsigned: symmetric
/// ones have half their range added. So `vpdpbusd` multiplies them as they are (AVX-512 VNNI).
struct PanelCodes {
  PanelCodes(ds::QuantizedType type, int64_t depth, int64_t width)
      : type(type), depth(depth), width(width), group(type.getGroup() ? type.getGroup() : depth), half(type.getScale().isF16()) {}

  int64_t groups() const { return depth / group; }
  int64_t rowBytes() const { return width * 4; }
  int64_t scaleBytes() const { return width * (half ? 2 : 4); } // of the scales of one group
  int64_t groupBytes() const { return group / type.codesPerLane() * rowBytes(); }
  int64_t groupsOfSpan() const { return half && !type.isAsymmetric() ? 2 : 1; }
  int64_t scaleRows() const { return !half && type.isAsymmetric() ? 2 : 1; } // of a span
  int64_t spanBytes() const { return scaleRows() * rowBytes() + groupsOfSpan() * groupBytes(); }
  /// Rows of the panel; where groups are odd the last span is one group short.
  int64_t rows() const { return llvm::divideCeil(groups(), groupsOfSpan()) * scaleRows() + depth / type.codesPerLane(); }
  int64_t bytes() const { return rows() * rowBytes(); }

  // Bytes from the beginning of the panel.
  int64_t scalesOf(int64_t g) const { return g / groupsOfSpan() * spanBytes() + g % groupsOfSpan() * scaleBytes(); }
  int64_t offsetsOf(int64_t g) const { return scalesOf(g) + scaleBytes(); }
  int64_t codesOf(int64_t g) const {
    return g / groupsOfSpan() * spanBytes() + scaleRows() * rowBytes() + g % groupsOfSpan() * groupBytes();
  }

  /// What a symmetric code has added.
  int64_t zeroCode() const { return type.getKind() == ds::QuantizedKind::symmetric ? int64_t(1) << (type.getBits() - 1) : 0; }
  /// Where the code of k stands in its word, in bits.
  int64_t shiftOf(int64_t k) const { return k % 4 * 8 + (type.getBits() == 4 ? k / 4 % 2 * 4 : 0); }

  ds::QuantizedType type;
  int64_t depth, width, group;
  bool half; // scales are f16
};

} // namespace ds_plan
#endif // DIALECTS_DSPLAN_PANELCODES_H
