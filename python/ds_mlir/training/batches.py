"""From what a user hands in to the arrays of a step: positions, and which rows have which label."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ds_mlir import errors
from ds_mlir.training.backend import Backend

IGNORED = -100
_NAMES = ("input_ids", "labels", "attention_mask", "token_type_ids", "position_ids")


@dataclasses.dataclass(frozen=True)
class Step:
    """One micro batch. Shapes: B = batch, T = tokens, R = rows that count.
    arrays, what the program takes, [B, T] int32; rows, [R] int32 into B * T, None where each sequence has one label; labels, [R] or [B];
    count, how many labels count; tokens, B * T without padding.
    """

    arrays: dict[str, np.ndarray]
    rows: np.ndarray | None
    labels: np.ndarray
    count: int
    tokens: int


def integers(values: Any, name: str, rank: int) -> np.ndarray:
    """Turn lists, NumPy arrays or arrays with `__dlpack__` into int32 of a rank.
    Raises: InvalidArgument for another rank, or what are no 32-bit integers.
    """
    if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        values = np.from_dlpack(values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise errors.InvalidArgument(f"invalid argument: {name}: expects rows of equal length") from error
    if array.ndim != rank:
        expected = "[batch, tokens]" if rank == 2 else "[batch]"
        raise errors.InvalidArgument(f"invalid argument: {name}: expects shape {expected}, got {list(array.shape)}")
    if array.dtype.kind not in "iub":
        raise errors.InvalidArgument(f"invalid argument: {name}: expects integers, got {array.dtype}")
    limits = np.iinfo(np.int32)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise errors.InvalidArgument(f"invalid argument: {name}: expects 32-bit integers, got {array.max()}")
    return np.ascontiguousarray(array, np.int32)


def positions_of(rule: Mapping[str, Any], ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The position of each token by the model's rule, as the runtime gives them.
    Args: rule, {rule: arange, from_mask or from_ids, offset, pad_id}; ids and mask, [B, T].
    Returns: [B, T] int32.
    """
    offset, pad = int(rule.get("offset", 0)), int(rule.get("pad_id", 0))
    if rule["rule"] == "arange":
        return np.broadcast_to(np.arange(offset, offset + ids.shape[1], dtype=np.int32), ids.shape).copy()
    real = mask != 0 if rule["rule"] == "from_mask" else ids != pad
    counted = np.cumsum(real, axis=1, dtype=np.int32)
    positions = np.where(real, counted - 1 + offset, offset - 1) if rule["rule"] == "from_mask" else pad + np.where(real, counted, 0)
    return np.ascontiguousarray(np.maximum(positions, 0), np.int32)


def _limits(array: np.ndarray, name: str, least: int, below: int, real: np.ndarray) -> None:
    wrong = np.argwhere(real & ((array < least) | (array >= below)))
    if len(wrong):
        place = "".join(f"[{int(i)}]" for i in wrong[0])
        raise errors.InvalidArgument(f"invalid argument: {name}{place}: expects {least} to {below - 1}, got {array[tuple(wrong[0])]}")


def _targets(task: str, labels: Any, shape: tuple[int, int], width: int) -> tuple[np.ndarray | None, np.ndarray, int]:
    if task == "sequence-classification":
        array = integers(labels, "labels", 1)
        if len(array) != shape[0]:
            raise errors.InvalidArgument(f"invalid argument: labels: expects {shape[0]} of them, one a sequence, got {len(array)}")
        counted = array != IGNORED
        _limits(array, "labels", 0, width, counted)
        return None, np.where(counted, array, -1).astype(np.int32), int(counted.sum())
    array = integers(labels, "labels", 2)
    if array.shape != shape:
        raise errors.InvalidArgument(f"invalid argument: labels: expects the shape of input_ids, {list(shape)}, got {list(array.shape)}")
    counted = array != IGNORED
    _limits(array, "labels", 0, width, counted)
    if task == "causal-lm":  # the logits of a token are for the one after it
        counted, array = counted.copy(), np.roll(array, -1, axis=1)
        counted = np.concatenate([counted[:, 1:], np.zeros((shape[0], 1), bool)], axis=1)
    rows = np.flatnonzero(counted).astype(np.int32)
    return rows, np.ascontiguousarray(array.reshape(-1)[rows]), len(rows)


