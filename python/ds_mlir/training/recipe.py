"""The file of `ds-train`: keys of an engine's configuration, and the sections model, task, data, output and steps."""

import dataclasses
import os
import pathlib
from typing import Any

from ds_mlir import errors
from ds_mlir.training.config import TASKS, MonitorSettings, TrainingConfig, parse_config
from ds_mlir.training.sections import Section, read_json

_OWN = ("model", "task", "data", "output", "steps", "save_every", "validate_every")


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """The section `data`. files and validation, texts or arrays of tokens, for classification labelled files; validation may be the
    fraction of each file's end that is held out; tokenizer, a folder, None for the model's.
    """

    files: list[pathlib.Path]
    tokenizer: pathlib.Path | None
    sequence_length: int
    mlm_probability: float
    validation: float | list[pathlib.Path]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A checked file of `ds-train`. steps, updates; save_every and validate_every, updates between, 0 for the end alone."""

    config: TrainingConfig
    model: pathlib.Path | dict[str, Any]
    task: str
    data: DataSettings
    output: pathlib.Path
    steps: int
    save_every: int
    validate_every: int


def _paths(section: Section, key: str, base: pathlib.Path, value: Any) -> list[pathlib.Path]:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        section.refuse(key, f"expects a file or a list of files, found {value!r}")
    return [base / pathlib.Path(one).expanduser() for one in value]


def _data(root: Section, base: pathlib.Path) -> DataSettings:
    section = root.section("data")
    if section is None:
        root.refuse("data", "expects an object with files, found none")
    files = _paths(section, "files", base, section.take("files"))
    validation = section.take("validation", 0.0)
    if isinstance(validation, int | float) and not isinstance(validation, bool):
        held_out: float | list[pathlib.Path] = section.number("validation", 0.0, least=0, below=1)
    else:
        held_out = _paths(section, "validation", base, validation)
    tokenizer = section.text("tokenizer", None)
    settings = DataSettings(
        files,
        base / tokenizer if tokenizer else None,
        section.integer("sequence_length", 128, least=2),
        section.number("mlm_probability", 0.15, above=0, most=1),
        held_out,
    )
    section.end()
    return settings


def _placed(config: TrainingConfig, base: pathlib.Path, output: pathlib.Path) -> TrainingConfig:
    """Paths of the configuration start from the file's folder; monitors without one write to the output of the run."""

    def monitor(settings: MonitorSettings | None) -> MonitorSettings | None:
        path = base / settings.output_path if settings is not None and settings.output_path else output
        return None if settings is None else dataclasses.replace(settings, output_path=os.fspath(path))

    own, profiler = config.own, config.profiler
    if own.machine is not None:
        own = dataclasses.replace(own, machine=os.fspath(base / own.machine))
    if profiler is not None and profiler.output_file is not None:
        profiler = dataclasses.replace(profiler, output_file=os.fspath(base / profiler.output_file))
    changes = {"tensorboard": monitor(config.tensorboard), "csv_monitor": monitor(config.csv_monitor)}
    return dataclasses.replace(config, own=own, profiler=profiler, **changes)


def read_recipe(path: str | os.PathLike, *, steps: int | None = None, output: str | None = None, threads: int | None = None) -> Recipe:
    """Read and check a file of `ds-train`; paths in it start from its folder.
    Args: path, the JSON file; steps, output and threads, in place of those of the file.
    Returns: a Recipe.
    Raises: Missing, BadData; InvalidArgument that names the key.
    """
    raw, source, base = read_json(path), f"'{os.fspath(path)}'", pathlib.Path(path).absolute().parent
    root = Section({key: value for key, value in raw.items() if key in _OWN}, source)
    task = root.choice("task", None, TASKS)
    if task is None:
        root.refuse("task", f"expects {', '.join(TASKS[:-1])} or {TASKS[-1]}, found none")
    data = _data(root, base)
    model = root.take("model")
    if not isinstance(model, str | dict) or not model:
        root.refuse("model", f"expects a folder, or a configuration with model_type, found {model!r}")
    if (count := steps if steps is not None else root.integer("steps", None, least=1)) is None:
        root.refuse("steps", "expects a whole number of at least 1, found none")
    if (folder := output or root.text("output", None)) is None:
        root.refuse("output", "expects a folder, found none")
    root.take("steps"), root.take("output")
    every = {key: root.integer(key, 0, least=0) for key in ("save_every", "validate_every")}
    root.end()
    rest = {key: value for key, value in raw.items() if key not in _OWN}
    own = rest.get("ds_mlir", {})
    if isinstance(own, dict):
        if own.get("task", task) != task:
            root.refuse("ds_mlir.task", f"expects {task}, as task says, found {own['task']}")
        lines = {"max_tokens": own.get("max_tokens"), "threads": threads or own.get("threads")}
        rest["ds_mlir"] = own | {"task": task} | {key: value for key, value in lines.items() if value is not None}
    try:
        config = parse_config(rest)
    except errors.InvalidArgument as error:
        raise errors.InvalidArgument(str(error).replace("invalid argument: config:", f"invalid argument: {source}:", 1)) from error
    if config.own.max_tokens is None:
        fitting = dataclasses.replace(config.own, max_tokens=config.batch.micro * data.sequence_length)
        config = dataclasses.replace(config, own=fitting)
    run_folder = base / folder if output is None else pathlib.Path(folder)
    return Recipe(
        _placed(config, base, run_folder),
        model if isinstance(model, dict) else base / pathlib.Path(model).expanduser(),
        task,
        data,
        run_folder,
        count,
        **every,
    )
