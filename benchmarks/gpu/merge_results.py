"""Joins results of benchmarks/gpu/run to benchmarks/gpu/results/GPU.json: `benchmarks/gpu/merge OUT/results.json ...`, oldest first.

A case that was measured replaces the one there; one that was skipped or failed as a whole does not.
"""

import argparse
import json
import pathlib
import re

from . import report
from .settings import HERE


def merge(into, new):
    """Put the cases of `new` over those of `into`, each with where it comes from. Returns: `into`."""
    place = {key: new[key] for key in ("date", "commit", "producer", "versions") if key in new} | {"gpu": new.get("gpu", {})}
    into.setdefault("runs", []).append(place)
    for key in ("format", "date", "commit", "producer", "gpu", "versions"):
        if key in new:
            into[key] = new[key]
    for part, cases in new["parts"].items():
        if part == "packages":
            continue
        kept = into.setdefault("parts", {}).setdefault(part, {})
        for name, case in cases.items():
            is_worse = "skipped" in case or "error" in case
            if not (is_worse and name in kept):
                kept[name] = {**case, "run": len(into["runs"]) - 1}
    return into


def main():
    """Merge and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path, default=HERE / "results")
    parsed = parser.parse_args()
    touched = {}
    for path in parsed.results:
        new = json.loads(path.read_text())
        name = new.get("gpu", {}).get("name") or ("dry" if new.get("settings", {}).get("dry") else "unknown")
        target = parsed.folder / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")
        into = touched.get(target) or (json.loads(target.read_text()) if target.is_file() else {})
        touched[target] = merge(into, new)
    parsed.folder.mkdir(parents=True, exist_ok=True)
    for target, data in touched.items():
        target.write_text(json.dumps(data, indent=1) + "\n")
        print(f"{target}\n{report.text(data)}")
