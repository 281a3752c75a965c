"""What the matrices of a model multiply on a text: the moments that `compile` rounds quantized matrices with."""

import dataclasses
import os
import pathlib
import stat
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ds_mlir import compiler, errors
from ds_mlir.evaluate import WINDOW, read_text, window_of
from ds_mlir.model import Model, load
from ds_mlir.text import Tokenizer, tokenizer_of

PREFIX = "input:"  # of outputs and moments, as in ds/Quantize/Calibration.h
MOST_ROWS = 65536  # of one step, as in ds-compile


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was measured: `path` of the file, `tokens` that went in and `moments`, the matrices [K, K] in it."""

    path: pathlib.Path
    tokens: int
    moments: int


def _check_window(window: int, tokenizer: Tokenizer | None) -> None:
    """Refuse a window that has no room for the text beside the special tokens, or more tokens than a step."""
    special = 0 if tokenizer is None else tokenizer.raw.num_special_tokens_to_add(False)
    least = max(2, special + 1)
    if not least <= window <= MOST_ROWS:
        raise errors.InvalidArgument(f"invalid argument: window: expects {least} to {MOST_ROWS} tokens, got {window}")


def _windows(model: Model, place: str, text: str, window: int, tokens: int) -> list[list[int]]:
    """Cut a text into windows with the special tokens of each, until there are enough tokens."""
    tokenizer = model.tokenizer.raw
    tokenizer.no_padding()
    tokenizer.enable_truncation(window)
    encoded = tokenizer.encode(text)
    windows, found = [], 0
    for part in [encoded, *encoded.overflowing]:
        windows.append(part.ids[: tokens - found])
        found += len(windows[-1])
        if found == tokens:
            return windows
    raise errors.InvalidArgument(f"invalid argument: {place}: expects a text of at least {tokens} tokens, got {found}")


def _observed(model: Model, manifest: dict) -> tuple[dict, dict[str, list]]:
    """The program that observes, and the shapes of what it gives."""
    for program in manifest["programs"]:
        shapes = {output["name"]: output["shape"] for output in program["outputs"] if output["name"].startswith(PREFIX)}
        if shapes:
            return program, shapes
    raise errors.InvalidArgument(f"invalid argument: '{model.path}': expects a model with linear layers, got one without")


def _steps(model: Model, windows: list[list[int]]) -> Iterator[dict[str, np.ndarray]]:
    """Run the windows and give what matrices multiply, name -> [tokens, K]."""
    manifest = model.manifest  # read anew each time
    program, shapes = _observed(model, manifest)
    declared = {entry["name"] for entry in program["inputs"]}
    positions = manifest["positions"]
    first = positions["pad_id"] + 1 if positions["rule"] == "from_ids" else positions["offset"]
    for ids in windows:
        sizes = {"batch": 1, "tokens": len(ids)}
        outputs = {key: np.empty([sizes.get(axis, axis) for axis in shape], np.float32) for key, shape in shapes.items()}
        inputs = {
            "input_ids": np.array(ids, np.int32),
            "positions": np.arange(first, first + len(ids), dtype=np.int32),
            "mask": np.ones(len(ids), np.int32),
            "token_type_ids": np.zeros(len(ids), np.int32),
        }
        given = [(key, value) for key, value in inputs.items() if key in declared]
        model._model.run_program(program["name"], 1, len(ids), given, list(outputs.items()))
        yield {key: value.reshape(-1, value.shape[-1]) for key, value in outputs.items()}


def calibrate(
    model: str | os.PathLike,
    text: str | os.PathLike,
    output: str | os.PathLike,
    *,
    tokens: int = 24576,
    window: int | None = None,
    threads: int | None = None,
    task: str | None = None,
    progress: str = "auto",
) -> Calibration:
    """Measure what the matrices of linear layers multiply, for `compile(..., calibration=output)`.
    The model is compiled in f32 and runs over the beginning of the text. For each value that matrices multiply, the file has the mean over
    tokens of x^T x / |x|^2, [K, K] float32: tokens count alike, however large their values are, as a few tokens of decoders (the first
    ones) are hundreds of times larger than others and would decide alone.
    Args: model, a Hugging Face folder or a GGUF file; text, the text itself, or a `pathlib.Path` of a UTF-8 file; output, the safetensors
        file to write, 4 K^2 bytes a value; tokens, of the text, special ones of each window included; window, tokens of a run (None: 512,
        or the context where that is shorter); threads, of the runs.
    Returns: a Calibration.
    Raises: InvalidArgument (a text that is shorter, a window beyond the model's context or of special tokens alone), BadData, Missing,
        Internal (NaN in the model), CannotWrite; what `compile` raises.
    """
    output = pathlib.Path(output)
    place, text = ("text", text) if isinstance(text, str) else (f"'{os.fspath(text)}'", read_text(text))
    if tokens < 1:
        raise errors.InvalidArgument(f"invalid argument: tokens: expects at least 1, got {tokens}")
    rows = WINDOW if window is None else window
    _check_window(rows, tokenizer_of(model))
    _check_output(output)
    shown = progress == "on" or (progress == "auto" and sys.stderr.isatty())
    with compiler.scratch_folder(model, "ds-calibrate-") as folder:
        options = {"fusion": "generic", "target_cpu": "native", "max_batch": 1, "max_rows": rows, "task": task, "progress": progress}
        package = compiler.compile(model, folder / "observed", observe_inputs=True, **options)
        loaded = load(package, "cpu", threads, verify=False)
        window = window_of(loaded, window)
        _check_window(window, loaded.tokenizer)
        moments: dict[str, np.ndarray] = {}
        windows = _windows(loaded, place, text, window, tokens)
        for index, step in enumerate(_steps(loaded, windows)):
            for name, x in step.items():
                norms = np.sqrt(np.einsum("tk,tk->t", x, x, dtype=np.float64))
                if not np.isfinite(norms).all():
                    raise errors.Internal(f"internal: '{os.fspath(model)}': expects numbers in '{name}', found NaN or infinity")
                x = x / np.maximum(norms, np.finfo(np.float32).tiny)[:, None].astype(np.float32)
                moments[name] = x.T @ x + moments.get(name, 0)
            if shown:
                print(f"\rcalibrating: {index + 1} of {len(windows)}", end="", file=sys.stderr, flush=True)
        if shown:
            print(file=sys.stderr)
    _save({name: value / np.float32(tokens) for name, value in moments.items()}, output)
    return Calibration(output, tokens, len(moments))


def _check_output(output: pathlib.Path) -> None:
    """Refuse an output that cannot be written, before minutes of measuring."""
    try:
        tempfile.TemporaryFile(dir=output.parent).close()
        taken = output.exists() and not output.is_file()
    except OSError as error:
        raise errors.CannotWrite(f"cannot write '{output}': {error.strerror}") from error
    if taken:
        raise errors.CannotWrite(f"cannot write '{output}': expects a file or nothing there, found something else")


def _save(moments: dict[str, np.ndarray], output: pathlib.Path) -> None:
    """Write a safetensors file, all or nothing."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        unfinished.touch()
        mode = stat.S_IMODE(unfinished.stat().st_mode)  # what is usual here, where safetensors lets nobody else read
        save_file(moments, unfinished)
        unfinished.chmod(mode)
        unfinished.replace(output)
    except (OSError, SafetensorError) as error:
        raise errors.CannotWrite(f"cannot write '{output}': {getattr(error, 'strerror', None) or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
