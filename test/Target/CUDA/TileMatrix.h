// Matrices of made-up values in the layouts of tensor cores.
#ifndef DS_TEST_TARGET_CUDA_TILEMATRIX_H
#define DS_TEST_TARGET_CUDA_TILEMATRIX_H

#include "../CPU/OneLaunch.h"
#include "dialects/DSPlan/TileCodes.h"
#include "ds/Quantize/Float8.h"
#include "mlir/IR/MLIRContext.h"

namespace ds::test {

/// How a matrix is stored: `bits` 16 is bf16 or f16, fewer are codes; of 8 bits they may be numbers (e4m3).
struct TileType {
  int64_t bits = 16;
  bool asymmetric = false;
  int64_t group = 0; // 0: the row
  bool half = false;
  bool e4m3 = false;
  bool f16 = false;

  QuantizedKind kind() const { return e4m3 ? QuantizedKind::e4m3 : asymmetric ? QuantizedKind::asymmetric : QuantizedKind::symmetric; }
  std::string text() const {
    return bits == 16 ? (f16 ? "f16" : "bf16")
                      : "!ds.quantized<" + std::to_string(bits) + " " + stringifyQuantizedKind(kind()).str() + " group " +
                            std::to_string(group) + " scale " + (half ? "f16" : "f32") + ">";
  }
  std::string layout() const { return bits == 16 ? "tiles" : "tile_codes"; }
};

inline constexpr TileType tileTypes[] = {{16},
                                         {8, false, 0, false},
                                         {8, false, 32, true},
                                         {8, true, 32, true},
                                         {4, false, 32, true},
                                         {4, false, 64, true},
                                         {4, true, 32, true},
                                         {4, true, 32, false},
                                         {4, false, 0, false},
                                         {8, false, 0, false, true},
                                         {8, false, 64, true, true},
                                         {6, false, 64, true},
                                         {5, true, 32, true},
                                         {3, false, 0, false},
                                         {16, false, 0, false, false, true}};

/// A matrix [rows, depth]; a group divides `depth`. Another `seed`, other values.
class TileMatrix {
public:
  TileMatrix(TileType type, int64_t rows, int64_t depth, uint64_t seed = 0)
      : tiles(quantized(type), rows, depth, type.f16), bytes(tiles.blocks() * tiles.blockBytes()), values(rows * depth), type(type) {
    memset(bytes.as<uint8_t>(), 0, bytes.size());
    Numbers numbers(rows * depth + type.bits + seed * 1000003);
    for (int64_t row = 0; row < tiles.blocks() * ds_plan::Tiles::blockRows; ++row)
      type.bits == 16 ? fillRow(row, numbers) : fillCodes(row, numbers);
  }

  /// Of a storage.
  std::string memref() const {
    std::string blocks = "memref<" + std::to_string(tiles.blocks()) + "x";
    return blocks + (type.bits == 16 ? std::to_string(tiles.tiles()) + "x8x32x" + type.text() + ">"
                                     : std::to_string(tiles.blockBytes() / 4) + "xi32>");
  }
  /// Of the parameter and, where it is quantized, of a block argument.
  std::string tensor() const {
    return "tensor<" + std::to_string(tiles.rows) + "x" + std::to_string(tiles.depth) + "x" + type.text() + ">";
  }
  /// `text` of OneLaunch, its parameter being this matrix.
  std::string withParameter(std::string text) const {
    const std::string made = "from \"p\" : tensor<1xf32>";
    return text.replace(text.find(made), made.size(), "from \"p\" : " + tensor());
  }

  ds_plan::Tiles tiles;
  GuardedBytes bytes;
  std::vector<float> values;

private:
  static std::optional<QuantizedType> quantized(TileType type) {
    static mlir::MLIRContext context;
    context.loadDialect<DSDialect>();
    if (type.bits == 16)
      return std::nullopt;
    auto scale = type.half ? mlir::FloatType(mlir::Float16Type::get(&context)) : mlir::Float32Type::get(&context);
    return QuantizedType::get(&context, type.bits, type.kind(), type.group, scale);
  }
  uint8_t *block(int64_t row) { return bytes.as<uint8_t>() + row / ds_plan::Tiles::blockRows * tiles.blockBytes(); }

  void fillRow(int64_t row, Numbers &numbers) {
    if (row >= tiles.rows)
      return;
    for (int64_t k = 0; k < tiles.depth; ++k) {
      // Every fifth is below 2^-14, where f16 has subnormal numbers.
      const uint16_t stored = toBits(std::ldexp(numbers.next(), k % 5 ? 0 : -16), type.f16);
      values[row * tiles.depth + k] = fromBits(stored, type.f16);
      memcpy(block(row) + tiles.placeOf(row, k), &stored, 2);
    }
  }

  /// A scale or an offset, a multiple of 1/1024 below 1.
  float scale(uint8_t *to, Numbers &numbers) {
    const int steps = 1 + static_cast<int>(std::fabs(numbers.next()) * 500);
    const float value = static_cast<float>(steps) / 1024;
    const int exponent = std::ilogb(value);
    const auto bits = static_cast<uint16_t>((exponent + 15) << 10 | (static_cast<int>(std::ldexp(value, 10 - exponent)) - 1024));
    tiles.half() ? memcpy(to, &bits, 2) : memcpy(to, &value, 4);
    return value;
  }

  void fillCodes(int64_t row, Numbers &numbers) {
    const int64_t padded = tiles.tiles() * tiles.tileDepth();
    std::vector<float> scales, offsets;
    for (int64_t g = 0; g < tiles.groups() && row < tiles.rows; ++g) {
      scales.push_back(scale(block(row) + tiles.scaleOf(row, g), numbers));
      offsets.push_back(type.asymmetric ? scale(block(row) + tiles.offsetOf(row, g), numbers) : 0);
    }
    for (int64_t k = 0; k < padded; ++k) {
      const bool there = row < tiles.rows && k < tiles.depth;
      int64_t code = there ? numbers.below(int64_t(1) << type.bits) : tiles.zeroCode();
      if (type.e4m3 && code % 128 == 127) // no NaN
        code = 0;
      uint8_t *place = block(row) + tiles.placeOf(row, k);
      if (tiles.bits() == 8) {
        *place = static_cast<uint8_t>(code);
      } else {
        uint32_t word;
        memcpy(&word, place, 4);
        word |= static_cast<uint32_t>(code) << ds_plan::Tiles::shiftOf(k);
        memcpy(place, &word, 4);
      }
      if (there)
        values[row * tiles.depth + k] = scales[k / tiles.group()] * (type.e4m3 ? e4m3ToFloat(static_cast<uint8_t>(code))
                                                                               : static_cast<float>(code - tiles.zeroCode())) +
                                        offsets[k / tiles.group()];
    }
  }

  TileType type;
};

} // namespace ds::test
#endif // DS_TEST_TARGET_CUDA_TILEMATRIX_H
