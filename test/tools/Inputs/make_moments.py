"""Writes moments for the model of make_llama.py: `make_moments.py FILE [only=PART] [size=K] [nan=ROW] [indefinite=1]`."""

import sys

import numpy as np
from safetensors.numpy import save_file

options = dict(argument.split("=") for argument in sys.argv[2:])
rng = np.random.default_rng(5)
moments = {}
for layer in range(2):
    for part, columns in (("self_attn.q_proj", 32), ("self_attn.o_proj", 32), ("mlp.gate_proj", 32), ("mlp.down_proj", 24)):
        columns = int(options.get("size", columns))
        x = rng.standard_normal((40, columns)) @ (np.eye(columns) + rng.standard_normal((columns, columns)) / 4)
        matrix = (x.T @ x / len(x)).astype(np.float32)
        if "nan" in options:
            matrix[int(options["nan"]), 0] = np.nan
        if "indefinite" in options:
            matrix[0, 1] = matrix[1, 0] = 100 * matrix[0, 0]
        if options.get("only", part) in part:
            moments[f"input:model.layers.{layer}.{part}.weight"] = matrix
save_file(moments, sys.argv[1])
