"""Fits the rows of runtime/lib/PredictionTable.h to measured launches: what part of the machine's limits the kernels of a family reach."""

import math
import pathlib
import re

TABLE = pathlib.Path(__file__).resolve().parent.parent / "runtime" / "lib" / "PredictionTable.h"
ROW = re.compile(r'^ +\{"(\w*)", ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+)\},', re.M)
STEPS = (0.8, 0.9, 0.95, 0.99, 1.01, 1.05, 1.1, 1.25)
NAMES = ("macs", "lanes", "bytes", "overlap")


def read_table():
    """Return the families that the table has, with their numbers."""
    return {name: [float(number) for number in numbers] for name, *numbers in ROW.findall(TABLE.read_text())}


def predict(row, numbers, launch_ns):
    """Combine the parts of a launch as runtime/lib/Prediction.cpp does.
    Returns: nanoseconds.
    """
    macs, lanes, moved, overlap = numbers
    compute, memory = row["mac_ns"] / macs + row["lane_ns"] / lanes, row["feed_ns"] / moved
    return max(compute, memory) + (1 - overlap) * min(compute, memory) + launch_ns


def loss(rows, numbers):
    """Sum the squared logarithms of predicted by measured; what is off by more than 20 % weighs more, what is short less or nothing."""
    total = 0.0
    for row, launch_ns in rows:
        off = math.log(predict(row, numbers, launch_ns) / row["measured_ns"])
        weight = 1.0 if row["measured_ns"] >= 20e3 else 0.1 if row["measured_ns"] >= 5e3 else 0.0
        total += weight * (off * off + 20 * max(0.0, abs(off) - math.log(1.2)) ** 2)
    return total


def candidates(numbers):
    """Yield tables one step away."""
    for index in range(len(numbers)):
        steps = [min(1.5, numbers[index] * step) for step in STEPS] if index < 3 else [part / 20 for part in range(21)]
        for value in steps:
            yield [*numbers[:index], value, *numbers[index + 1 :]]


def fit(results):
    """Print the rows of the table that fit best, a family at a time. Families without a row share the last."""
    launch = {limits["threads"]: limits["launch_ns"] for machine in results["machines"] for limits in machine["limits"]}
    table = read_table()
    for family, numbers in table.items():
        rows = [
            (row, launch[row["threads"]])
            for row in results["kernels"]
            if row["family"] == family or (not family and row["family"] not in table)
        ]
        before = best = loss(rows, numbers)
        while rows:
            found = min(candidates(numbers), key=lambda other: loss(rows, other))
            if loss(rows, found) >= best - 1e-9:
                break
            numbers, best = found, loss(rows, found)
        values = ", ".join(f"{number:.2f}" for number in numbers)
        print(f'    {{"{family}", {values}}},  // {len(rows)} kernels, loss {before:.2f} -> {best:.2f}')
