"""Updates: numbers against torch, groups of parameters, clipping, the scheduler's place."""

import math

import numpy as np
import pytest
from ds_mlir import errors, initialize
from ds_mlir.training import Optimizer, parse_config
from numpy_backend import NumpyBackend, batches, config, engine_of, run, snapshot


def torch_losses(backend, data, make, *, clip=0.0, accumulation=1):
    """The same model and data in torch, in f64: losses of updates, and parameters."""
    torch = pytest.importorskip("torch")
    p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in backend.state["parameter"].items()}
    optimizer, losses, waiting = make(torch, p), [], []
    for index, batch in enumerate(data):
        ids = torch.tensor(batch["input_ids"])
        x = p["embed.weight"][ids]
        for i in range(backend.blocks):
            x = x + torch.tanh(x @ p[f"layers.{i}.weight"] + p[f"layers.{i}.bias"])
        logits = x @ p["head.weight"].T
        labels = torch.tensor(batch["labels"])[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-100)
        (loss / accumulation).backward()
        waiting.append(loss.item())
        if (index + 1) % accumulation == 0:
            if clip:
                torch.nn.utils.clip_grad_norm_(p.values(), clip)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(np.mean(waiting))
            waiting = []
    return losses, {name: value.detach().numpy() for name, value in p.items()}


@pytest.mark.parametrize(
    ("kind", "settings", "make"),
    [
        (
            "adamw",
            {"type": "AdamW", "params": {"lr": 0.05, "weight_decay": 0.1}},
            lambda t, p: t.optim.AdamW(p.values(), lr=0.05, weight_decay=0.1),
        ),
        (
            "adam",
            {"type": "Adam", "params": {"lr": 0.05, "weight_decay": 0.1, "adam_w_mode": False, "betas": [0.8, 0.99]}},
            lambda t, p: t.optim.Adam(p.values(), lr=0.05, weight_decay=0.1, betas=(0.8, 0.99)),
        ),
        (
            "sgd",
            {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}},
            lambda t, p: t.optim.SGD(p.values(), lr=0.1, momentum=0.9, weight_decay=0.01),
        ),
    ],
)
@pytest.mark.parametrize("accumulation", [1, 3])
def test_updates_are_those_of_torch(kind, settings, make, accumulation):
    backend, data = NumpyBackend(kind=kind), batches(4 * accumulation)
    for batch in data[1::2]:  # unequal counts: each micro batch is a mean of its own
        batch["labels"] = np.where(np.arange(6) % 3 == 0, -100, batch["labels"])
    expected, parameters = torch_losses(backend, data, make, clip=0.5, accumulation=accumulation)
    engine = engine_of(backend, optimizer=settings, gradient_clipping=0.5, gradient_accumulation_steps=accumulation)
    assert run(engine, data) == pytest.approx(expected, rel=1e-5)
    for name, value in parameters.items():
        assert np.abs(backend.view("parameter", name) - value).max() < 1e-5
    assert (engine.global_steps, engine.micro_steps) == (4, 4 * accumulation)


def test_groups_have_their_own_rate_and_decay():
    torch = pytest.importorskip("torch")
    backend, data = NumpyBackend(), batches(4)

    def make(_, p):
        bias = [value for name, value in p.items() if name.endswith("bias")]
        rest = [value for name, value in p.items() if not name.endswith("bias")]
        return torch.optim.AdamW([{"params": rest, "weight_decay": 0.1}, {"params": bias, "weight_decay": 0.0, "lr": 0.2}], lr=0.05)

    _, parameters = torch_losses(backend, data, make)
    groups = [{"params": ["*.weight"], "weight_decay": 0.1}, {"params": ["*.bias"], "weight_decay": 0.0, "lr": 0.2}]
    engine, *_ = initialize(model=backend, config=config(), model_parameters=groups)
    run(engine, data)
    assert engine.get_lr() == [0.05, 0.2]
    for name, value in parameters.items():
        assert np.abs(backend.view("parameter", name) - value).max() < 1e-5


def test_lamb_by_its_formula():
    backend, data = NumpyBackend(kind="lamb"), batches(1)
    before = {name: value.astype(np.float64) for name, value in backend.state["parameter"].items()}
    other = NumpyBackend(kind="lamb")
    settings = {"type": "Lamb", "params": {"lr": 0.01, "weight_decay": 0.01, "bias_correction": False, "max_coeff": 0.5}}
    engine = engine_of(backend, optimizer=settings)
    step = engine_of(other, optimizer=settings)
    step.backward(step(data[0]))
    gradients = {name: value.astype(np.float64) for name, value in other.state["gradient"].items()}
    run(engine, data)
    for name, coefficient in zip(before, engine.get_lamb_coeffs(), strict=True):
        u = 0.1 * gradients[name] / (np.sqrt(0.001 * gradients[name] ** 2) + 1e-8) + 0.01 * before[name]
        norms = np.linalg.norm(before[name]), np.linalg.norm(u)
        expected = min(max(norms[0] / norms[1], 0.01), 0.5) if all(norms) else 1.0
        assert coefficient == pytest.approx(expected, rel=1e-5)
        assert np.abs(backend.view("parameter", name) - (before[name] - 0.01 * expected * u)).max() < 1e-6
    coefficients = engine.get_lamb_coeffs()
    coefficients.clear()
    assert len(engine.get_lamb_coeffs()) == len(before)


