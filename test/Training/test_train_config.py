"""The engine's configuration: what is accepted, and that everything else is refused by its path."""

import json
import types

import pytest
from ds_mlir import errors
from ds_mlir.training import parse_config
from ds_mlir.training.config import LossScaleSettings, batch_triple, choose_config
from ds_mlir.training.loss_scale import make_loss_scale

MINIMAL = {"train_batch_size": 4, "optimizer": {"type": "AdamW"}}


def refused(changes):
    with pytest.raises(errors.InvalidArgument) as caught:
        parse_config({**MINIMAL, **changes})
    text = str(caught.value)
    assert text.startswith("invalid argument: config: ")
    assert "\n" not in text
    return text.removeprefix("invalid argument: config: ")


# Upstream's answers for one rank (golden data "batch"), with two ranks added by the formula.
@pytest.mark.parametrize(
    ("given", "world", "expected"),
    [
        ((None, 2, None), 1, (2, 2, 1)),
        ((None, 2, 4), 1, (8, 2, 4)),
        ((None, 3, 2), 1, (6, 3, 2)),
        ((16, None, None), 1, (16, 16, 1)),
        ((16, None, 4), 1, (16, 4, 4)),
        ((16, 2, None), 1, (16, 2, 8)),
        ((16, 2, 8), 1, (16, 2, 8)),
        ((16, 2, None), 2, (16, 2, 4)),
        ((16, None, 2), 2, (16, 4, 2)),
    ],
)
def test_the_batch_triple_is_completed(given, world, expected):
    batch = batch_triple(*given, world)
    assert (batch.train, batch.micro, batch.accumulation) == expected


@pytest.mark.parametrize(
    "given", [(None, None, None), (None, None, 2), (16, 2, 1), (16, 2, 4), (16, 3, None), (5, None, 2), (1, 2, None), (16, None, 32)]
)
def test_a_batch_triple_that_does_not_multiply_out(given):
    with pytest.raises(errors.InvalidArgument, match="train_batch_size"):
        batch_triple(*given)


def test_precisions():
    base = {"train_batch_size": 1, "optimizer": {"type": "AdamW"}}
    for changes, expected in (
        ({}, ("f32", None)),
        ({"bf16": {"enabled": True}}, ("bf16", None)),
        ({"fp16": {"enabled": True}, "bf16": {"enabled": False}}, ("f16", LossScaleSettings())),
        (
            {"fp16": {"enabled": True, "loss_scale": 128, "initial_scale_power": 4, "loss_scale_window": 7, "hysteresis": 1}},
            ("f16", LossScaleSettings(scale=128, initial=16, window=7, hysteresis=1)),
        ),
    ):
        config = parse_config({**base, **changes})
        assert (config.compute, config.loss_scale) == expected
    scaler = make_loss_scale(parse_config({**base, "fp16": {"enabled": True, "initial_scale_power": 3, "min_loss_scale": 0.5}}))
    assert (scaler.dynamic, scaler.scale, scaler.minimum, scaler.raise_at_minimum) == (True, 8, 0.5, True)
    scaler = make_loss_scale(parse_config({**base, "fp16": {"enabled": True, "loss_scale": 64}}))
    assert (scaler.dynamic, scaler.scale) == (False, 64)
    assert make_loss_scale(parse_config({**base, "bf16": {"enabled": True}})).scale == 1


def test_what_the_engine_gets():
    config = parse_config(
        {
            "train_batch_size": 8,
            "train_micro_batch_size_per_gpu": 2,
            "gradient_clipping": 1.0,
            "steps_per_print": 5,
            "seed": 7,
            "prescale_gradients": True,
            "gradient_predivide_factor": 8.0,
            "wall_clock_breakdown": True,
            "fp16": {"enabled": False, "loss_scale": 0, "initial_scale_power": 16},
            "bf16": {"enabled": False},
            "zero_optimization": {"stage": 0},
            "flops_profiler": {"enabled": False, "profile_step": 1},
            "optimizer": {
                "type": "Lamb",
                "params": {"lr": 11e-3, "weight_decay": 0.01, "bias_correction": False, "max_coeff": 0.3, "min_coeff": 0.01},
            },
            "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.01, "warmup_num_steps": 10}},
            "progressive_layer_drop": {"enabled": True, "theta": 0.6, "gamma": 0.01},
            "ds_mlir": {"threads": 2, "recompute": True, "label_smoothing": 0.1, "nan_policy": "skip", "max_tokens": 256},
        }
    )
    assert (config.batch.accumulation, config.gradient_clipping, config.seed, config.steps_per_print) == (4, 1.0, 7, 5)
    optimizer = config.optimizer
    assert (optimizer.kind, optimizer.lr, optimizer.max_coeff, optimizer.bias_correction) == ("lamb", 11e-3, 0.3, False)
    assert optimizer.betas == (0.9, 0.999)
    assert config.scheduler == ("WarmupLR", {"warmup_max_lr": 0.01, "warmup_num_steps": 10})
    assert (config.layer_drop.theta, config.layer_drop.gamma) == (0.6, 0.01)
    assert (config.own.recompute, config.own.nan_policy, config.own.label_smoothing) == ("all", "skip", 0.1)


