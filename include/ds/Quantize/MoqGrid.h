// The grids of DeepSpeed's MoQ (mixture of quantization), for weights trained on them. Needs no MLIR.
#ifndef DS_QUANTIZE_MOQGRID_H
#define DS_QUANTIZE_MOQGRID_H

#include "ds/Import/Result.h"
#include <cstdint>
#include <optional>
#include <vector>

namespace ds {

/// Bounds given beforehand in place of those of the values, as for activations.
struct MoqRange {
  float low;
  float high;
};

/// A grid for the `n` values of each of `groups` equal runs of a flattened tensor; q is rounded half to even and clamped, all in f32.
///
///   3 to 8 bits   scale = 2 max|x| / 2^bits              q = round(x / scale) in [-2^(bits-1), 2^(bits-1) - 1]     x' = q scale
///   asymmetric    scale = (max - min) / 2^bits           q = round((x - offset) / scale) in [0, 2^bits - 1]        x' = q scale + offset
///                 offset = round(min / scale) scale
///   inference     steps = 2^bits / (2 max|x| + 1e-5)     q = round(x steps), bounds as above                      x' = q (1 / steps)
///   2 bits        threshold = 0.7 mean|x|                q = sign(x) where |x| > threshold, else 0                 x' = q scale
///                 scale = mean of |x| where |x| > threshold
///   1 bit         scale = mean|x|                        q = sign(x), 0 for 0                                      x' = q scale
///
/// As 2^bits steps span the range, the largest values lose up to a step. Where a scale is 0 (values all zero, all equal if asymmetric, or
/// too small for f32), q is 0 and offset the minimum.
struct MoqGrid {
  int bits = 8;
  bool asymmetric = false;
  int64_t groups = 1;
  std::optional<MoqRange> range = std::nullopt; // for 3 bits or more
  bool inference = false;                       // symmetric, for 3 bits or more: that of upstream's inference kernels
};

/// How the values of one group are rounded.
struct MoqFit {
  float scale = 0;
  float offset = 0;
  float threshold = 0; // of 1 and 2 bits: magnitudes up to it are 0
  float steps = 0;     // of inference: codes for 1
};

/// Values as a packer takes them: code * scale, or code * scale + offset.
struct MoqCodes {
  std::vector<int16_t> codes; // [count]
  std::vector<float> scales;  // [groups]
  std::vector<float> offsets; // [groups], of asymmetric grids alone
};

/// Rounds values to the grid; a negative value rounded to 0 stays negative.
///   in [count], read;  out [count], written; may be `in`
/// Equal bit for bit to torch on x86. For 1 and 2 bits that needs groups of at most 32768 values: torch adds up the magnitudes one by one
/// and, in one large group, by thread, so its means drift there; here runs of 32768 are added up in f64.
/// Errors: Usage, for bits outside 1 to 8, fewer than 3 bits with `asymmetric`, `inference` or `range`, `inference` with either of the
/// others, a range that is not ascending and finite, and groups that do not divide the count; BadData, for a value that is NaN or infinite
/// (the message begins with its number) and for a group whose scale or offset is beyond f32. Then `out` is as it was.
/// Source: Quantizer of deepspeed/runtime/quantize.py and the quantizers of deepspeed/compression/utils.py, nearest rounding; of inference
/// GroupQuantizer of deepspeed/module_inject.
Result<void> applyMoqGrid(const MoqGrid &grid, const float *in, int64_t count, float *out);

/// The fits of all groups, [groups]. Errors: as there.
Result<std::vector<MoqFit>> fitMoqGrid(const MoqGrid &grid, const float *in, int64_t count);

/// The code of a value of a group, which may be -0.
float moqCode(const MoqGrid &grid, const MoqFit &fit, float value);

/// The codes of the values `applyMoqGrid` gives; in them 0 has no sign. Errors: as there.
Result<MoqCodes> encodeMoqGrid(const MoqGrid &grid, const float *in, int64_t count);

} // namespace ds
#endif // DS_QUANTIZE_MOQGRID_H
