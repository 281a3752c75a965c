"""Compares the predictions in a profile with those of `ds-compile --emit=costs` for the same step. Arguments: PROFILE COSTS."""

import json
import pathlib
import sys

profile, costs = (json.loads(pathlib.Path(name).read_text()) for name in sys.argv[1:])
assert profile["machine"]["processor"] == costs["machine"], profile["machine"]
for ran in profile["programs"]:
    said = next(program for program in costs["programs"] if program["name"] == ran["program"])
    assert (ran["batch"], ran["tokens"]) == (said["batch"], said["tokens"]), ran
    assert len(ran["launches"]) == len(said["launches"])
    for launch, cost in zip(ran["launches"], said["launches"], strict=True):
        assert launch["kernel"] == cost["kernel"]
        assert launch["ran"] != cost["left_out"], launch  # what is left out serves an output that was not asked for
        if not launch["ran"]:
            continue
        for name, expected in (("predicted_ns", cost["ns"]), ("memory_floor_ns", cost["floor_ns"])):
            assert abs(launch[name] - expected) <= 0.06, (launch["kernel"], name, launch[name], expected)
        assert launch["roofline_ns"] >= launch["memory_floor_ns"]
    kernels = {launch["kernel"] for launch in said["launches"] if launch.get("codes", 0) > 0}
    print(f"{ran['program']}: {len(said['launches'])} launches{', of codes' if kernels else ''}")
