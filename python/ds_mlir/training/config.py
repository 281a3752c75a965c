"""The configuration of an engine: the keys of DeepSpeed that have a meaning here, and our own section `ds_mlir`."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ds_mlir import errors
from ds_mlir.training.schedules import SCHEDULES, check_schedule
from ds_mlir.training.sections import Section, read_json

OPTIMIZERS = {"adam": "adam", "adamw": "adamw", "lamb": "lamb", "sgd": "sgd"}
NAN_POLICIES = ("stop", "skip")
TASKS = ("causal-lm", "masked-lm", "sequence-classification")
_NOT_YET = "not implemented yet"
_MOQ = "MoQ is not implemented yet"
_REFUSED = {
    "quantize_training": _MOQ,
    "compression_training": "the compression library is not implemented yet",
    "eigenvalue": _MOQ,
    "max_grad_norm": "use gradient_clipping",
} | dict.fromkeys(
    (
        "aio",
        "amp",
        "autotuning",
        "checkpoint",
        "comms_logger",
        "communication_data_type",
        "compile",
        "curriculum_learning",
        "data_efficiency",
        "data_types",
        "disable_allgather",
        "dump_state",
        "elasticity",
        "memory_breakdown",
        "nebula",
        "pipeline",
        "sparse_attention",
        "sparse_gradients",
        "tensor_parallel",
        "wandb",
        "zero_allow_untested_optimizer",
    ),
    _NOT_YET,
)


@dataclasses.dataclass(frozen=True)
class Batch:
    """The batch triple: `train` samples an update, `micro` samples a forward, `accumulation` forwards an update."""

    train: int
    micro: int
    accumulation: int


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """Hyper-parameters of `sgd`, `adam`, `adamw` or `lamb`. `betas[0]` is the momentum of sgd."""

    kind: str
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    bias_correction: bool = True
    max_coeff: float = 10.0
    min_coeff: float = 0.01


@dataclasses.dataclass(frozen=True)
class LossScaleSettings:
    """The section `fp16`. scale, a static factor on the loss, 0 for a dynamic one; the others are those of `DynamicLossScale`."""

    scale: float = 0.0
    initial: float = 2.0**16
    window: int = 1000
    hysteresis: int = 2
    consecutive: bool = False
    minimum: float = 1.0


@dataclasses.dataclass(frozen=True)
class LayerDropSettings:
    """The limit `theta` of the keep probability and the rate `gamma` that it is approached with."""

    theta: float = 0.5
    gamma: float = 0.001


@dataclasses.dataclass(frozen=True)
class MonitorSettings:
    """Where a monitor writes: the folder `job_name` of `output_path`."""

    output_path: str
    job_name: str = "DeepSpeedJobName"


@dataclasses.dataclass(frozen=True)
class ProfilerSettings:
    """The section `flops_profiler`. profile_step, updates before the one that is profiled; module_depth, levels of modules shown, -1 for
    all; top_modules, named for each level; detailed, whether all modules are listed; output_file, None for standard output.
    """

    profile_step: int = 1
    module_depth: int = -1
    top_modules: int = 1
    detailed: bool = True
    output_file: str | None = None


@dataclasses.dataclass(frozen=True)
class OwnSettings:
    """The section `ds_mlir`. recompute, layers whose values are computed again: `none`, `all`, how many, or `budget:SIZE`: as few as bring
    what a step keeps under SIZE; dropout, `config` for what the model's config.json says, or the rate wherever it has one; max_tokens, the
    most of one micro batch, None means micro batch times the model's positions; machine, a file of `ds-bench --calibrate`, which FLOP/s are
    compared with.
    """

    threads: int | None = None
    recompute: str = "none"
    dropout: str = "config"
    label_smoothing: float = 0.0
    nan_policy: str = "stop"
    max_tokens: int | None = None
    task: str | None = None
    machine: str | None = None


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A checked configuration; compute, what products multiply: `f32`, `bf16` or `f16`; loss_scale, None but for f16; `raw` is what it was
    read from.
    """

    batch: Batch
    optimizer: OptimizerSettings
    scheduler: tuple[str, dict[str, Any]] | None
    gradient_clipping: float
    layer_drop: LayerDropSettings | None
    steps_per_print: int
    wall_clock_breakdown: bool
    seed: int
    own: OwnSettings
    compute: str
    loss_scale: LossScaleSettings | None
    raw: dict[str, Any]
    tensorboard: MonitorSettings | None = None
    csv_monitor: MonitorSettings | None = None
    profiler: ProfilerSettings | None = None

    @property
    def digest(self) -> str:
        """A hash of what it was read from."""
        return hashlib.sha256(json.dumps(self.raw, sort_keys=True, default=str).encode()).hexdigest()


