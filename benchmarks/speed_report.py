"""The tables of speed.py's results: what was measured against each bar, and every side's figures."""

import json
import pathlib
from collections import Counter

import verdicts
from markdown import table

MODELS = json.loads((pathlib.Path(__file__).resolve().parent / "cases" / "speed.json").read_text())["models"]
MEASURES = {
    "ratio": "against the fastest peer",
    "peak_share": "of peak FLOP/s",
    "read_share": "of read bandwidth",
    "roofline_share": "of the roofline",
    "step_ratio": "of the batch-1 step",
    "generic_outside": "outside products, generic of none",
    "specialized_outside": "outside products, specialized of none",
    "specialized_speedup": "end to end, specialized over none",
    "smallest_cosine": "smallest cosine of a row to f32",
    "pooled_cosine": "smallest cosine of a sentence's mean to f32",
    "int8_speedup": "int8 over bf16",
    "int4_speedup": "int4 over bf16",
    "seconds": "seconds",
}
FACTORS = {"ratio", "step_ratio", "specialized_speedup", "int8_speedup", "int4_speedup"}


def number(metric, value):
    """Format a metric, or a limit of it."""
    if value is None:
        return "-"
    if metric in ("smallest_cosine", "pooled_cosine"):
        return f"{value:.4f}"
    return f"{value:.2f}x" if metric in FACTORS else f"{value:.1f} s" if metric == "seconds" else f"{value:.0%}"


def limit_text(bar):
    """Format what a bar asks for."""
    for key, sign in (("at_least", ">="), ("at_most", "<=")):
        if key in bar:
            return f"{sign} {number(bar['metric'], bar[key])}"
    return "-"


def time_text(side):
    """Format the time of a side that was measured."""
    seconds, spread = side["seconds"], side["spread"]
    text = f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"
    text = f"{seconds:.2f} s" if seconds >= 1 else text
    return f"{text} ± {spread:.0%}" + ("" if side.get("answer", {"agrees": True})["agrees"] else " (another answer)")


def cosine_text(side):
    """Format the smallest cosines of an answer that was compared."""
    answer = side.get("answer", {})
    cosines = [answer.get("cosine"), answer.get("pooled_cosine")]
    return ", ".join(f"{cosine:.4f}" for cosine in cosines if cosine is not None) or "-"


def case_text(row):
    """Name the case of a row."""
    case = row["case"]
    words = [MODELS[case["model"]]["title"], case.get("measure") or case.get("within") or "compile"]
    if "rows" in case:
        words.append(f"{case['rows']}x{case['outputs']}x{case['inputs']}")
    elif "batch" in case:
        words.append(f"({case['batch']}, {case['tokens']})")
    return " ".join(words) + (f": {row['region']}" if "region" in row else "")


def judged(row):
    """Yield each bar of a row with what was measured and the verdict."""
    for bar in row["bars"]:
        value = row["metrics"].get(bar["metric"])
        yield bar, value, verdicts.verdict(value, bar)


def bar_lines(rows):
    """Return a line for each bar of the rows."""
    lines = []
    for row in rows:
        sides = verdicts.seconds_of(row.get("sides", {}))
        best = verdicts.fastest(sides) if "ours" in sides else None
        for bar, value, verdict in judged(row):
            metric = bar["metric"]
            against = f" ({best})" if metric == "ratio" and best else ""
            stretch = number(metric, bar.get("stretch"))
            measured = number(metric, value) + against
            lines.append([case_text(row), row["precision"], row["threads"], MEASURES[metric], limit_text(bar), stretch, measured, verdict])
    return lines


def side_lines(rows, text=time_text):
    """Return the head, and a line for each row with the time, or another `text`, of every side that took part."""
    names = list(dict.fromkeys(name for row in rows for name, side in row["sides"].items() if "seconds" in side))
    lines = []
    for row in rows:
        measured = {name: text(side) for name, side in row["sides"].items() if "seconds" in side}
        lines.append([case_text(row), row["precision"], row["threads"], *(measured.get(name, "") for name in names)])
    return ["case", "type", "threads", *names], lines


