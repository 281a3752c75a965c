"""Packages on MoQ's grids and of numbers of 8 bits, against torch with weights that it has rounded itself."""

import pathlib
import sys

import ds_mlir
import numpy as np
import pytest
import tiny_models

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Quantize" / "Inputs"))
from make_moq_grids import quantize, values_for_inference

IDS = np.random.default_rng(6).integers(3, 90, (3, 21), dtype=np.int32)
GRIDS = {
    "moq8": (8, False, 1),
    "moq8-asym": (8, True, 1),
    "moq7": (7, False, 1),
    "moq6": (6, False, 1),
    "moq5-asym": (5, True, 1),
    "moq4": (4, False, 1),
    "moq4-asym": (4, True, 1),
    "moq3": (3, False, 1),
    "moq2": (2, False, 1),
    "moq1": (1, False, 1),
    # Rows of linears; of GPT-2's, which lie transposed, 16 or 64 columns; of its positions part of a row as well.
    "moq4-groups3": (4, False, 3),
    "moq7-asym-groups3": (7, True, 3),
}


def round_to_fp8(torch, weight, group):
    """Round a weight [N, K] to scaled numbers of torch.float8_e4m3fn, one scale for `group` columns (None: a row)."""
    rows = weight.reshape(-1, group or weight.shape[1])
    scale = rows.abs().amax(dim=1, keepdim=True) / 448
    if group:
        scale = scale.half().float()
    return ((rows / scale).to(torch.float8_e4m3fn).float() * scale).reshape(weight.shape)


