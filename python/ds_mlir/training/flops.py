"""How much a step of training computes, from what a package says of its launches, and how much the machine could."""

import json
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ds_mlir import errors


class StepFlops:
    """FLOPs of a program: two for a multiply-add, one for each other operation, of what runs: what a layer that is computed again costs
    counts twice, what a layer that is off would cost not at all.
    Args: description, of the package's profile.json; program, its name.
    Raises: BadData when there is no such program.
    """

    def __init__(self, description: Mapping[str, Any], program: str = "step"):
        found = [entry for entry in description.get("programs", []) if entry["name"] == program]
        if not found:
            raise errors.BadData(f"bad data: profile.json: expects program '{program}', found none")
        launches = found[0]["launches"]
        ops = [(launch, op) for launch in launches for op in launch["ops"]]
        # Of each op: FLOPs a row, a pair of tokens and a key; which rows; whether pairs are those a causal attention sees; the gate.
        self._costs = np.array([[op.get(f"flops_per_{what}", 0) for what in ("row", "pair", "key")] for _, op in ops], float).reshape(-1, 3)
        kinds = ("batch", "tokens", "selected")
        self._rows = np.array([kinds.index(launch["rows"]) for launch, _ in ops], int)
        self._causal = np.array([bool(op.get("causal", False)) for _, op in ops], int)
        self._gates = np.array([launch.get("gate", -1) for launch, _ in ops], int)

    def count(self, batch: int, tokens: int, rows: int, gates: np.ndarray | None = None) -> float:
        """FLOPs of one run.
        Shapes: B = batch, T = tokens, R = rows, L = layers.
        Args: the sizes of the run; gates, [L], 0 for layers that are off.
        Returns: FLOPs.
        """
        sizes = np.array([batch, batch * tokens, rows], float)[self._rows]
        pairs = np.array([batch * tokens * tokens, batch * tokens * (tokens + 1) / 2], float)[self._causal]
        each = self._costs[:, 0] * sizes + self._costs[:, 1] * pairs + self._costs[:, 2] * batch * tokens
        if gates is not None:
            each = np.where(self._gates < 0, each, each * (np.append(gates, 1)[self._gates] != 0))
        return float(each.sum())


def read_step_flops(package: str | os.PathLike) -> StepFlops | None:
    """The step of a training package; None where the package does not say what its launches compute.
    Raises: BadData.
    """
    path = pathlib.Path(package) / "profile.json"
    try:
        return StepFlops(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise errors.BadData(f"bad data: '{path}': expects a description of programs, found {error}") from error


def peak_flops(model: Any, machine: str | os.PathLike, run: Any) -> float:
    """What the machine can compute in f32 with the threads and the code of a model.
    Args: model, of the runtime; machine, a file of `ds-bench --calibrate -o FILE`; run, called once to run any program.
    Returns: FLOP/s.
    Raises: Missing and BadData for the file. Warns when it describes another processor.
    """
    model.start_trace(1)
    run()
    model.stop_trace()
    report = json.loads(model.profile("json", 0, 1, False, os.fspath(machine), None))
    if not report["machine"]["is_this_machine"]:
        warnings.warn(f"'{os.fspath(machine)}' describes '{report['machine']['processor']}', another processor", stacklevel=3)
    return float(report["programs"][0]["limits"]["flops_f32"])
