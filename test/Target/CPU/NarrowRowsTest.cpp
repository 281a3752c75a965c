// Rows of 16 bits: every kernel that takes or writes them does, bit for bit, what it does with the same values in f32. Values are such
// that all sums are exact, so that this holds for dot products of bf16 too.
#include "OneLaunch.h"
#include <optional>

using namespace ds;
using namespace ds::test;

namespace {

std::string number(int64_t value) { return std::to_string(value); }
std::string rowsOf(int64_t width) { return "tensor<?x?x" + number(width) + "xf32>"; }

/// An operand: rows that may be narrow, or f32 of the state.
struct Operand {
  int64_t width;
  bool isNarrow = false;
  std::string stateShape = ""; // "48x32", and then `width` values of it
  std::string part = "parameter";
};

/// A kernel. In `region` `{T}` stands for the type of 16 bits.
struct Kernel {
  std::string family, region;
  std::vector<Operand> ins, outs;
};

class NarrowRows : public OnLevel {
protected:
  static constexpr int64_t mostRows = 150;

  /// `compiled` is what an earlier run with the same kernel and types left there.
  std::vector<std::vector<float>> run(const Kernel &kernel, bool half, bool isNarrow, int64_t rows, int32_t threads,
                                      std::optional<CompiledPlan> &compiled) {
    OneLaunch launch;
    std::string region = kernel.region;
    for (size_t at; (at = region.find("{T}")) != std::string::npos;)
      region.replace(at, 3, half ? "f16" : "bf16");
    int64_t arenaBytes = 0, stateFloats = 0;
    std::vector<std::vector<std::string>> names(2);
    std::vector<std::vector<int64_t>> offsets(2);
    auto declare = [&](const std::vector<Operand> &operands, int side) {
      for (const Operand &operand : operands) {
        int64_t offset = -1;
        if (!operand.stateShape.empty()) {
          const bool isMatrix = operand.stateShape.find('x') != std::string::npos;
          offset = stateFloats;
          names[side].push_back(launch.state(operand.part, isMatrix ? "rows" : "vector", offset * 4, operand.stateShape));
          stateFloats += (operand.width + 31) / 32 * 32;
        } else if (operand.isNarrow && isNarrow) {
          offset = arenaBytes;
          names[side].push_back(launch.buffer("tokens", operand.width, half ? "f16" : "bf16", offset));
          arenaBytes += (mostRows * operand.width * 2 + 63) / 64 * 64;
        } else {
          names[side].push_back(launch.rows("tokens", operand.width));
        }
        offsets[side].push_back(offset);
      }
    };
    declare(kernel.ins, 0);
    declare(kernel.outs, 1);
    if (!compiled)
      compiled.emplace(launch.text(kernel.family, region, names[0], names[1]), level());
    const CompiledPlan &code = *compiled;
    EXPECT_TRUE(code) << code.error();
    if (!code)
      return {};
    GuardedBytes arena(std::max<int64_t>(arenaBytes, 64));
    memset(arena.as<uint8_t>(), 0xff, arena.size());
    Floats state(std::max<int64_t>(stateFloats, 1));
    std::vector<std::unique_ptr<Floats>> own;
    StepData step;
    step.tokens = static_cast<int32_t>(rows);
    step.arena = arena.as<void>();
    step.state = state.as<void>();
    // Eighths: sums of their products are exact in any order.
    Numbers numbers(rows);
    auto next = [&] { return static_cast<float>(numbers.below(33) - 16) / 8; };
    auto place = [&](const std::vector<Operand> &operands, int side, size_t i) -> float * {
      const Operand &operand = operands[i];
      if (!operand.stateShape.empty())
        return state.as<float>() + offsets[side][i];
      if (operand.isNarrow && isNarrow)
        return nullptr;
      own.push_back(std::make_unique<Floats>(rows * operand.width));
      step.outputs.push_back(own.back()->as<void>());
      return own.back()->as<float>();
    };
    for (size_t i = 0; i < kernel.ins.size(); ++i) {
      const Operand &operand = kernel.ins[i];
      float *to = place(kernel.ins, 0, i);
      for (int64_t k = 0; k < (operand.stateShape.empty() ? rows : 1) * operand.width; ++k) {
        const float value = next();
        if (to)
          to[k] = value;
        else
          reinterpret_cast<uint16_t *>(arena.as<uint8_t>() + offsets[0][i])[k] = toBits(value, half);
      }
    }
    std::vector<float *> sinks;
    for (size_t i = 0; i < kernel.outs.size(); ++i) {
      sinks.push_back(place(kernel.outs, 1, i));
      if (!kernel.outs[i].stateShape.empty())
        std::fill_n(sinks.back(), kernel.outs[i].width, 0.25f);
    }
    code.run("run", step, threads);
    std::vector<std::vector<float>> results;
    for (size_t i = 0; i < kernel.outs.size(); ++i) {
      const Operand &operand = kernel.outs[i];
      std::vector<float> &values = results.emplace_back();
      for (int64_t k = 0; k < (operand.stateShape.empty() ? rows : 1) * operand.width; ++k)
        values.push_back(sinks[i] ? sinks[i][k] : fromBits(reinterpret_cast<uint16_t *>(arena.as<uint8_t>() + offsets[1][i])[k], half));
      // Nothing behind the last row is touched.
      if (!sinks[i])
        for (int64_t k = rows * operand.width; k < mostRows * operand.width; ++k)
          EXPECT_EQ(reinterpret_cast<uint16_t *>(arena.as<uint8_t>() + offsets[1][i])[k], 0xffff) << kernel.family;
    }
    return results;
  }

