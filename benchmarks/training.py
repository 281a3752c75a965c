"""Measures the training step beside torch: seconds and peak memory of an update, recomputation, and what layer dropping saves.

Each side is a process of its own; sides take turns as in speed.py. `peers/install.py torch` installs torch's side, `peers/install.py
--models-only` makes the models; cases/training.json says what is measured. `training.py -o results.json`, on an idle machine;
`training.py --report results.json` prints the tables.
"""

import argparse
import json
import math
import os
import pathlib
import re
import statistics

from markdown import table
from provenance import provenance
from timing import median_and_spread, take_turns
from workers import PEERS, Failed, OtherWork, Workers

HERE = pathlib.Path(__file__).resolve().parent
CASES = json.loads((HERE / "cases" / "training.json").read_text())
LIMITS = {"environment": "ours", "module": "limits"}
AGREEMENT = {"f32": 2e-5, "bf16": 2e-2}  # relative difference of the losses of three updates from eager torch in f32
MIB = 1 << 20


def measure(workers, tasks, rounds):
    """Load the sides, and let them take turns.
    Args: tasks, name -> (side, task).
    Returns: name -> {"losses", "turns": [[dictionaries of numbers]], "versions"} or {"left_out": why}; the machine's limits, medians.
    """
    found, ready = {}, {}
    for name, (side, task) in {"limits": (LIMITS, {"model": "", "measure": "limits"}), **tasks}.items():
        try:
            worker = workers.get(side, name)
            found[name] = {"versions": worker.ask(load={**task, "threads": workers.threads})["versions"]}
            if name != "limits":
                path = PEERS / "losses.npy"
                worker.ask(answer=str(path))
                found[name]["losses"] = read_losses(path)
            ready[name] = worker
        except Failed as failure:
            found[name] = {"left_out": str(failure)}

    def turn(name):
        def once():
            if name not in ready:
                return None
            try:
                return ready[name].ask(run=CASES["seconds_a_turn"])["runs"]
            except Failed as failure:
                ready.pop(name)
                found[name] = {"left_out": str(failure)}
                return None

        return once

    with OtherWork(workers) as others:
        turns_of = take_turns({name: turn(name) for name in list(ready)}, rounds)
    for name in ready:
        found[name]["turns"] = turns_of[name]
    limits = found.pop("limits")
    peak = statistics.median(run["f32"] for runs in limits["turns"] for run in runs) if "turns" in limits else None
    return found, {"f32": peak, "others": others.share}


def read_losses(path):
    """Return what a side wrote as numbers."""
    import numpy as np

    return np.load(path).astype(float).tolist()


def medians(found):
    """Return name -> {"seconds", "spread", "bytes", ..}; a turn counts with its median."""
    sides = {}
    for name, side in found.items():
        if "turns" not in side:
            sides[name] = side
            continue
        seconds, spread = median_and_spread([statistics.median(run["seconds"] for run in turn) for turn in side["turns"]])
        runs = [run for turn in side["turns"] for run in turn]
        sides[name] = {"seconds": seconds, "spread": spread, "bytes": max(run["bytes"] for run in runs)}
        sides[name] |= {key: side[key] for key in ("losses", "versions", "agrees") if key in side}
        own = ("update_seconds", "arena_bytes")  # what our side says
        sides[name] |= {key: statistics.median(run[key] for run in runs) for key in own if key in runs[0]}
    return sides


def compare_losses(found, expected, precision):
    """Say of each side whether its losses are those of eager torch."""
    for side in found.values():
        if "losses" in side and expected:
            apart = max(abs(mine - other) / abs(other) for mine, other in zip(side["losses"], expected, strict=True))
            side["agrees"], side["apart"] = apart <= AGREEMENT[precision], apart


def ratio(sides, peer, key="seconds"):
    """Return how many times ours a peer's figure is, or None where one of them is missing."""
    mine, other = sides.get("ours", {}), sides.get(peer, {})
    return other[key] / mine[key] if key in mine and key in other and mine.get("agrees") else None


