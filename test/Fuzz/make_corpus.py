"""Write the seed files of the fuzzers: small, valid, one for each shape of input. Needs gguf, numpy and safetensors."""

import json
import pathlib

import gguf
import numpy as np
from safetensors.numpy import save

folder = pathlib.Path(__file__).parent / "corpus"


def write_safetensors():
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float16), "c": np.zeros((1, 0), np.int64)}
    (folder / "safetensors" / "three.safetensors").write_bytes(save(tensors))
    (folder / "safetensors" / "one.safetensors").write_bytes(save({"w": np.ones(1, np.uint8)}, metadata={"format": "pt"}))


def write_gguf(name, model, quantized):
    writer = gguf.GGUFWriter(folder / "gguf" / name, "llama")
    writer.add_block_count(1)
    writer.add_tokenizer_model(model)
    writer.add_token_list(["<s>", "a", "b", "ab"])
    writer.add_token_types([3, 1, 1, 1])
    if model == "gpt2":
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(["a b"])
    else:
        writer.add_token_scores([0.0, -1.0, -2.0, -3.0])
    writer.add_bos_token_id(0)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("norm", np.ones(4, np.float32))
    values = np.linspace(-1, 1, 256, dtype=np.float32).reshape(1, 256)
    writer.add_tensor("w", gguf.quants.quantize(values, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_config():
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_scaling": None,
        "eos": [1, 2],
    }
    (folder / "config" / "llama.json").write_text(json.dumps(config))
    (folder / "config" / "nested.json").write_text('{"a": {"b": [[[1.5e3, -2, "\\u00e9\\n"]]]}, "c": ""}')


if __name__ == "__main__":
    for kind in ("config", "gguf", "safetensors"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    write_safetensors()
    write_gguf("bytes.gguf", "gpt2", gguf.GGMLQuantizationType.Q8_0)
    write_gguf("pieces.gguf", "llama", gguf.GGMLQuantizationType.Q4_1)
    write_config()
