"""From a model to a training package: the folder, the compiler's options, and parameters where there is no checkpoint."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from ds_mlir import compiler, errors
from ds_mlir.training import weights
from ds_mlir.training.backend import Backend, NativeBackend
from ds_mlir.training.config import TrainingConfig
from ds_mlir.training.flops import read_step_flops

FROM_CONFIG = ("bert", "gpt2", "llama", "mistral", "qwen2", "roberta", "roberta-prelayernorm")
_TOKENS = 512  # of a sequence, where neither the configuration nor the model says less


def model_folder(model: Any, folder: pathlib.Path) -> pathlib.Path:
    """Find or make the folder that the compiler reads.
    Args: model, a Hugging Face folder, a configuration (a dictionary as in config.json), or a transformers model; folder, for what is made.
    Returns: the folder.
    Raises: InvalidArgument for anything else.
    """
    if isinstance(model, str | os.PathLike):
        return pathlib.Path(model)
    if isinstance(model, Mapping):
        if "model_type" not in model:
            raise errors.InvalidArgument(
                f"invalid argument: model: expects a configuration with model_type, got {', '.join(model) or 'none'}"
            )
        made = folder / "config"
        made.mkdir()
        (made / "config.json").write_text(json.dumps(dict(model), indent=2))
        return made
    if hasattr(model, "save_pretrained") and hasattr(model, "config"):
        model.save_pretrained(folder / "model", safe_serialization=True)
        return folder / "model"
    raise errors.InvalidArgument(
        f"invalid argument: model: expects a folder, a configuration or a transformers model, got {type(model).__name__}"
    )


def has_weights(folder: pathlib.Path) -> bool:
    """Whether a folder has more than a configuration."""
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def known_by_config(folder: pathlib.Path) -> bool:
    """Whether the compiler knows a model's tensors without its files. Then `begin` reads them, and a head that they lack is drawn."""
    try:
        return json.loads((folder / "config.json").read_bytes())["model_type"] in FROM_CONFIG
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _max_tokens(folder: pathlib.Path, config: TrainingConfig) -> int:
    if config.own.max_tokens is not None:
        return config.own.max_tokens
    try:
        values = json.loads((folder / "config.json").read_bytes())
        length = min(_TOKENS, *(values[key] for key in ("max_position_embeddings", "n_positions") if isinstance(values.get(key), int)))
    except (OSError, ValueError, TypeError):
        length = _TOKENS
    return config.batch.micro * length


def compile_package(
    folder: pathlib.Path, package: pathlib.Path, config: TrainingConfig, without_weights: bool, progress: str = "auto"
) -> list[str]:
    """Compile a model for training.
    Args: folder, of the model; package, to be written; config; without_weights, read config.json alone; progress, as of `ds_mlir.compile`.
    Returns: what the compiler chose for a budget, as lines.
    Raises: an `errors.Error` that carries the compiler's line.
    """
    own = config.own
    command = [
        str(compiler.compiler_path()),
        os.fspath(folder),
        "-o",
        os.fspath(package),
        "--train",
        f"--optimizer={config.optimizer.kind}",
        f"--recompute={own.recompute}",
        f"--dropout={own.dropout}",
        f"--label-smoothing={own.label_smoothing!r}",
        f"--max-batch={config.batch.micro}",
        f"--max-rows={_max_tokens(folder, config)}",
        "--target-cpu=native",
    ]
    command += [f"--task={own.task}"] if own.task else []
    command += [f"--compute={config.compute}"] if config.compute != "f32" else []
    command += ["--layer-drop"] if config.layer_drop else []
    command += ["--random-weights"] if without_weights else []
    shown = progress == "on" or (progress == "auto" and sys.stderr.isatty())
    command.append(f"--progress={'on' if shown else 'off'}")
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"ds-compile ended with status {done.returncode}"]
        errors.raise_for(done.returncode, lines[-1].removeprefix("ds-compile: "))
    notes = [line.removeprefix("ds-compile: note: ") for line in done.stderr.splitlines() if line.startswith("ds-compile: note: ")]
    return [note for note in notes if note.startswith("recompute: ")]


def open_package(package: str | os.PathLike, threads: int | None = None) -> NativeBackend:
    """Open a training package.
    Args: package, its folder; threads, of the runtime.
    Returns: a NativeBackend.
    Raises: Missing and BadData.
    """
    from ds_mlir import _dsrt

    model = _dsrt.Model(os.fspath(package), threads=threads or 0)
    return NativeBackend(model, json.loads(model.manifest()), read_step_flops(package))


def begin(backend: Backend, folder: pathlib.Path, seed: int) -> list[str]:
    """Give all parameters their first values: those of the folder's files, and drawn ones for what they lack.
    Args: backend; folder, with config.json; seed, of what is drawn.
    Returns: names of the stored tensors that were drawn.
    Raises: BadData for files that are not of this model, or a tensor that has no rule.
    """
    values = json.loads((folder / "config.json").read_bytes())
    table = [dataclasses.asdict(tensor) for tensor in (*backend.tensors, *backend.frozen)]
    source = folder if has_weights(folder) else None
    for name, value in weights.initial_values(table, values, seed=seed, folder=source):
        backend.view("parameter", name)[...] = value
    return sorted({entry["source"] for entry in table}) if source is None else weights.drawn_sources(table, values, folder)


def copy_tokenizer(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy what belongs to a tokenizer from one folder of a model to another, where it is there."""
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt")
    for name in (*names, "sentence_bert_config.json", "chat_template.jinja", "generation_config.json"):
        if (source / name).is_file() and not (target / name).exists():
            shutil.copyfile(source / name, target / name)
