// Attention on the GPU: one token of each sequence by products on vectors, more tokens by products on tensor cores, both with an online
// softmax. Keys and values of a cache are f32, bf16 or codes, which become f32 in registers, or bf16 on the way to tensor cores; the scale
// of a key multiplies its finished score, that of a value its probability, after the sum of probabilities is taken.
//
// Follows Milakov and Gimelshein 2018 (arXiv:1805.02867), Dao 2023 (arXiv:2307.08691) and, for one token, Dao et al. 2023 ("Flash-Decoding
// for long-context inference"). A row that sees no key gives zeros. Values of keys that a row does not see are multiplied by zero, so they
// have to be finite when another row of its block sees them.
#ifndef LIB_TARGET_CUDA_ATTENTION_H
#define LIB_TARGET_CUDA_ATTENTION_H

#include "CacheView.h"
#include "dialects/DS/DSDialect.h"

namespace ds {

/// What an attention kernel computes.
struct GpuAttention {
  AttentionOp op; // its operands are those of the kernel
  int64_t headSize;
  int64_t splits; // that share the keys of a head, at most: partial results of a head that aux has room for; 1 without aux
  ds_plan::CacheLayout keys, values;

  static llvm::Expected<GpuAttention> get(GpuKernel &kernel);

  int64_t heads() const { return AttentionOp(op).getHeads(); }
  int64_t kvHeads() const { return AttentionOp(op).getKvHeads(); }
  int64_t group() const { return heads() / kvHeads(); }
  bool isCausal() const { return AttentionOp(op).getCausal(); }
  /// 0: none.
  int64_t window() const { return AttentionOp(op).getWindow().value_or(0); }
  /// Of queries, so that scores are in units of log 2 and probabilities powers of two.
  float scale() const;
  /// f32 of one partial result: sum of probabilities, largest score, padding to 16, then `headSize` weighted sums, padded to 16.
  int64_t partialSize() const { return 16 + static_cast<int64_t>(llvm::alignTo(headSize, 16)); }
};

/// What the stages have in common. All integers are i32.
class AttentionBody {
public:
  using Value = mlir::Value;
  AttentionBody(GpuAttention attention, GpuBody &body);

protected:
  /// Tokens of sequence `b` before this step.
  Value pastOf(Value b) { return past ? e.load(e.i32(), e.element(past->pointer, e.i32(), b)) : e.index(0); }
  /// First byte of a head of a token, of queries or outputs.
  Value headOf(const KernelOperand &rows, Value b, Value token, Value h);
  /// Whether the mask shows slot `slot` below T; there is a mask.
  Value isShown(Value b, Value slot);
  /// What a score of head `h` grows by from slot to slot.
  Value slopeOf(Value h);
  /// Element `which` of each of 4 words of keys: 4 slots, f32.
  Value slotsOf(Value words, int64_t which);
  /// `count` words of values (2 or 4), i32.
  Value loadValueWords(Value pointer, int64_t count) {
    return count == 4 ? e.loadStream(pointer) : e.load(e.vec(count, e.i32()), pointer, static_cast<unsigned>(4 * count));
  }
  /// Their elements, f32, 4 and 4.
  Emitter::Values elementsOf(Value words);
  /// The larger one; a score that is NaN does not count.
  Value larger(Value score, Value largest) { return e.max(score, largest); }
  /// What scores are compared with: 0 where there was none yet.
  Value reference(Value largest);
  /// 1 / sum, 0 where no key was seen.
  Value inverse(Value sum);

  GpuEmitter &e;
  GpuAttention attention;
  GpuBody &body;
  const KernelOperand &queryRows, &outputRows;
  const KernelOperand *mask, *past, *slopes; // may be null
  GpuCacheView keyCache, valueCache;

private:
  /// Code `which` of a word, f32.
  Value codeOf(Value word, int64_t which);
};

/// One token a sequence: a block has a share of the keys of one key head of a sequence, and up to 8 query heads that go with it. Where
/// several blocks share the keys, they leave partial results in aux, and the last one to finish combines them in order.
void addAttentionDecode(GpuKernel &kernel, const GpuAttention &attention);
/// A block has 64 tokens of one head.
void addAttentionPrefill(GpuKernel &kernel, const GpuAttention &attention);

} // namespace ds
#endif // LIB_TARGET_CUDA_ATTENTION_H
