#include "dialects/DS/Rope.h"
#include <cmath>
#include <numbers>

using namespace ds;

llvm::SmallVector<float> ds::ropeFrequencies(int64_t rotary, double base, RopeScalingAttr scaling) {
  llvm::SmallVector<float> frequencies(rotary / 2);
  auto f32 = [](mlir::FloatAttr value) { return static_cast<float>(value.getValueAsDouble()); };
  float factor = 1, low = 1, high = 1, original = 1;
  if (scaling) {
    factor = f32(scaling.getFactor()), low = f32(scaling.getLow());
    high = f32(scaling.getHigh()), original = f32(scaling.getOriginal());
  }
  for (int64_t i = 0; i < rotary / 2; ++i) {
    // The power in f32 decides angles at far positions: trained weights expect exactly this rounding.
    float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary);
    float frequency = 1.0f / static_cast<float>(std::pow(static_cast<float>(base), exponent));
    if (scaling && scaling.getKind() == "linear") {
      frequency /= factor;
    } else if (scaling) {
      float wavelength = 2 * std::numbers::pi_v<float> / frequency;
      float longest = original / low;
      float shortest = original / high;
      if (wavelength > longest) {
        frequency /= factor;
      } else if (wavelength >= shortest) {
        float smooth = (original / wavelength - low) / (high - low);
        frequency = (1 - smooth) * frequency / factor + smooth * frequency;
      }
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}
