// Where the elements of a matrix lie in the layouts for tensor cores, `tiles` and `tile_codes`.
#ifndef DIALECTS_DSPLAN_TILECODES_H
#define DIALECTS_DSPLAN_TILECODES_H

#include "dialects/DS/DSDialect.h"
#include "llvm/Support/MathExtras.h"
#include <optional>

namespace ds_plan {

/// A matrix [rows, depth] in blocks of 8 rows, an even number of them. A block is tiles of 512 bytes side by side along k: 32 k of bf16 or
/// f16, 64 codes of 8 bits or 128 of 4. A tile is 16 bytes for each lane of a warp: lane g * 4 + t has row g and, of every 32 k of the
/// tile, those from 8 t to 8 t + 7, which is what the lane gives to two `mma.m16n8k16`. Of codes the parts of 32 k stand one behind the
/// other: 8 bytes of 8 bits, or a word of 4 bits in which k = 8 t + i has bits 4 (i / 2) + 16 (i % 2) and up. Codes are unsigned: symmetric
/// ones have half their range added; those of e4m3 are its bytes. Behind its codes a block has its scales [groups][8], and those of
/// asymmetric types their offsets [groups][8]. Elements behind `rows` and `depth` are zeros (codes: of value 0 where symmetric or e4m3).
struct Tiles {
  /// Codes of `type`, or without one f16 or bf16.
  Tiles(std::optional<ds::QuantizedType> type, int64_t rows, int64_t depth, bool isF16 = false)
      : type(type), rows(rows), depth(depth), isF16(isF16) {}

  static constexpr int64_t blockRows = 8, tileBytes = 512, partDepth = 32;

  bool half() const { return type && type->getScale().isF16(); }
  /// Bits a code lies in: codes of 2 and 3 bits in 4, those of 5 to 7 in 8.
  int64_t bits() const { return !type ? 16 : type->getBits() <= 4 ? 4 : 8; }
  int64_t tileDepth() const { return tileBytes / blockRows * 8 / bits(); }
  int64_t tiles() const { return llvm::divideCeil(depth, tileDepth()); }
  int64_t blocks() const { return 2 * llvm::divideCeil(rows, 2 * blockRows); }
  int64_t group() const { return type && type->getGroup() ? type->getGroup() : depth; }
  int64_t groups() const { return type ? llvm::divideCeil(depth, group()) : 0; }
  int64_t scaleBytes() const { return half() ? 2 : 4; }
  bool isAsymmetric() const { return type && type->isAsymmetric(); }
  bool isE4m3() const { return type && type->isE4m3(); }
  /// Whether products find one scale a row for each part of a tile: groups are parts of a tile or whole tiles, or there is one.
  bool hasWholeGroups() const {
    return !type || groups() == 1 || group() % tileDepth() == 0 || (group() % partDepth == 0 && tileDepth() % group() == 0);
  }
  int64_t codeBytes() const { return tiles() * tileBytes; } // of a block
  int64_t blockBytes() const { return codeBytes() + groups() * blockRows * scaleBytes() * (isAsymmetric() ? 2 : 1); }
  /// What a symmetric code has added.
  int64_t zeroCode() const { return type && type->getKind() == ds::QuantizedKind::symmetric ? int64_t(1) << (type->getBits() - 1) : 0; }

  // Bytes from the beginning of a block.
  int64_t scaleOf(int64_t row, int64_t g) const { return codeBytes() + (g * blockRows + row % blockRows) * scaleBytes(); }
  int64_t offsetOf(int64_t row, int64_t g) const { return scaleOf(row, groups() + g); }
  /// The byte that has element (row, k), or its first one; of 4 bits it is a word, and `shiftOf` says where in it.
  int64_t placeOf(int64_t row, int64_t k) const {
    int64_t inTile = k % tileDepth(), part = inTile / partDepth, lane = row % blockRows * 4 + inTile % partDepth / 8, i = inTile % 8;
    int64_t inLane = bits() == 16 ? i * 2 : bits() == 8 ? part * 8 + i : part * 4;
    return k / tileDepth() * tileBytes + lane * 16 + inLane;
  }
  static int64_t shiftOf(int64_t k) { return k % 8 / 2 * 4 + k % 2 * 16; }

  std::optional<ds::QuantizedType> type;
  int64_t rows, depth;
  bool isF16; // without a type
};

} // namespace ds_plan
#endif // DIALECTS_DSPLAN_TILECODES_H
