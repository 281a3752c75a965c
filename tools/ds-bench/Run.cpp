#include "Run.h"
#include <chrono>
#include <functional>
#include <memory>

std::string Test::name(bool decoder) const {
  if (!decoder)
    return "enc" + std::to_string(prompt);
  std::string text = prompt > 0 ? "pp" + std::to_string(prompt) : "";
  if (generated > 0)
    text += (text.empty() ? "tg" : "+tg") + std::to_string(generated);
  return text;
}

/// Token ids that do not depend on the run, all over the vocabulary.
static std::vector<int32_t> someIds(size_t count, int32_t vocab) {
  std::vector<int32_t> ids(count);
  uint64_t state = 1;
  for (int32_t &id : ids) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    id = static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab));
  }
  return ids;
}

static dsrt_batch batchOf(int32_t rows, int32_t tokens, const std::vector<int32_t> &ids) {
  dsrt_batch batch = {};
  batch.size = sizeof(batch);
  batch.batch = rows;
  batch.tokens = tokens;
  batch.input_ids = ids.data();
  return batch;
}

static dsrt_status repeat(int32_t repetitions, std::vector<int64_t> &samples, const std::function<dsrt_status()> &run) {
  for (int32_t i = -1; i < repetitions; ++i) {
    auto start = std::chrono::steady_clock::now();
    if (dsrt_status status = run(); status != DSRT_OK)
      return status;
    if (i >= 0)
      samples.push_back(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count());
  }
  return DSRT_OK;
}

static dsrt_status measureEncoder(dsrt_model *model, const dsrt_info &info, const Test &test, int32_t repetitions,
                                  std::vector<int64_t> &samples) {
  std::vector<int32_t> ids = someIds(static_cast<size_t>(test.batch) * test.prompt, info.vocab_size);
  dsrt_batch batch = batchOf(test.batch, test.prompt, ids);
  int64_t shape[3];
  int32_t rank = 0;
  const char *output = nullptr;
  dsrt_status status = DSRT_INTERNAL;
  for (const char *name : {"embedding", "logits", "hidden"}) {
    output = name;
    if ((status = dsrt_output_shape(model, name, test.batch, test.prompt, shape, &rank)) == DSRT_OK)
      break;
  }
  if (status != DSRT_OK)
    return status;
  std::vector<float> out(static_cast<size_t>(shape[0] * shape[1] * (rank == 3 ? shape[2] : 1)));
  return repeat(repetitions, samples, [&] { return dsrt_forward(model, &batch, output, out.data(), out.size()); });
}

static dsrt_status measureDecoder(dsrt_model *model, const dsrt_info &info, const Test &test, int32_t repetitions,
                                  std::vector<int64_t> &samples) {
  dsrt_session *session = nullptr;
  if (dsrt_status status = dsrt_session_create(model, test.batch, &session); status != DSRT_OK)
    return status;
  std::vector<int32_t> prompt = someIds(static_cast<size_t>(test.batch) * test.prompt, info.vocab_size);
  std::vector<int32_t> next = someIds(static_cast<size_t>(test.batch) * test.generated, info.vocab_size);
  std::vector<int32_t> ids(test.batch);
  std::vector<float> logits(static_cast<size_t>(test.batch) * info.vocab_size);
  dsrt_status status = repeat(repetitions, samples, [&] {
    dsrt_status result = dsrt_session_reset(session);
    if (test.prompt > 0) {
      dsrt_batch batch = batchOf(test.batch, test.prompt, prompt);
      result = dsrt_session_forward(session, &batch, logits.data(), logits.size());
    }
    for (int32_t step = 0; step < test.generated && result == DSRT_OK; ++step) {
      ids.assign(next.begin() + static_cast<ptrdiff_t>(step) * test.batch, next.begin() + static_cast<ptrdiff_t>(step + 1) * test.batch);
      dsrt_batch batch = batchOf(test.batch, 1, ids);
      result = dsrt_session_forward(session, &batch, logits.data(), logits.size());
    }
    return result;
  });
  dsrt_session_free(session);
  return status;
}

dsrt_status measure(dsrt_model *model, const Test &test, int32_t repetitions, std::vector<int64_t> &samples) {
  dsrt_info info = {};
  info.size = sizeof(info);
  if (dsrt_status status = dsrt_get_info(model, &info); status != DSRT_OK)
    return status;
  return (info.is_decoder ? measureDecoder : measureEncoder)(model, info, test, repetitions, samples);
}