def test_bias_correction_counts_the_steps_of_each_parameter():
    backend = NumpyBackend()
    engine = engine_of(backend)
    optimizer = engine.optimizer
    optimizer.steps[:] = 4
    present = np.ones(len(backend.tensors), bool)
    controls, hyper = optimizer.controls(present, 0.5)
    rows = controls.reshape(5, -1)
    assert rows.dtype == hyper.dtype == np.float32
    assert np.allclose(rows[:, 0], [0.05, 0.01, 1 - 0.9**5, 1 - 0.999**5, 1], rtol=1e-6)
    assert np.array_equal(hyper, np.float32([[0.5, 0.9, 0.999, 1e-8, 0, 0, 1 - 0.9, 1 - 0.999]]))
    assert optimizer.steps[0] == 4  # only advance() counts
    present[2] = False
    optimizer.advance(present, np.ones(len(present)))
    assert optimizer.steps[1:4].tolist() == [5, 4, 5]


def test_clipping_and_the_global_norm():
    backend, data = NumpyBackend(kind="sgd"), batches(1)
    other = engine_of(NumpyBackend(kind="sgd"), optimizer={"type": "SGD", "params": {"lr": 1.0}})
    other.backward(other(data[0]))
    gradients = other.backend.state["gradient"]
    norm = math.sqrt(sum(float(np.square(value.astype(np.float64)).sum()) for value in gradients.values()))
    before = snapshot(backend)
    engine = engine_of(backend, optimizer={"type": "SGD", "params": {"lr": 1.0}}, gradient_clipping=0.1)
    assert engine.get_global_grad_norm() is None
    run(engine, data)
    assert engine.get_global_grad_norm() == pytest.approx(norm, rel=1e-6)
    for name, gradient in gradients.items():
        moved = before[f"parameter.{name}"] - backend.view("parameter", name)
        assert np.abs(moved - gradient * (0.1 / (norm + 1e-6))).max() < 1e-6


def test_a_frozen_parameter_stays_and_does_not_count():
    backend, data = NumpyBackend(), batches(3)
    engine, *_ = initialize(model=backend, config=config(), model_parameters=["layers.*", "head.weight"])
    before = snapshot(backend)
    run(engine, data)
    after = snapshot(backend)
    moved = {name for name in before if name.startswith("parameter") and not np.array_equal(before[name], after[name])}
    assert moved == {f"parameter.{t.name}" for t in backend.tensors} - {"parameter.embed.weight"}
    assert not backend.view("gradient", "embed.weight").any()
    assert engine.optimizer.steps[0] == 0


def test_parameters_of_a_torch_model_are_found_by_their_names():
    torch = pytest.importorskip("torch")
    tensors, bias = NumpyBackend().tensors, torch.zeros(5)
    named = {id(bias): "layers.1.bias"}
    settings = parse_config(config()).optimizer
    groups = [{"params": [bias], "lr": 0.5}, {"params": "*.weight"}]
    made = Optimizer(settings, tensors, groups, named)
    assert made.param_groups[0]["params"] == ["layers.1.bias"]
    assert made.param_groups[0]["lr"] == 0.5
    assert made.trained.sum() == 6
    assert Optimizer(settings, tensors, iter([("layers.1.bias", bias)]), named).trained.sum() == 1
    with pytest.raises(errors.InvalidArgument, match=r"expects parameters of the model, got a tensor of shape \[3\]"):
        Optimizer(settings, tensors, [torch.zeros(3)], named)


def test_groups_that_are_refused():
    for parameters, text in {
        ("nothing.*",): "no parameter is called 'nothing.*'",
        (): "expects at least one parameter",
        (3,): "expects names, patterns or parameters, got int",
    }.items():
        with pytest.raises(errors.InvalidArgument, match=text):
            initialize(model=NumpyBackend(), config=config(), model_parameters=list(parameters))
    for groups, text in (
        ([{"params": ["*"]}, {"params": ["*.bias"]}], "'layers.0.bias' is in another group too"),
        ([{"params": ["*"], "betas": (0.1, 0.2)}], r"model_parameters\[0\]: betas: expects params, lr or weight_decay"),
        ([{"params": ["*"], "lr": -1}], "lr: expects a number of at least 0, got -1"),
        ([{"lr": 1}], r"model_parameters\[0\]: expects params, got lr"),
    ):
        with pytest.raises(errors.InvalidArgument, match=text):
            initialize(model=NumpyBackend(), config=config(), model_parameters=groups)


def test_the_scheduler_moves_after_each_update():
    scheduler = {"type": "WarmupLR", "params": {"warmup_max_lr": 1.0, "warmup_num_steps": 4, "warmup_type": "linear"}}
    engine, _, _, made = initialize(model=NumpyBackend(), config=config(scheduler=scheduler))
    engine.print_line = None
    rates = []
    for batch in batches(6):
        rates.append(engine.get_lr()[0])
        engine.train_batch(iter([batch]))
        assert engine.last.lr == rates[-1]
    assert rates == [0, 0, 0.25, 0.5, 0.75, 1.0]
    assert made is engine.lr_scheduler
    mine = type("Mine", (), {"step": lambda self: self.optimizer.param_groups[0].update(lr=0.5)})()
    engine, optimizer, _, made = initialize(
        model=NumpyBackend(), config=config(), lr_scheduler=lambda optimizer: setattr(mine, "optimizer", optimizer) or mine
    )
    engine.train_batch(iter(batches(1)))
    assert made is mine
    assert optimizer.param_groups[0]["lr"] == 0.5
