// The tokenizer of a GGUF file, in the format of Hugging Face's tokenizers.
#ifndef DS_IMPORT_GGUFTOKENIZER_H
#define DS_IMPORT_GGUFTOKENIZER_H

#include "ds/Import/Gguf.h"

namespace ds {

struct TokenizerFiles {
  std::string tokenizer;       // tokenizer.json
  std::string tokenizerConfig; // tokenizer_config.json, with the chat template where the file has one
};

/// Makes tokenizer.json and tokenizer_config.json of the `tokenizer.*` metadata: byte-level BPE (`gpt2`, with the pre-tokenizers `smollm`,
/// `gpt-2`, `default`, `llama-bpe` and `qwen2`) and SentencePiece BPE (`llama`). Fails with BadData, naming what is not known.
Result<TokenizerFiles> makeTokenizer(const GgufContent &content);

} // namespace ds
#endif // DS_IMPORT_GGUFTOKENIZER_H
