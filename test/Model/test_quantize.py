"""Quantized packages of real and of tiny models."""

import json
import subprocess

import ds_mlir
import numpy as np
import pytest
import tiny_models
from test_minilm import SENTENCES
from test_smollm2 import PROMPTS

IDS = np.random.default_rng(6).integers(3, 90, (3, 21), dtype=np.int32)


@pytest.fixture(scope="module")
def stored(compiled, smollm2_path):
    return ds_mlir.load(compiled(smollm2_path, quantize="stored"))


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_stored_blocks_give_the_values_of_the_file(stored, smollm2, torch_smollm2, torch, index):
    ids = stored.tokenizer.encode(PROMPTS[index])
    with torch.no_grad():
        expected = torch_smollm2(torch.tensor([ids])).logits.numpy()
    assert np.abs(stored.logits(ids) - expected).max() <= 1e-3
    assert (
        stored.generate(ids, max_new_tokens=32, eos_token_id=[]).tolist()
        == smollm2.generate(ids, max_new_tokens=32, eos_token_id=[]).tolist()
    )


def size(path):
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def test_sizes(compiled, smollm2_path, stored):
    """Bits times parameters and scales: half precision for 64, the head with eight bits where the scheme has less than five."""
    matrices, head = 30 * (2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576), 49152 * 576
    norms = 4 * 61 * 576
    assert size(compiled(smollm2_path, quantize="int8")) == pytest.approx((matrices + head) * 8.25 / 8 + norms, rel=0.02)
    assert size(compiled(smollm2_path, quantize="int4-g64")) == pytest.approx(matrices * 4.25 / 8 + head * 8.25 / 8 + norms, rel=0.02)
    for bits in (3, 6):
        found = size(compiled(smollm2_path, quantize=f"int{bits}-g64"))
        assert found == pytest.approx(matrices * (bits + 0.25) / 8 + head * (bits + 0.25 if bits > 4 else 8.25) / 8 + norms, rel=0.02)
    assert size(compiled(smollm2_path, quantize="moq5")) == pytest.approx((matrices + head) * 5 / 8 + norms, rel=0.02)
    assert size(compiled(smollm2_path, quantize="stored")) == pytest.approx(matrices * 5 / 8 + head * 8.5 / 8 + norms, rel=0.02)
    assert stored.info["weights_dtype"] == "int4-g32-asym"


def test_int8_of_the_decoder_is_close(compiled, smollm2_path, smollm2):
    for activations in ("f32", "int8"):
        model = ds_mlir.load(compiled(smollm2_path, quantize="int8", activations=activations))
        ids = smollm2.tokenizer.encode(PROMPTS[-1])
        a, b = model.logits(ids)[0], smollm2.logits(ids)[0]
        assert (a.argmax(-1) == b.argmax(-1)).mean() >= 0.9, activations


@pytest.mark.parametrize(("quantize", "activations"), [("int8", "f32"), ("int8", "int8"), ("int8-row", "f32")])
def test_embeddings_keep_their_direction(compiled, minilm_path, minilm, quantize, activations):
    model = ds_mlir.load(compiled(minilm_path, quantize=quantize, activations=activations))
    found, expected = model.encode(list(SENTENCES)), minilm.encode(list(SENTENCES))
    cosine = (found * expected).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert cosine.min() >= 0.996


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama-3")
    tiny_models.make_model("llama-3", folder)
    return folder


@pytest.mark.parametrize("activations", ["f32", "int8"])
def test_levels_and_threads_agree(compiled, tiny, activations):
    levels = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni")
    path = compiled(tiny, quantize="int8-g16", activations=activations, target_cpu=",".join(levels))
    expected = ds_mlir.load(path, isa="x86-64-v2", threads=1).logits(IDS)
    for level in levels:
        # Activations are rounded alike at all of them, and integers are summed exactly.
        one = ds_mlir.load(path, isa=level, threads=1).logits(IDS)
        assert np.abs(one - expected).max() <= 1e-4 * np.abs(expected).max(), level
        for threads in (2, 3, 5):
            assert np.array_equal(ds_mlir.load(path, isa=level, threads=threads).logits(IDS), one), level


def test_schemes_from_a_file(compiled, smollm2_path, tmp_path):
    file = tmp_path / "schemes.json"
    file.write_text(
        json.dumps({"scheme": "int4-g64", "rules": [{"match": "down_proj", "scheme": "int8-g64"}, {"match": "embed", "scheme": "none"}]})
    )
    # Scales lie in pairs, and the nine of a row of the head are odd. Of a level that adds nothing to f32.
    mixed, four = (size(compiled(smollm2_path, quantize=scheme, target_cpu="x86-64-v3")) for scheme in (str(file), "int4-g64"))
    assert mixed - four == pytest.approx(30 * 576 * 1536 / 2 + 49152 * 576 * (4 - 8.25 / 8), rel=2e-3)


