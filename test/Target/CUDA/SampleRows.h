// Plans that choose tokens from logits, and what the runtime's own sampler chooses.
#ifndef DS_TEST_TARGET_CUDA_SAMPLEROWS_H
#define DS_TEST_TARGET_CUDA_SAMPLEROWS_H

#include "EmulatedPlan.h"
#include "runtime/lib/Sampler.h"
#include <optional>

namespace ds::test {

/// A program that has logits, which nothing computes.
inline std::string sampleText(int64_t vocab) {
  return "ds_plan.program @run max_batch 8 max_rows 16 arena 0 kv_bytes 64 {\n  %l = ds_plan.output \"logits\" 0 selected : memref<?x" +
         std::to_string(vocab) + "xf32>\n}\n";
}

/// Rows of one step: logits, the options of all, and the tokens that each has seen.
struct SampleRows {
  int64_t vocab = 0;
  dsrt::SamplingOptions options;
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<int32_t>> seen = {};
  uint32_t step = 0;
  std::optional<uint64_t> random = {}; // on the device, in place of what the seed gives

  /// By the runtime's sampler; -1 where it finds nothing to choose by.
  std::vector<int32_t> onHost() const {
    std::vector<int32_t> tokens;
    for (size_t row = 0; row < logits.size(); ++row) {
      std::vector<float> copy = logits[row];
      int32_t token = -1;
      const bool ok = dsrt::chooseToken(copy.data(), static_cast<int32_t>(vocab), seen.empty() ? std::vector<int32_t>() : seen[row],
                                        options, static_cast<uint32_t>(row), step, token)
                          .ok();
      tokens.push_back(ok ? token : -1);
    }
    return tokens;
  }

  /// By `code`; `error` says what went wrong.
  std::vector<int32_t> onDevice(const EmulatedPlan &code, std::string &error, size_t seedCount = 3) const {
    const auto rows = static_cast<int32_t>(logits.size());
    Floats all(rows * vocab), chosen(rows);
    std::vector<DsSampleRow> list;
    std::vector<int32_t> met;
    for (int32_t row = 0; row < rows; ++row) {
      std::copy(logits[row].begin(), logits[row].end(), all.as<float>() + row * vocab);
      DsSampleRow &made = list.emplace_back(dsrt::sampleRowOf(options, row, step));
      made.seen_begin = static_cast<int32_t>(rows * sizeof(DsSampleRow) / 4 + met.size());
      made.random = random.value_or(made.random);
      made.seen_count = seen.empty() ? 0 : static_cast<int32_t>(seen[row].size());
      if (!seen.empty())
        met.insert(met.end(), seen[row].begin(), seen[row].end());
    }
    GuardedBytes sampling(list.size() * sizeof(DsSampleRow) + met.size() * 4);
    memcpy(sampling.as<void>(), list.data(), list.size() * sizeof(DsSampleRow));
    if (!met.empty())
      memcpy(sampling.as<uint8_t>() + list.size() * sizeof(DsSampleRow), met.data(), met.size() * 4);
    EmulatedStep step;
    step.batch = step.rows = rows;
    step.outputs = {test::all(all)};
    step.sampling = bytesOf(sampling);
    step.chosen = test::all(chosen);
    auto add = [&](dsrt::SamplePart part, bool isAsked) { step.parts |= isAsked ? 1u << static_cast<int>(part) : 0; };
    add(dsrt::SamplePart::always, true);
    add(dsrt::SamplePart::penalty, options.repetitionPenalty != 1);
    add(options.sample ? dsrt::SamplePart::random : dsrt::SamplePart::greedy, true);
    add(dsrt::SamplePart::topK, options.sample && options.topK > 0);
    add(dsrt::SamplePart::topP, options.sample && options.topP < 1);
    error = code.run(step, seedCount);
    return std::vector<int32_t>(chosen.as<int32_t>(), chosen.as<int32_t>() + rows);
  }
};

} // namespace ds::test
#endif // DS_TEST_TARGET_CUDA_SAMPLEROWS_H
