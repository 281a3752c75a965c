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
    command = ["calibrate", str(llama), "--text", str(text), "-o", str(output), "--tokens", "100"]  # windows of 64, the context
    assert main(command) == 0
    assert capsys.readouterr().out == f"{output}: {len(load_file(output))} matrices of moments, 100 tokens\n"
    assert output.stat().st_mode == text.stat().st_mode
    assert main(["compile", str(llama), "-o", str(tmp_path / "package"), "--quantize=int4-g16", f"--calibration={output}"]) == 0
    capsys.readouterr()
    compared = ["compare", str(llama), "--text", str(text), "--variants", "f32,int4-g16", "--calibration", str(output)]
    assert main(compared) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["variant", "f32", "int4-g16"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 200, "window": 32}, "text: expects a text of at least 200 tokens, got 100"),
        ({"tokens": 50, "window": 4096}, "window: expects 2 to 64 tokens, the context of '{}', got 4096"),
    ],
)
def test_bad_input_leaves_nothing(llama, tmp_path, options, message):
    with pytest.raises(ds_mlir.errors.InvalidArgument) as raised:
        ds_mlir.calibrate(llama, random_text(100), tmp_path / "moments.safetensors", **options)
    assert str(raised.value) == f"invalid argument: {message.format(llama)}"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def described(tmp_path, monkeypatch):
    """A model's folder without weights, whose texts have a token before and one behind; to compile it fails."""
    import tokenizers

    monkeypatch.setattr(ds_mlir.compiler, "compile", lambda *_, **__: pytest.fail("compiled"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    add_tokenizer(folder)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "invalid argument: tokens: expects at least 1, got 0"),
        ({"window": 2}, "invalid argument: window: expects 3 to 65536 tokens, got 2"),
        ({"window": 100000}, "invalid argument: window: expects 3 to 65536 tokens, got 100000"),
        ({"output": "nowhere/file"}, "cannot write '{}/nowhere/file': No such file or directory"),
        ({"output": "model"}, "cannot write '{}/model': expects a file or nothing there, found something else"),
    ],
)
def test_bad_input_is_noticed_before_compiling(described, tmp_path, options, message):
    output = tmp_path / options.get("output", "file")
    with pytest.raises(ds_mlir.Error) as raised:
        ds_mlir.calibrate(described, random_text(100), **{**options, "output": output})
    assert str(raised.value) == message.format(tmp_path)
    assert list(tmp_path.iterdir()) == [described]


def test_a_model_without_a_tokenizer_is_noticed_before_compiling(described, tmp_path):
    (described / "tokenizer.json").write_text("{")
    with pytest.raises(ds_mlir.errors.BadData, match=r"tokenizer\.json': expects a tokenizer, found"):
        ds_mlir.compare(described, "a text")
    (described / "tokenizer.json").unlink()
    (tmp_path / "set.jsonl").write_text("")
    for run in (
        lambda: ds_mlir.calibrate(described, "a text", tmp_path / "file"),
        lambda: ds_mlir.compare(described, "a text"),
        lambda: ds_mlir.compare_classifier(described, tmp_path / "set.jsonl"),
    ):
        with pytest.raises(ds_mlir.errors.Missing) as raised:
            run()
        assert str(raised.value) == f"missing: '{described}': expects a tokenizer, found no tokenizer.json"