def batch_triple(train: int | None, micro: int | None, accumulation: int | None, world: int = 1) -> Batch:
    """Complete the batch triple: train = micro * accumulation * world.
    Args: the three keys, None where absent; world, ranks.
    Returns: a Batch.
    Raises: InvalidArgument when they do not multiply out, or when neither train nor micro is given.
    """
    given = {"train_batch_size": train, "train_micro_batch_size_per_gpu": micro, "gradient_accumulation_steps": accumulation}
    shown = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None) or "none of them"
    if train is None and micro is None:
        raise errors.InvalidArgument(f"expects train_batch_size or train_micro_batch_size_per_gpu, found {shown}")
    if train is not None and micro is not None and accumulation is None:
        accumulation = train // micro // world
    elif train is not None and micro is None:
        accumulation = accumulation or 1
        micro = train // accumulation // world
    elif train is None:
        accumulation = accumulation or 1
        train = micro * accumulation * world
    if min(train, micro, accumulation) < 1 or train != micro * accumulation * world:
        raise errors.InvalidArgument(
            f"expects train_batch_size = train_micro_batch_size_per_gpu * gradient_accumulation_steps * {world} ranks, found {shown}"
        )
    return Batch(train, micro, accumulation)


def _batch(root: Section) -> Batch:
    names = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    values = [root.integer(name, None, least=1) for name in names]
    try:
        return batch_triple(*values)
    except errors.InvalidArgument as error:
        root.refuse("", str(error))


def _optimizer(root: Section) -> OptimizerSettings:
    section = root.section("optimizer")
    if section is None:
        root.refuse("optimizer", "expects an object with type and params, found none")
    name = section.text("type", None)
    if name is None:
        section.refuse("type", "expects Adam, AdamW, Lamb or SGD, found none")
    kind = OPTIMIZERS.get(name.lower())
    if kind is None:
        planned = name.lower() in ("onebitadam", "onebitlamb", "zerooneadam", "adagrad", "lion", "muon")
        section.refuse("type", f"{name} is not implemented yet" if planned else f"expects Adam, AdamW, Lamb or SGD, found '{name}'")
    params = section.section("params") or Section({}, section.source, "optimizer.params")
    settings = _hyper(params, kind)
    params.end({"max_grad_norm": "use gradient_clipping"})
    section.end({"legacy_fusion": _NOT_YET})
    return settings


def _hyper(params: Section, kind: str) -> OptimizerSettings:
    values: dict[str, Any] = {
        "lr": params.number("lr", 1e-3, least=0),
        "weight_decay": params.number("weight_decay", 0.0, least=0),
    }
    if kind == "sgd":
        params.only("dampening", (0, 0.0))
        params.only("nesterov", (False,))
        return OptimizerSettings(kind, betas=(params.number("momentum", 0.0, least=0, below=1), 0.0), eps=0.0, **values)
    values["betas"] = params.numbers("betas", (0.9, 0.999), least=0, below=1)
    values["eps"] = params.number("eps", 1e-8, above=0)
    values["bias_correction"] = params.boolean("bias_correction", True)
    params.only("amsgrad", (False,))
    if kind == "lamb":
        params.only("eps_inside_sqrt", (False,))
        values["max_coeff"] = params.number("max_coeff", 10.0, above=0)
        values["min_coeff"] = params.number("min_coeff", 0.01, least=0)
        if values["min_coeff"] > values["max_coeff"]:
            params.refuse("min_coeff", f"expects at most max_coeff, {values['max_coeff']:g}, found {values['min_coeff']:g}")
        return OptimizerSettings(kind, **values)
    params.boolean("torch_adam", False)  # another implementation of the same formula
    decoupled = params.boolean("adam_w_mode", True)  # as in DeepSpeed: without this key, Adam decays as AdamW does
    return OptimizerSettings("adamw" if kind == "adamw" or decoupled else "adam", **values)


