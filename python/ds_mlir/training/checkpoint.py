"""Checkpoints: `<folder>/<tag>/` with model.safetensors, optimizer.safetensors and control.json; `<folder>/latest` names the newest.

All or nothing: a checkpoint is written beside, flushed to the disk and renamed, and then `latest` in the same way.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from ds_mlir import errors

FORMAT = 1
MODEL, OPTIMIZER, CONTROL, LATEST = "model.safetensors", "optimizer.safetensors", "control.json", "latest"
_MOMENTS = {"sgd": ("moment1",)}
_UNFINISHED = re.compile(r"\..+\.(\d+)\.saving")


class _HashingFile:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO):
        self.file, self.hash, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.hash.update(data)
        self.bytes += len(data)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: pathlib.Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_tensors(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Write a safetensors file straight from memory and flush it to the disk.
    Args: path, the file; tensors, float32 arrays.
    Returns: its `bytes` and `sha256`.
    Raises: OSError.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        out = _HashingFile(file)
        out.write(len(text).to_bytes(8, "little"))
        out.write(text)
        for array in tensors.values():
            out.write(memoryview(np.ascontiguousarray(array, "<f4").reshape(-1)).cast("B") if array.size else b"")
        _flush(file)
    return {"bytes": out.bytes, "sha256": out.hash.hexdigest()}


def _write_text(path: pathlib.Path, text: str) -> None:
    with path.open("wb") as file:
        file.write(text.encode())
        _flush(file)


def _plain(value: Any) -> Any:
    """What JSON has no word for, as what it has."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__}")


def _tensors(backend: Any, part: str) -> list[Any]:
    return [*backend.tensors, *backend.frozen] if part == "parameter" else list(backend.tensors)


def _views(backend: Any, part: str, prefix: str = "") -> dict[str, np.ndarray]:
    return {prefix + tensor.name: backend.view(part, tensor.name) for tensor in _tensors(backend, part)}


def _identity(backend: Any) -> dict[str, Any]:
    return {
        "family": backend.info.get("family"),
        "task": backend.info["task"],
        "tensors": {tensor.name: list(tensor.shape) for tensor in _tensors(backend, "parameter")},
    }


def check_tag(tag: str) -> str:
    """Return a tag that is one plain file name.
    Raises: InvalidArgument for another.
    """
    if not isinstance(tag, str) or not tag or tag.startswith(".") or tag == LATEST or "/" in tag or "\0" in tag or len(tag) > 128:
        raise errors.InvalidArgument(f"invalid argument: tag: expects a plain file name, got {tag!r}")
    return tag