def test_sections_that_look_on():
    on = parse_config(
        {
            **MINIMAL,
            "flops_profiler": {"enabled": True, "profile_step": 5, "output_file": "p.txt", "detailed": False},
            "tensorboard": {"enabled": True},
            "csv_monitor": {"enabled": True, "output_path": "logs", "job_name": "a"},
        }
    )
    assert (on.profiler.profile_step, on.profiler.output_file, on.profiler.detailed, on.profiler.top_modules) == (5, "p.txt", False, 1)
    assert (on.tensorboard.output_path, on.tensorboard.job_name) == ("", "DeepSpeedJobName")
    assert (on.csv_monitor.output_path, on.csv_monitor.job_name) == ("logs", "a")
    off = parse_config({**MINIMAL, "tensorboard": {"output_path": ""}, "csv_monitor": {"enabled": False}, "flops_profiler": {}})
    assert (off.profiler, off.tensorboard, off.csv_monitor) == (None, None, None)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, "none"),
        ({"ds_mlir": {"recompute": False}}, "none"),
        ({"ds_mlir": {"recompute": 3}}, "3"),
        ({"ds_mlir": {"recompute": "budget:1.5GiB"}}, "budget:1.5GiB"),
        ({"ds_mlir": {"recompute": "budget:1000"}}, "budget:1000"),
        ({"activation_checkpointing": {}}, "none"),
        ({"activation_checkpointing": {"number_checkpoints": None, "contiguous_memory_optimization": True}}, "none"),
        ({"activation_checkpointing": {"number_checkpoints": 4, "profile": False}, "ds_mlir": {"threads": 1}}, "4"),
    ],
)
def test_layers_that_are_computed_again(sections, expected):
    assert parse_config({**MINIMAL, **sections}).own.recompute == expected


def test_dropout_is_the_model_s_or_a_rate():
    for value, expected in (("config", "config"), (0, "0.0"), (0.25, "0.25")):
        assert parse_config({**MINIMAL, "ds_mlir": {"dropout": value}}).own.dropout == expected
    assert parse_config(MINIMAL).own.dropout == "config"
    for value in ("none", 1, -0.1, True):
        with pytest.raises(errors.InvalidArgument, match=r"ds_mlir\.dropout: expects "):
            parse_config({**MINIMAL, "ds_mlir": {"dropout": value}})