def _scheduler(root: Section) -> tuple[str, dict[str, Any]] | None:
    section = root.section("scheduler")
    if section is None:
        return None
    name = section.choice("type", None, tuple(SCHEDULES))
    if name is None:
        section.refuse("type", f"expects one of {', '.join(SCHEDULES)}, found none")
    params = section.section("params") or Section({}, section.source, "scheduler.params")
    values = check_schedule(name, params)
    section.end()
    return name, values


def _precision(root: Section) -> tuple[str, LossScaleSettings | None]:
    bf16, fp16 = root.section("bf16"), root.section("fp16")
    compute, scale = "f32", None
    if bf16 is not None:
        compute = "bf16" if bf16.boolean("enabled", False) else compute
        bf16.end()
    if fp16 is None:
        return compute, scale
    enabled = fp16.boolean("enabled", False)
    settings = LossScaleSettings(
        scale=fp16.number("loss_scale", 0.0, least=0),
        initial=2.0 ** fp16.integer("initial_scale_power", 16, least=0),
        window=fp16.integer("loss_scale_window", 1000, least=1),
        hysteresis=fp16.integer("hysteresis", 2, least=1),
        consecutive=fp16.boolean("consecutive_hysteresis", False),
        minimum=fp16.number("min_loss_scale", 1.0, above=0),
    )
    fp16.boolean("auto_cast", False)  # inputs are integers
    if enabled and compute == "bf16":
        fp16.refuse("enabled", "expects one of fp16 and bf16, found both")
    fp16.end()
    return ("f16", settings) if enabled else (compute, scale)


def _layer_drop(root: Section) -> LayerDropSettings | None:
    section = root.section("progressive_layer_drop")
    if section is None:
        return None
    enabled = section.boolean("enabled", False)
    theta = section.number("theta", 0.5, above=0, most=1)
    gamma = section.number("gamma", 0.001, least=0)
    section.end()
    return LayerDropSettings(theta, gamma) if enabled else None


def _refused_sections(root: Section) -> None:
    zero = root.section("zero_optimization")
    if zero is not None:
        if (stage := zero.integer("stage", 0, least=0)) > 0:
            zero.refuse("stage", f"{_NOT_YET}; expects 0, found {stage}")
        zero.end()
    # One rank: gradients are not averaged, so both orders of dividing give the same.
    root.boolean("prescale_gradients", False)
    root.number("gradient_predivide_factor", 1.0, above=0)


def _monitor(root: Section, name: str) -> MonitorSettings | None:
    """The section of a monitor; None when it is off."""
    section = root.section(name)
    if section is None:
        return None
    enabled = section.boolean("enabled", False)
    path = section.take("output_path", "")  # an empty one is DeepSpeed's default
    settings = MonitorSettings(section.text("output_path", "") if path else "", section.text("job_name", MonitorSettings.job_name))
    section.end()
    return settings if enabled else None


def _profiler(root: Section) -> ProfilerSettings | None:
    section = root.section("flops_profiler")
    if section is None:
        return None
    enabled = section.boolean("enabled", False)
    output = section.take("output_file")
    settings = ProfilerSettings(
        section.integer("profile_step", 1, least=0),
        section.integer("module_depth", -1, least=-1),
        section.integer("top_modules", 1, least=1),
        section.boolean("detailed", True),
        None if output is None else section.text("output_file", None),
    )
    section.number("recompute_fwd_factor", 0.0, least=0)  # what is computed again is measured, not assumed
    section.end()
    return settings if enabled else None


def _checkpointing(root: Section) -> str | None:
    """How many layers the section `activation_checkpointing` wants to be computed again; None where it does not say."""
    section = root.section("activation_checkpointing")
    if section is None:
        return None
    for key in ("partition_activations", "cpu_checkpointing", "profile"):
        section.only(key, (False,))
    # One arena holds all values, and a step is one launch after the other: these two have no other way to be.
    section.boolean("contiguous_memory_optimization", False)
    section.boolean("synchronize_checkpoint_boundary", False)
    count = None if section.take("number_checkpoints") is None else section.integer("number_checkpoints", None, least=0)
    section.end()
    return None if count is None else str(count)