def test_groups_that_differ_share_parts(tiny, tmp_path):
    """Queries, keys and values are one kernel: activations have a scale for what divides the groups of each."""
    schemes = {"scheme": "none", "rules": [{"match": "q_proj", "scheme": "int8-g48"}, {"match": "[kv]_proj", "scheme": "int8-g16"}]}
    plain, rounded = (
        ds_mlir.load(ds_mlir.compile(tiny, tmp_path / activations, quantize=schemes, activations=activations, target_cpu="native"))
        for activations in ("f32", "int8")
    )
    expected, found = plain.logits(IDS), rounded.logits(IDS)
    assert 0 < np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()


def test_schemes_by_name(tiny, tmp_path):
    schemes = {"scheme": "int8-g16", "rules": [{"match": "down_proj", "scheme": "none"}]}
    (tmp_path / "schemes.json").write_text(json.dumps(schemes))
    given = ds_mlir.compile(tiny, tmp_path / "given", quantize=schemes, target_cpu="x86-64-v2")
    read = ds_mlir.compile(tiny, tmp_path / "read", quantize=str(tmp_path / "schemes.json"), target_cpu="x86-64-v2")
    assert (given / "manifest.json").read_bytes() == (read / "manifest.json").read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expects an object"),
        ('{"scheme": "int4-g64", "rule": []}', "unknown key 'rule'"),
        ('{"rules": [{"match": "x"}]}', "rules[0]"),
        ('{"rules": [1]}', "rules[0]': expects an object of match and scheme, found"),
        ('{"rules": [{"match": "(", "scheme": "int8"}]}', "rules[0]': key 'match': expects a POSIX extended regular expression, found '('"),
        ('{"rules": [{"match": "x", "scheme": "y=int8"}]}', "rules[0]': key 'scheme': expects int8,"),
        ('{"rules": [{"match": "nowhere", "scheme": "int8"}]}', "expects 'nowhere' to match a matrix of the model, found none"),
        ('{"scheme": "int3"}', "got 'int3'"),
    ],
)
def test_bad_schemes(tiny, tmp_path, text, message):
    file = tmp_path / "schemes.json"
    file.write_text(text)
    given = json.loads(text)
    for quantize, name in ((str(file), "schemes.json"), (given, "quantize")):
        if not isinstance(quantize, list):
            with pytest.raises(ds_mlir.Error) as caught:
                ds_mlir.compile(tiny, tmp_path / "package", quantize=quantize)
            assert message in str(caught.value)
            assert "ds-schemes-" not in str(caught.value)
            assert name in str(caught.value) or "'" in message
            assert not (tmp_path / "package").exists()


def test_scales_that_vanish_are_named(tmp_path):
    """The greatest weight over 127 is below half of the least f16."""
    from ds_mlir.compiler import compiler_path

    matrix, name = model_with(tmp_path / "model", "o_proj.weight", (slice(0, 2),), 3e-6)
    command = [str(compiler_path()), str(tmp_path / "model"), "-o", str(tmp_path / "package"), "--target-cpu=x86-64-v2"]
    ran = subprocess.run([*command, "--quantize=int8-g16"], capture_output=True, text=True, check=True)
    warnings = [line for line in ran.stderr.splitlines() if "warning:" in line]
    assert len(warnings) == 1
    groups = 2 * matrix.shape[1] // 16
    assert warnings[0].endswith(f"'{name}': {groups} groups become zeros, as their scale is below f16; int8-row has scales of f32")


def model_with(folder, ending, place, value):
    """Make a tiny model with one value changed, in the first tensor whose name ends so. Returns the tensor and its name."""
    from safetensors.numpy import load_file, save_file

    tiny_models.make_model("llama-3", folder)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith(ending))
    tensors[name][place] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors[name], name


@pytest.mark.parametrize(
    ("ending", "place", "value", "message"),
    [
        ("o_proj.weight", (3, 5), np.nan, r"o_proj.weight', row 3, element 5: expects a finite value to quantize, found NaN"),
        # What is not quantized stands in a model that is: its norms.
        ("input_layernorm.weight", (7,), -np.inf, r"input_layernorm.weight': element 7: expects a finite value, got -inf"),
    ],
)
def test_a_weight_that_is_not_finite_is_named(tmp_path, ending, place, value, message):
    model_with(tmp_path / "model", ending, place, value)
    with pytest.raises(ds_mlir.errors.BadData, match=message):
        ds_mlir.compile(tmp_path / "model", tmp_path / "package", quantize="int8")
    assert not (tmp_path / "package").exists()


def test_a_weight_that_is_not_finite_is_a_warning_where_none_is_quantized(tmp_path):
    from ds_mlir.compiler import compiler_path

    matrix, name = model_with(tmp_path / "model", "o_proj.weight", (3, 5), np.nan)
    command = [str(compiler_path()), str(tmp_path / "model"), "-o", str(tmp_path / "package"), "--target-cpu=x86-64-v2"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    element = 3 * matrix.shape[1] + 5
    warnings = [line for line in ran.stderr.splitlines() if "warning:" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith(f"parameter '{name}': element {element}: is NaN or infinite, as stored")
