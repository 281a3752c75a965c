"""What a run tells: lines on a terminal, JSON lines, CSV, a picture of the loss."""

import contextlib
import csv
import dataclasses
import importlib.util
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import IO, Any

from ds_mlir import errors
from ds_mlir.training.record import Record

COLUMNS = ("step", "loss", "lr", "theta", "kept_layers", "grad_norm", "tokens_per_second", "seconds", "skipped", "validation_loss")
COLUMNS += ("flops_per_second", "peak_share")


def describe(record: Record, breakdown: bool = False, total: int | None = None) -> str:
    """One line about a step.
    Args: record; breakdown, also the seconds of its parts; total, steps of the run.
    Returns: the line.
    """
    parts = [f"step {record.step}" + (f"/{total}" if total else ""), f"loss {record.loss:.4f}", f"lr {record.lr:.3g}"]
    parts.append(f"norm {record.grad_norm:.3g}")
    if record.theta is not None:
        parts.append(f"theta {record.theta:.3f}, {record.kept_layers or 0:.1f} layers")
    parts.append(f"{record.tokens_per_second:,.0f} tokens/s")
    if record.flops_per_second is not None:
        share = f" ({record.peak_share:.0%} of the peak)" if record.peak_share is not None else ""
        parts.append(f"{record.flops_per_second / 1e9:,.1f} GFLOP/s{share}")
    if breakdown:
        parts.append(f"forward and backward {1e3 * record.forward_s:.1f} ms, update {1e3 * record.update_s:.1f} ms")
    if record.skipped:
        parts.append("skipped: gradients are not finite")
    return "  ".join(parts)


def as_json(value: Any) -> Any:
    """A number that is not finite as JSON has it: as a word."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class RunLog:
    """The logs of a run: `log.jsonl` and `log.csv` in its folder, and a line on standard error.
    Args: folder, of the run; total, steps; every, steps between lines; terminal, whether lines are overwritten; resumed, the step to go on
        from: lines of later steps, which a run that was killed had written, are removed; None for a new log.
    Raises: CannotWrite.
    """

    def __init__(self, folder: str | os.PathLike, total: int, *, every: int = 10, terminal: bool | None = None, resumed: int | None = None):
        self.folder, self.total, self.every = pathlib.Path(folder), total, every
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        names = ("log.jsonl", "log.csv")
        parts = [self.folder / f"{name}.part" for name in names]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            rows = read_log(self.folder / names[0]) if resumed is not None and (self.folder / names[0]).is_file() else []
            self._json: IO[str] = parts[0].open("w", encoding="utf-8")
            self._file: IO[str] = parts[1].open("w", encoding="utf-8", newline="")
            self._csv = csv.DictWriter(self._file, COLUMNS, restval="", extrasaction="ignore")
            self._csv.writeheader()
            self._write([row for row in rows if row["step"] <= resumed])
            for part, name in zip(parts, names, strict=True):  # an earlier log is whole until the new one is
                part.replace(self.folder / name)
        except OSError as error:
            for part in parts:
                with contextlib.suppress(OSError):
                    part.unlink()
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> errors.CannotWrite:
        return errors.CannotWrite(f"cannot write '{self.folder}': {(error.strerror or str(error)).lower()}")

    def _write(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            self._json.write(json.dumps({key: as_json(value) for key, value in row.items()}) + "\n")
            self._csv.writerow(row)
        self._json.flush()
        self._file.flush()

    def _row(self, row: dict[str, Any]) -> None:
        try:
            self._write([row])
        except OSError as error:
            raise self._unwritable(error) from error

    def step(self, record: Record) -> None:
        """Log a step; on a terminal the line is overwritten by the next."""
        self._row(dataclasses.asdict(record))
        last = record.step % self.every == 0 or record.step == self.total or record.skipped
        if self.terminal:
            print(f"\r\033[K{describe(record, total=self.total)}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last:
            print(describe(record, total=self.total), file=sys.stderr)

    def validation(self, step: int, loss: float) -> None:
        """Log a loss of held-out data."""
        self._row({"step": step, "validation_loss": loss})
        print(f"{chr(13) + chr(27) + '[K' if self.terminal else ''}step {step}  validation loss {loss:.4f}", file=sys.stderr)

    def say(self, text: str) -> None:
        """Print a line that is no step."""
        print(text, file=sys.stderr)

    def close(self) -> None:
        """Close the files."""
        self._json.close()
        self._file.close()


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read a log of JSON lines; a last line that was cut is left out.
    Returns: a dictionary for each line.
    Raises: Missing, BadData.
    """
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError as error:
        raise errors.Missing(f"missing: '{path}': expects a log, found {(error.strerror or 'nothing').lower()}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise errors.BadData(f"bad data: '{path}': line {number}: expects JSON") from error
    return rows


def plot_losses(logs: dict[str, str | os.PathLike], output: str | os.PathLike) -> pathlib.Path:
    """Draw the losses of runs as a PNG.
    Args: logs, label -> a log of JSON lines; output, the file.
    Returns: the file.
    Raises: Unavailable without matplotlib; Missing, BadData, CannotWrite.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise errors.Unavailable(f"unavailable: '{output}': a picture needs the package matplotlib, which is not installed")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for label, path in logs.items():
        rows = read_log(path)
        for key, style in (("loss", "-"), ("validation_loss", "o--")):
            points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), float | int)]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=f"{label} {key.replace('_', ' ')}", linewidth=1, markersize=3)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    axes.grid(alpha=0.3)
    try:
        figure.savefig(output, dpi=150)
    except OSError as error:
        raise errors.CannotWrite(f"cannot write '{output}': {(error.strerror or str(error)).lower()}") from error
    return pathlib.Path(output)