def make_step(backend: Backend, batch: Mapping[str, Any]) -> Step:
    """Check a micro batch and turn it into arrays.
    Args: backend, whose programs take them; batch, `input_ids` [B, T], `labels` ([B, T] beside the ids, -100 where none counts; [B] for
        sequence classification), and `attention_mask`, `token_type_ids` and `position_ids` where needed.
    Returns: a Step.
    Raises: InvalidArgument that names what is wrong.
    """
    if not isinstance(batch, Mapping):
        raise errors.InvalidArgument(f"invalid argument: batch: expects a dictionary with input_ids and labels, got {type(batch).__name__}")
    for name in batch:
        if name not in _NAMES:
            raise errors.InvalidArgument(f"invalid argument: batch: {name}: expects {', '.join(_NAMES[:-1])} or {_NAMES[-1]}")
    for name in ("input_ids", "labels"):
        if batch.get(name) is None:
            raise errors.InvalidArgument(f"invalid argument: batch: expects {name}, got {', '.join(batch) or 'nothing'}")
    given = {name: integers(value, name, 2) for name, value in batch.items() if name != "labels" and value is not None}
    ids = given["input_ids"]
    if not ids.size:
        raise errors.InvalidArgument(f"invalid argument: input_ids: expects at least one token, got shape {list(ids.shape)}")
    for name, array in given.items():
        if array.shape != ids.shape:
            raise errors.InvalidArgument(
                f"invalid argument: {name}: expects the shape of input_ids, {list(ids.shape)}, got {list(array.shape)}"
            )
    mask = given.get("attention_mask", np.ones_like(ids))
    _limits(mask, "attention_mask", 0, 2, np.ones_like(ids, bool))
    real = mask != 0
    _limits(ids, "input_ids", 0, int(backend.info["vocab_size"]), real)
    rows, labels, count = _targets(backend.info["task"], batch["labels"], ids.shape, backend.width)
    if count == 0:
        raise errors.InvalidArgument(f"invalid argument: labels: expects at least one that counts, got only {IGNORED}")
    inside = (ids >= 0) & (ids < int(backend.info["vocab_size"]))
    arrays = {"input_ids": np.where(inside, ids, 0).astype(np.int32)}
    if "positions" in backend.inputs:
        arrays["positions"] = _positions(backend, given.get("position_ids"), ids, mask)
    if "mask" in backend.inputs:
        arrays["mask"] = mask
    elif not real.all():
        _check_padding(real, rows)
    if "token_type_ids" in backend.inputs:
        arrays["token_type_ids"] = given.get("token_type_ids", np.zeros_like(ids))
        _limits(arrays["token_type_ids"], "token_type_ids", 0, int(backend.info.get("token_types", 2)), np.ones_like(real))
    elif given.get("token_type_ids", np.zeros(1)).any():
        raise errors.InvalidArgument("invalid argument: token_type_ids: expects zeros, as the model has no segments")
    return Step(arrays, rows, labels, count, int(real.sum()))


def _positions(backend: Backend, given: np.ndarray | None, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The positions of a step, all of them in the model's table."""
    rule = backend.positions
    positions = positions_of(rule, ids, mask) if given is None else given
    first = int(rule.get("pad_id", 0)) + 1 if rule["rule"] == "from_ids" else int(rule.get("offset", 0))
    most = int(backend.info.get("max_positions", -1))
    if most >= 0 and positions.max() >= first + most:
        raise errors.InvalidArgument(f"invalid argument: input_ids: expects at most {most} positions, got {positions.max() - first + 1}")
    if positions.min() < 0:
        raise errors.InvalidArgument(f"invalid argument: position_ids: expects at least 0, got {positions.min()}")
    return positions


def _check_padding(real: np.ndarray, rows: np.ndarray | None) -> None:
    """Without a mask in the program, padding may only be where no token that counts can see it: at the end."""
    if (np.diff(real.astype(np.int8), axis=1) > 0).any():
        raise errors.InvalidArgument("invalid argument: attention_mask: expects padding at the end of rows, as the model is causal")
    if rows is not None and not real.reshape(-1)[rows].all():
        raise errors.InvalidArgument(f"invalid argument: labels: expects {IGNORED} where attention_mask is 0")
