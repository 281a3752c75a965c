"""Where the time of a model goes: by source module, by kernel, against what the machine could do."""

import json
import os
from typing import Any

from ds_mlir import errors

FORMATS = ("text", "json", "html", "trace")
COUNTING = ("exact", "compatible")


class Profile:
    """A record of the steps a model ran. Made by `Model.profile` and `ds_mlir.profile`; docs/profiling.md says how to read it.

    It belongs to its model until the model is profiled again. A run that raised still has a report, which says why it ended.
    """

    def __init__(self, model, max_steps: int = 4096):
        self._model = model
        self._max_steps = max_steps
        self._failure: str | None = None

    def __enter__(self) -> "Profile":
        self._failure = None
        self._model._model.start_trace(self._max_steps)
        self._model._profile = self
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._model._model.stop_trace()
        if error is not None:
            printable = f"{kind.__name__}: {error}".encode(errors="backslashreplace").decode().replace("\0", "\\x00")
            self._failure = " ".join(printable.split())

    def _options(self, depth: int, top: int, counting: str, machine: str | os.PathLike | None) -> tuple:
        if self._model._profile is not self:
            raise errors.InvalidArgument("invalid argument: the model was profiled again since, or never")
        if counting not in COUNTING:
            raise errors.InvalidArgument(f"invalid argument: counting: expects exact or compatible, got {counting!r}")
        return depth, top, counting == "compatible", None if machine is None else os.fspath(machine), self._failure

    def report(self, format: str = "text", *, depth: int = -1, top: int = 3, counting: str = "exact", machine=None) -> str:
        """Write a report as a string.
        Args: format, `text` (the layout of DeepSpeed's flops profiler), `json`, `html` (one page, no network) or `trace`
            (chrome://tracing, Perfetto); depth, of the module tree, -1 for all; top, modules named for each depth; counting, `exact`, or
            `compatible` with what DeepSpeed counts; machine, a file of `ds-bench --calibrate -o FILE`, or of a GPU `a100`,
            `h100`, `h200` or a file: without it there is no roofline, but of a GPU that is one of those.
        Raises: InvalidArgument, Missing and BadData (the machine's file).
        """
        if format not in FORMATS:
            raise errors.InvalidArgument(f"invalid argument: format: expects text, json, html or trace, got {format!r}")
        return self._model._model.profile(format, *self._options(depth, top, counting, machine))

    def data(self, *, depth: int = -1, top: int = 3, counting: str = "exact", machine=None) -> dict[str, Any]:
        """The report as a dictionary; `programs` has one entry for each program and shape that ran, the longest first."""
        return json.loads(self.report("json", depth=depth, top=top, counting=counting, machine=machine))

    def save(self, path: str | os.PathLike, *, depth: int = -1, top: int = 3, counting: str = "exact", machine=None) -> None:
        """Write a report to a file whose ending says the format: .html, .json, .trace.json or .txt.
        Raises: InvalidArgument for another ending, CannotWrite.
        """
        self._model._model.save_profile(os.fspath(path), *self._options(depth, top, counting, machine))

    def __str__(self) -> str:
        return self.report()


def profile(model, input_ids, attention_mask=None, *, max_new_tokens: int | None = None, warm_up: int = 1, repetitions: int = 5) -> Profile:
    """Run a model on token ids and record where the time goes.
    Shapes: B = batch, T = tokens.
    Args: model, from `load`; max_new_tokens, generate so many tokens in place of one forward; warm_up, runs that do not count; repetitions,
        runs that do: the report has medians.
    Returns: a Profile.
    Raises: what the run raises.
    """

    def run() -> None:
        if max_new_tokens is not None:
            model.generate(input_ids, attention_mask, max_new_tokens=max_new_tokens, eos_token_id=[])
        else:
            model._forward(model._default_output(), input_ids, attention_mask, None)

    if repetitions < 1 or warm_up < 0:
        raise errors.InvalidArgument(
            f"invalid argument: expects repetitions of at least 1 and warm_up of at least 0, got {repetitions}, {warm_up}"
        )
    for _ in range(warm_up):
        run()
    with model.profile() as made:
        for _ in range(repetitions):
            run()
    return made