def left_out_lines(rows):
    """Return a line for each reason why a side did not take part, with how often it was given."""
    reasons = Counter()
    for row in rows:
        for name, side in row.get("sides", {}).items():
            if "left_out" in side:
                reasons[name, row["precision"], side["left_out"]] += 1
        for name, reason in row.get("left_out", {}).items():
            reasons[name, row["precision"], reason] += 1
    return [[name, precision, reason, count] for (name, precision, reason), count in reasons.items()]


def region_lines(rows):
    """Return a line for each region: why a ratio is what it is."""
    lines = []
    for row in rows:
        found = row["metrics"]
        if "ratio" in found:
            most = f"{1 / found['products_share']:.2f}x" if found["products_share"] else "-"
            times = [f"{found[key] * 1e6:.0f} us" for key in ("unfused_seconds", "fused_seconds")]
            lines.append([case_text(row), row["threads"], *times, f"{found['ratio']:.2f}x", f"{found['products_share']:.0%}", most])
    return lines


def limit_lines(rows):
    """Return the machine's limits: the range of what the comparisons measured, a line for each number of threads."""
    lines = []
    for threads in sorted({row["threads"] for row in rows if "limits" in row}):
        limits = [row["limits"] for row in rows if "limits" in row and row["threads"] == threads]
        spans = []
        for key in ("f32", "bf16", "read"):
            values = sorted(limit[key] / 1e9 for limit in limits)
            spans.append(f"{values[len(values) // 2]:.0f} ({values[0]:.0f}-{values[-1]:.0f})")
        others = [limit.get("others", 0) for limit in limits]
        lines.append([threads, *spans, f"{sum(share > 0.1 for share in others)} of {len(others)}"])
    return lines


def text(results):
    """Return all tables."""
    rows, place = results["rows"], results["provenance"]
    versions = {}
    for row in rows:
        for side in row.get("sides", {}).values():
            versions.update(side.get("versions", {}))
    verdict_counts = Counter(verdict for row in rows for _, _, verdict in judged(row))
    parts = [f"{place['date']}, commit {place['commit']}, {place['cpu']}, {place['processors']} processors, {place['system']}\n"]
    parts.append(", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + "\n")
    parts.append(", ".join(f"{count} {verdict}" for verdict, count in sorted(verdict_counts.items())) + "\n")
    parts.append("### The machine's limits, measured between the sides: median (least-greatest)\n")
    parts.append(table(["threads", "f32 GFLOP/s", "bf16 GFLOP/s", "read GB/s", "comparisons disturbed by other work"], limit_lines(rows)))
    parts.append("### Bars\n")
    head = ["case", "type", "threads", "what", "bar", "stretch", "measured", "verdict"]
    parts.append(table(head, bar_lines(rows)))
    kinds_of = {"Every side": ("speed", "batch"), "Beyond the caches": ("beyond caches",), "Products": ("products", "skinny products")}
    for title, kinds in kinds_of.items():
        chosen = [row for row in rows if row["kind"] in kinds]
        if chosen:
            parts += [f"### {title}: medians and half the distance of the quartiles\n", table(*side_lines(chosen))]
    low_bits = [row for row in rows if row["kind"] == "speed" and row["precision"] in ("int8", "int4")]
    if low_bits:
        parts += ["### Low bits: smallest cosines to f32 of a row, of a sentence's mean\n", table(*side_lines(low_bits, cosine_text))]
    regions = region_lines([row for row in rows if row["kind"] == "regions"])
    if regions:
        head = ["region", "threads", "none", "specialized", "ratio", "products' share of none", "most that fusion alone can give"]
        parts += ["### Regions\n", table(head, regions)]
    left_out = left_out_lines(rows)
    if left_out:
        parts += ["### Left out\n", table(["side", "type", "why", "comparisons"], left_out)]
    return "\n".join(parts)
