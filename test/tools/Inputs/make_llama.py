"""Writes a tiny random llama to a folder with the standard library alone. Arguments: FOLDER [KEY=JSON ...] change the configuration."""

import json
import pathlib
import random
import struct
import sys

folder = pathlib.Path(sys.argv[1])
config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
shapes = {"model.embed_tokens.weight": [40, 16], "model.norm.weight": [16]}
for layer in range(2):
    path = f"model.layers.{layer}."
    shapes |= {path + f"self_attn.{name}_proj.weight": [rows, 16] for name, rows in (("q", 16), ("k", 8), ("v", 8), ("o", 16))}
    shapes |= {path + f"mlp.{name}_proj.weight": [24, 16] for name in ("gate", "up")} | {path + "mlp.down_proj.weight": [16, 24]}
    shapes |= {path + f"{name}_layernorm.weight": [16] for name in ("input", "post_attention")}
generator, header, data = random.Random(0), {}, b""
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    values = struct.pack(f"<{count}f", *(generator.gauss(0, 0.3) for _ in range(count)))
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
    data += values
text = json.dumps(header).encode()
folder.mkdir(parents=True, exist_ok=True)
(folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
for argument in sys.argv[2:]:
    key, value = argument.split("=", 1)
    config[key] = json.loads(value)
(folder / "config.json").write_text(json.dumps(config))
