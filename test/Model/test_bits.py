"""Packages of 2 to 7 bits on every level of this machine, against torch with weights that it has rounded itself."""

import ds_mlir
import numpy as np
import pytest
import tiny_models

IDS = np.random.default_rng(8).integers(3, 90, (3, 21), dtype=np.int32)
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni")
# Groups of 16 and 48 k end with half a row of the highest bits where bits are odd.
SCHEMES = {
    "int2-g16": (2, 16, False),
    "int3-g48-asym": (3, 48, True),
    "int5-g16": (5, 16, False),
    "int6-g48": (6, 48, False),
    "int6-g16-asym": (6, 16, True),
    "int7-g16": (7, 16, False),
}


def round_to_codes(weight, bits, group, asymmetric):
    """Round a weight [N, K] to the nearest codes, with scales of half precision for groups of a row; return [N, K] float32."""
    values = weight.reshape(-1, group)
    if asymmetric:
        offset = values.min(1, keepdims=True).astype(np.float16).astype(np.float32)
        scale, least, greatest = (values.max(1, keepdims=True) - offset) / (2**bits - 1), 0, 2**bits - 1
    else:
        offset, least, greatest = np.float32(0), 1 - 2 ** (bits - 1) if bits == 8 else -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        widest = np.take_along_axis(values, np.abs(values).argmax(1)[:, None], 1)
        scale = np.abs(widest) / greatest if bits == 8 else widest / least
    scale = scale.astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint((values - offset) / scale), least, greatest).astype(np.float32)
    return (codes * scale + offset).reshape(weight.shape)


def rounded_model(torch, folder, bits, group, asymmetric):
    """Make a model in `folder`; return it with every matrix rounded, its table to 8 bits where there are at most 4."""
    model = tiny_models.make_model("llama-3", folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                own = 8 if bits <= 4 and "embed" in name else bits
                parameter.copy_(torch.tensor(round_to_codes(parameter.numpy(), own, group, asymmetric)))
    return model


@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_are_those_of_torch(torch, compiled, tmp_path, monkeypatch, scheme):
    bits, group, asymmetric = SCHEMES[scheme]
    if group == 48:
        monkeypatch.setitem(tiny_models.DECODERS["llama-3"][2], "intermediate_size", 96)
    model = rounded_model(torch, tmp_path, bits, group, asymmetric)
    package = compiled(tmp_path, quantize=scheme, target_cpu=",".join(LEVELS))
    for level in LEVELS:  # the highest one to use
        loaded = ds_mlir.load(package, isa=level)
        for ids in (IDS, IDS[:1, :1], IDS[:1, :2], IDS[:1, :5], IDS[:2, :6]):
            with torch.no_grad():
                expected = model(torch.tensor(ids).long()).logits.numpy()
            assert np.abs(loaded.logits(ids) - expected).max() <= 5e-6 * np.abs(expected).max(), (level, ids.shape)


@pytest.mark.parametrize("scheme", ["int2-g16", "int3-g16-asym", "int5-g16", "int6-g16", "int7-g16"])
def test_activations_of_bytes_multiply_codes(compiled, tmp_path, scheme):
    tiny_models.make_model("llama-3", tmp_path)
    exact = ds_mlir.load(compiled(tmp_path, quantize=scheme)).logits(IDS)
    rounded = ds_mlir.load(compiled(tmp_path, quantize=scheme, activations="int8")).logits(IDS)
    assert np.abs(rounded - exact).max() <= 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("scheme", ["int3-g16", "int5-g16-asym", "int6-g16"])
def test_threads_change_nothing(compiled, tmp_path, scheme):
    tiny_models.make_model("llama-3", tmp_path)
    package = compiled(tmp_path, quantize=scheme)
    one = ds_mlir.load(package, threads=1).logits(IDS)
    for threads in (2, 3):
        assert np.array_equal(ds_mlir.load(package, threads=threads).logits(IDS), one)
