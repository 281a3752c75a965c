"""`initialize`: from a model and a configuration to an engine."""

import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from ds_mlir import errors
from ds_mlir.training import package
from ds_mlir.training.backend import Backend
from ds_mlir.training.config import TrainingConfig, choose_config, parse_config
from ds_mlir.training.data import DataLoader
from ds_mlir.training.engine import Engine
from ds_mlir.training.optimizer import Optimizer
from ds_mlir.training.schedules import make_schedule


def _is_backend(model: Any) -> bool:
    return all(hasattr(model, name) for name in ("tensors", "view", "step", "update"))


def _is_package(model: Any) -> bool:
    return isinstance(model, str | os.PathLike) and (pathlib.Path(model) / "manifest.json").is_file()


def open_backend(model: Any, config: TrainingConfig, progress: str = "auto") -> tuple[Backend, pathlib.Path | None, Any]:
    """Compile and open a model.
    Args: model, as of `initialize`; config; progress, of the compiler.
    Returns: the backend, the folder of the model (None where there is none), and a temporary folder to keep.
    Raises: InvalidArgument, and what the compiler raises.
    """
    if _is_backend(model):
        return model, None, None
    if _is_package(model):
        return package.open_package(model, config.own.threads), None, None
    kept = tempfile.TemporaryDirectory(prefix="ds-train-")
    folder = package.model_folder(model, pathlib.Path(kept.name))
    compiled = pathlib.Path(kept.name) / "package"
    from_config = package.known_by_config(folder) or (folder.is_dir() and not package.has_weights(folder))
    notes = package.compile_package(folder, compiled, config, from_config, progress)
    backend = package.open_package(compiled, config.own.threads)
    backend.notes = notes
    if from_config and (drawn := package.begin(backend, folder, config.seed)) and package.has_weights(folder):
        warnings.warn(f"'{folder}': lacks {', '.join(drawn)}, which begin at random", stacklevel=4)
    return backend, folder, kept


def make_engine(
    model: Any,
    config: TrainingConfig,
    *,
    model_parameters: Iterable[Any] | None = None,
    training_data: Any = None,
    lr_scheduler: Any = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    progress: str = "auto",
) -> Engine:
    """Make an engine from a configuration that is checked already; arguments as of `initialize`."""
    backend, folder, kept = open_backend(model, config, progress)
    named = {id(value): name for name, value in model.named_parameters()} if hasattr(model, "named_parameters") else {}
    optimizer = Optimizer(config.optimizer, backend.tensors, model_parameters, named)
    scheduler = lr_scheduler(optimizer) if callable(lr_scheduler) else lr_scheduler
    if scheduler is None and config.scheduler is not None:
        scheduler = make_schedule(config.scheduler[0], optimizer, config.scheduler[1])
    loader = training_data
    if training_data is not None and not isinstance(training_data, DataLoader):
        loader = DataLoader(training_data, config.batch.micro, collate_fn=collate_fn, seed=config.seed)
    engine = Engine(backend, config, optimizer, scheduler, loader)
    engine.model_folder, engine._folder = folder, kept
    return engine


def initialize(
    args: Any = None,
    model: Any = None,
    optimizer: Any = None,
    model_parameters: Iterable[Any] | None = None,
    training_data: Any = None,
    lr_scheduler: Any = None,
    distributed_port: int | None = None,
    mpu: Any = None,
    dist_init_required: bool | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    config: Any = None,
    mesh_param: Any = None,
    config_params: Any = None,
) -> tuple[Engine, Optimizer, DataLoader | None, Any]:
    """Make an engine that trains a model; names and order of the arguments are those of DeepSpeed.
    Args: args, an object that may have `deepspeed_config`, a path; model, a Hugging Face folder (what its files
        lack is drawn at random), a configuration as a dictionary, a transformers model, or a training package; model_parameters, what is
        trained: None for all, names, patterns, parameters of the model, or groups as torch has them (`Optimizer`); training_data, a
        sequence of dictionaries of arrays; lr_scheduler, an object with `step()`, or a function of the optimizer that makes one, in place
        of the configuration's; collate_fn, makes a micro batch of a list of samples; config, a dictionary or the path of a JSON file,
        config_params its older name.
    Returns: the engine, its optimizer, its data loader and its scheduler; the last two may be None.
    Raises: InvalidArgument that names the argument or the key; Missing and BadData for files; what the compiler raises.
    """
    refused = {"optimizer": optimizer, "mpu": mpu, "mesh_param": mesh_param, "distributed_port": distributed_port}
    for name, value in refused.items():
        if value is not None:
            why = "the configuration says which (optimizer)" if name == "optimizer" else "not implemented yet"
            raise errors.InvalidArgument(f"invalid argument: {name}: expects None: {why}")
    if dist_init_required:
        raise errors.InvalidArgument("invalid argument: dist_init_required: expects None or False: several ranks are not implemented yet")
    if model is None:
        raise errors.InvalidArgument("invalid argument: model: expects a folder, a configuration or a transformers model, got None")
    checked = parse_config(choose_config(args, config, config_params))
    engine = make_engine(
        model,
        checked,
        model_parameters=model_parameters,
        training_data=training_data,
        lr_scheduler=lr_scheduler,
        collate_fn=collate_fn,
    )
    return engine, engine.optimizer, engine.training_dataloader, engine.lr_scheduler
