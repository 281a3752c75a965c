"""A vocabulary so large that logits go slab by slab, against torch."""

import json
import subprocess

import ds_mlir
import numpy as np
import pytest
from ds_mlir import compiler
from ds_mlir.training.model_config import model_config

SIZES = {"layers": 1, "hidden_size": 16, "heads": 2, "vocab_size": 40000, "max_positions": 100, "dropout": 0.0}
SLAB = 264


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "AutoModelForCausalLM"), ("bert", "AutoModelForMaskedLM")])
def test_gradients_of_several_slabs_are_those_of_torch(kind, name, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**model_config(kind, **{**SIZES, "initializer_range": 0.2}))
    model = getattr(transformers, name).from_config(config, attn_implementation="eager").eval()
    model.config.architectures = [type(model).__name__]
    own = {"threads": 2, "max_tokens": 600}
    engine, *_ = ds_mlir.initialize(model=model, config={"train_batch_size": 6, "optimizer": {"type": "AdamW"}, "ds_mlir": own})
    parameters = dict(model.named_parameters())
    for tokens in (100, 40, 89):  # rows that count: of three slabs, of one, and a last slab of few rows
        ids = np.random.default_rng(tokens).integers(1, 40000, (6, tokens))
        loss = engine({"input_ids": ids, "labels": ids})
        expected = model(input_ids=torch.tensor(ids), labels=torch.tensor(ids)).loss
        expected.backward()
        engine.backward(loss)
        assert float(loss) == pytest.approx(expected.item(), rel=1e-5)
        for tensor in engine.backend.tensors:
            if tensor.view is None and tensor.source in parameters:
                gradient = parameters[tensor.source].grad.numpy().reshape(-1)
                found = engine.backend.view("gradient", tensor.name).reshape(-1)
                error = np.linalg.norm(found - gradient)
                assert error <= 1e-4 * np.linalg.norm(gradient) + 1e-7, (tensor.name, tokens)
        engine.zero_grad()
        model.zero_grad()


def test_the_arena_holds_a_slab_of_logits_at_most(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(model_config("gpt2", **SIZES)))
    command = [str(compiler.compiler_path()), str(tmp_path / "model"), "-o", str(tmp_path / "package"), "--train", "--random-weights"]
    subprocess.run([*command, "--max-batch=16", "--max-rows=1600", "--target-cpu=x86-64-v2", "--progress=off"], check=True)
    programs = json.loads((tmp_path / "package" / "manifest.json").read_text())["programs"]
    arena = next(program["arena_bytes"] for program in programs if program["name"] == "step")
    # Of what is left, hidden rows and their gradients are most: 1600 of 16 values are 100 KiB.
    assert SLAB * 40000 * 4 <= arena <= SLAB * 40000 * 4 + (6 << 20)
