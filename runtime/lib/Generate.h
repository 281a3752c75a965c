// Continues rows of tokens until each has ended.
#ifndef DSRT_LIB_GENERATE_H
#define DSRT_LIB_GENERATE_H

#include "runtime/lib/Batch.h"
#include "runtime/lib/Model.h"

namespace dsrt {

struct GenerateTarget {
  dsrt_token_callback callback = nullptr;
  void *user = nullptr;
  int32_t *tokens = nullptr;  // [batch, max_new_tokens]
  int32_t *lengths = nullptr; // [batch]
  int32_t *finish = nullptr;  // [batch] or null
};

/// dsrt_generate on checked structures. Fails with invalid argument before anything runs.
Status generate(Model &model, const TokenBatch &batch, const dsrt_generation &generation, const GenerateTarget &target);

/// True when `tokens` ends with `stop` (not empty).
bool endsWith(const std::vector<int32_t> &tokens, const std::vector<int32_t> &stop);

} // namespace dsrt
#endif // DSRT_LIB_GENERATE_H
