"""Writes a tiny random model to a folder with the standard library alone.

Arguments: FAMILY FOLDER [KEY=JSON ...] change the configuration; KEY= removes a key, FILE:=JSON writes another file.
"""

import json
import pathlib
import random
import struct
import sys

HIDDEN, INNER, HEADS, VOCABULARY, POSITIONS = 16, 24, 4, 40, 32


def norm(name, suffixes=("weight", "bias")):
    return {f"{name}.{suffix}": [HIDDEN] for suffix in suffixes}


def linear(name, rows, columns, bias=True):
    return {f"{name}.weight": [rows, columns]} | ({f"{name}.bias": [rows]} if bias else {})


def bloom():
    config = {"architectures": ["BloomForCausalLM"], "n_embed": HIDDEN, "n_layer": 1, "num_attention_heads": HEADS}
    path = "transformer.h.0."
    shapes = {"transformer.word_embeddings.weight": [VOCABULARY, HIDDEN]} | norm("transformer.word_embeddings_layernorm")
    shapes |= norm("transformer.ln_f") | norm(path + "input_layernorm") | norm(path + "post_attention_layernorm")
    shapes |= linear(path + "self_attention.query_key_value", 3 * HIDDEN, HIDDEN) | linear(path + "self_attention.dense", HIDDEN, HIDDEN)
    shapes |= linear(path + "mlp.dense_h_to_4h", 4 * HIDDEN, HIDDEN) | linear(path + "mlp.dense_4h_to_h", HIDDEN, 4 * HIDDEN)
    return config, shapes


def opt():
    config = {"architectures": ["OPTForCausalLM"], "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": HEADS}
    config |= {"ffn_dim": INNER, "max_position_embeddings": POSITIONS}
    root, path = "model.decoder.", "model.decoder.layers.0."
    shapes = {root + "embed_tokens.weight": [VOCABULARY, HIDDEN], root + "embed_positions.weight": [POSITIONS + 2, HIDDEN]}
    for name in ("self_attn_layer_norm", "final_layer_norm"):
        shapes |= norm(path + name)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= linear(path + "self_attn." + name, HIDDEN, HIDDEN)
    shapes |= linear(path + "fc1", INNER, HIDDEN) | linear(path + "fc2", HIDDEN, INNER) | norm(root + "final_layer_norm")
    return config, shapes


def qwen2():
    config = {"architectures": ["Qwen2ForCausalLM"], "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    config |= {"intermediate_size": INNER, "max_position_embeddings": POSITIONS, "tie_word_embeddings": True}
    shapes = {"model.embed_tokens.weight": [VOCABULARY, HIDDEN]} | norm("model.norm", ("weight",))
    for layer in range(2):
        path = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            shapes |= linear(f"{path}self_attn.{name}_proj", HIDDEN, HIDDEN, bias=name != "o")
        for name, rows, columns in (("gate", INNER, HIDDEN), ("up", INNER, HIDDEN), ("down", HIDDEN, INNER)):
            shapes |= linear(f"{path}mlp.{name}_proj", rows, columns, bias=False)
        shapes |= norm(path + "input_layernorm", ("weight",)) | norm(path + "post_attention_layernorm", ("weight",))
    return config, shapes


def bert(suffixes=("weight", "bias")):
    """A masked-LM with the pooler of a classifier."""
    config = {"architectures": ["BertForMaskedLM"], "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": HEADS}
    config |= {"intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 2}
    root, path, head = "bert.embeddings.", "bert.encoder.layer.0.", "cls.predictions."
    shapes = {
        f"{root}{name}_embeddings.weight": [rows, HIDDEN]
        for name, rows in (("word", VOCABULARY), ("position", POSITIONS), ("token_type", 2))
    }
    for name in (root, path + "attention.output.", path + "output.", head + "transform."):
        shapes |= norm(name + "LayerNorm", suffixes)
    for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
        shapes |= linear(path + name, HIDDEN, HIDDEN)
    shapes |= linear(path + "intermediate.dense", INNER, HIDDEN) | linear(path + "output.dense", HIDDEN, INNER)
    shapes |= linear(head + "transform.dense", HIDDEN, HIDDEN) | {head + "bias": [VOCABULARY]} | linear("bert.pooler.dense", HIDDEN, HIDDEN)
    return config, shapes


def main(family, folder, *changes):
    makers = {"bloom": bloom, "opt": opt, "qwen2": qwen2, "bert": bert, "bert-gamma": lambda: bert(("gamma", "beta"))}
    config, shapes = makers[family]()
    config |= {"model_type": family.split("-")[0], "vocab_size": VOCABULARY}
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator, header, data = random.Random(0), {}, b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = struct.pack(f"<{count}f", *(generator.gauss(0, 0.3) for _ in range(count)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    for change in changes:
        key, value = change.split("=", 1)
        if key.endswith(":"):
            file = folder / key[:-1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value)
        elif value:
            config[key] = json.loads(value)
        else:
            del config[key]
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    (folder / "config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    main(*sys.argv[1:])
