"""The engine over a NumPy model: forward, accumulation, faults, layer dropping."""

import math

import numpy as np
import pytest
from ds_mlir import errors, initialize
from ds_mlir.training import DynamicLossScale, Loss
from numpy_backend import NumpyBackend, batches, config, engine_of, run, same, snapshot


def test_loss_and_modes():
    backend, data = NumpyBackend(), batches(2)
    engine = engine_of(backend)
    loss = engine(data[0])
    assert isinstance(loss, Loss)
    assert isinstance(loss, float)
    assert loss.item() == float(loss)
    assert (loss.tokens, loss.logits) == (10, None)
    engine.backward(loss)
    engine.step()
    before = snapshot(backend)
    engine.eval()
    evaluated = engine(**data[1])
    assert evaluated.logits.shape == (10, 11)
    labels = data[1]["labels"][:, 1:].ravel()
    logits = evaluated.logits.astype(np.float64)
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(10), labels])
    assert evaluated == pytest.approx(expected, rel=1e-6)
    assert same(before, snapshot(backend))
    engine.train()
    assert engine.eval_batch(iter(data)) == pytest.approx(engine.eval_batch(data[0]))
    assert len(backend.steps_run) == 1
    assert (engine.train_batch_size(), engine.train_micro_batch_size_per_gpu(), engine.gradient_accumulation_steps()) == (2, 2, 1)


def test_rows_and_labels_of_each_task():
    ids = np.arange(8).reshape(2, 4)
    causal = NumpyBackend()
    engine = engine_of(causal)
    engine({"input_ids": ids, "labels": [[0, 5, -100, 7], [-100, -100, -100, 9]]})
    made = causal.steps_run[-1]
    assert (made["rows"].tolist(), made["labels"].tolist()) == ([0, 2, 6], [5, 7, 9])
    assert made["arrays"]["positions"].tolist() == [[0, 1, 2, 3]] * 2
    masked = NumpyBackend(task="masked-lm", masked=True)
    engine_of(masked)({"input_ids": ids, "labels": [[1, -100, -100, -100], [-100, 2, -100, 3]], "attention_mask": [[1, 1, 1, 0], [1] * 4]})
    made = masked.steps_run[-1]
    assert (made["rows"].tolist(), made["labels"].tolist()) == ([0, 5, 7], [1, 2, 3])
    assert made["arrays"]["mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    whole = NumpyBackend(task="sequence-classification")
    engine = engine_of(whole)
    loss = engine({"input_ids": ids, "labels": [2, -100]})
    assert (whole.steps_run[-1]["rows"], whole.steps_run[-1]["labels"].tolist(), loss.tokens) == (None, [2, -1], 1)
    engine.eval()
    assert loss == pytest.approx(engine({"input_ids": ids, "labels": [2, -100]}))


def test_torch_arrays_are_taken():
    torch = pytest.importorskip("torch")
    ids = torch.arange(8).reshape(2, 4)
    assert engine_of(NumpyBackend())({"input_ids": ids, "labels": ids}).tokens == 6


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"labels": None}, "expects labels, got input_ids"),
        ({"label": 1}, "batch: label: expects input_ids"),
        ({"input_ids": [[0, 11]], "labels": [[0, 1]]}, r"input_ids\[0\]\[1\]: expects 0 to 10, got 11"),
        ({"labels": [[1, 2, 3], [1, 2, 11]]}, r"labels\[1\]\[2\]: expects 0 to 10, got 11"),
        ({"labels": [[1, 2, 3], [1, 2, -1]]}, r"labels\[1\]\[2\]: expects 0 to 10, got -1"),
        ({"labels": [[-100, -100, -100]] * 2}, "expects at least one that counts"),
        ({"labels": [[5, -100, -100]] * 2}, "expects at least one that counts"),  # nothing before the first token predicts it
        ({"labels": [1, 2]}, r"labels: expects shape \[batch, tokens\], got \[2\]"),
        ({"labels": [[1, 2]]}, r"labels: expects the shape of input_ids, \[2, 3\], got \[1, 2\]"),
        ({"input_ids": [[0.5, 1, 2]]}, "input_ids: expects integers, got float64"),
        ({"attention_mask": [[1, 1, 2]] * 2}, r"attention_mask\[0\]\[2\]: expects 0 to 1, got 2"),
        ({"attention_mask": [[0, 1, 1]] * 2}, "expects padding at the end of rows"),
        ({"attention_mask": [[1, 0, 0]] * 2}, "labels: expects -100 where attention_mask is 0"),
        ({"token_type_ids": [[0, 1, 1]] * 2}, "token_type_ids: expects zeros"),
        ({"input_ids": np.zeros((1, 65), int), "labels": np.zeros((1, 65), int)}, "expects at most 64 positions, got 65"),
    ],
)
def test_batches_that_are_refused(changes, text):
    backend = NumpyBackend()
    engine = engine_of(backend)
    before = snapshot(backend)
    with pytest.raises(errors.InvalidArgument, match=text):
        engine({"input_ids": [[0, 1, 2], [3, 4, 5]], "labels": [[0, 1, 2], [3, 4, 5]], **changes})
    assert same(before, snapshot(backend))
    engine.train_batch(iter(batches(1)))