def test_layer_drop_has_defaults_and_can_be_off():
    on = parse_config({**MINIMAL, "progressive_layer_drop": {"enabled": True}}).layer_drop
    assert (on.theta, on.gamma) == (0.5, 0.001)
    assert parse_config({**MINIMAL, "progressive_layer_drop": {"enabled": False}}).layer_drop is None
    assert parse_config(MINIMAL).layer_drop is None


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"type": "Adam"}, "adamw"),
        ({"type": "Adam", "params": {"adam_w_mode": False}}, "adam"),
        ({"type": "Adam", "params": {"torch_adam": True}}, "adamw"),
        ({"type": "adamw", "params": {"adam_w_mode": False}}, "adamw"),
        ({"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}}, "sgd"),
    ],
)
def test_kinds_of_optimizers(given, kind):
    assert parse_config({**MINIMAL, "optimizer": given}).optimizer.kind == kind


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"optimizer": {"type": "Adam", "params": {"foo": 1}}}, "optimizer.params.foo: unknown key"),
        ({"optimizer": {"type": "Adam", "params": {"weight_decy": 1}}}, "weight_decy: unknown key, did you mean 'weight_decay'?"),
        ({"optimizer": {"type": "Adam", "params": {"max_grad_norm": 1}}}, "optimizer.params.max_grad_norm: use gradient_clipping"),
        ({"max_grad_norm": 1}, "max_grad_norm: use gradient_clipping"),
        ({"optimizer": {"type": "Adam", "params": {"momentum": 1}}}, "optimizer.params.momentum: unknown key"),
        ({"optimizer": {"type": "SGD", "params": {"betas": [0.9, 0.99]}}}, "optimizer.params.betas: unknown key"),
        ({"optimizer": {"type": "SGD", "params": {"nesterov": True}}}, "optimizer.params.nesterov: not implemented yet"),
        ({"optimizer": {"type": "OneBitAdam", "params": {"freeze_step": 3}}}, "optimizer.type: OneBitAdam is not implemented yet"),
        ({"optimizer": {"type": "OneBitLamb"}}, "optimizer.type: OneBitLamb is not implemented yet"),
        ({"optimizer": {"type": "ZeroOneAdam"}}, "optimizer.type: ZeroOneAdam is not implemented yet"),
        ({"optimizer": {"type": "Adamm"}}, "optimizer.type: expects Adam, AdamW, Lamb or SGD, found 'Adamm'"),
        ({"optimizer": {"params": {}}}, "optimizer.type: expects"),
        ({"optimizer": {"type": "Adam", "params": {"lr": -1}}}, "optimizer.params.lr: expects at least 0, found -1"),
        ({"optimizer": {"type": "Adam", "params": {"lr": "auto"}}}, 'optimizer.params.lr: expects a number, found "auto"'),
        ({"optimizer": {"type": "Adam", "params": {"lr": True}}}, "optimizer.params.lr: expects a number, found true"),
        ({"optimizer": {"type": "Adam", "params": {"betas": [0.9]}}}, "optimizer.params.betas: expects 2 numbers, found [0.9]"),
        (
            {"optimizer": {"type": "Adam", "params": {"betas": [0.9, 1]}}},
            "optimizer.params.betas: expects at least 0 and less than 1, found 1",
        ),
        (
            {"optimizer": {"type": "Lamb", "params": {"min_coeff": 11}}},
            "optimizer.params.min_coeff: expects at most max_coeff, 10, found 11",
        ),
        ({"scheduler": {"type": "Cosine"}}, "scheduler.type: expects WarmupLR, WarmupDecayLR, WarmupCosineLR, LRRangeTest or OneCycle"),
        ({"scheduler": {"type": "WarmupLR", "params": {"total_num_steps": 3}}}, "scheduler.params.total_num_steps: unknown key"),
        ({"scheduler": {"type": "WarmupDecayLR"}}, "scheduler.params.total_num_steps: expects a value"),
        ({"scheduler": {"type": "WarmupLR", "params": {"warmup_type": "cubic"}}}, "scheduler.params.warmup_type: expects log or linear"),
        ({"fp16": {"enabled": True}, "bf16": {"enabled": True}}, "fp16.enabled: expects one of fp16 and bf16, found both"),
        ({"fp16": {"enabled": True, "min_loss_scale": 0}}, "fp16.min_loss_scale: expects more than 0, found 0"),
        ({"bf16": {"enabled": 1}}, "bf16.enabled: expects true or false, found 1"),
        ({"fp16": {"enabled": False, "los_scale": 0}}, "fp16.los_scale: unknown key, did you mean 'loss_scale'?"),
        ({"flops_profiler": {"enabled": True, "top_modules": 0}}, "flops_profiler.top_modules: expects at least 1, found 0"),
        ({"tensorboard": {"enabled": True, "output_pth": "a"}}, "tensorboard.output_pth: unknown key, did you mean 'output_path'?"),
        ({"csv_monitor": {"job_name": 3}}, "csv_monitor.job_name: expects a string, found 3"),
        ({"activation_checkpointing": {"cpu_checkpointing": True}}, "activation_checkpointing.cpu_checkpointing: not implemented yet"),
        ({"activation_checkpointing": {"number_checkpoints": -1}}, "activation_checkpointing.number_checkpoints: expects at least 0"),
        (
            {"activation_checkpointing": {"number_checkpoints": 1}, "ds_mlir": {"recompute": 2}},
            "ds_mlir.recompute: expects activation_checkpointing.number_checkpoints or this key, found both",
        ),
        ({"ds_mlir": {"recompute": "budget:256MB"}}, "ds_mlir.recompute: expects none, all, a number of layers or budget:SIZE"),
        ({"ds_mlir": {"recompute": "most"}}, "ds_mlir.recompute: expects none, all, a number of layers or budget:SIZE"),
        ({"ds_mlir": {"machine": 1}}, "ds_mlir.machine: expects a string, found 1"),
        ({"zero_optimization": {"stage": 2}}, "zero_optimization.stage: not implemented yet; expects 0, found 2"),
        ({"quantize_training": {"enabled": True}}, "quantize_training: MoQ is not implemented yet"),
        ({"eigenvalue": {}}, "eigenvalue: MoQ is not implemented yet"),
        ({"compression_training": {}}, "compression_training: the compression library is not implemented yet"),
        ({"amp": {}}, "amp: not implemented yet"),
        (
            {"progressive_layer_drop": {"enabled": True, "theta": 0}},
            "progressive_layer_drop.theta: expects more than 0 and at most 1, found 0",
        ),
        ({"progressive_layer_drop": {"enabled": True, "theta": 1.5}}, "progressive_layer_drop.theta: expects more than 0 and at most 1"),
        ({"progressive_layer_drop": {"enabled": True, "gamma": -0.1}}, "progressive_layer_drop.gamma: expects at least 0, found -0.1"),
        ({"progressive_layer_drop": {"enabled": True, "tetha": 0.5}}, "progressive_layer_drop.tetha: unknown key, did you mean 'theta'?"),
        ({"progressive_layer_drop": {"enabled": 1}}, "progressive_layer_drop.enabled: expects true or false, found 1"),
        ({"ds_mlir": {"thread": 2}}, "ds_mlir.thread: unknown key, did you mean 'threads'?"),
        ({"ds_mlir": {"nan_policy": "ignore"}}, 'ds_mlir.nan_policy: expects stop or skip, found "ignore"'),
        ({"train_batch_sise": 4}, "train_batch_sise: unknown key, did you mean 'train_batch_size'?"),
        ({"optimizer": []}, "optimizer: expects an object, found []"),
        ({"train_batch_size": 0}, "train_batch_size: expects at least 1, found 0"),
        ({"train_batch_size": 2.5}, "train_batch_size: expects a whole number, found 2.5"),
        ({"gradient_accumulation_steps": 3}, "expects train_batch_size = "),
        ({"gradient_clipping": float("nan")}, "gradient_clipping: expects a number, found NaN"),
    ],
)
def test_what_is_refused(changes, text):
    assert text in refused(changes)


