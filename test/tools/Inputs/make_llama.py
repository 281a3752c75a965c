"""Writes a tiny random llama to a folder with the standard library alone. Arguments: FOLDER [KEY=JSON ...] change the
configuration; `head=N` makes heads of N in configuration and weights, `dtype=F16` stores weights so, `peak=NAME` ends the tensor of that
name with 70000."""

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
arguments = [argument.split("=", 1) for argument in sys.argv[2:]]
head = next((int(value) for key, value in arguments if key == "head"), 4)
hidden = config["hidden_size"] = 4 * head
shapes = {"model.embed_tokens.weight": [40, hidden], "model.norm.weight": [hidden]}
for layer in range(2):
    path = f"model.layers.{layer}."
    shapes |= {path + f"self_attn.{name}_proj.weight": [rows * head, hidden] for name, rows in (("q", 4), ("k", 2), ("v", 2), ("o", 4))}
    shapes |= {path + f"mlp.{name}_proj.weight": [24, hidden] for name in ("gate", "up")} | {path + "mlp.down_proj.weight": [hidden, 24]}
    shapes |= {path + f"{name}_layernorm.weight": [hidden] for name in ("input", "post_attention")}
options = {key: value for key, value in arguments if key in ("head", "dtype", "peak")}
dtype = options.get("dtype", "F32")
generator, header, data = random.Random(0), {}, b""
for name, shape in shapes.items():
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    numbers = [generator.gauss(0, 0.3) for _ in range(count)]
    if name == options.get("peak"):
        numbers[-1] = 70000
    values = struct.pack(f"<{count}{'e' if dtype == 'F16' else 'f'}", *numbers)
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
    data += values
text = json.dumps(header).encode()
folder.mkdir(parents=True, exist_ok=True)
(folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
for key, value in arguments:
    if key not in options:
        config[key] = json.loads(value)
(folder / "config.json").write_text(json.dumps(config))
