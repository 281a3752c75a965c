"""Results as a compact text: the last screen of a run, and what is behind each bar."""

import math
import statistics

VENDORS = ("cublas", "cublaslt", "cublaslt best")
H200_READ = 4.3e12


def failures(result):
    """Messages of what went wrong in a case: it as a whole, a side of it, an answer that is not the right one."""
    found = [result["error"]] if "error" in result else []
    found += [f"{name}: {text}" for name, text in result.get("errors", {}).items()]
    for tokens, entry in result.get("tokens", {}).items() if isinstance(result.get("tokens"), dict) else []:
        found += [f"{tokens} tokens: {name}: {text}" for name, text in entry.get("errors", {}).items()]
        wrong = [label for label, check in entry.get("checks", {}).items() if not check["ok"]]
        found += [f"{tokens} tokens: {label} is wrong: nmse {entry['checks'][label]['nmse']:.1e}" for label in wrong]
    if result.get("ok") is False:
        found.append("not the right answers" if "answers" in result and "tool" not in result else "findings")
    return found


def geomean(values):
    """The geometric mean, or None of nothing."""
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def number(value, form="{:.2f}"):
    """A number or a dash."""
    return "-" if value is None else form.format(value)


def rows_of(table):
    """Align columns: the first to the left, others to the right."""
    widths = [max(len(row[index]) for row in table) for index in range(len(table[0]))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def best_vendor(sides):
    """The least time of the vendor's libraries, us."""
    times = [sides[name]["us"] for name in VENDORS if name in sides]
    return min(times) if times else None


def kernels(cases, read):
    """Skinny products: one line a shape, for each packing the ratio to the vendor's best at each number of rows."""
    labels = ("bf16", "int8-g64", "int4-g64")
    ratios, apart, low = {label: [] for label in labels}, [], []
    lines = ["products: vendor's best / ours, by rows of activations; share of the read ceiling at 1 row"]
    table = []
    for name, case in cases.items():
        cells = {label: [] for label in labels}
        for tokens, entry in case.get("tokens", {}).items():
            sides, vendor = entry.get("sides", {}), best_vendor(entry.get("sides", {}))
            for label in labels:
                ratio = vendor / sides[label]["us"] if vendor and label in sides else None
                cells[label].append(number(ratio))
                if ratio is not None:
                    ratios[label].append(ratio)
                    if label == "bf16" and ratio < 1:
                        low.append(f"{name}/{tokens}")
            if vendor and "bf16 apart" in sides:
                apart.append(vendor / sides["bf16 apart"]["us"])
        first = next(iter(case.get("tokens", {}).values()), {}).get("sides", {})
        bf16, size = first.get("bf16", {}).get("us"), case.get("weights", {}).get("bf16", {}).get("bytes")
        share = size / bf16 * 1e6 / read if bf16 and size and read else None
        table.append([name, *(" ".join(cells[label]) or "-" for label in labels), number(bf16, "{:.1f}"), number(share, "{:.0%}")])
    if table:
        lines += rows_of([["N x K", *labels, "us", "read"], *table])
    means = ", ".join(f"{label} {number(geomean(values))}x" for label, values in ratios.items())
    lines.append(f"geometric means: {means}; bf16 without overlap {number(geomean(apart))}x. Bars: 1.25, 1.9, 3.4; none below 1.0")
    if low:
        lines.append(f"bf16 below 1.0: {len(low)}: {', '.join(low[:16])}")
    return lines


SIDES = ("graph", "graph apart", "graph mma", "libdsrt", "eager", "compile")


def models(part, cases, read):
    """Whole models: microseconds of each side, and what that makes."""
    table = []
    for name, case in cases.items():
        entries = case.get("steps") or case.get("tokens") or []
        for entry in entries if isinstance(entries, list) else []:
            sides = entry.get("sides", {})
            us = {side: sides[side]["us"] for side in sides}
            what = f"B{entry['batch']} past {entry['past']}" if "past" in entry else f"T{entry['tokens']}"
            ours = us.get("graph")
            share = case["weight_bytes"] / ours * 1e6 / read if ours and read and case.get("weight_bytes") else None
            row = [f"{name} {what}", *(number(us.get(side), "{:.0f}") for side in SIDES)]
            versus = [us[side] / ours if side in us and ours else None for side in ("eager", "compile")]
            table.append([*row, *map(number, versus), number(share, "{:.0%}")])
    head = [part, "graph", "apart", "mma", "libdsrt", "eager", "compile", "vs eager", "vs compile", "read"]
    lines = rows_of([head, *table]) if table else []
    for name, case in cases.items():
        if case.get("launches_check"):
            lines.append(f"{name}: launches here and by libdsrt differ by {case['launches_check']['max_abs_error']:.1e}")
        if case.get("check"):
            check = case["check"]
            lines.append(
                f"{name}: " + (check.get("not_compared") or f"cosine with transformers {check['cosine']:.6f}, nmse {check['nmse']:.1e}")
            )
        if case.get("compile_skips"):
            lines.append(f"{name}: graphs that torch.compile did not make: {case['compile_skips']}")
    return lines


def slow_kernels(cases, most=6):
    """The kernels that take the most time of a step."""
    lines = []
    for name, case in cases.items():
        found = sorted((case.get("kernels") or {}).items(), key=lambda item: -item[1]["us"] * item[1]["launches"])
        total = sum(entry["us"] * entry["launches"] for _, entry in found)
        if total:
            parts = [f"{kernel} {entry['launches']}x{entry['us']:.1f}" + bandwidth(entry) for kernel, entry in found[:most]]
            lines.append(f"{name}: {total:.0f} us apart: " + ", ".join(parts))
    return lines


def bandwidth(entry):
    """What a kernel reads of weights in a second."""
    return f" ({entry['bytes_per_s'] / 1e12:.2f} TB/s)" if entry.get("bytes_per_s") else ""


def tuned(cases):
    """Candidates of products: what is taken, the fastest, and how it is cut."""
    lines = ["candidates: us of what is taken, of the fastest, how many there were"]
    for name, case in cases.items():
        for label, entry in case.get("tokens", {}).items():
            times = {side: value["us"] for side, value in entry.get("sides", {}).items()}
            if "0" not in times:
                continue
            best = min(times, key=times.get)
            config = ", ".join(f"{key} {value}" for key, value in entry["configs"][best].items())
            lines.append(f"{name} {label}: {times['0']:.1f}, {times[best]:.1f} of {len(times)}" + (f": {config}" if best != "0" else ""))
    return lines


def regions(cases, read):
    """Attention, norms, and kernels of a layer."""
    lines = []
    for name, case in cases.items():
        sides = {side: value["us"] for side, value in case.get("sides", {}).items()}
        text = ", ".join(f"{side} {us:.1f} us" for side, us in sides.items())
        if case.get("flops_per_s"):
            text += "; " + ", ".join(f"{side} {value / 1e12:.0f} TFLOP/s" for side, value in case["flops_per_s"].items())
        if case.get("bytes_per_s") and "ours" in case["bytes_per_s"]:
            rate = case["bytes_per_s"]["ours"]
            text += f"; ours {rate / 1e12:.2f} TB/s" + (f" = {rate / read:.0%} of reading" if read else "")
        if case.get("ratio"):
            text += ", ".join(f"{kernel} {ratio:.2f}x" for kernel, ratio in case["ratio"].items())
        lines.append(f"{name}: {text or '-'}")
    return lines


def checks(part, cases):
    """Answers and sanitizers: one line a case that is not well, and a count."""
    good = [name for name, case in cases.items() if case.get("ok")]
    lines = [f"{part}: {len(good)} of {len(cases)} well"]
    for name, case in cases.items():
        answers = case.get("answers") or {}
        worst = min((entry["cosine"] for entry in answers.values() if isinstance(entry, dict) and "cosine" in entry), default=None)
        if part == "correct" and worst is not None:
            tokens = answers.get("tokens", {})
            lines.append(f"  {name}: cosine at least {worst:.6f}" + (f", greedy {tokens['equal']}/{tokens['of']}" if tokens else ""))
        elif not case.get("ok") and case.get("report"):
            lines += [f"  {name}: {line}" for line in case["report"][:3]]
    return lines


def text(results):
    """Everything, in the order of the parts, with what failed at the end."""
    parts, gpu = results["parts"], results.get("gpu", {})
    ceilings = parts.get("ceilings", {})
    read = ceilings.get("read", {}).get("bytes_per_s")
    rates = [
        f"{name} {ceilings[name]['bytes_per_s'] / 1e12:.2f} TB/s" for name in ("read", "copy") if "bytes_per_s" in ceilings.get(name, {})
    ]
    if "flops_per_s" in ceilings.get("matmul", {}):
        rates.append(f"matmul {ceilings['matmul']['flops_per_s'] / 1e12:.0f} TFLOP/s")
    versions = ", ".join(f"{name} {value}" for name, value in results.get("versions", {}).items() if isinstance(value, str))
    lines = [
        "",
        f"{gpu.get('name', 'no GPU')}, driver {gpu.get('driver_version', '-')}; {versions}",
        "ceilings: " + (", ".join(rates) or "-"),
    ]
    read = read or (H200_READ if "H200" in gpu.get("name", "") else None)
    if "kernels" in parts:
        lines += ["", *kernels(parts["kernels"], read)]
    if "tune" in parts:
        lines += ["", *tuned(parts["tune"])]
    if "regions" in parts:
        lines += ["", *regions(parts["regions"], read)]
    for part in ("decode", "prefill"):
        if part in parts:
            lines += ["", *models(part, parts[part], read), *slow_kernels(parts[part])]
    for part in ("correct", "sanitize"):
        if part in parts:
            lines += ["", *checks(part, parts[part])]
    lines.append("")
    for part, cases in parts.items():
        skipped = [name for name, case in cases.items() if "skipped" in case]
        if skipped:
            lines.append(f"{part}: skipped ({cases[skipped[0]]['skipped']}): {', '.join(skipped)}")
        for name, case in cases.items():
            lines += [f"FAILED {part}/{name}: {message[:220]}" for message in failures(case)[:2]]
    return "\n".join(lines)