def test_files_and_their_errors(tmp_path):
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(MINIMAL))
    assert parse_config(file).batch.train == 4
    assert parse_config(str(file)).batch.train == 4
    for text, message in {
        '{"seed": 1, "seed": 2}': "'seed' occurs twice",
        '{"optimizer": {"type": "Adam", "params": {"lr": 1, "lr": 1}}}': "'lr' occurs twice",
        '{"seed": 1,}': "line 1: ",
        '{"seed": NaN}': "expects numbers of JSON, found NaN",
        "[1]": "expects an object, found [1]",
        "[" * 100000: "nesting",
    }.items():
        file.write_text(text)
        with pytest.raises(errors.BadData) as caught:
            parse_config(file)
        assert message in str(caught.value)
        assert str(file) in str(caught.value)
    file.write_text('{"foo": 1, "train_batch_size": 1, "optimizer": {"type": "Adam"}}')
    with pytest.raises(errors.InvalidArgument, match=r"ds.json': foo: unknown key"):
        parse_config(file)
    with pytest.raises(errors.Missing, match="no such file"):
        parse_config(tmp_path / "nowhere.json")
    with pytest.raises(errors.InvalidArgument, match="expects a dictionary or a path, got int"):
        parse_config(3)


def test_one_configuration_at_a_time():
    arguments = types.SimpleNamespace(deepspeed_config="a.json")
    assert choose_config(arguments) == "a.json"
    assert choose_config(None, {"a": 1}) == {"a": 1}
    assert choose_config(types.SimpleNamespace(), None, "b") == "b"
    for given, names in (
        ((arguments, "b", None), "args.deepspeed_config and config"),
        ((None, "a", "b"), "config and config_params"),
        ((None, None, None), "none"),
    ):
        with pytest.raises(errors.InvalidArgument, match=f"got {names}$"):
            choose_config(*given)


def test_the_digest_depends_on_the_content_alone():
    first = parse_config(MINIMAL).digest
    assert first == parse_config(dict(reversed(MINIMAL.items()))).digest
    assert first != parse_config({**MINIMAL, "seed": 1}).digest