def _previous(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(f".{target.name}.previous")


def _remove_unfinished(folder: pathlib.Path) -> None:
    """Remove what saves that were killed left behind."""
    for path in folder.iterdir():
        if match := _UNFINISHED.fullmatch(path.name):
            try:
                os.kill(int(match[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
            except PermissionError:
                pass


def _install(unfinished: pathlib.Path, target: pathlib.Path) -> None:
    """Rename a finished checkpoint to its place. The one before or the new one is there at every moment, by its name or as `previous`."""
    previous = _previous(target)
    if target.exists():
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(target, previous)
        try:
            os.rename(unfinished, target)
        except OSError:
            os.rename(previous, target)
            raise
    else:
        os.rename(unfinished, target)
    _flush_folder(target.parent)


def save(engine: Any, save_dir: str | os.PathLike, tag: str | None, client_state: Mapping[str, Any]) -> str:
    """Save an engine, as Engine.save_checkpoint says.
    Args: engine, whose state it is; save_dir; tag, None for `global_step<N>`; client_state, kept as JSON.
    Returns: the path of the checkpoint.
    Raises: CannotWrite, InvalidArgument (a tag that is no file name, a client_state that JSON cannot hold).
    """
    folder = pathlib.Path(save_dir)
    target = folder / check_tag(f"global_step{engine.global_steps}" if tag is None else tag)
    scheduler = engine.lr_scheduler
    progress = engine.progress_state()
    control: dict[str, Any] = {
        "format": FORMAT,
        "model": _identity(engine.backend),
        "config": engine.config.raw,
        "config_sha256": engine.config.digest,
        "optimizer": engine.optimizer.state_dict(),
        "scheduler": None if scheduler is None else {"class": type(scheduler).__name__, "state": scheduler.state_dict()},
        "progress": progress,
        "client_state": dict(client_state),
    }
    try:
        json.dumps(control, default=_plain)
    except (TypeError, ValueError) as error:
        raise errors.InvalidArgument(f"invalid argument: client_state: expects what JSON can hold, got {error}") from error
    moments: dict[str, np.ndarray] = {}
    for part in (*_MOMENTS.get(engine.optimizer.kind, ("moment1", "moment2")), *(("gradient",) if progress["accumulated"] else ())):
        moments |= _views(engine.backend, part, f"{part}.")
    unfinished = folder / f".{target.name}.{os.getpid()}.saving"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        control["files"] = {MODEL: write_tensors(unfinished / MODEL, _views(engine.backend, "parameter"))}
        control["files"][OPTIMIZER] = write_tensors(unfinished / OPTIMIZER, moments)
        _write_text(unfinished / CONTROL, json.dumps(control, default=_plain))
        _flush_folder(unfinished)
        _install(unfinished, target)
        newest = folder / f".{LATEST}.{os.getpid()}"
        _write_text(newest, target.name)
        os.replace(newest, folder / LATEST)
        _flush_folder(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        with contextlib.suppress(OSError):
            (folder / f".{LATEST}.{os.getpid()}").unlink()
        reason = (error.strerror or str(error)).lower()
        raise errors.CannotWrite(f"cannot write '{target}': {reason}; the checkpoints before are as they were") from error
    shutil.rmtree(_previous(target), ignore_errors=True)
    return str(target)


def find(load_dir: str | os.PathLike, tag: str | None = None) -> pathlib.Path:
    """Find a checkpoint.
    Args: load_dir, the folder of checkpoints; tag, None for what `latest` names.
    Returns: its folder.
    Raises: Missing when there is none, BadData for a `latest` that names no checkpoint.
    """
    folder = pathlib.Path(load_dir)
    if tag is None:
        try:
            tag = (folder / LATEST).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Missing(f"missing: '{folder / LATEST}': expects the name of a checkpoint, found nothing to read") from error
        try:
            check_tag(tag)
        except errors.InvalidArgument as error:
            raise errors.BadData(f"bad data: '{folder / LATEST}': expects the name of a checkpoint, found {tag!r}") from error
    target = folder / check_tag(tag)
    for path in (target, _previous(target)):  # the second one where a save was killed between two renames
        if path.is_dir():
            return path
    raise errors.Missing(f"missing: '{target}': expects a checkpoint, found nothing")


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(1 << 22):
        yield data


def _verify(path: pathlib.Path, record: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != record["bytes"]:
            raise errors.BadData(f"bad data: '{path}': expects {record['bytes']} bytes, found {size}: the checkpoint is torn")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for data in _chunks(file):
                digest.update(data)
    except FileNotFoundError as error:
        raise errors.BadData(f"bad data: '{path}': expects a file of the checkpoint, found nothing: the checkpoint is torn") from error
    except OSError as error:
        raise errors.BadData(f"bad data: '{path}': {os.strerror(error.errno or errno.EIO).lower()}") from error
    if digest.hexdigest() != record["sha256"]:
        raise errors.BadData(f"bad data: '{path}': expects the bytes that were saved, found others: the checkpoint is torn")


def read_control(path: pathlib.Path) -> dict[str, Any]:
    """Read and check control.json of a checkpoint, and the files beside it.
    Returns: its object.
    Raises: BadData for a torn checkpoint.
    """
    file = path / CONTROL
    try:
        control = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise errors.BadData(f"bad data: '{file}': expects a file of the checkpoint, found nothing: the checkpoint is torn") from error
    except (OSError, ValueError) as error:
        raise errors.BadData(f"bad data: '{file}': expects JSON, found other bytes: the checkpoint is torn") from error
    needed = ("model", "config", "optimizer", "scheduler", "progress", "client_state", "files")
    if not isinstance(control, dict) or control.get("format") != FORMAT or any(key not in control for key in needed):
        found = control.get("format") if isinstance(control, dict) else None
        raise errors.BadData(f"bad data: '{file}': expects a checkpoint of format {FORMAT}, found {found!r}")
    for name in (MODEL, OPTIMIZER):
        _verify(path / name, control["files"][name])
    return control


def _check_model(path: pathlib.Path, saved: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    place = f"bad data: '{path}': a checkpoint of another model"
    for key in ("family", "task"):
        if saved[key] != expected[key]:
            raise errors.BadData(f"{place}: expects the {key} {expected[key]}, found {saved[key]}")
    for name, shape in expected["tensors"].items():
        if saved["tensors"].get(name) != shape:
            raise errors.BadData(f"{place}: expects '{name}' of shape {shape}, found {saved['tensors'].get(name, 'none')}")
    if more := [name for name in saved["tensors"] if name not in expected["tensors"]]:
        raise errors.BadData(f"{place}: expects no '{more[0]}', found one")


def _differences(saved: Any, current: Any, path: str = "") -> list[str]:
    """Paths of the keys in which two configurations differ."""
    if isinstance(saved, Mapping) and isinstance(current, Mapping):
        keys = sorted({*saved, *current}, key=str)
        return [line for key in keys for line in _differences(saved.get(key), current.get(key), f"{path}.{key}" if path else str(key))]
    return [] if saved == current else [path]


def _read(path: pathlib.Path, parts: Mapping[str, str], backend: Any) -> None:
    """Copy tensors of a file into the state: part -> prefix of its names."""
    with safe_open(path, framework="numpy") as file:
        names = set(file.keys())
        for part, prefix in parts.items():
            for tensor in _tensors(backend, part):
                if prefix + tensor.name in names:
                    backend.view(part, tensor.name)[...] = file.get_tensor(prefix + tensor.name)


def load(
    engine: Any, load_dir: str | os.PathLike, tag: str | None, optimizer: bool, scheduler: bool, module_only: bool
) -> tuple[str, dict[str, Any]]:
    """Load an engine, as Engine.load_checkpoint says; all is checked before anything changes.
    Returns: the path of the checkpoint and the client's state.
    Raises: Missing, BadData.
    """
    path = find(load_dir, tag)
    control = read_control(path)
    _check_model(path, control["model"], _identity(engine.backend))
    saved = control["scheduler"]
    if optimizer:
        engine.optimizer.check_state(control["optimizer"])
    if scheduler and (name := None if engine.lr_scheduler is None else type(engine.lr_scheduler).__name__) != (saved and saved["class"]):
        raise errors.BadData(f"bad data: '{path}': expects the scheduler {name or 'none'}, found {saved['class'] if saved else 'none'}")
    if not module_only and (differences := _differences(control["config"], json.loads(json.dumps(engine.config.raw, default=str)))):
        warnings.warn(f"'{path}' was saved with another configuration, which differs in {', '.join(differences)}", stacklevel=3)
    try:
        _read(path / MODEL, {"parameter": ""}, engine.backend)
        for tensor in engine.backend.tensors:
            engine.backend.view("gradient", tensor.name)[...] = 0
        if optimizer:
            _read(path / OPTIMIZER, {part: f"{part}." for part in ("moment1", "moment2")}, engine.backend)
            engine.optimizer.load_state_dict(control["optimizer"])
        if not module_only:
            _read(path / OPTIMIZER, {"gradient": "gradient."}, engine.backend)
            engine.load_progress_state(control["progress"])
    except (OSError, SafetensorError) as error:
        raise errors.BadData(f"bad data: '{path}': {error}") from error
    if scheduler and saved is not None:
        engine.lr_scheduler.load_state_dict(saved["state"])
    return str(path), control["client_state"]
