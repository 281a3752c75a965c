"""The front of ds-compile."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ds_mlir import errors


def compiler_path() -> pathlib.Path:
    """Find ds-compile: in the package, in a build tree beside it, or on the PATH.
    Raises: Missing when it is nowhere.
    """
    here = pathlib.Path(__file__).parent
    for path in (here / "bin" / "ds-compile", here.parent.parent / "bin" / "ds-compile"):
        if path.is_file():
            return path
    found = shutil.which("ds-compile")
    if found:
        return pathlib.Path(found)
    raise errors.Missing("missing: ds-compile is neither in this package nor on the PATH")


def _joined(names: str | Sequence[str]) -> str:
    """Join several names as ds-compile's options have them."""
    return names if isinstance(names, str) else ",".join(names)


@contextlib.contextmanager
def _scheme(quantize: str | os.PathLike | Mapping[str, Any] | None) -> Iterator[str | None]:
    """Give what --quantize takes: schemes by name become a file for as long as it is read."""
    if not isinstance(quantize, Mapping):
        yield quantize if quantize is None else os.fspath(quantize)
        return
    with tempfile.TemporaryDirectory(prefix="ds-schemes-") as folder:
        path = pathlib.Path(folder) / "schemes.json"
        path.write_text(json.dumps(quantize))
        try:
            yield str(path)
        except errors.Error as error:
            raise type(error)(str(error).replace(str(path), "quantize")) from None


@contextlib.contextmanager
def scratch_folder(model: str | os.PathLike, prefix: str) -> Iterator[pathlib.Path]:
    """Give a folder for packages of a model for as long as they are read. An error that names one of them names the model instead."""
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        try:
            yield pathlib.Path(folder)
        except errors.CannotWrite:  # where there is no room is about the folder
            raise
        except errors.Error as error:
            named = re.sub(f"'{re.escape(folder)}/[^']*'", lambda _: f"'{os.fspath(model)}'", str(error))
            raise type(error)(named) from None


def compile(
    model: str | os.PathLike,
    package: str | os.PathLike,
    *,
    weights: str | None = None,
    quantize: str | os.PathLike | Mapping[str, Any] | None = None,
    activations: str | None = None,
    cache: str = "f32",
    calibration: str | os.PathLike | None = None,
    scale_inputs: bool = False,
    observe_inputs: bool = False,
    fusion: str = "specialized",
    context: int | None = None,
    max_batch: int | None = None,
    max_rows: int | None = None,
    task: str | None = None,
    target: str | Sequence[str] = "cpu",
    cublaslt: bool | int | None = None,
    emulation: bool = True,
    tuning: str | os.PathLike | None = None,
    target_cpu: str | Sequence[str] | None = None,
    threads: int | None = None,
    strict: bool = False,
    progress: str = "auto",
) -> pathlib.Path:
    """Compile a model to a package.
    Args: model, a Hugging Face folder or a GGUF file; package, the folder to write; weights, `f32`, `bf16` or `f16` (None: f32 on CPUs,
        bf16 on GPUs); quantize, a scheme for the weights of linear layers: `int8`, `int8-g32`, `int4-g32`, `int4-g64`, `int4-g128`,
        `int4-g32-asym` and the like, `fp8`, `moq4` and other grids of MoQ, `stored` for that of the file, `auto:5.5` or `auto:25dB`
        for a budget (with a calibration), or the path or the content of a JSON file of schemes (docs/quantization.md);
        activations, `f32` or `int8`, what quantized matrices multiply in steps of many tokens; cache, `f32`, `bf16` or `int8`, what a
        decoder keeps of past tokens; calibration, a file of `calibrate` that quantized matrices are rounded with; scale_inputs, with a
        calibration, also scales what matrices multiply most up in them, and down where it is made; observe_inputs, also give what
        matrices multiply as outputs, which is what `calibrate` runs; fusion, `none`, `generic` or `specialized`; context, slots of the
        cache; max_batch and max_rows, sequences and tokens of one step; target, `cpu` or `cuda:sm_90a,...`, or several, such as
        `["cpu", "cuda:sm_90a"]`, for one package that `load` opens on any of them; cublaslt, rows of a step on a GPU from which products
        are cuBLASLt's where that library is there when the package runs (True: 512; None or False: never); emulation, whether a package
        for GPUs also has code that runs it on the CPU (`load(..., device="emulate")`); tuning, a file of entries that say how products on
        GPUs are cut, over those that the compiler has (docs/cuda.md); target_cpu, CPU levels such as `x86-64-v3`, or `native`.
    Returns: the path of the package.
    Raises: an `errors.Error` that carries the compiler's line.
    """
    terminal = progress == "on" or (progress == "auto" and sys.stderr.isatty())
    command = [str(compiler_path()), os.fspath(model), "-o", os.fspath(package), f"--target={_joined(target)}", f"--fusion={fusion}"]
    options = {
        "weights": weights,
        "activations": activations,
        "cache": cache,
        "calibration": calibration and os.fspath(calibration),
        "context": context,
        "max-batch": max_batch,
        "max-rows": max_rows,
        "task": task,
        "tuning": tuning and os.fspath(tuning),
        "target-cpu": target_cpu and _joined(target_cpu),
        "jobs": threads,
    }
    command += [f"--{name}={value}" for name, value in options.items() if value is not None]
    command += ["--scale-inputs"] if scale_inputs else []
    command += ["--observe-inputs"] if observe_inputs else []
    if cublaslt:
        command.append("--cublaslt" if cublaslt is True else f"--cublaslt={cublaslt}")
    command += [] if emulation else ["--no-emulation"]
    command += ["--strict"] if strict else []
    command.append(f"--progress={'on' if terminal else 'off'}")
    written = b""
    with contextlib.ExitStack() as stack:
        if (scheme := stack.enter_context(_scheme(quantize))) is not None:
            command.append(f"--quantize={scheme}")
        process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE))
        while chunk := process.stderr.read1(4096):
            written += chunk
            if terminal:
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
        if process.wait() != 0:
            lines = written.decode(errors="replace").strip().splitlines() or [f"ds-compile ended with status {process.returncode}"]
            errors.raise_for(process.returncode, lines[-1].removeprefix("ds-compile: "))
    return pathlib.Path(package)