def test_the_order_of_calls():
    engine, data = engine_of(NumpyBackend(), gradient_accumulation_steps=2), batches(4)
    with pytest.raises(errors.InvalidArgument, match=r"step: expects backward\(loss\) first"):
        engine.step()
    assert not engine.is_gradient_accumulation_boundary()
    loss = engine(data[0])
    with pytest.raises(errors.InvalidArgument, match="backward: expects the loss of the last forward"):
        engine.backward(loss / 2)
    with pytest.raises(errors.InvalidArgument, match="forward: expects a backward"):
        engine(data[0])
    engine.backward(loss)
    assert not engine.is_gradient_accumulation_boundary()
    engine.step()
    assert (engine.global_steps, engine.micro_steps) == (0, 1)
    assert engine.is_gradient_accumulation_boundary()
    engine.backward(engine(data[1]))
    assert engine.is_gradient_accumulation_boundary()
    with pytest.raises(errors.InvalidArgument, match=r"forward: expects step\(\) first"):
        engine(data[2])
    engine.step()
    assert (engine.global_steps, engine.micro_steps) == (1, 2)
    engine.backward(engine(data[2]))
    engine.zero_grad()
    assert (engine.micro_steps, np.abs(engine.backend.norms()).max()) == (2, 0)
    with pytest.raises(errors.InvalidArgument, match="expects a micro batch, got the end of the data"):
        engine.train_batch(iter([]))
    with pytest.raises(errors.InvalidArgument, match="expects data_iter"):
        engine.train_batch()


def poison(backend, name="layers.1.bias", value=np.nan):
    backend.view("gradient", name)[0] = value


def test_a_nan_gradient_stops_with_everything_as_it_was():
    backend, data = NumpyBackend(), batches(8)
    engine = engine_of(backend, gradient_accumulation_steps=2)
    run(engine, data[:2])
    before = snapshot(backend)
    engine.backward(engine(data[2]))
    engine.step()
    engine.backward(engine(data[3]))
    poison(backend)
    with pytest.raises(errors.Internal, match=r"step 1: the gradient of 'layers.1.bias' is not finite; parameters are as before"):
        engine.step()
    assert same(before, snapshot(backend))
    assert (engine.global_steps, engine.micro_steps, engine.skipped_steps) == (1, 2, 0)
    run(engine, data[4:6])
    assert (engine.global_steps, engine.micro_steps) == (2, 4)


def test_a_nan_gradient_is_skipped_where_that_is_the_policy():
    backend, data = NumpyBackend(), batches(4)
    scheduler = {"type": "WarmupLR", "params": {"warmup_max_lr": 0.1, "warmup_num_steps": 10, "warmup_type": "linear"}}
    engine = engine_of(backend, ds_mlir={"nan_policy": "skip"}, scheduler=scheduler)
    run(engine, data[:2])
    before, rate = snapshot(backend), engine.get_lr()
    engine.backward(engine(data[2]))
    poison(backend, value=np.inf)
    engine.step()
    assert same(before, snapshot(backend))
    assert (engine.global_steps, engine.skipped_steps, engine.get_lr()) == (3, 1, rate)
    assert engine.last.skipped
    assert engine.get_global_grad_norm() == math.inf
    run(engine, data[3:])
    assert (engine.global_steps, engine.skipped_steps) == (4, 1)
    assert not same(before, snapshot(backend))


def test_faults_have_names():
    backend, data = NumpyBackend(), batches(2)
    engine = engine_of(backend)
    backend.view("parameter", "layers.0.weight")[1, 2] = np.nan
    engine.backward(engine(data[0]))
    with pytest.raises(errors.Internal, match=r"parameter 'layers.0.weight' is not finite"):
        engine.step()
    backend.view("parameter", "layers.0.weight")[1, 2] = 0
    engine.backward(engine(data[0]))
    poison(backend, "embed.weight")
    poison(backend, "layers.0.weight")
    with pytest.raises(errors.Internal, match=r"the gradient of 'layers.0.weight' is not finite \(and of 1 more of 8 parameters\)"):
        engine.step()
    forward = backend.step
    backend.step = lambda *arguments: forward(*arguments) * np.float32(np.inf)
    engine.backward(engine(data[0]))
    with pytest.raises(errors.Internal, match="the loss is inf;"):
        engine.step()