class Runner:
    """The parts. Each yields names, functions that measure one comparison and return its row, and their arguments."""

    def __init__(self, options):
        self.options, self.expected = options, {}

    def rounds(self, case):
        return self.options.rounds or case.get("rounds", CASES["rounds"])

    def steps(self, threads):
        for case in CASES["steps"]:
            for precision in case["precisions"]:
                yield f"step: {case['model']} ({case['batch']}, {case['tokens']}) {precision} {threads}t", self.step_row, (case, precision)

    def step_row(self, workers, case, precision):
        task = {key: case[key] for key in ("model", "batch", "tokens")} | {"measure": "training", "precision": precision}
        tasks = {name: (side, task) for name, side in CASES["sides"].items()}
        tasks["ours, recomputing"] = (CASES["sides"]["ours"], {**task, "recompute": "all"})
        found, limits = measure(workers, tasks, self.rounds(case))
        key = (case["model"], workers.threads)
        if precision == "f32":
            self.expected[key] = found["torch eager"].get("losses")
        compare_losses(found, self.expected.get(key) or found["torch eager"].get("losses"), precision)
        sides = medians(found)
        metrics = {f"over {peer}": ratio(sides, peer) for peer in ("torch eager", "torch compile")}
        metrics |= {f"memory of {peer}": ratio(sides, peer, "bytes") for peer in ("torch eager", "torch compile", "ours, recomputing")}
        if kept := ratio(sides, "ours, recomputing", "arena_bytes"):
            metrics["values kept, recomputing"] = kept
        return {"case": case, "precision": precision, "sides": sides, "limits": limits, "metrics": metrics}

    def layer_drop(self, threads):
        case = CASES["layer_drop"]
        yield f"layer drop: {case['model']} ({case['batch']}, {case['tokens']}) f32 {threads}t", self.layer_drop_row, (case,)

    def layer_drop_row(self, workers, case):
        """Dense and dropping take turns, one step each, as a step of the latter is of any length."""
        task = {key: case[key] for key in ("model", "batch", "tokens")} | {"measure": "training"}
        side, sides = CASES["sides"]["ours"], {}
        tasks = {"dense": (side, task), "dropping": (side, {**task, "theta": case["theta"]})}
        found, limits = measure(workers, tasks, self.options.rounds or case["steps"])
        layers = CASES["models"][case["model"]]["num_hidden_layers"]
        for name, one in found.items():
            runs = [run for turn in one["turns"] for run in turn]
            mean = statistics.fmean(run["seconds"] for run in runs)
            deviation = statistics.stdev(run["seconds"] for run in runs) / math.sqrt(len(runs)) if len(runs) > 1 else 0.0
            sides[name] = {"seconds": mean, "error": deviation, "steps": len(runs)}
        kept = [(run["kept_layers"], run["seconds"]) for turn in found["dropping"]["turns"] for run in turn]
        sides["dropping"]["kept_layers"] = statistics.fmean(count for count, _ in kept)
        slope, start = statistics.linear_regression(*zip(*kept, strict=True))
        # E[kept] = L - (1 - theta) (L + 1) / 2, of p_i = 1 - i / L (1 - theta); Zhang and He 2020, section 3.
        expected = layers - (1 - case["theta"]) * (layers + 1) / 2
        metrics = {
            "less time, as drawn": 1 - sides["dropping"]["seconds"] / sides["dense"]["seconds"],
            "less time, at the expected layers": 1 - (start + slope * expected) / sides["dense"]["seconds"],
            "fewer layers, expected": 1 - expected / layers,
            "seconds a layer": slope,
        }
        return {"case": case, "precision": "f32", "sides": sides, "limits": limits, "metrics": metrics}


PARTS = ("steps", "layer_drop")