def rounded_model(torch, name, folder, round_weight):
    """Make a model in `folder`; return it with every matrix rounded."""
    model = tiny_models.make_model(name, folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(round_weight(parameter))
    return model


def largest_error(torch, model, package):
    with torch.no_grad():
        expected = model(torch.tensor(IDS).long()).logits.numpy()
    found = ds_mlir.load(package).logits(IDS)
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", ["llama-3", "gpt2"])
@pytest.mark.parametrize("scheme", GRIDS)
def test_grids_are_those_of_training(torch, compiled, tmp_path, name, scheme):
    bits, asymmetric, groups = GRIDS[scheme]
    if name == "llama-3" and groups == 3:
        scheme, groups = scheme.replace("groups3", "groups4"), 4

    def round_weight(weight):
        values = quantize(weight.numpy(), bits, asymmetric, groups)
        return torch.tensor(values.reshape(weight.shape))

    model = rounded_model(torch, name, tmp_path, round_weight)
    assert largest_error(torch, model, compiled(tmp_path, quantize=scheme)) <= 2e-6


@pytest.mark.parametrize(("name", "groups"), [("llama-3", 1), ("llama-3", 4), ("gpt2", 1), ("gpt2", 3)])
def test_grids_are_those_of_inference(torch, compiled, tmp_path, name, groups):
    model = rounded_model(torch, name, tmp_path, lambda weight: torch.tensor(values_for_inference(weight.numpy(), groups)))
    scheme = "moq8-inference" if groups == 1 else f"moq8-inference-groups{groups}"
    assert largest_error(torch, model, compiled(tmp_path, quantize=scheme)) <= 2e-6


@pytest.mark.parametrize(("scheme", "group"), [("fp8", 16), ("fp8-row", None), ("fp8-g16", 16)])
def test_numbers_of_8_bits_are_those_of_torch(torch, compiled, tmp_path, scheme, group):
    model = rounded_model(torch, "llama-3", tmp_path, lambda weight: round_to_fp8(torch, weight, group))
    assert largest_error(torch, model, compiled(tmp_path, quantize=scheme)) <= 2e-6


@pytest.mark.parametrize("scheme", ["fp8", "moq2", "moq3", "moq5", "moq6-asym", "moq7", "moq8-asym"])
def test_levels_and_threads_agree(torch, compiled, tmp_path, scheme):
    tiny_models.make_model("llama-3", tmp_path)
    path = compiled(tmp_path, quantize=scheme, target_cpu="x86-64-v2,x86-64-v3,x86-64-v4,x86-64-v4-vnni")
    expected = ds_mlir.load(path, isa="x86-64-v2", threads=1).logits(IDS)
    one = ds_mlir.load(path, threads=1).logits(IDS)
    assert np.abs(one - expected).max() <= 1e-5 * np.abs(expected).max()
    for threads in (2, 3):
        assert np.array_equal(ds_mlir.load(path, threads=threads).logits(IDS), one)


@pytest.mark.parametrize("scheme", ["moq8", "moq7", "moq5-asym", "moq4-asym", "moq3", "moq2"])
def test_activations_of_bytes_multiply_codes_of_grids(compiled, tmp_path, scheme):
    tiny_models.make_model("llama-3", tmp_path)
    exact = ds_mlir.load(compiled(tmp_path, quantize=scheme)).logits(IDS)
    rounded = ds_mlir.load(compiled(tmp_path, quantize=scheme, activations="int8")).logits(IDS)
    assert np.abs(rounded - exact).max() <= 0.05 * np.abs(exact).max()


def test_activations_of_bytes_leave_numbers_of_8_bits_as_they_are(compiled, tmp_path):
    tiny_models.make_model("llama-3", tmp_path)
    exact, rounded = (
        ds_mlir.load(compiled(tmp_path, quantize="fp8", target_cpu="x86-64-v3", **options)).logits(IDS)
        for options in ({}, {"activations": "int8"})
    )
    assert np.array_equal(rounded, exact)


def test_a_scheme_a_layer(torch, compiled, tmp_path):
    """Rules give modules grids of their own; the package is named after what most weights are."""
    bits_of = {"embed_tokens": 8, "self_attn": 4, "mlp": 2, "lm_head": 6}
    model = tiny_models.make_model("llama-3", tmp_path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                bits = next(bits for part, bits in bits_of.items() if part in name)
                parameter.copy_(torch.tensor(quantize(parameter.numpy(), bits, False, 1).reshape(parameter.shape)))
    rules = ", ".join(f'{{"match": "{part}", "scheme": "moq{bits}"}}' for part, bits in bits_of.items())
    file = tmp_path / "schemes.json"
    file.write_text(f'{{"rules": [{rules}]}}')
    package = compiled(tmp_path, quantize=str(file))
    assert largest_error(torch, model, package) <= 2e-6
    assert ds_mlir.load(package).info["weights_dtype"] == "moq2"


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("moq0", "expects moqB with B from 1 to 8"),
        ("moq2-asym", "got 'moq2-asym'"),
        ("moq4-groups7", "expects a number of groups that divides 4608 values, got 7"),
        (
            "moq4-groups576",
            "expects groups of whole rows, or that end behind a multiple of 16 columns, got runs of 8 values for rows of 48",
        ),
        ("fp8-g40", "expects int8, int8-row, "),
        ("fp8-g32", "expects groups that divide the 48 columns of"),
    ],
)
def test_bad_schemes(tmp_path, scheme, message):
    tiny_models.make_model("llama-3", tmp_path / "model")
    with pytest.raises(ds_mlir.Error) as caught:
        ds_mlir.compile(tmp_path / "model", tmp_path / "package", quantize=scheme)
    assert message in str(caught.value)
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("scheme", ["moq1", "moq8-asym", "fp8"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_weight_that_is_not_finite_is_named(tmp_path, scheme, value):
    from safetensors.numpy import load_file, save_file

    tiny_models.make_model("llama-3", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("o_proj.weight"))
    tensors[name][3, 5] = value
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ds_mlir.errors.BadData, match=r"o_proj.weight'.* element (5|149): expects a finite value"):
        ds_mlir.compile(tmp_path / "model", tmp_path / "package", quantize=scheme)
    assert not (tmp_path / "package").exists()
