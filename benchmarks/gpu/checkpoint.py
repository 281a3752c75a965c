"""Hugging Face folders of models with given sizes: of random weights, or of none, as a file of holes that takes no room on the disk."""

import json
import math
import pathlib
import struct

CLASSES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "gpt_neo": ("GPTNeoConfig", "GPTNeoForCausalLM"),
    "bert": ("BertConfig", "BertModel"),
}
SPREAD = {1: 0.1, 2: 0.15}  # of random weights, by the number of axes: enough for every part of a model to show in its answer


def configuration(model):
    """The transformers configuration and the class name of a model of cases.json."""
    import transformers

    config_class, model_class = CLASSES[model["type"]]
    sizes = {key: value for key, value in model.items() if key != "type"}
    return getattr(transformers, config_class)(**sizes), model_class


def parameters(model):
    """Names and shapes of a model's parameters, those that share their values once."""
    import torch
    import transformers

    config, model_class = configuration(model)
    with torch.device("meta"):
        made = getattr(transformers, model_class)(config)
    made.tie_weights()
    return config, {name: tuple(parameter.shape) for name, parameter in made.named_parameters()}


def write(model, folder, seed=None):
    """Write config.json and model.safetensors in bf16.
    Args: model, an entry of cases.json's `models`; seed, of random weights, or None for a file of holes, whose values are zeros.
    """
    import torch

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config, shapes = parameters(model)
    config.architectures, config.dtype = [CLASSES[model["type"]][1]], "bfloat16"
    config.save_pretrained(folder)
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if seed is None:
            file.truncate(8 + len(text) + end)
            return
        generator = torch.Generator().manual_seed(seed)
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=generator) * SPREAD[len(shape)]
            if len(shape) == 1 and name.endswith("weight"):
                values += 1
            file.write(values.bfloat16().view(torch.int16).numpy().tobytes())
