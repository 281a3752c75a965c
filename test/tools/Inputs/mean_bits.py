"""Reads what `ds-compile --report` says from stdin: `mean_bits.py MODEL BUDGET` prints the different numbers of bits that layers have, and
fails where the mean over weights is above the budget, or so far below it that any matrix could have a bit more."""

import re
import sys
from pathlib import Path

from safetensors import safe_open

model, budget = Path(sys.argv[1]), float(sys.argv[2])
sizes = {}
for path in model.glob("*.safetensors"):
    with safe_open(path, "numpy") as file:
        sizes.update({name: file.get_tensor(name).size for name in file.keys()})  # noqa: SIM118: not a dict
rows = [line.split() for line in sys.stdin if re.match(r" +[0-9.]+ .* int[0-9]-g[0-9]+ +model\.", line)]
bits = {row[-1]: float(row[0]) for row in rows}
total = sum(sizes[name] for name in bits)
mean = sum(sizes[name] * value for name, value in bits.items()) / total
layers = {name: int(row[-2][3]) for row in rows if "layers" in (name := row[-1])}
step = min(sizes[name] for name, has in layers.items() if has < 8) / total if min(layers.values()) < 8 else budget
assert budget - step < mean <= budget, (mean, step)
print("bits", *sorted(set(layers.values())))
