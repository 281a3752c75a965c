"""Makes tuning entries of results of benchmarks/gpu/run: `benchmarks/gpu/tune OUT/results.json ...`, into lib/Target/CUDA/tuning/GPU.jsonl.

Of part `tune` the fastest candidate of each key is taken; one that is not clearly faster than what is taken anyhow is not. Part `kernels`
knows no candidates: with `--spaces FILE`, of `ds-compile --report-tuning=FILE` for its packages, a time becomes an entry where the kernel
that was measured has the threads, the blocks and the shared memory of what is taken now.
"""

import argparse
import json
import pathlib
import re

from .candidates import entry_line, key_of, read_lines, spaces
from .settings import ROOT

CLEARLY = 0.01  # of the time
ROWS_OF_BUILDERS = {"rows1": 1, "rows8": 8, "rows16": 16}


class Incomplete(ValueError):
    """Results that entries cannot be made of."""


def ceilings_of(results):
    """Bytes and FLOP a second that the machine reached. Raises: Incomplete."""
    ceilings = results["parts"].get("ceilings", {})
    try:
        return ceilings["read"]["bytes_per_s"], ceilings["matmul"]["flops_per_s"]
    except KeyError as error:
        raise Incomplete(f"expects part ceilings with read and matmul, found no {error}") from error


def place_of(results, case):
    """Where a case was measured: device, driver, date, commit, ptxas."""
    run = results["runs"][case["run"]] if "run" in case and "runs" in results else results
    found = {"device": run["gpu"]["name"], "driver": run["gpu"]["driver_version"], "date": run["date"]}
    ptxas = case.get("ptxas")
    return found | ({"ptxas": ptxas} if ptxas else {}) | ({"commit": run["commit"]} if run.get("commit") else {})


def measurement(key, side, size, candidates, ceilings, place):
    """The measured members of an entry, in order."""
    _, builder, _, n, k, rows, *_ = key
    us = side["us"]
    if builder in ROWS_OF_BUILDERS:
        rate, share = size / us / 1e3, size / us * 1e6 / ceilings[0]
    else:
        rate, share = 2 * n * k * rows / us / 1e6, 2 * n * k * rows / us * 1e6 / ceilings[1]
    numbers = {"us": us, "spread": side["spread"], "rate": round(rate, 1), "share": round(share, 3), "candidates": candidates}
    return {"source": "measured", **numbers, **place}


def best_of(entry):
    """The candidate of an entry of part `tune` to take, or None where what is taken anyhow was not measured well."""
    good = {name: side for name, side in entry.get("sides", {}).items() if entry["checks"].get(name, {}).get("ok")}
    if "0" not in good:
        return None
    taken, best = good["0"], min(good, key=lambda name: good[name]["us"])
    margin = max(CLEARLY, taken["spread"] + good[best]["spread"])
    return (best if good[best]["us"] < taken["us"] * (1 - margin) else "0"), len(good)


def tuned_entries(results):
    """Entries of part `tune`: key -> line."""
    found = {}
    for case in results["parts"].get("tune", {}).values():
        for entry in case.get("tokens", {}).values():
            best = best_of(entry)
            if best is None:
                continue
            name, count = best
            key = tuple(entry["key"])
            measured = measurement(key, entry["sides"][name], entry["bytes"], count, ceilings_of(results), place_of(results, case))
            found[key] = entry_line(key, entry["configs"][name], **measured)
    return found


def kernel_entries(results, lines):
    """Entries of part `kernels`: key -> line.
    Args: lines, candidates of its packages.
    """
    taken, found = {key[1:6]: (key, space[0]) for key, space in spaces(lines).items() if key[6:] == (False, "plain")}, {}
    for case in results["parts"].get("kernels", {}).values():
        for label, packed in case.get("weights", {}).items():
            for builder, rows in ROWS_OF_BUILDERS.items():
                entry = case["tokens"].get(str(rows), {})
                side, kernel = entry.get("sides", {}).get(label), kernel_of(packed, builder)
                match = taken.get((builder, label, -(-case["rows"] // 16) * 16, case["depth"], rows))
                if not (side and kernel and match and entry["checks"].get(label, {}).get("ok")):
                    continue
                key, candidate = match
                same = (kernel["threads"], kernel["grids"].get(str(rows), [0])[0], kernel["shared_bytes"])
                if key[0] == packed["code"] and same == (candidate["threads"], candidate["blocks"], candidate["shared_bytes"]):
                    measured = measurement(key, side, packed["bytes"], 1, ceilings_of(results), place_of(results, case))
                    found[key] = entry_line(key, candidate["config"], **measured)
    return found


def kernel_of(packed, builder):
    """What was measured of the stage of a builder, or None."""
    kernels = packed.get("kernels") or {}
    return next((kernel for name, kernel in kernels.items() if name.endswith(f"_{builder}")), None)


def file_name(results):
    """nvidia-h200.jsonl. Raises: Incomplete."""
    name = results.get("gpu", {}).get("name", "")
    if not name:
        raise Incomplete("expects results of a GPU, found none")
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".jsonl"


def main():
    """Write the entries. Returns: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=pathlib.Path, help="of run or merge, oldest first")
    parser.add_argument("--spaces", action="append", default=[], help="a file of --report-tuning, for part kernels; may be repeated")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "lib" / "Target" / "CUDA" / "tuning")
    parsed = parser.parse_args()
    candidates = [line for path in parsed.spaces for line in read_lines(path)]
    for path in parsed.results:
        results = json.loads(path.read_text())
        try:
            target, new = parsed.folder / file_name(results), {**kernel_entries(results, candidates), **tuned_entries(results)}
        except Incomplete as error:
            parser.error(f"{path}: {error}")
        old = {key_of(json.loads(line)): line for line in target.read_text().splitlines()} if target.is_file() else {}
        entries = old | new
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(entries[key] + "\n" for key in sorted(entries)))
        print(f"{target}: {len(new)} new of {len(entries)} entries")
    return 0
