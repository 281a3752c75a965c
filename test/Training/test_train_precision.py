"""Steps in 16 bits: against torch rounded by hand, beside f32, in memory, and with gradients that overflow."""

import copy

import ds_mlir
import numpy as np
import pytest
from ds_mlir.training.model_config import model_config
from test_train_package import SIZES, micro_batches, settings

SECTIONS = {"f32": {}, "bf16": {"bf16": {"enabled": True}}, "f16": {"fp16": {"enabled": True, "initial_scale_power": 8}}}
LLAMA = {"model_type": "llama", "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA |= {"num_key_value_heads": 2, "intermediate_size": 72, "max_position_embeddings": 24, "bos_token_id": 1, "eos_token_id": 2}
CASES = [
    ("gpt2", "causal-lm", "AutoModelForCausalLM"),
    ("bert", "masked-lm", "AutoModelForMaskedLM"),
    ("llama", "causal-lm", "AutoModelForCausalLM"),
]


def three_updates(torch, model, groups, data, scale=1.0):
    """Losses and norms of three updates by torch: [3, 2]. Gradients are those of the loss times `scale`, divided by it."""
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.01, eps=1e-5)
    results = []
    for step in range(3):
        losses = []
        for batch in data[2 * step : 2 * step + 2]:
            loss = model(**{key: torch.tensor(value) for key, value in batch.items()}).loss
            (loss * (scale / 2)).backward()
            losses.append(loss.item())
        for parameter in model.parameters():
            parameter.grad /= scale
        results.append((np.mean(losses), torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()))
        optimizer.step()
        optimizer.zero_grad()
    return np.array(results)


