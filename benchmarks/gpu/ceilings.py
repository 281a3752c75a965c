"""What the machine can do at most: copy, read, multiply. Every other number is held against these."""

import torch

from . import device
from .turns import attempt, measure


def read(rounds, size):
    """Read-only streams: the best of several kernels. Returns: bytes/s of the best, its time, and what each reached."""
    from . import read_ceiling

    source = torch.randint(-(1 << 31), (1 << 31) - 1, (size // 4,), dtype=torch.int32, device=device.NAME)
    wanted, sides, found = int(source.sum(dtype=torch.int64).item()), {"torch.sum": lambda: source.view(torch.float32).sum()}, {}
    for name, run in read_ceiling.readers(source).items():
        sums = attempt(found, name, run)
        # The pieces' sums wrap around as i32: equal to the whole sum up to a multiple of 2**32.
        if sums is not None and (int(sums.sum(dtype=torch.int64).item()) - wanted) % (1 << 32) == 0:
            sides[name] = run
    times = measure({name: (lambda run=run: device.seconds(run, 3)) for name, run in sides.items()}, rounds, 3)
    best = min(times, key=lambda name: times[name]["us"])
    errors = found.get("errors", {})
    return {
        "bytes_per_s": size / times[best]["us"] * 1e6,
        "best": best,
        "bytes": size,
        "sides": times,
        **({"errors": errors} if errors else {}),
    }


def copy(rounds, size):
    """From the device to itself. Bytes read and written are both counted."""
    source, target = (torch.randn(size // 4, device=device.NAME) for _ in range(2))
    times = measure({"copy": lambda: device.seconds(lambda: target.copy_(source), 3)}, rounds, 3)
    return {"bytes_per_s": 2 * size / times["copy"]["us"] * 1e6, "bytes": 2 * size, "sides": times}


def matmul(rounds, size):
    """Square products of bf16, on random values: zeros would be faster."""
    a, b = (torch.randn(size, size, device=device.NAME).bfloat16() for _ in range(2))
    out = torch.empty(size, size, dtype=torch.bfloat16, device=device.NAME)
    times = measure({"matmul": lambda: device.seconds(lambda: torch.matmul(a, b, out=out), 10)}, rounds, 10)
    return {"flops_per_s": 2 * size**3 / times["matmul"]["us"] * 1e6, "size": size, "sides": times}


def run(settings, name, emit):
    """Measure one ceiling."""
    size = 1 << 22 if settings.dry else 4 << 30
    rounds = settings.rounds
    if name == "matmul":
        return matmul(rounds, 64 if settings.dry else 8192)
    return {"read": read, "copy": copy}[name](rounds, size)
