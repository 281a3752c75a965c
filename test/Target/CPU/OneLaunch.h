// Plans of one launch, and values to run them with.
#ifndef DS_TEST_TARGET_CPU_ONELAUNCH_H
#define DS_TEST_TARGET_CPU_ONELAUNCH_H

#include "CompiledPlan.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>

namespace ds::test {

constexpr float notANumber = std::numeric_limits<float>::quiet_NaN();
constexpr float infinite = std::numeric_limits<float>::infinity();

/// Text of a plan with one kernel and one launch. f32 rows are declared outputs, also where they are read, so that each has memory of its
/// own.
class OneLaunch {
public:
  /// Each adds an operand and returns its name.
  std::string rows(const std::string &rows, int64_t width) {
    return place("output \"o\" " + std::to_string(outputs++) + " " + rows, "memref<?x" + std::to_string(width) + "xf32>");
  }
  /// Rows of any element type at byte `offset` of the arena.
  std::string buffer(const std::string &rows, int64_t width, const std::string &element, int64_t offset) {
    return place("buffer " + rows + " offset " + std::to_string(offset), "memref<?x" + std::to_string(width) + "x" + element + ">");
  }
  std::string indices(const std::string &rows) { return place("input \"i\" " + std::to_string(inputs++) + " " + rows, "memref<?xi32>"); }
  /// f32 controls of the step, in one row.
  std::string control(int64_t width) {
    return place("input \"i\" " + std::to_string(inputs++) + " single", "memref<?x" + std::to_string(width) + "xf32>");
  }
  /// Two i32 in one row.
  std::string seed() { return place("input \"i\" " + std::to_string(inputs++) + " single", "memref<?x2xi32>"); }
  /// `what` as in `ds_plan.storage`; parameters are made up.
  std::string weight(const std::string &layout, int64_t offset, const std::string &type, const std::string &what = "of @p") {
    std::string name = "@s" + std::to_string(count);
    module += "ds_plan.storage " + name + " " + layout + " " + what + " offset " + std::to_string(offset) + " : " + type + "\n";
    return place("weight " + name, type);
  }
  /// f32 of the state: a parameter, with `part` "parameter", or what belongs to it. `layout` is `rows` or `vector`, `shape` "33x64".
  std::string state(const std::string &part, const std::string &layout, int64_t offset, const std::string &shape) {
    return weight(layout, offset, "memref<" + shape + "xf32>", "of @p in " + part);
  }
  std::string cache(const std::string &kind, int64_t heads, int64_t offset, int64_t context, int64_t width,
                    const std::string &element = "f32") {
    return place("cache @c " + kind + " heads " + std::to_string(heads) + " offset " + std::to_string(offset),
                 "memref<" + std::to_string(context) + "x" + std::to_string(width) + "x" + element + ">");
  }
  std::string text(const std::string &family, const std::string &region, const std::vector<std::string> &ins,
                   const std::vector<std::string> &outs, const std::vector<std::string> &aux = {}) const {
    std::string launch = "  ds_plan.launch @k ins" + list(ins) + (aux.empty() ? "" : " aux" + list(aux)) + " outs" + list(outs) + "\n";
    return "ds.parameter @p from \"p\" : tensor<1xf32>\n" + module + "ds_plan.kernel @k \"" + family + "\" schedule {} {\n" + region +
           "}\nds_plan.program @run max_batch 64 max_rows 4096 arena 0 kv_bytes 0 {\n" + places + launch + "}\n";
  }

private:
  std::string place(const std::string &what, const std::string &type) {
    std::string name = "%v" + std::to_string(count++);
    places += "  " + name + " = ds_plan." + what + " : " + type + "\n";
    types.push_back(type);
    return name;
  }
  std::string list(const std::vector<std::string> &names) const {
    std::string left, right;
    for (const std::string &name : names) {
      left += (left.empty() ? "" : ", ") + name;
      right += (right.empty() ? "" : ", ") + types[std::stoul(name.substr(2))];
    }
    return "(" + left + " : " + right + ")";
  }

  std::string module, places;
  std::vector<std::string> types;
  int count = 0, inputs = 0, outputs = 0;
};

/// f32 that end at a page which must not be touched (where their bytes are a multiple of 64), NaN at first.
struct Floats : GuardedBytes {
  explicit Floats(int64_t count) : GuardedBytes(count * 4), count(count) {
    for (int64_t i = 0; i < count; ++i)
      (*this)[i] = notANumber;
  }
  Floats(const std::vector<float> &values) : Floats(static_cast<int64_t>(values.size())) {
    memcpy(as<float>(), values.data(), values.size() * 4);
  }
  float &operator[](int64_t i) { return as<float>()[i]; }
  int64_t count;
};

/// The nearest bf16, or with `half` f16, ties to even; and its value.
inline uint16_t toBits(float value, bool half) {
  uint16_t bits;
  if (half) {
    auto narrow = static_cast<_Float16>(value);
    memcpy(&bits, &narrow, 2);
    return bits;
  }
  uint32_t word;
  memcpy(&word, &value, 4);
  return static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
}
inline float fromBits(uint16_t bits, bool half) {
  if (half) {
    _Float16 narrow;
    memcpy(&narrow, &bits, 2);
    return static_cast<float>(narrow);
  }
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &word, 4);
  return value;
}

