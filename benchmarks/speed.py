"""Measures this project beside its peers: the speed table, products, fusion levels, regions, time to compile.

Each side is a process of its own that loads its model once and measures when it is asked to; the sides take turns, round by round, and
only one of them has the processors. The machine's limits are a side as well. `peers/install.py` installs the sides and cases/*.json say
what is measured. Run it on an idle machine: `benchmarks/speed.py -o results.json`; `benchmarks/report.py results.json` prints the tables.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import regions
import verdicts
from provenance import provenance
from timing import median_and_spread, take_turns
from workers import PEERS, ROOT, Failed, OtherWork, Workers

HERE = pathlib.Path(__file__).resolve().parent
CASES = json.loads((HERE / "cases" / "speed.json").read_text())
PEER_CASES = json.loads((HERE / "cases" / "peers.json").read_text())
LIMITS = {"environment": "ours", "module": "limits"}
LEVELS = ("none", "generic", "specialized")


@dataclasses.dataclass
class Cell:
    """What one process measures: a side of PEER_CASES, a task of peers/task.py, which copy of the side's process (each holds one model),
    the precision whose agreement the answer must reach, or None where it is not compared, and how the task is called beside another one
    of the process, which is loaded before.
    """

    side: dict
    task: dict
    copy: int | str = 0
    compared: str | None = None
    beside: str = ""


def measure(workers, cells, rounds, seconds_a_turn, expected=None):
    """Load the cells, compare their answers, and let them take turns.
    Args: cells, name -> Cell; expected, answer of a task -> array, or None where answers are not compared.
    Returns: name -> {"turns": [values], "versions", "answer"} or {"left_out": why}; and the medians of the machine's limits, with `others`:
        how many processors other work had meanwhile.
    """
    cells = {"limits": Cell(LIMITS, {"model": "", "measure": "limits"}), **cells}
    found, ready = {}, {}
    for name, cell in cells.items():
        try:
            worker = workers.get(cell.side, cell.copy)
            reply = worker.ask(load={**cell.task, "threads": workers.threads}, beside=cell.beside)
            found[name] = {"versions": reply["versions"]}
            if expected and cell.compared:
                found[name]["answer"] = compare_answer(worker, cell, expected)
            if cell.task["measure"] == "trace":
                found[name]["description"] = worker.ask(describe=1, beside=cell.beside)["description"]
            ready[name] = worker
        except Failed as failure:
            found[name] = {"left_out": str(failure)}
    if "limits" not in ready:
        raise SystemExit(f"the machine's limits: {found['limits']['left_out']}")

    def turn(name):
        def once():
            if name not in ready:
                return None
            try:
                return ready[name].ask(run=seconds_a_turn, beside=cells[name].beside)["runs"]
            except Failed as failure:
                ready.pop(name)
                found[name] = {"left_out": str(failure)}
                return None

        return once

    with OtherWork(workers) as others:
        turns_of = take_turns({name: turn(name) for name in list(ready)}, rounds)
    for name, turns in turns_of.items():
        if name in ready:
            found[name]["turns"] = turns
    limits = found.pop("limits")["turns"]
    medians_of = {key: statistics.median(run[key] for runs in limits for run in runs) for key in ("f32", "bf16", "read")}
    return found, {**medians_of, "others": others.share}


def compare_answer(worker, cell, expected):
    """Compare the answer of a side that is loaded."""
    import numpy as np

    with tempfile.NamedTemporaryFile(suffix=".npy", dir=PEERS) as file:
        worker.ask(answer=file.name, beside=cell.beside)
        return verdicts.answers_agree(np.load(file.name), expected(cell.task), cell.compared)


class Reference:
    """Answers of eager torch in float32, kept as files."""

    def __init__(self, workers):
        self.workers = workers

    def __call__(self, task):
        import numpy as np

        folder = PEERS / "references"
        folder.mkdir(exist_ok=True)
        path = folder / f"{task['model']}-{task['measure']}-{task['batch']}x{task['tokens']}.npy"
        if not path.is_file():
            worker = self.workers.get(PEER_CASES["sides"]["torch eager"], copy="reference")
            worker.ask(load={**task, "precision": "f32", "threads": self.workers.threads})
            worker.ask(answer=str(path))
            worker.close()
        return np.load(path)


def product_answer(task):
    """Compute the product that a side of a `gemm` must find."""
    sys.path.insert(0, str(HERE / "peers"))
    import task as tasks

    x, matrix, _ = tasks.ring_arrays(tasks.Task(**task))
    return x @ matrix.T


def peer_cells(sides, task, precision):
    """Return the cells of all sides in a precision; a side may stand in with other types of the same size, which are in its name then."""
    cells = {}
    for name, side in sides.items():
        for kind in side.get(precision, [precision]):
            cells[name if kind == precision else f"{name} {kind}"] = Cell(side, {**task, "precision": kind}, kind, precision)
    return cells


def task_of(case, precision):
    """Return the task of a whole model."""
    task = {key: case[key] for key in ("model", "measure", "batch", "tokens", "steps") if key in case}
    cache = case.get("caches", {}).get(precision, "f32")
    return {**task, "precision": precision, "scheme": case.get("schemes", {}).get(precision, ""), "cache": cache}


def medians(found):
    """Return name -> {"seconds", "spread", ..} of what was measured; a turn counts with its median."""
    sides = {}
    for name, side in found.items():
        if "turns" not in side:
            sides[name] = side
            continue
        median, spread = median_and_spread([statistics.median(turn) for turn in side["turns"]])
        sides[name] = {"seconds": median, "spread": spread, **{key: side[key] for key in ("answer", "versions") if key in side}}
    return sides


def row_of(kind, case, precision, threads, **more):
    """Return a row of the results, with an id that names it."""
    place = " ".join(f"{case[key]}" for key in ("model", "within", "measure") if key in case)
    place += f" ({case['batch']}, {case['tokens']})" if "batch" in case else ""
    return {"id": f"{kind}: {place}{more.pop('detail', '')} {precision} {threads}t", "kind": kind, "case": case, "precision": precision,
            "threads": threads, **more}  # fmt: skip


class Runner:
    """The parts of the table. Each yields functions that measure one comparison and return its rows, under the id it has in the results."""

    def __init__(self, options):
        self.options = options

    def rounds(self, case):
        return self.options.rounds or case.get("rounds", CASES["rounds"])

    def speed(self, threads, part="speed"):
        for case in CASES[part]:
            for precision in case.get("schemes", ("f32", "bf16")):
                yield row_of("speed", case, precision, threads)["id"], self.speed_rows, (case, precision, threads)

    def low_bits(self, threads):
        yield from self.speed(threads, "low_bits")

    def speed_rows(self, workers, case, precision, threads):
        task = task_of(case, precision)
        # Peers that run low bits say so in their cases.
        sides = {name: side for name, side in PEER_CASES["sides"].items() if not task["scheme"] or name == "ours" or precision in side}
        cells = {}
        for name, cell in peer_cells(sides, task, precision).items():
            cells[name] = cell
            # Where weights lie in memory, and the minute, decide how fast they are read: all batches read the same ones behind each other.
            for batch in case.get("more_batches", []) if name == "ours" else []:
                cells[f"ours, batch {batch}"] = dataclasses.replace(cell, task={**cell.task, "batch": batch}, beside=f"batch {batch}")
        found, limits = measure(workers, cells, self.rounds(case), CASES["seconds_a_turn"], Reference(workers))
        sides = medians(found)
        batches = {batch: sides.pop(f"ours, batch {batch}") for batch in case.get("more_batches", [])}
        row = row_of("speed", case, precision, threads, sides=sides, limits=limits, bars=CASES["bars"][case["bars"]][precision])
        seconds = verdicts.seconds_of(sides)
        row["metrics"] = {}
        if "ours" in seconds:
            row["metrics"] = verdicts.speed_metrics(case, CASES["models"][case["model"]], seconds, limits, precision)
            cosines = {"smallest_cosine": "cosine", "pooled_cosine": "pooled_cosine"}
            answer = sides["ours"]["answer"]
            row["metrics"] |= {metric: answer[key] for metric, key in cosines.items() if key in answer}
        rows = [row]
        for batch, side in batches.items():
            more = row_of("batch", {**case, "batch": batch}, precision, threads, sides={"ours": side}, limits=limits)
            more["bars"] = [CASES["bars"]["batches"][str(batch)]]
            both = "ours" in seconds and side.get("answer", {}).get("agrees")
            more["metrics"] = {"step_ratio": side["seconds"] / seconds["ours"]} if both else {}
            rows.append(more)
        return rows

    def beyond_caches(self, threads):
        for case in CASES["beyond_caches"]:
            yield row_of("beyond caches", case, "low bits", threads)["id"], self.beyond_caches_rows, (case, threads)

    def beyond_caches_rows(self, workers, case, threads):
        precisions = ("bf16", *case["schemes"])
        cells = {name: Cell(PEER_CASES["sides"]["ours"], task_of(case, name), name, name) for name in precisions}
        found, limits = measure(workers, cells, self.rounds(case), CASES["seconds_a_turn"], Reference(workers))
        sides = medians(found)
        metrics = verdicts.low_bits_metrics(verdicts.seconds_of(sides))
        bars = CASES["bars"][case["bars"]]
        return [row_of("beyond caches", case, "low bits", threads, sides=sides, limits=limits, metrics=metrics, bars=bars)]

    def products(self, threads, kind="products"):
        part = CASES[kind]
        for shape in part["shapes"] if threads in part["threads"] else []:
            for precision in part["precisions"]:
                for outputs, inputs in shape["outputs_inputs"]:
                    case = {key: shape[key] for key in ("model", "within", "batch", "tokens")} | {"outputs": outputs, "inputs": inputs}
                    case["rows"] = shape["batch"] * (1 if shape["within"] == "decode" else shape["tokens"])
                    name = row_of(kind, case, precision, threads, detail=f" {case['rows']}x{outputs}x{inputs}")["id"]
                    yield name, self.product_rows, (kind, case, precision, threads)

    def skinny_products(self, threads):
        yield from self.products(threads, "skinny products")

    def product_rows(self, workers, kind, case, precision, threads):
        task = {**case, "measure": "gemm", "fusion": "none", "steps": 16, "ring_bytes": CASES[kind]["ring_bytes"]}
        cells = peer_cells(PEER_CASES["product_sides"], task, precision)
        # Ours is a launch inside a model: that its answers are right is seen where whole models are compared.
        cells["ours"].compared = None
        found, limits = measure(workers, cells, self.rounds(CASES[kind]), CASES["seconds_a_turn"], product_answer)
        sides = medians(found)
        detail = f" {case['rows']}x{case['outputs']}x{case['inputs']}"
        row = row_of(kind, case, precision, threads, detail=detail, sides=sides, limits=limits, bars=CASES["bars"][kind])
        seconds, sizes = verdicts.seconds_of(sides), (case["rows"], case["inputs"], case["outputs"])
        row["metrics"] = verdicts.product_metrics(*sizes, precision, seconds, limits) if "ours" in seconds else {}
        return [row]

    def traced(self, workers, case, precision, levels, rounds):
        task = {
            **{key: case[key] for key in ("model", "within", "batch", "tokens")},
            "measure": "trace",
            "precision": precision,
            "steps": 16,
        }
        cells = {level: Cell(PEER_CASES["sides"]["ours"], {**task, "fusion": level}, level) for level in levels}
        found, limits = measure(workers, cells, rounds, CASES["seconds_a_turn"])
        return {level: regions.average(side) if "turns" in side else side for level, side in found.items()}, limits

    def outside(self, threads):
        for case in CASES["outside"]:
            for precision in ("f32", "bf16"):
                yield row_of("outside", case, precision, threads)["id"], self.outside_rows, (case, precision, threads)

    def outside_rows(self, workers, case, precision, threads):
        found, limits = self.traced(workers, case, precision, LEVELS, self.rounds(case))
        row = row_of("outside", case, precision, threads, limits=limits, bars=CASES["bars"][case["bars"]], metrics={})
        row["sides"] = {level: {key: side[key] for key in ("step", "left_out") if key in side} for level, side in found.items()}
        if "step" in found["none"]:
            bare = regions.seconds_in_families(found["none"], CASES["product_families"])
            steps = {level: side["step"] for level, side in found.items() if "step" in side}
            row.update(products_seconds=bare, metrics=verdicts.outside_metrics(steps, bare))
            for level in steps:
                row["sides"][level]["without_products"] = regions.seconds_without_products(found[level])
        return [row]

    def regions(self, threads):
        for case in CASES["regions"]["steps"]:
            yield row_of("regions", case, "f32", threads)["id"], self.region_rows, (case, "f32", threads)

    def region_rows(self, workers, case, precision, threads):
        found, limits = self.traced(workers, case, precision, ("none", "specialized"), self.rounds(CASES["regions"]))
        rows = []
        for region in CASES["regions"]["regions"]:
            row = row_of("regions", case, precision, threads, detail=f" {region['name']}", region=region["name"], limits=limits, metrics={})
            row["bars"] = [{"metric": "ratio", "at_least": region["at_least"]}]
            row["left_out"] = {level: side["left_out"] for level, side in found.items() if "left_out" in side}
            if not row["left_out"]:
                row["metrics"] = regions.compare(region["ops"][case["model"]], found, CASES["product_families"])
            rows.append(row)
        return rows

    def compile(self, threads):
        if threads == max(CASES["threads"]):
            yield row_of("compile", CASES["compile"], "f32", threads)["id"], self.compile_rows, (threads,)

    def compile_rows(self, workers, threads):
        case, seconds = CASES["compile"], []
        path = PEERS / "models" / case["model"] / "original.gguf"
        for _ in range(case["times"]):
            with tempfile.TemporaryDirectory(dir=PEERS) as scratch:
                start = time.perf_counter()
                command = [str(ROOT / "build" / "release" / "bin" / "ds-compile"), str(path), "-o", f"{scratch}/package", "--progress=off"]
                subprocess.run([*command, f"--jobs={threads}"], check=True)
                seconds.append(time.perf_counter() - start)
        median, spread = median_and_spread(seconds)
        return [row_of("compile", case, "f32", threads, sides={"ours": {"seconds": median, "spread": spread}}, metrics={"seconds": median},
                       bars=CASES["bars"]["compile"])]  # fmt: skip


PARTS = ("speed", "low_bits", "beyond_caches", "products", "skinny_products", "outside", "regions", "compile")


def main():
    """Run the parts that were asked for, and keep what other runs put into the file where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="JSON file of all results, written after each comparison")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--only", default="", metavar="REGEX", help="only comparisons whose id matches, such as 'minilm.* f32 1t'")
    parser.add_argument("--threads", type=int, action="append", help=f"default: {CASES['threads']}")
    parser.add_argument("--rounds", type=int, help="rounds of every comparison, in place of those of the cases")
    parser.add_argument("--keep", action="store_true", help="keep the rows of an earlier output that are not measured now")
    options = parser.parse_args()
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
                # New processes for each comparison: nothing of the one before is left in memory.
                with Workers(threads) as workers:
                    rows = function(workers, *arguments)
                others = max(row.get("limits", {}).get("others", 0) for row in rows)
                if others > 0.1:
                    print(f"  disturbed: other work had {others:.2f} processors meanwhile", flush=True)
                for row in rows:
                    row["commit"] = results["provenance"]["commit"]
                    print("  " + " ".join(f"{key}={value:.3f}" for key, value in row["metrics"].items()), flush=True)
                made = {row["id"] for row in rows}
                results["rows"] = [row for row in results["rows"] if row["id"] not in made] + rows
                partial = options.output.with_suffix(".part")
                partial.write_text(json.dumps(results, indent=1) + "\n")
                os.replace(partial, options.output)


if __name__ == "__main__":
    main()
