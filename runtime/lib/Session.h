// Sequences that keep their caches between calls.
#ifndef DSRT_LIB_SESSION_H
#define DSRT_LIB_SESSION_H

#include "runtime/lib/Batch.h"
#include "runtime/lib/Model.h"

namespace dsrt {

class Session {
public:
  explicit Session(Model &model) : model(model), blocks(model) {}
  /// Takes the caches' address space. Fails with out of memory, or invalid argument for an encoder or a batch below 1.
  Status create(int32_t batch);
  /// Fails with invalid argument before anything runs; `logits` [batch, vocab] or null.
  Status forward(const TokenBatch &batch, float *logits);
  Status truncate(int32_t sequence, int32_t length);
  void reset() { lengths.assign(lengths.size(), 0); }

  Model &model;
  std::vector<int32_t> lengths; // tokens in the cache of each sequence

private:
  KvBlocks blocks;
};

} // namespace dsrt
#endif // DSRT_LIB_SESSION_H