@pytest.mark.parametrize("compute", ["bf16", "f16"])
@pytest.mark.parametrize(("kind", "task", "name"), CASES)
def test_three_updates_are_those_of_torch_rounded_by_hand(kind, task, name, compute, tmp_path, monkeypatch):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from rounded_torch import patch

    torch.manual_seed(0)
    values = LLAMA if kind == "llama" else model_config(kind, task=task, **SIZES)
    config = transformers.AutoConfig.for_model(**values)
    model = getattr(transformers, name).from_config(config, attn_implementation="eager").eval()
    exact = copy.deepcopy(model)

    def groups_of(which):
        return [
            {"params": [p for n, p in which.named_parameters() if p.ndim > 1]},
            {"params": [p for n, p in which.named_parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]

    data = micro_batches(kind, task, 6)
    engine, *_ = ds_mlir.initialize(model=model, model_parameters=groups_of(model), config=settings(task, **SECTIONS[compute]))
    found = []
    for step in range(3):
        loss = engine.train_batch(iter(data[2 * step : 2 * step + 2]))
        found.append((loss, engine.get_global_grad_norm()))
    apart = np.array(found) / three_updates(torch, exact, groups_of(exact), data) - 1
    patch(monkeypatch, {"bf16": torch.bfloat16, "f16": torch.float16}[compute])
    near = np.array(found) / three_updates(torch, model, groups_of(model), data, engine.loss_scaler.scale) - 1
    monkeypatch.undo()
    # A value that lies at a tie may be rounded to the other side, and changes a loss by 2^-9 of one of thousands of values.
    loss, norm = np.abs(near).max(0)
    assert (loss < 2e-5, norm < 6e-4) == (True, True), near
    assert loss < np.abs(apart).max(0)[0]
    loaded = getattr(transformers, name).from_pretrained(engine.export(tmp_path / "model"))
    distances = []
    for other in (model, exact):
        pairs = zip(other.state_dict().values(), loaded.state_dict().values(), strict=True)
        distances.append(max((expected - value).abs().max().item() for expected, value in pairs))
    assert distances[0] < 0.4 * distances[1] < 1e-3


def trained(compute, steps=40, **changes):
    """The losses of steps on text that repeats itself, and the engine."""
    optimizer = {"type": "AdamW", "params": {"lr": 0.01}}
    config = settings("causal-lm", gradient_accumulation_steps=1, optimizer=optimizer, **SECTIONS[compute], **changes)
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=config)
    random = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        ids = (random.integers(0, 6, (3, 1)) + np.arange(12)) % 6
        losses.append(engine.train_batch(iter([{"input_ids": ids, "labels": ids}])))
    return np.array(losses), engine


def test_a_run_ends_where_f32_does():
    """The loss falls from 4 to about 0.1; what rounding makes of it lies within a tenth of the way that f32 still has to go."""
    exact, _ = trained("f32")
    assert exact[-5:].mean() < 0.2 * exact[0]
    for compute in ("bf16", "f16"):
        losses, engine = trained(compute)
        assert not np.array_equal(losses, exact)
        assert losses[0] == pytest.approx(exact[0], rel=2e-3)
        assert losses[-5:].mean() == pytest.approx(exact[-5:].mean(), rel=0.1), compute
        assert engine.skipped_steps == 0


@pytest.mark.parametrize("compute", SECTIONS)
@pytest.mark.parametrize(("kind", "task"), [("gpt2", "causal-lm"), ("bert", "masked-lm")])
def test_layers_that_are_computed_again_change_no_bit(kind, task, compute):
    runs = []
    for recompute in (False, True):
        own = {"task": task, "threads": 2, "recompute": recompute, "dropout": 0.1}
        config = settings(task, ds_mlir=own, **SECTIONS[compute])
        engine, *_ = ds_mlir.initialize(model=model_config(kind, task=task, **SIZES), config=config)
        assert engine.backend.recomputed_layers == (SIZES["layers"] if recompute else 0)
        data = micro_batches(kind, task, 6)
        losses = [engine.train_batch(iter(data[at : at + 2])) for at in (0, 2, 4)]
        runs.append((losses, {tensor.name: engine.backend.view("parameter", tensor.name).copy() for tensor in engine.backend.tensors}))
    assert runs[0][0] == runs[1][0]
    for name, values in runs[0][1].items():
        assert np.array_equal(values, runs[1][1][name]), name


def test_gradients_that_overflow_f16_are_skipped():
    """At 2^30 the gradient of the logits is infinite in f16: nothing moves, and the factor halves until it is not."""
    fp16 = {"enabled": True, "initial_scale_power": 30, "hysteresis": 1}
    config = settings("causal-lm", gradient_accumulation_steps=1, fp16=fp16)
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=config)
    batch = micro_batches("gpt2", "causal-lm", 1)[0]
    names = [tensor.name for tensor in engine.backend.tensors]
    before = {name: engine.backend.view("parameter", name).copy() for name in names}
    engine.train_batch(iter([batch]))
    assert (engine.skipped_steps, engine.loss_scaler.scale, engine.last.skipped) == (1, 2.0**29, True)
    for name in names:
        assert np.array_equal(before[name], engine.backend.view("parameter", name)), name
        assert not engine.backend.view("gradient", name).any(), name
        assert not engine.backend.view("moment1", name).any(), name
    for _ in range(20):
        engine.train_batch(iter([batch]))
    assert not engine.last.skipped
    assert np.isfinite(engine.get_global_grad_norm())
    assert engine.loss_scaler.scale == 2.0 ** (30 - engine.skipped_steps)
    assert any(not np.array_equal(before[name], engine.backend.view("parameter", name)) for name in names)


def test_a_static_factor_changes_no_gradient_of_bf16_range():
    """A power of two goes through every product of f16 exactly, as long as nothing leaves its range."""
    norms = []
    for scale in (2.0**8, 2.0**10):
        config = settings("causal-lm", gradient_accumulation_steps=1, fp16={"enabled": True, "loss_scale": scale})
        engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=config)
        engine.train_batch(iter(micro_batches("gpt2", "causal-lm", 1)))
        norms.append(engine.get_global_grad_norm())
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
