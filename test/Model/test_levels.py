"""The same package at every CPU level this machine has and at several numbers of threads."""

import numpy as np
import pytest
import tiny_models

IDS = np.random.default_rng(4).integers(3, 90, (4, 25), dtype=np.int32)
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-bf16", "znver4")
# The largest error of bf16 weights in shares of the largest logit: where activations stay f32 but for keys and values of encoders, where
# they are rounded to bf16, and where to f16. Measured are 2.6e-4, 7.4e-3 and 2.8e-3.
BOUNDS_OF_BF16 = {"x86-64-v3": 1e-3, "x86-64-v4-bf16": 2e-2, "x86-64-v4-fp16": 8e-3}


@pytest.fixture(scope="module", params=["llama-3", "bloom", "gptj", "bert-mlm"])
def package(request, torch, compiled, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    model = tiny_models.make_model(request.param, folder)
    with torch.no_grad():
        expected = model(torch.tensor(IDS).long()).logits.numpy()
    return compiled(folder, target_cpu=",".join(LEVELS)), expected


def load_at(path, level):
    """The model of a package at a CPU level; skips the test where the machine has not that one."""
    import ds_mlir

    try:
        model = ds_mlir.load(path, isa=level)
    except ds_mlir.errors.Unavailable:
        pytest.skip(f"this machine has no {level}")
    if model.info["level"] != level:
        pytest.skip(f"this machine has no {level}")
    return model


@pytest.mark.parametrize("level", LEVELS)
def test_level(package, level):
    path, expected = package
    model = load_at(path, level)
    assert np.abs(model.logits(IDS) - expected).max() <= 1e-4


@pytest.fixture(scope="module", params=["llama-3", "bert-mlm"])
def package_of_bf16(request, torch, compiled, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    model = tiny_models.make_model(request.param, folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:  # vectors stay f32
                parameter.copy_(parameter.bfloat16().float())
        model.save_pretrained(folder)
        expected = model(torch.tensor(IDS).long()).logits.numpy()
    return folder, compiled(folder, weights="bf16", target_cpu=",".join(BOUNDS_OF_BF16)), expected


@pytest.mark.parametrize("level", BOUNDS_OF_BF16)
def test_level_of_bf16(package_of_bf16, level):
    _, path, expected = package_of_bf16
    error = np.abs(load_at(path, level).logits(IDS) - expected).max()
    assert error <= BOUNDS_OF_BF16[level] * np.abs(expected).max()


def test_weights_as_f16(package_of_bf16, compiled):
    """Where all code multiplies f16 its matrices lie so, for steps of any number of rows."""
    folder, _, expected = package_of_bf16
    model = load_at(compiled(folder, weights="bf16", target_cpu="x86-64-v4-fp16"), "x86-64-v4-fp16")
    is_causal = "CausalLM" in (folder / "config.json").read_text()
    for tokens in (1, 3, 8, 12, 25) if is_causal else (25,):
        error = np.abs(model.logits(IDS[:1, :tokens]) - expected[:1, :tokens]).max()
        assert error <= BOUNDS_OF_BF16["x86-64-v4-fp16"] * np.abs(expected).max()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads_change_nothing(package, threads):
    import ds_mlir

    path, _ = package
    assert np.array_equal(ds_mlir.load(path, threads=threads).logits(IDS), ds_mlir.load(path, threads=1).logits(IDS))


def test_code_for_another_machine_is_refused(torch, compiled, tmp_path):
    import ds_mlir

    tiny_models.make_model("llama", tmp_path / "model")
    package = compiled(tmp_path / "model", target_cpu="x86-64-v3")
    with pytest.raises(ds_mlir.errors.Unavailable, match="x86-64-v3"):
        ds_mlir.load(package, isa="x86-64-v2")
