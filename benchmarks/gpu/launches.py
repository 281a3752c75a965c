"""Turns code/launches.json and the sizes of a step into launches: which kernel, how many blocks, which arguments."""

import dataclasses

SCALAR, POINTER = 4, 8


@dataclasses.dataclass(frozen=True)
class Memory:
    """Where the parts of a step lie: addresses. `inputs` and `outputs` are lists, `kv` an array of one address a sequence."""

    arena: int = 0
    weights: int = 0
    counters: int = 0
    kv: int = 0
    inputs: tuple = ()
    outputs: tuple = ()


@dataclasses.dataclass(frozen=True)
class Call:
    """One launch of a kernel. `arguments` are (value, bytes)."""

    kernel: int
    launch: int
    grid: tuple
    arguments: tuple


def step_sizes(batch, tokens, selected):
    """Name the sizes of a step of `batch` sequences of `tokens`, of which `selected` tokens reach the head."""
    return {"batch": batch, "tokens": tokens, "token_rows": batch * tokens, "selected": selected}


def grid_of(stage, sizes):
    """How many blocks a stage has, or None where it does not run."""
    for name, least, most in stage.get("when", []):
        if not least <= sizes[name] <= most:
            return None
    grid = []
    for constant, *factors in stage["grid"]:
        blocks = constant
        for name, divisor in factors:
            blocks *= -(-sizes[name] // divisor)
        grid.append(blocks)
    return None if 0 in grid else tuple(grid)


def value_of(argument, memory, sizes):
    """The value of an argument, and its bytes."""
    kind, *rest = argument
    if kind in sizes:
        return sizes[kind], SCALAR
    if kind == "i64":
        return rest[0], POINTER
    if kind in ("input", "output"):
        return (memory.inputs if kind == "input" else memory.outputs)[rest[0]], POINTER
    base = getattr(memory, kind)
    return base + (rest[0] if rest else 0), POINTER


def calls_of(stages, memory, sizes):
    """Evaluate stages, in order, those left out that do not run at these sizes or write an output nobody wants.
    Args: stages, of a program's record in code/launches.json; memory; sizes, from `step_sizes`.
    Returns: a list of Call.
    """
    calls = []
    for stage in stages:
        grid = grid_of(stage, sizes)
        if grid is None or any(not memory.outputs[index] for index in stage.get("wants", [])):
            continue
        arguments = tuple(value_of(argument, memory, sizes) for argument in stage["args"])
        calls.append(Call(stage["kernel"], stage["launch"], grid, arguments))
    return calls