def time_text(side):
    """Format what a side took."""
    if "left_out" in side:
        return f"left out: {side['left_out'][:60]}"
    if "seconds" not in side:
        return "-"
    return f"{side['seconds'] * 1e3:.0f} ms ± {side['spread']:.0%}" + ("" if side.get("agrees") else " (another answer)")


def report(results):
    """Print the tables of a file."""
    place = results["provenance"]
    print(f"{place['date']}, commit {place['commit']}, {place['cpu']}, {place['processors']} processors\n")
    steps = [row for row in results["rows"] if row["id"].startswith("step")]
    names = list(CASES["sides"])
    rows = []
    for row in steps:
        found = row["metrics"]
        over = [f"{found[f'over {peer}']:.2f}x" if found[f"over {peer}"] else "-" for peer in names[1:]]
        rows.append([row["id"].removeprefix("step: "), *(time_text(row["sides"].get(name, {})) for name in names), *over])
    print(table(["step", *names, *(f"over {peer}" for peer in names[1:])], rows))
    rows = []
    for row in steps:
        sides = (*names, "ours, recomputing")
        values = [f"{row['sides'][name].get('bytes', 0) / MIB:.0f} MiB" for name in sides]
        arenas = [row["sides"][name].get("arena_bytes", 0) / 1e6 for name in ("ours", "ours, recomputing")]
        share = f"{arenas[1] / arenas[0]:.2f}x" if all(arenas) else "-"
        rows.append([row["id"].removeprefix("step: "), *values, *(f"{arena:.0f} MB" for arena in arenas), share])
    print(table(["peak memory", *names, "ours, recomputing", "values kept", "recomputing", "of them"], rows))
    for row in results["rows"]:
        if row["id"].startswith("layer drop"):
            pairs = [[name, f"{value:.4f}" if "seconds" in name else f"{value:.1%}"] for name, value in row["metrics"].items()]
            pairs += [[name, f"{side['seconds'] * 1e3:.0f} ± {side['error'] * 1e3:.0f} ms"] for name, side in row["sides"].items()]
            print(table([row["id"], "measured"], pairs))


def main():
    """Run the parts that were asked for, or print the tables of an earlier run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, help="JSON file of all results, written after each comparison")
    parser.add_argument("--report", type=pathlib.Path, help="print the tables of this file")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--only", default="", metavar="REGEX", help="only comparisons whose id matches")
    parser.add_argument("--threads", type=int, action="append", help=f"default: {CASES['threads']}")
    parser.add_argument("--rounds", type=int, help="rounds of every comparison, in place of those of the cases")
    parser.add_argument("--keep", action="store_true", help="keep the rows of an earlier output that are not measured now")
    options = parser.parse_args()
    if options.report:
        report(json.loads(options.report.read_text()))
        return
    if options.output is None:
        parser.error("expects -o or --report")
    results = {"provenance": provenance(), "rows": []}
    if options.keep and options.output.is_file():
        results["rows"] = json.loads(options.output.read_text())["rows"]
    runner = Runner(options)
    for threads in options.threads or CASES["threads"]:
        for part in options.part or PARTS:
            for name, function, arguments in getattr(runner, part)(threads):
                if not re.search(options.only, name):
                    continue
                print(name, flush=True)
                with Workers(threads) as workers:
                    row = {"id": name, "threads": threads, **function(workers, *arguments)}
                row["commit"] = results["provenance"]["commit"]
                if row["limits"]["others"] > 0.1:
                    print(f"  disturbed: other work had {row['limits']['others']:.2f} processors meanwhile", flush=True)
                print("  " + " ".join(f"{key}={value:.3f}" for key, value in row["metrics"].items() if value is not None), flush=True)
                results["rows"] = [other for other in results["rows"] if other["id"] != name] + [row]
                partial = options.output.with_suffix(".part")
                partial.write_text(json.dumps(results, indent=1) + "\n")
                os.replace(partial, options.output)


if __name__ == "__main__":
    main()
