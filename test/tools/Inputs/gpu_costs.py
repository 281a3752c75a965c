"""Checks costs for GPUs against what was counted. Arguments: JSON of an H200, of codes on it, and of the machine gpu-machine.json, whose
second-level cache holds nothing of a step."""

import json
import sys

h200, codes, slow = (json.load(open(path)) for path in sys.argv[1:])
for costs in (h200, slow):
    for program in costs["programs"]:
        for key in ("ns", "floor_ns"):
            total = sum(launch[key] for launch in program["launches"] if not launch["left_out"])
            assert abs(program[key] - total) < 1e-6 * program[key], (program["name"], key)
        for launch in program["launches"]:
            assert launch["ns"] > launch["floor_ns"] > 0 and launch["ns"] > max(launch["compute_ns"], launch["memory_ns"]), launch
    print(f"{costs['machine']}: {len(costs['programs'])} programs")
    if costs is h200:
        matrices = {launch["kernel"]: launch["codes"] for launch in codes["programs"][-1]["launches"] if launch["codes"]}
        assert matrices and not any(launch["codes"] for program in h200["programs"] for launch in program["launches"]), matrices
        assert all(launch["codes"] == launch["macs"] / launch["rows"] for launch in codes["programs"][-1]["launches"] if launch["codes"])
        print("codes")
for program in slow["programs"]:
    for launch in program["launches"]:
        cold = launch["weight_bytes"] + launch["cache_bytes"] + launch["bytes"] - sum(
            launch[f"{kind}_bytes"] for kind in ("weight", "cache", "read", "written")
        )
        assert abs(launch["floor_ns"] - cold - (launch["read_bytes"] + launch["written_bytes"]) / 2) < 1e-6 * launch["floor_ns"], launch
