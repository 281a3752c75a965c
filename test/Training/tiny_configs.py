"""Tiny configurations that training starts from, and the state tables of their packages: name -> configuration, class, settings."""

import functools
import json
import pathlib
import subprocess
import tempfile

from ds_mlir import compiler

ENCODER = {"vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 72}
ENCODER |= {"max_position_embeddings": 40}
LLAMA = {**ENCODER, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {"vocab_size": 90, "n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": 40, "bos_token_id": 1, "eos_token_id": 2}
MODELS = {
    "bert-mlm": ("BertConfig", "BertForMaskedLM", ENCODER),
    "bert-mlm-untied": ("BertConfig", "BertForMaskedLM", {**ENCODER, "tie_word_embeddings": False}),
    "bert-classifier": ("BertConfig", "BertForSequenceClassification", {**ENCODER, "num_labels": 3}),
    "roberta-mlm": ("RobertaConfig", "RobertaForMaskedLM", ENCODER),
    "prelayernorm-mlm": ("RobertaPreLayerNormConfig", "RobertaPreLayerNormForMaskedLM", {**ENCODER, "initializer_range": 0.1}),
    "prelayernorm-classifier": (
        "RobertaPreLayerNormConfig",
        "RobertaPreLayerNormForSequenceClassification",
        {**ENCODER, "num_labels": 3},
    ),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**LLAMA, "pad_token_id": 5}),
    "llama-tied": ("LlamaConfig", "LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True, "attention_bias": True}),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**LLAMA, "sliding_window": None}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", LLAMA),
}


def make_model(name):
    """Make the model with transformers, with weights of its own."""
    import torch
    import transformers

    config_name, class_name, settings = MODELS[name]
    torch.manual_seed(1)
    model = getattr(transformers, class_name)(getattr(transformers, config_name)(**settings)).eval()
    model.config.architectures = [class_name]
    return model


def config_of(name):
    """The configuration as config.json has it."""
    return json.loads(make_model(name).config.to_json_string())


def table_of_folder(folder, *options):
    """Compile a folder for training and return the state table of the package."""
    with tempfile.TemporaryDirectory() as work:
        package = pathlib.Path(work) / "package"
        command = [str(compiler.compiler_path()), str(folder), "--train", "-o", str(package), "--progress=off", "--target-cpu=x86-64-v2"]
        subprocess.run([*command, *options], check=True)
        state = json.loads((package / "manifest.json").read_text())["state"]
    return [*state["tensors"], *state["frozen"]]


@functools.cache
def table_of(name):
    """The state table of a configuration alone."""
    with tempfile.TemporaryDirectory() as work:
        (pathlib.Path(work) / "config.json").write_text(json.dumps(config_of(name)))
        return table_of_folder(work, "--random-weights")