  void check(const Kernel &kernel, const std::vector<int64_t> &rowCounts) {
    for (bool half : {false, true}) {
      std::optional<CompiledPlan> wideCode, narrowCode;
      for (int64_t rows : rowCounts) {
        auto wide = run(kernel, half, false, rows, 1, wideCode);
        for (int32_t threads : {1, 3}) {
          auto narrow = run(kernel, half, true, rows, threads, narrowCode);
          ASSERT_EQ(narrow.size(), wide.size());
          for (size_t i = 0; i < wide.size(); ++i)
            for (size_t k = 0; k < wide[i].size(); ++k)
              ASSERT_EQ(narrow[i][k], wide[i][k]) << kernel.family << (half ? " f16" : " bf16") << ", result " << i << ", value " << k
                                                  << " of " << rows << " rows, threads " << threads << "\n"
                                                  << kernel.region;
        }
      }
    }
  }
};

TEST_P(NarrowRows, elementwiseAndNorms) {
  for (int64_t width : {5, 16, 37, 100}) {
    const std::string t = rowsOf(width), v = "tensor<" + number(width) + "xf32>", padded = number((width + 31) / 32 * 32);
    check({"row",
           "^bb0(%x: " + t + ", %dy: " + t + "):\n  %g = ds.gelu_grad erf %x, %dy : " + t + "\n  %r = ds.round %g to {T} : " + t +
               "\n  ds_plan.return %g, %r : " + t + ", " + t + "\n",
           {{width, true}, {width, true}},
           {{width}, {width, true}}},
          {1, 7, 64});
    check({"row",
           "^bb0(%x: " + t + ", %y: " + t + ", %g: " + v + "):\n  %s = ds.add %x, %y : " + t +
               "\n  %n = ds.rms_norm %s, %g eps 1.0e-5 : " + t + ", " + v + "\n  %r = ds.round %n to {T} : " + t +
               "\n  %q = ds.round %s to {T} : " + t + "\n  ds_plan.return %s, %r, %q : " + t + ", " + t + ", " + t + "\n",
           {{width, true}, {width}, {width, false, padded}},
           {{width}, {width, true}, {width, true}}},
          {1, 9});
    check({"row",
           "^bb0(%x: " + t + ", %g: " + v + ", %dy: " + t + "):\n  %d, %n = ds.layer_norm_grad %x, %g, %dy eps 1.0e-5 : " + t + ", " + v +
               "\n  %r = ds.round %d to {T} : " + t + "\n  ds_plan.return %r : " + t + "\n",
           {{width, true}, {width, false, padded}, {width, true}},
           {{width, true}}},
          {1, 9});
  }
}

TEST_P(NarrowRows, products) {
  for (auto [columns, depth, transposed] : {std::tuple(50, 40, false),
                                            {96, 256, true},
                                            {33, 130, true},
                                            {48, 17, false},
                                            {40, 513, false},
                                            {56, 528, true},
                                            {60, 16401, true}}) {
    const std::string x = rowsOf(depth), y = rowsOf(columns),
                      shape = transposed ? number(depth) + "x" + number(columns) : number(columns) + "x" + number(depth);
    const std::string w = "tensor<" + shape + "xf32>";
    check({"gemm",
           "^bb0(%x: " + x + ", %w: " + w + ", %o: " + y + "):\n  %p = ds.linear %x, %w" + (transposed ? " transposed" : "") +
               " rounded {T} : " + x + ", " + w + "\n  %s = ds.add %p, %o : " + y + "\n  %a = ds.round %s to {T} : " + y +
               "\n  ds_plan.return %s, %a : " + y + ", " + y + "\n",
           {{depth, true}, {columns * depth, false, shape}, {columns, true}},
           {{columns}, {columns, true}}},
          {1, 6, 40, 129});
  }
}

TEST_P(NarrowRows, headsThatRopeTurns) {
  const std::string x = rowsOf(40), y = rowsOf(64), w = "tensor<64x40xf32>";
  const std::string head = "^bb0(%x: " + x + ", %w: " + w + ", %p: tensor<?x?xi32>):\n  %y = ds.linear %x, %w rounded bf16 : " + x + ", " +
                           w + "\n  %t = ds.rope half %y, %p heads 4 rotary 16 base 1.0e4 : " + y + ", tensor<?x?xi32>\n";
  // The same with and without rounding.
  std::vector<std::vector<float>> results;
  for (int kind : {0, 1, 2}) {
    OneLaunch launch;
    std::vector<std::string> ins{launch.rows("tokens", 40), launch.state("parameter", "rows", 0, "64x40"), launch.indices("tokens")};
    std::string angles = launch.weight("rope", 0, "memref<32x2x8xf32>", "rope {base = 1.0e4, positions = 32, rotary = 16}");
    std::string out = kind == 2 ? launch.buffer("tokens", 64, "bf16", 0) : launch.rows("tokens", 64);
    CompiledPlan code(launch.text("gemm",
                                  head + (kind ? "  %r = ds.round %t to bf16 : " + y + "\n  ds_plan.return %r : " + y + "\n"
                                               : "  ds_plan.return %t : " + y + "\n"),
                                  ins, {out}, {angles}),
                      level());
    ASSERT_TRUE(code) << code.error();
    Numbers numbers;
    const int64_t rows = 21;
    Floats a(numbers.take(rows * 40)), state(numbers.take(64 * 40)), table(32 * 16), wideOut(rows * 64);
    for (int64_t i = 0; i < 32; ++i)
      for (int64_t d = 0; d < 8; ++d) {
        table[i * 16 + d] = std::cos(0.1f * static_cast<float>(i * (d + 1)));
        table[i * 16 + 8 + d] = std::sin(0.1f * static_cast<float>(i * (d + 1)));
      }
    std::vector<int32_t> positions;
    for (int32_t i = 0; i < rows; ++i)
      positions.push_back(i);
    GuardedBytes arena(rows * 64 * 2);
    StepData step;
    step.tokens = rows;
    step.inputs = {positions.data()};
    step.outputs = {a.as<void>(), wideOut.as<void>()};
    step.state = state.as<void>();
    step.weights = table.as<void>();
    step.arena = arena.as<void>();
    code.run("run", step, 2);
    results.emplace_back();
    for (int64_t i = 0; i < rows * 64; ++i)
      results.back().push_back(kind == 2 ? fromBits(arena.as<uint16_t>()[i], false) : wideOut[i]);
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    ASSERT_EQ(results[1][i], fromBits(toBits(results[0][i], false), false)) << i;
    ASSERT_EQ(results[2][i], results[1][i]) << i;
  }
}

TEST_P(NarrowRows, gradientsOfWeightsAndSums) {
  for (auto [columns, depth] : {std::pair(31, 47), {96, 64}, {7, 100}}) {
    const std::string shape = number(columns) + "x" + number(depth), w = "tensor<" + shape + "xf32>";
    check({"gemm_gradient",
           "^bb0(%x: " + rowsOf(depth) + ", %dy: " + rowsOf(columns) + "):\n  %w = ds.linear_weight_grad %x, %dy : " + rowsOf(depth) +
               ", " + rowsOf(columns) + " -> " + w + "\n  %g = ds_plan.accumulate %w : " + w + "\n  ds_plan.return %g : " + w + "\n",
           {{depth, true}, {columns, true}},
           {{columns * depth, false, shape, "gradient"}}},
          {1, 6, 129});
    const std::string v = "tensor<" + number(columns) + "xf32>", t = rowsOf(columns);
    check({"column_sum",
           "^bb0(%x: " + t + "):\n  %s = ds.column_sum %x : " + t + " -> " + v + "\n  %g = ds_plan.accumulate %s : " + v +
               "\n  ds_plan.return %g : " + v + "\n",
           {{columns, true}},
           {{columns, false, number((columns + 31) / 32 * 32), "gradient"}}},
          {1, 6, 129});
  }
}

TEST_P(NarrowRows, attention) {
  for (auto [heads, kvHeads, size] : {std::tuple(4, 2, 16), {3, 3, 20}, {2, 1, 7}}) {
    const int64_t width = heads * size, kvWidth = kvHeads * size;
    const std::string q = rowsOf(width), k = rowsOf(kvWidth);
    const std::string attributes =
        " heads " + number(heads) + " kv_heads " + number(kvHeads) + " scale 0.25 causal : " + q + ", " + k + "\n";
    check({"attention_gradient",
           "^bb0(%q: " + q + ", %k: " + k + ", %v: " + k + ", %g: " + q + "):\n  %r:3 = ds.attention_grad %q, %k, %v, %g" + attributes +
               "  ds_plan.return %r#0, %r#1, %r#2 : " + q + ", " + k + ", " + k + "\n",
           {{width, true}, {kvWidth, true}, {kvWidth, true}, {width, true}},
           {{width}, {kvWidth}, {kvWidth}}},
          {1, 19, 70});
  }
}

TEST_P(NarrowRows, storedKeysAndValues) {
  for (std::string kind : {"keys", "values"})
    for (int64_t size : {7, 16, 20}) {
      const int64_t width = 2 * size;
      const std::string x = rowsOf(width), y = "tensor<?x?x" + number(width) + "xf32>";
      std::vector<std::vector<float>> results;
      const int64_t rows = 37, padded = 48;
      for (bool isNarrow : {false, true}) {
        OneLaunch launch;
        std::string in = isNarrow ? launch.buffer("tokens", width, "bf16", 0) : launch.rows("tokens", width);
        std::string out = launch.rows("packed", width);
        CompiledPlan code(launch.text("store_cache",
                                      "^bb0(%x: " + x + "):\n  %y = ds_plan.store_cache " + kind + " heads 2 %x : " + x + " -> " + y +
                                          "\n  ds_plan.return %y : " + y + "\n",
                                      {in}, {out}),
                          level());
        ASSERT_TRUE(code) << code.error();
        Numbers numbers;
        Floats wide(rows * width), packed(padded * width);
        GuardedBytes arena(rows * width * 2);
        for (int64_t i = 0; i < rows * width; ++i) {
          arena.as<uint16_t>()[i] = toBits(numbers.next(), false);
          wide[i] = fromBits(arena.as<uint16_t>()[i], false);
        }
        StepData step;
        step.tokens = rows;
        step.outputs = isNarrow ? std::vector<void *>{packed.as<void>()} : std::vector<void *>{wide.as<void>(), packed.as<void>()};
        step.arena = arena.as<void>();
        code.run("run", step, 2);
        results.emplace_back(packed.as<float>(), packed.as<float>() + packed.count);
      }
      EXPECT_EQ(memcmp(results[0].data(), results[1].data(), results[0].size() * 4), 0) << kind << " " << size;
    }
}

TEST_P(NarrowRows, refusesWhatItCannotRead) {
  OneLaunch launch;
  std::string x = launch.buffer("tokens", 8, "bf16", 0), rows = launch.indices("selected"), y = launch.rows("selected", 8);
  CompiledPlan code(launch.text("gather",
                                "^bb0(%x: " + rowsOf(8) + ", %r: tensor<?xi32>):\n  %y = ds.gather_rows %x, %r : " + rowsOf(8) +
                                    ", tensor<?xi32>\n  ds_plan.return %y : tensor<?x8xf32>\n",
                                {x, rows}, {y}),
                    level());
  EXPECT_FALSE(code);
}

DS_ON_ALL_LEVELS(NarrowRows);
INSTANTIATE_TEST_SUITE_P(dots, NarrowRows, testing::Values(emulatedDots()), [](const auto &info) { return shortNameOf(*info.param); });

} // namespace