/// For bf16: ties either way, subnormals, what rounds to infinity, and what is no number. 16 of them.
inline std::vector<float> specialNumbers() {
  std::vector<float> numbers;
  for (uint32_t bits : {0x3f808000u, 0x3f818000u, 0x3f808001u, 0x3f807fffu, 0x00008000u, 0x00018000u, 0x80000001u, 0x007fffffu, 0x7f7fffffu,
                        0xff7f8000u, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0x7f800001u, 0xffffffffu, 0x80000000u}) {
    float value = 0;
    memcpy(&value, &bits, 4);
    numbers.push_back(value);
  }
  return numbers;
}

/// Numbers of a fixed sequence, about -2 to 2.
class Numbers {
public:
  explicit Numbers(uint64_t seed = 1) : state(seed * 0x9E3779B97F4A7C15ull + 1) {}
  float next() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<float>(static_cast<int64_t>(state >> 33 & 0xFFFFF) - 0x80000) / 0x40000;
  }
  std::vector<float> take(int64_t count) {
    std::vector<float> values(count);
    for (float &value : values)
      value = next();
    return values;
  }
  int64_t below(int64_t bound) { return state = state * 6364136223846793005ull + 1442695040888963407ull, int64_t(state >> 40) % bound; }

private:
  uint64_t state;
};

/// Masks in five ways: 0 leaves all tokens, 1 pads on the right, 2 on the left, 3 hides at random, 4 hides a whole sequence. `mask` is of
/// ones before, [batch][tokens].
template <typename Mask> void hideTokens(int kind, int64_t batch, int64_t tokens, Mask &mask, Numbers &numbers) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t t = 0; t < tokens; ++t) {
      int32_t &seen = mask[b * tokens + t];
      if (kind == 1)
        seen = t < tokens - b * 5;
      else if (kind == 2)
        seen = t >= b * 3;
      else if (kind == 3)
        seen = numbers.below(3) != 0;
      else if (kind == 4)
        seen = b == 1 ? 0 : 7; // any number but 0 counts
    }
}

/// Numbers of all sizes and both signs, close to each other where functions bend.
inline std::vector<float> numbersOfAllSizes() {
  std::vector<float> x;
  for (float value = 1e-42f; value < 3e38f; value *= 1.07f)
    x.insert(x.end(), {value, -value});
  for (int i = -40000; i <= 40000; ++i)
    x.push_back(static_cast<float>(i) * 3e-4f);
  for (int i = -2000; i <= 2000; ++i)
    x.push_back(static_cast<float>(i) * 0.06f);
  return x;
}

/// Of the processor, so that others on the machine count less.
inline double secondsOfThread() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// Tests run once for each level that this machine has.
class OnLevel : public testing::TestWithParam<const CpuLevel *> {
protected:
  void SetUp() override {
    if (!machineRuns(*GetParam()))
      GTEST_SKIP() << "this machine does not run the level";
  }
  const CpuLevel &level() const { return *GetParam(); }
};

/// "v2" of "x86-64-v2"; names of tests have no hyphens.
inline std::string shortNameOf(const CpuLevel &level) {
  std::string name = level.name.substr(7).str();
  std::replace(name.begin(), name.end(), '-', '_');
  if (level.multipliesF16 && level.name == "x86-64-v4")
    return name + "_halves";
  return level.bf16Dots == Dots::emulated ? name + "_emulated" : name;
}

/// The level of dot products on machines without the instruction.
inline const CpuLevel *emulatedDots() {
  static const CpuLevel level = [] {
    CpuLevel like = *findCpuLevel("znver4");
    like.name = "x86-64-v4";
    like.features = findCpuLevel("x86-64-v4")->features;
    like.bf16Dots = like.byteDots = Dots::emulated;
    return like;
  }();
  return &level;
}

/// The level of multiply-adds of f16 on machines without them.
inline const CpuLevel *emulatedHalves() {
  static const CpuLevel level = [] {
    CpuLevel like = *findCpuLevel("x86-64-v4");
    like.multipliesF16 = true;
    return like;
  }();
  return &level;
}

/// All but those whose products alone differ.
inline auto allLevels() {
  return testing::Values(&allCpuLevels()[0], &allCpuLevels()[1], &allCpuLevels()[2], &allCpuLevels()[3], &allCpuLevels()[4]);
}

/// Those.
inline auto levelsOfProducts() { return testing::Values(emulatedDots(), emulatedHalves(), findCpuLevel("x86-64-v4-fp16")); }

#define DS_ON_ALL_LEVELS(suite)                                                                                                            \
  INSTANTIATE_TEST_SUITE_P(levels, suite, allLevels(), [](const auto &info) { return shortNameOf(*info.param); })

} // namespace ds::test
#endif // DS_TEST_TARGET_CPU_ONELAUNCH_H
