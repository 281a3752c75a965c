"""Prints how many times as long one level of the CPU multiplies as another, by the costs of a step: COSTS OTHER."""

import json
import sys


def mac_ns(path):
    """Sum up the time of multiply-adds in the matrix products of a file of costs."""
    with open(path) as file:
        programs = json.load(file)["programs"]
    return sum(launch["mac_ns"] for program in programs for launch in program["launches"] if launch["family"] == "gemm" and launch["rows"] > 16)


print(f"{mac_ns(sys.argv[1]) / mac_ns(sys.argv[2]):.3f}")
