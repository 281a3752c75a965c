"""FLOPs of a step: from a description by hand, and of a compiled step against what its matrices make."""

import json

import ds_mlir
import numpy as np
import pytest
from ds_mlir import errors
from ds_mlir.training.flops import StepFlops, read_step_flops
from ds_mlir.training.model_config import model_config
from test_train_package import SIZES, micro_batches, settings

OPS = [
    {"rows": "tokens", "ops": [{"flops_per_row": 10, "flops_per_pair": 3, "causal": True}, {"flops_per_row": 1}]},
    {"rows": "selected", "ops": [{"flops_per_row": 7}], "gate": 1},
    {"rows": "batch", "ops": [{"flops_per_row": 5, "flops_per_key": 2, "flops_per_pair": 11}], "gate": 0},
    {"rows": "tokens", "ops": []},
]


def test_counts_by_hand():
    step = StepFlops({"programs": [{"name": "norms", "launches": []}, {"name": "step", "launches": OPS}]})
    batch, tokens, rows = 2, 4, 3
    always, first, second = 11 * 8 + 3 * 2 * 10, 7 * 3, 5 * 2 + 2 * 8 + 11 * 32
    assert step.count(batch, tokens, rows) == always + first + second
    for gates, expected in (([1, 1], first + second), ([1, 0], second), ([0, 1], first), ([0, 0], 0)):
        assert step.count(batch, tokens, rows, np.array(gates)) == always + expected


def test_descriptions_that_are_none(tmp_path):
    assert read_step_flops(tmp_path) is None
    for text in ("[", '{"programs": [{}]}', '{"programs": [{"name": "step", "launches": [{"ops": [{}]}]}]}'):
        (tmp_path / "profile.json").write_text(text)
        with pytest.raises(errors.BadData, match=r"profile.json': expects a description"):
            read_step_flops(tmp_path)
    with pytest.raises(errors.BadData, match="expects program 'step', found none"):
        StepFlops({"programs": []})


def test_a_step_has_the_products_of_its_matrices():
    """Forward, gradient of the input and of the matrix."""
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=settings("causal-lm"))
    hidden, layers, vocabulary = SIZES["hidden_size"], SIZES["layers"], SIZES["vocab_size"]
    batch, tokens, rows = 3, 12, 20
    products = 3 * 2 * (layers * 12 * hidden**2 * batch * tokens + vocabulary * hidden * rows)
    attention = layers * 2 * (2 + 5) * hidden * batch * tokens * (tokens + 1) / 2
    counted = engine.backend.flops.count(batch, tokens, rows)
    assert products + attention < counted < 1.25 * (products + attention)
    head = engine.backend.flops.count(batch, tokens, rows + 1) - counted
    assert 3 * 2 * vocabulary * hidden < head < 1.2 * 3 * 2 * vocabulary * hidden


def test_layers_that_are_off_compute_nothing():
    config = settings("causal-lm", progressive_layer_drop={"enabled": True})
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=config)
    on, one, none = (engine.backend.flops.count(3, 12, 20, np.array(gates)) for gates in ([1, 1], [0, 1], [0, 0]))
    layer = 3 * 2 * 12 * SIZES["hidden_size"] ** 2 * 36
    assert layer < on - one < 1.4 * layer
    assert on - one == pytest.approx(one - none, rel=0.01)
    assert 0 < none < on - one


def test_an_update_says_its_share_of_the_peak(tmp_path):
    limits = {"threads": 2, "flops_f32": 4e9, "flops_f32_v2": 4e9, "flops_f32_v3": 4e9, "flops_bf16": 0, "barrier_ns": 1, "launch_ns": 1}
    limits |= dict.fromkeys(("l1_read", "l2_read", "l3_read", "memory_read", "memory_write"), 1e9)
    description = {"format": "ds-machine", "version": 1, "processor": "of a test", "level": "x86-64-v2", "limits": [limits]}
    description |= {"l1_size": 32768, "l2_size": 1048576, "l3_size": 33554432}
    (tmp_path / "machine.json").write_text(json.dumps(description))
    own = {"task": "causal-lm", "threads": 2, "machine": str(tmp_path / "machine.json")}
    with pytest.warns(UserWarning, match="describes 'of a test', another processor"):
        engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=settings("causal-lm", ds_mlir=own))
    data = micro_batches("gpt2", "causal-lm", 2)
    engine.train_batch(iter(data))
    rows = [int((batch["labels"][:, 1:] != -100).sum()) for batch in data]
    expected = sum(engine.backend.flops.count(3, 12, count) for count in rows)
    assert engine.last.flops_per_second * engine.last.seconds == pytest.approx(expected)
    assert engine.last.peak_share == pytest.approx(engine.last.flops_per_second / 4e9)
    with pytest.raises(errors.Missing, match=r"nowhere.json"):
        ds_mlir.initialize(
            model=model_config("gpt2", **SIZES), config=settings("causal-lm", ds_mlir={**own, "machine": str(tmp_path / "nowhere.json")})
        )
