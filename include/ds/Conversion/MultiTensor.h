// How launches over all parameters at once (family `multi_tensor`) cut them: the planner and the builders have to agree on it.
#ifndef DS_CONVERSION_MULTITENSOR_H
#define DS_CONVERSION_MULTITENSOR_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <algorithm>
#include <cstdint>

namespace ds {

/// On an op of family `multi_tensor`: offset and length of each parameter that is trained, in f32 within a part of the state.
inline constexpr llvm::StringLiteral segmentsAttrName = "ds_plan.segments";

/// f32 of one chunk, 64 KiB of each part of the state: the work of a thread between two looks at a table.
inline constexpr int64_t chunkFloats = 16384;

/// A piece of one parameter, in f32 within a part of the state.
struct Chunk {
  int64_t parameter, offset, length;
};

/// The chunks of `segments` (`segmentsAttrName`), in their order. Each parameter has at least one.
inline llvm::SmallVector<Chunk, 0> chunksOf(llvm::ArrayRef<int64_t> segments) {
  llvm::SmallVector<Chunk, 0> chunks;
  for (size_t i = 0; i + 1 < segments.size(); i += 2)
    for (int64_t done = 0; done < segments[i + 1]; done += chunkFloats)
      chunks.push_back({static_cast<int64_t>(i / 2), segments[i] + done, std::min(segments[i + 1] - done, chunkFloats)});
  return chunks;
}

/// Width of the `single` row of f32 that a launch takes as scratch memory: up to two sums of each chunk.
inline int64_t multiTensorScratch(llvm::ArrayRef<int64_t> segments) { return 2 * static_cast<int64_t>(chunksOf(segments).size()); }

} // namespace ds
#endif // DS_CONVERSION_MULTITENSOR_H