def test_a_dynamic_loss_scale_changes_nothing_but_what_overflows():
    first, second, data = NumpyBackend(), NumpyBackend(), batches(6)
    plain, scaled = engine_of(first), engine_of(second)
    scaled.loss_scaler = DynamicLossScale(2.0**8, window=2, hysteresis=1)
    losses = run(plain, data[:3]), run(scaled, data[:3])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert scaled.get_global_grad_norm() == pytest.approx(plain.get_global_grad_norm(), rel=1e-5)
    before, scale = snapshot(second), scaled.loss_scaler.scale
    scaled.backward(scaled(data[3]))
    poison(second, value=np.inf)
    scaled.step()  # the policy is to stop, but a scale that adapts is expected to overflow
    assert same(before, snapshot(second))
    assert scaled.loss_scaler.scale == scale / 2


DROP = {"enabled": True, "theta": 0.3, "gamma": 5.0}


def test_layer_drop_follows_its_schedule():
    backend = NumpyBackend(gated=True)
    engine = engine_of(backend, progressive_layer_drop={"enabled": True, "theta": 0.5, "gamma": 0.1})
    assert engine.get_pld_theta() == 1.0
    for step, batch in enumerate(batches(5)):
        engine.train_batch(iter([batch]))
        assert engine.get_pld_theta() == pytest.approx(0.5 * math.exp(-0.1 * step) + 0.5, rel=1e-12)
    assert backend.steps_run[0]["gates"].tolist() == [1, 1, 1]
    assert engine_of(NumpyBackend()).get_pld_theta() is None


def test_a_layer_that_was_off_in_all_micro_steps_has_no_gradient():
    backend, data = NumpyBackend(gated=True), batches(40)
    engine = engine_of(backend, progressive_layer_drop=DROP, gradient_accumulation_steps=2, seed=5)
    steps = np.zeros(3, int)
    for i in range(0, 40, 2):
        before = snapshot(backend)
        engine.train_batch(iter(data[i : i + 2]))
        ran = backend.steps_run[-1]["gates"] | backend.steps_run[-2]["gates"]
        steps += ran
        for layer in range(3):
            for part in ("parameter", "moment1", "moment2"):  # absent: not even the moments decay
                same_bits = np.array_equal(before[f"{part}.layers.{layer}.weight"], backend.view(part, f"layers.{layer}.weight"))
                assert same_bits == (not ran[layer])
        kept = np.mean([backend.steps_run[-1]["gates"].sum(), backend.steps_run[-2]["gates"].sum()])
        assert engine.last.kept_layers == kept
    assert 0 < steps.min() < 20
    assert engine.optimizer.steps.tolist() == [20, *np.repeat(steps, 2), 20]


def test_evaluation_uses_all_layers():
    backend, other = NumpyBackend(gated=True), NumpyBackend()
    engine = engine_of(backend, progressive_layer_drop=DROP)
    run(engine, batches(3))
    for name, value in backend.state["parameter"].items():
        other.view("parameter", name)[...] = value
    batch = batches(1, seed=9)[0]
    assert engine.eval_batch(batch) == engine_of(other).eval_batch(batch)


def test_gates_are_on_without_layer_drop_and_layers_are_needed_with_it():
    backend = NumpyBackend(gated=True)
    run(engine_of(backend), batches(1))
    assert backend.steps_run[0]["gates"].tolist() == [1, 1, 1]
    assert backend.steps_run[0]["scales"].tolist() == [1, 1, 1]
    with pytest.raises(errors.InvalidArgument, match="progressive_layer_drop: expects a model with layers"):
        engine_of(NumpyBackend(), progressive_layer_drop=DROP)


def test_arguments_of_initialize():
    for arguments, text in (
        ({"model": None}, "model: expects a folder"),
        ({"optimizer": object()}, "optimizer: expects None: the configuration says which"),
        ({"mpu": object()}, "mpu: expects None: not implemented yet"),
        ({"dist_init_required": True}, "dist_init_required"),
        ({"config_params": config()}, "expects one of config, config_params"),
        ({"model": 3}, "expects a folder, a configuration or a transformers model, got int"),
        ({"model": {"hidden_size": 3}}, "expects a configuration with model_type, got hidden_size"),
    ):
        with pytest.raises(errors.InvalidArgument, match=text):
            initialize(**{"model": NumpyBackend(), "config": config(), **arguments})
    engine, *_ = initialize(type("Arguments", (), {"deepspeed_config": None})(), NumpyBackend(), config_params=config())
    assert engine.config.batch.train == 2


def test_lines_are_printed_at_the_interval(capsys):
    engine, *_ = initialize(
        model=NumpyBackend(gated=True), config=config(steps_per_print=2, wall_clock_breakdown=True, progressive_layer_drop=DROP)
    )
    run(engine, batches(5))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 2", "step 4"]
    assert "theta 0.3" in lines[1]
    assert "forward and backward" in lines[1]
