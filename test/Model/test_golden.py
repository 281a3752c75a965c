"""Models whose answers were recorded with transformers 5.23: weights, configuration and outputs lie in Inputs."""

import json
import pathlib

import numpy as np
import pytest

INPUTS = pathlib.Path(__file__).parent / "Inputs"
MODELS = json.loads((INPUTS / "index.json").read_text())["models"]


@pytest.fixture(scope="module", params=MODELS)
def golden(request, torch, compiled, tmp_path_factory):
    """The recorded arrays and the compiled model."""
    import ds_mlir
    from safetensors.numpy import save_file

    arrays = np.load(INPUTS / f"{request.param}.npz")
    folder = tmp_path_factory.mktemp(request.param)
    config = {**MODELS[request.param]["config"], "architectures": [MODELS[request.param]["class"]]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name[3:]: arrays[name] for name in arrays.files if name.startswith("sd/")}, folder / "model.safetensors")
    return arrays, ds_mlir.load(compiled(folder))


def test_logits(golden):
    arrays, model = golden
    assert np.abs(model.logits(arrays["input_ids"]) - arrays["logits"]).max() <= 1e-4


def test_logits_masked(golden):
    arrays, model = golden
    found = model.logits(arrays["input_ids"], arrays["mask"])
    assert np.abs(found - arrays["logits_masked"]).max() <= 1e-4


def test_greedy(golden):
    arrays, model = golden
    if "greedy_8" not in arrays.files:
        pytest.skip("an encoder makes no tokens")
    prompt = arrays["input_ids"][:1]
    found = model.generate(prompt, max_new_tokens=8, eos_token_id=[])
    assert found.tolist() == arrays["greedy_8"].tolist()
