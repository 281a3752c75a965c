// Dropout of attention's weights, as the kernels' tests use it.
#ifndef DS_TEST_TARGET_CPU_WEIGHTDROPOUT_H
#define DS_TEST_TARGET_CPU_WEIGHTDROPOUT_H

#include "OneLaunch.h"
#include "ds/Reference/Philox.h"

namespace ds::test {

/// One dropout, whose seed is an input of the plan.
struct WeightDropout {
  static constexpr uint32_t words[2] = {0xffed2979, 0x7fffffff}, site = 0xfedcba98;
  static constexpr double rate = 0.3;

  /// Behind the last operand of an attention: the op's text, where the seed is `%seed`.
  static std::string text() { return " dropout %seed : tensor<2xi32> rate " + std::to_string(rate) + " site " + std::to_string(site); }

  /// What the weight of token `t` and key `s` is multiplied by; `head` counts the heads of all sequences.
  static double factor(int64_t head, int64_t t, int64_t s) {
    const std::array<uint32_t, 4> counter{uint32_t(t / 4), uint32_t(s), site, uint32_t(head)};
    return reference::philox4x32(counter, {words[0], words[1]})[t % 4] >= rate * 4294967296.0 ? 1 / (1 - rate) : 0;
  }

  /// The seed, behind which nothing lies.
  const int32_t *seed() {
    memcpy(given.as<int32_t>() + 14, words, sizeof(words));
    return given.as<int32_t>() + 14;
  }

private:
  GuardedBytes given{64};
};

} // namespace ds::test
#endif // DS_TEST_TARGET_CPU_WEIGHTDROPOUT_H