def _recompute(section: Section, checkpointing: str | None) -> str:
    """None, all, a number of layers or a budget, as the compiler has it; true and false are all and none."""
    if not section.has("recompute"):
        return checkpointing or "none"
    if checkpointing is not None:
        section.refuse("recompute", "expects activation_checkpointing.number_checkpoints or this key, found both")
    value = section.values["recompute"]
    if isinstance(value, bool):
        return "all" if section.boolean("recompute", False) else "none"
    if not isinstance(value, str):
        return str(section.integer("recompute", None, least=0))
    section.take("recompute")
    if value not in ("none", "all") and not re.fullmatch(r"budget:\d+(\.\d+)?([KMG]iB)?", value):
        section.refuse("recompute", f"expects none, all, a number of layers or budget:SIZE such as budget:256MiB, found '{value}'")
    return value


def _dropout(section: Section) -> str:
    """Config or a rate, as the compiler has it."""
    if isinstance(section.values.get("dropout"), str):
        return section.choice("dropout", None, ("config",))
    rate = section.number("dropout", None, least=0, below=1)
    return "config" if rate is None else repr(rate)


def _own(root: Section) -> OwnSettings:
    section = root.section("ds_mlir") or Section({}, root.source, "ds_mlir")
    settings = OwnSettings(
        threads=section.integer("threads", None, least=1),
        recompute=_recompute(section, _checkpointing(root)),
        dropout=_dropout(section),
        label_smoothing=section.number("label_smoothing", 0.0, least=0, below=1),
        nan_policy=section.choice("nan_policy", "stop", NAN_POLICIES),
        max_tokens=section.integer("max_tokens", None, least=1),
        task=section.choice("task", None, TASKS),
        machine=section.text("machine", None),
    )
    section.end()
    return settings


def parse_config(config: Mapping[str, Any] | str | os.PathLike) -> TrainingConfig:
    """Read and check a configuration.
    Args: config, a dictionary, or the path of a JSON file.
    Returns: a TrainingConfig.
    Raises: InvalidArgument that names the key that is unknown, not implemented or wrong; Missing and BadData for the file.
    """
    if isinstance(config, Mapping):
        raw, source = dict(config), "config"
    elif isinstance(config, str | os.PathLike):
        raw, source = read_json(config), f"'{os.fspath(config)}'"
    else:
        raise errors.InvalidArgument(f"invalid argument: config: expects a dictionary or a path, got {type(config).__name__}")
    root = Section(raw, source)
    compute, loss_scale = _precision(root)
    result = TrainingConfig(
        batch=_batch(root),
        optimizer=_optimizer(root),
        scheduler=_scheduler(root),
        gradient_clipping=root.number("gradient_clipping", 0.0, least=0),
        layer_drop=_layer_drop(root),
        steps_per_print=root.integer("steps_per_print", 10, least=1),
        wall_clock_breakdown=root.boolean("wall_clock_breakdown", False),
        seed=root.integer("seed", 0, least=0),
        own=_own(root),
        compute=compute,
        loss_scale=loss_scale,
        raw=raw,
        tensorboard=_monitor(root, "tensorboard"),
        csv_monitor=_monitor(root, "csv_monitor"),
        profiler=_profiler(root),
    )
    _refused_sections(root)
    root.end(_REFUSED)
    return result


def choose_config(args: Any = None, config: Any = None, config_params: Any = None) -> Any:
    """Find the one configuration among the places where it may be.
    Args: args, an object that may have `deepspeed_config`; config and config_params, its older name.
    Returns: a dictionary or a path.
    Raises: InvalidArgument when there is none, or more than one.
    """
    given = {"args.deepspeed_config": getattr(args, "deepspeed_config", None), "config": config, "config_params": config_params}
    found = [name for name, value in given.items() if value is not None]
    if len(found) != 1:
        raise errors.InvalidArgument(
            f"invalid argument: expects one of config, config_params and args.deepspeed_config, got {' and '.join(found) or 'none'}"
        )
    return given[found[0]]
