"""Writes a tiny random GGUF model whose MLP has biases. Arguments: ARCHITECTURE FILE."""

import sys

import gguf
import numpy as np

HIDDEN, INNER, HEADS, VOCABULARY = 32, 48, 4, 40
architecture, path = sys.argv[1:]
generator = np.random.default_rng(0)
writer = gguf.GGUFWriter(path, architecture)
sizes = {"context_length": 32, "embedding_length": HIDDEN, "block_count": 1, "feed_forward_length": INNER, "attention.head_count": HEADS}
for key, value in sizes.items():
    writer.add_uint32(f"{architecture}.{key}", value)
writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)


def add(name, *shape):
    writer.add_tensor(name, generator.normal(size=shape).astype(np.float32))


add("token_embd.weight", VOCABULARY, HIDDEN)
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    add(f"{name}.weight", HIDDEN)
for name in ("q", "k", "v", "output"):
    add(f"blk.0.attn_{name}.weight", HIDDEN, HIDDEN)
    if architecture == "qwen2" and name != "output":
        add(f"blk.0.attn_{name}.bias", HIDDEN)
for name, rows, columns in (("gate", INNER, HIDDEN), ("up", INNER, HIDDEN), ("down", HIDDEN, INNER)):
    add(f"blk.0.ffn_{name}.weight", rows, columns)
    add(f"blk.0.ffn_{name}.bias", rows)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
