// The code of the fake package: programs with the interface of dsrt/package.h around the toy model.
#include "FakeModel.h"
#include "dsrt/package.h"
#include <cstdlib>

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT const int32_t ds_package_abi;
const int32_t ds_package_abi = DS_ABI;

// Tells the test that code was opened.
__attribute__((constructor)) static void opened() { setenv("DSRT_FAKE_OPENED", "1", 1); }

static int32_t *cacheOf(const DsStep *step, int32_t row) { return reinterpret_cast<int32_t *>(step->kv[row]); }

// Inputs: input_ids, positions, past, rows. Outputs: hidden, logits.
static void causal(const DsStep *step, int32_t thread, int32_t threads) {
  const int32_t *ids = step->inputs[0], *positions = step->inputs[1], *past = step->inputs[2], *rows = step->inputs[3];
  if (step->abi != DS_ABI || step->batch * step->tokens > fake::maxRows || step->rows > fake::maxRows)
    abort();
  auto *sums = reinterpret_cast<uint32_t *>(step->arena);
  for (int32_t item = thread; item < step->batch * step->tokens; item += threads) {
    int32_t row = item / step->tokens, at = past[row] + item % step->tokens;
    if (at >= fake::context || ids[item] < 0 || ids[item] >= fake::vocab)
      abort(); // the runtime must never ask for this
    cacheOf(step, row)[2 * at] = ids[item];
    cacheOf(step, row)[2 * at + 1] = positions[item];
  }
  step->barrier(step->barrier_context, thread);
  for (int32_t item = thread; item < step->batch * step->tokens; item += threads) {
    int32_t row = item / step->tokens, last = past[row] + item % step->tokens;
    uint32_t state = 0;
    for (int32_t at = 0; at <= last; ++at)
      state = fake::fold(state, cacheOf(step, row)[2 * at], cacheOf(step, row)[2 * at + 1]);
    sums[item] = state;
  }
  step->barrier(step->barrier_context, thread);
  if (auto *hidden = static_cast<float *>(step->outputs[0]))
    for (int32_t item = thread; item < step->batch * step->tokens; item += threads)
      for (int32_t i = 0; i < fake::hidden; ++i)
        hidden[item * fake::hidden + i] = static_cast<float>(sums[item] + i);
  const auto *weights = reinterpret_cast<const float *>(step->weights);
  if (auto *logits = static_cast<float *>(step->outputs[1]))
    for (int32_t r = thread; r < step->rows; r += threads)
      for (int32_t token = 0; token < fake::vocab; ++token)
        logits[r * fake::vocab + token] = fake::logit(sums[rows[r]], token, weights[token]);
}

EXPORT const int32_t ds_launches_prefill, ds_launches_decode, ds_launches_encode;
const int32_t ds_launches_prefill = 0, ds_launches_decode = 0, ds_launches_encode = 2;

EXPORT void ds_program_prefill(const DsStep *step, int32_t thread, int32_t threads) { causal(step, thread, threads); }
EXPORT void ds_program_decode(const DsStep *step, int32_t thread, int32_t threads) {
  if (step->tokens != 1)
    abort();
  causal(step, thread, threads);
}

// Inputs: input_ids, mask, token_type_ids, positions, rows. Outputs: hidden, logits (of rows), embedding.
EXPORT void ds_program_encode(const DsStep *step, int32_t thread, int32_t threads) {
  const int32_t *ids = step->inputs[0], *mask = step->inputs[1], *types = step->inputs[2], *positions = step->inputs[3];
  const int32_t *rows = step->inputs[4];
  auto *hidden = static_cast<float *>(step->outputs[0]), *logits = static_cast<float *>(step->outputs[1]);
  auto *embedding = static_cast<float *>(step->outputs[2]);
  int32_t tokens = step->tokens;
  auto stamp = [&](int32_t index) { // two launches: hidden, and what follows it
    if (step->trace)
      step->trace[thread * 4 + index] = __builtin_ia32_rdtsc();
  };
  auto value = [&](int32_t item) { return static_cast<float>(ids[item] * 100 + types[item] * 10 + positions[item]); };
  stamp(0);
  for (int32_t item = thread; hidden && item < step->batch * tokens; item += threads)
    for (int32_t i = 0; i < fake::hidden; ++i)
      hidden[item * fake::hidden + i] = value(item) + static_cast<float>(i);
  stamp(1);
  step->barrier(step->barrier_context, thread);
  stamp(2);
  for (int32_t r = thread; logits && r < step->rows; r += threads)
    for (int32_t token = 0; token < fake::vocab; ++token)
      logits[r * fake::vocab + token] = value(rows[r]) + static_cast<float>(token);
  for (int32_t row = thread; embedding && row < step->batch; row += threads)
    for (int32_t i = 0; i < fake::hidden; ++i) {
      float sum = static_cast<float>(i);
      for (int32_t token = 0; token < tokens; ++token)
        sum += mask[row * tokens + token] ? value(row * tokens + token) : 0;
      embedding[row * fake::hidden + i] = sum;
    }
  stamp(3);
}
