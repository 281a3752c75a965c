"""Turns the JSON of foundation.py or speed.py into the tables of RESULTS.md: `python benchmarks/report.py results.json`."""

import json
import pathlib
import sys

import speed_report
from markdown import table

MIB = 1 << 20


def main():
    """Print the tables."""
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())
    if "rows" in results:
        print(speed_report.text(results))
        return
    place = results["provenance"]
    print(f"{place['date']}, commit {place['commit']}, {place['cpu']}, {place['processors']} processors, torch {place['torch']}\n")
    print("### Agreement with eager torch\n")
    rows = [
        [row["model"], row["tokens"], f"{row['max_abs_difference']:.1e}", {True: "yes", False: "no", None: ""}[row.get("greedy_equal")]]
        for row in results["agreement"]
    ]
    print(table(["model", "tokens", "greatest absolute difference", "64 greedy tokens equal"], rows))
    print("### Speed against eager torch, f32\n")
    rows = [
        [
            row["model"],
            row["measure"],
            f"({row['batch']}, {row['tokens']})",
            row["threads"],
            f"{row['ours_ms']:.2f} ms ± {row['ours_spread']:.0%}",
            f"{row['torch_ms']:.2f} ms ± {row['torch_spread']:.0%}",
            f"{row['ratio']:.2f}x",
        ]
        for row in results["speed"]
    ]
    print(table(["model", "case", "(batch, tokens)", "threads", "ours", "torch", "ratio"], rows))
    print("### Compiling\n")
    rows = [
        [
            row["model"],
            f"{row['seconds']:.1f} s",
            f"{row['peak_bytes'] / MIB:.0f} MiB",
            f"{row['model_bytes'] / MIB:.0f} MiB",
            f"{row['weights_bytes'] / MIB:.0f} MiB",
            f"{row['code_bytes'] / 1024:.0f} KiB",
        ]
        for row in results["compile"]
    ]
    print(table(["model", "time", "peak memory", "model file", "packed weights", "code of all levels"], rows))
    print("### Running\n")
    runtime = results["runtime"]
    first = runtime["load_to_first_token_seconds"]
    rows = [["SmolLM2, load to first token", f"{first['median'] * 1e3:.0f} ms ± {first['spread']:.0%}"]]
    for name, memory in runtime["memory"].items():
        # The interpreter that calls libdsrt is not ours: what it had before is taken off.
        extra = memory["peak_bytes"] - memory["before"] - memory["weights"] - memory["arena"] - memory["kv"]
        text = f"{extra / MIB:+.0f} MiB (peak {memory['peak_bytes'] / MIB:.0f}, of which {memory['before'] / MIB:.0f} before loading)"
        rows.append([f"{name}, 128 tokens: memory beyond weights and planned buffers", text])
    rows.append(["libdsrt, stripped", f"{runtime['libdsrt_bytes'] / 1024:.0f} KiB"])
    rows.append(["libraries it links", ", ".join(runtime["libraries"])])
    print(table(["what", "measured"], rows))


if __name__ == "__main__":
    main()
