"""Turns code/launches.json and the sizes of a step into launches: which kernel, how many blocks, which arguments."""

import dataclasses

SCALAR, POINTER = 4, 8
PADDING = 128  # rows of scratch are a multiple of it


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
    is_behind_product: bool = False


@dataclasses.dataclass(frozen=True)
class Product:
    """A product of cuBLASLt: sums [rows, columns] of f32 at address `sums`, of x [rows, depth] and weights [columns, depth] of `type`."""

    launch: int
    type: str
    rows: int
    columns: int
    depth: int
    x: int
    weights: int
    sums: int


def step_sizes(batch, tokens, selected):
    """Name the sizes of a step of `batch` sequences of `tokens`, of which `selected` tokens reach the head."""
    return {"batch": batch, "tokens": tokens, "token_rows": batch * tokens, "selected": selected}


def grid_of(stage, sizes):
    """How many blocks a stage has, or None where it does not run."""
    for name, least, most in stage.get("when", []):
        if not least <= sizes[name] <= most:
            return None
    grid = []
    for constant, *factors in stage.get("grid", []):
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


def place_of(place, rows):
    """Where a matrix of a product lies in the arena at so many rows."""
    return place["offset"] + place["bytes_per_row"] * (-(-rows // PADDING) * PADDING)


def product_of(stage, memory, sizes):
    """The product of a stage."""
    product, rows = stage["product"], sizes["token_rows"]
    places = (memory.arena + place_of(product[name], rows) for name in ("x", "weights", "sums"))
    return Product(stage["launch"], product["type"], rows, product["columns"], product["depth"], *places)


def calls_of(stages, memory, sizes, library=True):
    """Evaluate stages, in order, those left out that do not run at these sizes or write an output nobody wants.
    Args: stages, of a program's record in code/launches.json; memory; sizes, from `step_sizes`; library, whether cuBLASLt is there.
    Returns: a list of Call and Product.
    """
    calls = []
    for stage in stages:
        grid = grid_of(stage, sizes)
        if grid is None or any(not memory.outputs[index] for index in stage.get("wants", [])) or stage.get("library", library) != library:
            continue
        if "product" in stage:
            calls.append(product_of(stage, memory, sizes))
            continue
        arguments = tuple(value_of(argument, memory, sizes) for argument in stage["args"])
        behind = bool(calls) and isinstance(calls[-1], Product)
        calls.append(Call(stage["kernel"], stage["launch"], grid, arguments, behind))
    return calls
