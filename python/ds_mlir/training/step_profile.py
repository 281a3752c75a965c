"""The profile of one update: forward, backward and update of each module, in the layout of DeepSpeed's flops profiler."""

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ds_mlir import errors
from ds_mlir.training.backend import Backend, Tensor
from ds_mlir.training.config import ProfilerSettings
from ds_mlir.training.record import Record

BACKWARD = "backward"  # the root of the backward pass's modules in a profile
_ENDINGS = (".html", ".json", ".trace.json")


@dataclasses.dataclass
class ModuleTimes:
    """A module with all below it: seconds of its forward, its backward, and the part of the update that its parameters are; FLOPs of the
    forward and of both; elements of its parameters.
    """

    name: str
    forward_s: float = 0.0
    backward_s: float = 0.0
    update_s: float = 0.0
    forward_flops: float = 0.0
    flops: float = 0.0
    parameters: int = 0
    children: "dict[str, ModuleTimes]" = dataclasses.field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Of all three."""
        return self.forward_s + self.backward_s + self.update_s

    def child(self, name: str) -> "ModuleTimes":
        """The module of this name below, made where it is not there."""
        return self.children.setdefault(name, ModuleTimes(name))


def _add(into: ModuleTimes, module: Mapping[str, Any], scale: float, is_backward: bool) -> None:
    seconds = scale * module["latency_ns"] / 1e9
    if is_backward:
        into.backward_s += seconds
    else:
        into.forward_s += seconds
        into.forward_flops += scale * module["flops"]
    into.flops += scale * module["flops"]
    for child in module["children"]:
        _add(into.child(child["name"]), child, scale, is_backward)


def module_times(data: Mapping[str, Any], tensors: Sequence[Tensor]) -> ModuleTimes:
    """Add up what an update did, module by module.
    Args: data, the profile of a training package (`Profile.data`) with the programs of one update; tensors, of the backend.
    Returns: the whole model. What its programs took outside of launches is in no module.
    """
    root = ModuleTimes("model")
    update_s = 0.0
    for program in data["programs"]:
        modules, runs = program["modules"], program["steps"]
        if program["program"] in ("norms", "update"):
            update_s += runs * modules["latency_ns"] / 1e9
        elif program["program"] == "step":
            behind = [child for child in modules["children"] if child["name"] == BACKWARD]
            # What is left of the root once the backward pass is taken off it.
            rest = {key: modules[key] - sum(module[key] for module in behind) for key in ("latency_ns", "flops")}
            rest["children"] = [child for child in modules["children"] if child["name"] != BACKWARD]
            _add(root, rest, runs, False)
            for module in behind:
                _add(root, module, runs, True)
    total = sum(_elements(tensor) for tensor in tensors)
    for tensor in tensors:
        share = update_s * _elements(tensor) / total
        module = root
        for part in (None, *_module_of(tensor)):
            module = module if part is None else module.child(part)
            module.update_s += share
            module.parameters += _elements(tensor)
    return root


def _module_of(tensor: Tensor) -> list[str]:
    """The path of the module that a tensor belongs to; `c_attn.weight.q` is a part of `c_attn.weight`."""
    parts = tensor.name.split(".")
    return parts[: next((i for i, part in enumerate(parts) if part in ("weight", "bias")), len(parts) - 1)]


def _elements(tensor: Tensor) -> int:
    count = 1
    for size in tensor.shape:
        count *= size
    return count


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.1f}%"


def _line(module: ModuleTimes, root: ModuleTimes) -> str:
    times = f"fwd {1e3 * module.forward_s:.2f} ms, bwd {1e3 * module.backward_s:.2f} ms, update {1e3 * module.update_s:.2f} ms"
    computing = module.forward_s + module.backward_s
    speed = f"{module.flops / computing / 1e9:.1f} GFLOP/s" if computing > 0 else "0 FLOP/s"
    share = _share(module.seconds, root.seconds)
    return f"{module.parameters:,} params, {times}, {share} of the update, {module.flops / 1e9:.3f} GFLOPs, {speed}"


def _tree(module: ModuleTimes, root: ModuleTimes, depth: int, indent: int, lines: list[str]) -> None:
    lines.append(f"{'  ' * indent}({module.name}): {_line(module, root)}")
    if depth < 0 or indent < depth:
        for child in module.children.values():
            _tree(child, root, depth, indent + 1, lines)


def _levels(root: ModuleTimes, depth: int, top: int) -> list[str]:
    """The modules that take longest, at each depth."""
    lines, level, at = [], [("model", root)], 0
    while level and (depth < 0 or at <= depth):
        longest = sorted(level, key=lambda entry: -entry[1].seconds)[:top]
        named = ", ".join(f"{path} {1e3 * module.seconds:.2f} ms ({_share(module.seconds, root.seconds)})" for path, module in longest)
        lines.append(f"depth {at}: {named}")
        level = [(f"{path}.{child.name}" if at else child.name, child) for path, module in level for child in module.children.values()]
        at += 1
    return lines


def profile_text(root: ModuleTimes, record: Record, settings: ProfilerSettings) -> str:
    """Write a profile.
    Args: root, of `module_times`; record, of the update; settings.
    Returns: lines of text.
    """
    forward, backward, update = root.forward_s, root.backward_s, root.update_s
    outside = max(0.0, record.seconds - root.seconds)
    lines = [
        f"{f' profile of update {record.step} ':-^100}",
        f"{'params:':<28}{root.parameters:,}",
        f"{'tokens:':<28}{record.tokens:,}",
        f"{'fwd latency:':<28}{1e3 * forward:.2f} ms, {_share(forward, record.seconds)}",
        f"{'bwd latency:':<28}{1e3 * backward:.2f} ms, {_share(backward, record.seconds)} (with what is computed again)",
        f"{'update latency:':<28}{1e3 * update:.2f} ms, {_share(update, record.seconds)} (spread over modules by their parameters)",
        f"{'outside of launches:':<28}{1e3 * outside:.2f} ms, {_share(outside, record.seconds)} (barriers, the host)",
        f"{'iter latency:':<28}{1e3 * record.seconds:.2f} ms",
        f"{'fwd flops:':<28}{root.forward_flops / 1e9:.3f} G",
        f"{'fwd+bwd flops:':<28}{root.flops / 1e9:.3f} G",
        f"{'FLOPS:':<28}{root.flops / record.seconds / 1e9:.1f} G",
        "",
        *_levels(root, settings.module_depth, settings.top_modules),
    ]
    if settings.detailed:
        lines.append("")
        _tree(root, root, settings.module_depth, 0, lines)
    return "\n".join([*lines, "-" * 100])


class StepProfiler:
    """Traces one update, and writes its profile when it is done.
    Attributes: profile, of the runtime (`ds_mlir.Profile`), and root, None before.
    Args: backend, a `NativeBackend`; settings. `output_file` may end in .html, .json or .trace.json, which the runtime writes; anything
        else is text.
    """

    def __init__(self, backend: Backend, settings: ProfilerSettings):
        self._backend, self._settings = backend, settings
        self.profile: Any = None
        self.root: ModuleTimes | None = None
        self._written = False
        self._programs: list[dict[str, Any]] = []
        self._reading_s = 0.0
        self._is_whole = (settings.output_file or "").endswith(_ENDINGS)  # one trace, of which the runtime makes the report

    def begin(self, steps: int) -> None:
        """Start when as many updates are done as the settings say, or more in a run that is resumed."""
        if steps >= self._settings.profile_step and self.root is None:
            if self.profile is not None:  # of an update that was given up
                self.profile.__exit__(None, None, None)
            self.profile, self._programs, self._reading_s = self._backend.profile(), [], 0.0
            self.profile.__enter__()

    def _read(self) -> None:
        self.profile.__exit__(None, None, None)
        self._programs += self.profile.data()["programs"]

    def forward(self, gates: np.ndarray | None) -> None:
        """Read what a micro step with gates did by itself: a report has the medians of several, and a layer may have run in some."""
        if self.profile is not None and self.root is None and gates is not None and not self._is_whole:
            began = time.perf_counter()
            self._read()
            self.profile.__enter__()
            self._reading_s += time.perf_counter() - began

    def end(self) -> None:
        """Stop when the update that is traced is done."""
        if self.profile is not None and self.root is None:
            self._read()
            self.root = module_times({"programs": self._programs}, self._backend.tensors)

    def write(self, record: Record) -> None:
        """Write the profile once it is there.
        Raises: CannotWrite.
        """
        if self.root is None or self._written:
            return
        self._written = True
        path = self._settings.output_file
        if self._is_whole:
            self.profile.save(path)
            return
        text = profile_text(self.root, dataclasses.replace(record, seconds=record.seconds - self._reading_s), self._settings)
        if path is None:
            print(text, file=sys.stdout, flush=True)
            return
        try:
            pathlib.Path(path).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise errors.CannotWrite(f"cannot write '{path}': {(error.strerror or str(error)).lower()}") from error
