// One measurement: a test of llama-bench's kinds on a loaded model.
#ifndef DS_TOOLS_DS_BENCH_RUN_H
#define DS_TOOLS_DS_BENCH_RUN_H

#include "dsrt/dsrt.h"
#include <string>
#include <vector>

/// `prompt` tokens in one go, then `generated` tokens one by one, for `batch` sequences at once. Encoders: `prompt` tokens a sequence.
struct Test {
  int32_t prompt = 0, generated = 0, batch = 1;
  /// pp128, tg32, pp128+tg32; enc128 for encoders.
  std::string name(bool decoder) const;
  int64_t tokens() const { return (static_cast<int64_t>(prompt) + generated) * batch; }
};

/// Nanoseconds of each of `repetitions` runs after one that does not count. Returns what dsrt returns.
dsrt_status measure(dsrt_model *model, const Test &test, int32_t repetitions, std::vector<int64_t> &samples);

#endif // DS_TOOLS_DS_BENCH_RUN_H
