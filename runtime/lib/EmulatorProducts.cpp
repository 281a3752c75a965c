// What stands for cuBLASLt on the emulator: a plain product, whose sums are taken in f32 in the order of k.
#include "runtime/lib/Emulator.h"
#include <cmath>
#include <cstring>

using namespace dsrt;

static float ofBf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

static float ofF16(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const float sign = bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31)
    return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(static_cast<float>(1024 + fraction), exponent - 25) : std::ldexp(static_cast<float>(fraction), -24));
}

static std::vector<float> widened(uint64_t from, int64_t count, HalfType type) {
  const auto *halves = reinterpret_cast<const uint16_t *>(from);
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i)
    values[i] = type == HalfType::bf16 ? ofBf16(halves[i]) : ofF16(halves[i]);
  return values;
}

Status Emulator::multiply(const GpuProduct &product) {
  const std::string text =
      concat("product of ", product.rows, " rows, ", product.columns, " columns and depth ", product.depth, " in ", nameOf(product.type));
  const struct {
    const char *does;
    uint64_t address;
    int64_t bytes;
  } matrices[] = {{"reads x,", product.x, product.rows * product.depth * 2},
                  {"reads weights,", product.weights, product.columns * product.depth * 2},
                  {"writes sums,", product.sums, product.rows * product.columns * 4}};
  for (const auto &matrix : matrices) {
    if (matrix.address % 256 != 0)
      return Status::internal(text, ": ", matrix.does, " at an address that is no multiple of 256");
    if (!allocations.find(matrix.address, matrix.bytes))
      return Status::internal(text, ": ", matrix.does, " ", matrix.bytes, " bytes, ", allocations.describe(matrix.address));
  }
  synchronized();
  const std::vector<float> x = widened(product.x, product.rows * product.depth, product.type),
                           weights = widened(product.weights, product.columns * product.depth, product.type);
  auto *sums = reinterpret_cast<float *>(product.sums);
  auto columnsOf = [&](int32_t worker, int32_t workers) {
    for (int64_t column = worker; column < product.columns; column += workers)
      for (int64_t row = 0; row < product.rows; ++row) {
        float sum = 0;
        for (int64_t k = 0; k < product.depth; ++k)
          sum += x[row * product.depth + k] * weights[column * product.depth + k];
        sums[row * product.columns + column] = sum;
      }
  };
  if (pool->usable())
    pool->run([&](int32_t worker) { columnsOf(worker, pool->size()); });
  else
    columnsOf(0, 1);
  written(product.sums, matrices[2].bytes);
  return Status();
}
