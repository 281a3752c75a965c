"""Moments against eager torch, and what rounding with regard to them gains."""

import ds_mlir
import numpy as np
import pytest
import tiny_models
from ds_mlir.__main__ import main
from safetensors.numpy import load_file
from test_evaluate import add_tokenizer, random_text

NAMES = {
    "llama-3": ("v_proj", "o_proj", "gate_proj", "down_proj"),
    "bert": ("query", "attention.output.dense", "intermediate.dense", "output.dense"),
}


def make(family, folder):
    tiny_models.make_model(family, folder)
    add_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return make("llama-3", tmp_path_factory.mktemp("llama-3"))


def torch_moments(torch, folder, windows):
    """Moments of every linear's input by hooks of eager torch, by the name of its weight."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

    causal = "CausalLM" in AutoConfig.from_pretrained(folder).architectures[0]
    kind = AutoModelForCausalLM if causal else AutoModel
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    sums, tokens = {}, sum(map(len, windows))

    def hook(name):
        def add(_, inputs, __):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            x = x / x.norm(dim=-1, keepdim=True)
            sums[name] = sums.get(name, 0) + (x.T @ x).numpy()

        return add

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(hook(f"{name}.weight"))
    with torch.no_grad():
        for window in windows:
            model(torch.tensor([window]))
    return {name: value / tokens for name, value in sums.items()}


@pytest.mark.parametrize("family", list(NAMES))
def test_moments_are_those_of_torch(torch, tmp_path, family):
    folder = make(family, tmp_path / "model")
    text = random_text(100)
    result = ds_mlir.calibrate(folder, text, tmp_path / "moments.safetensors", tokens=70, window=32)
    moments = load_file(tmp_path / "moments.safetensors")
    assert (result.tokens, result.moments, result.path) == (70, len(moments), tmp_path / "moments.safetensors")
    ids = ds_mlir.text.Tokenizer(folder).encode(text)[:70]
    expected = torch_moments(torch, folder, [ids[0:32], ids[32:64], ids[64:70]])
    for part in NAMES[family]:
        names = [name for name in moments if part in name]
        assert names, part
        for name in names:
            found = next(value for key, value in expected.items() if name.removeprefix("input:").endswith(key) or key.endswith(name[6:]))
            assert np.abs(moments[name] - found).max() <= 1e-5 * np.abs(found).max(), name


def test_corrected_weights_are_closer(llama, tmp_path):
    """On the very text that the moments are of, where they are better by construction."""
    text = random_text(200, seed=3)
    moments = tmp_path / "moments.safetensors"
    ds_mlir.calibrate(llama, text, moments, tokens=192, window=32)
    options = {"target_cpu": "native", "max_rows": 32, "context": 64}
    ids = np.array(ds_mlir.text.Tokenizer(llama).encode(text)[:192], dtype=np.int32).reshape(-1, 32)

    def hidden(name, **more):
        return ds_mlir.load(ds_mlir.compile(llama, tmp_path / name, **options, **more)).hidden_states(ids)

    exact = hidden("f32")
    for scheme in ("int4-g16", "int4-g16-asym"):
        plain = np.square(hidden(f"{scheme}-plain", quantize=scheme) - exact).mean()
        corrected = np.square(hidden(scheme, quantize=scheme, calibration=moments) - exact).mean()
        assert corrected < 0.8 * plain, scheme


@pytest.mark.parametrize(("family", "scales"), [("llama-3", True), ("gpt2", True), ("qwen2", True), ("bert", False)])
def test_scaled_inputs_leave_the_model(tmp_path, family, scales):
    """Codes differ, what the model computes does not: norms and gates divide by what matrices are multiplied by. Norms of BERT have other
    readers."""
    folder, moments = make(family, tmp_path / "model"), tmp_path / "moments.safetensors"
    text = random_text(100)
    ds_mlir.calibrate(folder, text, moments, tokens=64, window=32)
    ids = np.array(ds_mlir.text.Tokenizer(folder).encode(text)[:64], dtype=np.int32).reshape(-1, 32)

    def run(name, **more):
        options = {"target_cpu": "native", "max_rows": 32, **more}
        package = ds_mlir.compile(folder, tmp_path / name, **options)
        return ds_mlir.load(package).hidden_states(ids), (package / "weights-00001.safetensors").read_bytes()

    exact, _ = run("f32")
    plain, plain_weights = run("plain", quantize="int8-g16", calibration=moments)
    scaled, scaled_weights = run("scaled", quantize="int8-g16", calibration=moments, scale_inputs=True)
    assert (plain_weights != scaled_weights) == scales
    assert np.square(scaled - exact).mean() < 2 * np.square(plain - exact).mean()


def test_command_line(llama, tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(random_text(120))
    output = tmp_path / "moments.safetensors"
    command = ["calibrate", str(llama), "--text", str(text), "-o", str(output), "--tokens", "64", "--window", "32"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}: {len(load_file(output))} matrices of moments, 64 tokens\n"
    assert main(["compile", str(llama), "-o", str(tmp_path / "package"), "--quantize=int4-g16", f"--calibration={output}"]) == 0
    capsys.readouterr()
    compared = ["compare", str(llama), "--text", str(text), "--window", "16", "--variants", "f32,int4-g16", "--calibration", str(output)]
    assert main(compared) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["variant", "f32", "int4-g16"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tokens": 200}, ds_mlir.errors.InvalidArgument, "text: expects a text of at least 200 tokens, got 100"),
        ({"tokens": 0}, ds_mlir.errors.InvalidArgument, "expects tokens of at least 1 and a window of at least 2, got 0 and 32"),
        ({"tokens": 50, "window": 4096}, ds_mlir.errors.InvalidArgument, "window: expects at most"),
        ({"tokens": 50, "output": "nowhere/moments.safetensors"}, ds_mlir.errors.CannotWrite, "nowhere/moments.safetensors"),
    ],
)
def test_bad_input_leaves_nothing(llama, tmp_path, options, error, message):
    options = {"window": 32, "output": "moments.safetensors", **options}
    with pytest.raises(error, match=message):
        ds_mlir.calibrate(llama, random_text(100), tmp_path / options.pop("output"), **options)
    assert not list(tmp_path.iterdir())
