"""Compares the cost model with what launches take: predicted against measured time of each kernel of MiniLM and SmolLM2.

Every process measures one number of threads, in rounds: calibrate the machine, trace steps of each case. A round's launches are compared
with what its own limits predict, as a shared machine gives more in one minute than in the next, and a kernel counts with the round of the
median ratio. Limits are the best of a calibration, so a launch counts with the lower quartile of its steps (of each, the slowest thread's
time), and a kernel with the median of its launches: both sides then speak of the machine when nobody disturbs it.
`benchmarks/prediction.py -o prediction.json` prints the table, `--fit` the rows of runtime/lib/PredictionTable.h that fit what was measured
best (`-i prediction.json` uses the times of an earlier run).
"""

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CASES = json.loads((HERE / "cases" / "prediction.json").read_text())


class Step(ctypes.Structure):
    """dsrt_traced_step."""

    _fields_ = (
        [("size", ctypes.c_size_t), ("program", ctypes.c_char_p)]
        + [(name, ctypes.c_int32) for name in ("batch", "tokens", "rows", "threads", "launches")]
        + [(name, ctypes.c_int64) for name in ("keys", "pairs", "begin", "end")]
        + [("times", ctypes.POINTER(ctypes.c_int64))]
    )


class Batch(ctypes.Structure):
    """dsrt_batch."""

    _fields_ = [("size", ctypes.c_size_t), ("batch", ctypes.c_int32), ("tokens", ctypes.c_int32)] + [
        (name, ctypes.POINTER(ctypes.c_int32)) for name in ("ids", "mask", "types")
    ]


class Options(ctypes.Structure):
    """dsrt_load_options."""

    _fields_ = (
        [("size", ctypes.c_size_t)]
        + [(name, ctypes.c_int32) for name in ("threads", "skip_hashes", "pin", "huge_pages")]
        + [(name, ctypes.c_char_p) for name in ("isa", "device")]
    )


class Model:
    """A package in libdsrt, through its C API."""

    def __init__(self, package, threads):
        import ds_mlir

        root = pathlib.Path(ds_mlir.__file__).parent.parent.parent
        path = next(path for path in (root / "lib").glob("libdsrt.so*") if not path.is_symlink())
        self.lib = ctypes.CDLL(str(path))
        self.lib.dsrt_last_error.restype = ctypes.c_char_p
        options, self.model = Options(), ctypes.c_void_p()
        self.lib.dsrt_load_options_init(ctypes.byref(options))
        options.threads = threads
        self.check(self.lib.dsrt_load(str(package).encode(), ctypes.byref(options), ctypes.byref(self.model)))

    def check(self, status):
        """Raise what the library says."""
        if status:
            raise RuntimeError(self.lib.dsrt_last_error().decode())

    def _batch(self, batch, tokens):
        ids = (ctypes.c_int32 * (batch * tokens))(*(1000 + 37 * i % 9000 for i in range(batch * tokens)))
        return Batch(ctypes.sizeof(Batch), batch, tokens, ids, None, None)

    def steps(self, case, count):
        """Trace `count` steps of a case, after one that is not traced. Returns the times [launch] of each step, in ns."""
        batch, tokens, past = case["batch"], case["tokens"], case.get("past", 0)
        session, out = ctypes.c_void_p(), (ctypes.c_float * (batch * case["outputs"]))()
        size = ctypes.c_size_t(len(out))

        def run():
            if not session:
                return self.check(self.lib.dsrt_forward(self.model, ctypes.byref(self._batch(batch, tokens)), b"hidden", out, size))
            self.check(self.lib.dsrt_session_forward(session, ctypes.byref(self._batch(batch, tokens)), out, size))
            for sequence in range(batch):
                self.check(self.lib.dsrt_session_truncate(session, sequence, past))

        if case["program"] != "encode":
            self.check(self.lib.dsrt_session_create(self.model, batch, ctypes.byref(session)))
        if past:
            self.check(self.lib.dsrt_session_forward(session, ctypes.byref(self._batch(batch, past)), None, ctypes.c_size_t(0)))
        run()
        self.check(self.lib.dsrt_trace_start(self.model, count))
        for _ in range(count):
            run()
        self.check(self.lib.dsrt_trace_stop(self.model))
        traced = [self._times(index) for index in range(count)]
        if session:
            self.lib.dsrt_session_free(session)
        return traced

    def _times(self, index):
        step = Step(size=ctypes.sizeof(Step))
        self.check(self.lib.dsrt_trace_get(self.model, index, ctypes.byref(step)))
        times = []
        for launch in range(step.launches):
            spans = [
                (step.times[2 * (thread * step.launches + launch)], step.times[2 * (thread * step.launches + launch) + 1])
                for thread in range(step.threads)
            ]
            times.append(max(end - begin for begin, end in spans) if spans[0][1] else 0)
        return step.program.decode(), times


def calibrate(path, threads):
    """Describe this machine. Returns the description."""
    from ds_mlir.compiler import compiler_path

    command = [str(compiler_path().parent / "ds-bench"), "--calibrate", "--json", "--threads", str(threads), "-o", str(path)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def predictions(model, machine, case, threads, options):
    """Ask the compiler for the costs of a case.
    Returns: the launches of its program.
    """
    from ds_mlir.compiler import compiler_path

    step = ",".join(str(value) for value in (case["batch"], case["tokens"], case.get("past", 0), threads))
    command = [
        str(compiler_path()),
        str(model),
        "--emit=costs",
        f"--machine={machine}",
        f"--cost-step={step}",
        "--target-cpu=native",
        *options,
    ]
    costs = json.loads(subprocess.run([*command, "--quiet"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    return next(program for program in costs["programs"] if program["name"] == case["program"])["launches"]


def kernels_of(launches, steps):
    """Yield the kernels of a program with the median of their launches, in ns; `steps` are the times [launch] of each step."""
    kernels = {}
    for index, launch in enumerate(launches):
        # A launch whose output nobody wants does not run: two time stamps are all it takes.
        times = sorted(times[index] for times in steps if times[index] > 100)
        if len(times) > len(steps) // 2:
            kernels.setdefault(launch["kernel"], (launch, []))[1].append(times[len(times) // 4])
    for launch, times in kernels.values():
        yield {"launches": len(times), "measured_ns": statistics.median(times), **launch}


def measure(folder, threads):
    """Measure all cases at one number of threads; one JSON line a kernel, and one a round's machine."""
    import models

    packages = {f"{case['model']}-{case.get('weights', 'f32')}" for case in CASES["cases"]}
    loaded = {name: Model(folder / name, threads) for name in sorted(packages)}
    machines, traced = [], []
    for index in range(CASES["rounds"]):
        machines.append(folder / f"machine-{threads}-{index}.json")
        print(json.dumps({"machine": calibrate(machines[-1], threads)}), flush=True)
        traced.append([loaded[f"{case['model']}-{case.get('weights', 'f32')}"].steps(case, case["steps"]) for case in CASES["cases"]])
    for index, case in enumerate(CASES["cases"]):
        model = models.model_path(CASES["models"][case["model"]])
        options = [f"--weights={case.get('weights', 'f32')}", f"--fusion={CASES['fusion']}"]
        rounds = {}
        for machine, cases in zip(machines, traced, strict=True):
            steps = [times for program, times in cases[index] if program == case["program"]]
            for row in kernels_of(predictions(model, machine, case, threads, options), steps):
                rounds.setdefault(row["kernel"], []).append(row)
        for rows in rounds.values():
            rows.sort(key=lambda row: row["ns"] / row["measured_ns"])
            print(json.dumps({"kernel": {"case": case, "threads": threads, **rows[len(rows) // 2]}}), flush=True)


def compile_packages(folder):
    """Compile what the cases need, for this machine alone."""
    import ds_mlir
    import models

    for name, weights in sorted({(case["model"], case.get("weights", "f32")) for case in CASES["cases"]}):
        package = folder / f"{name}-{weights}"
        if not package.is_dir():
            model = models.model_path(CASES["models"][name])
            ds_mlir.compile(model, package, weights=weights, fusion=CASES["fusion"], target_cpu="native", progress="off")


def name_of(case, threads):
    """Name a case in a table."""
    size = f"({case['batch']},{case['tokens']}" + (f"+{case['past']})" if case.get("past") else ")")
    return f"{case['model']} {case['program']} {size} {case.get('weights', 'f32')} t{threads}"


def report(rows, floor_us):
    """Print a table. Returns how many kernels of at least `floor_us` are within 25 %, and how many there are."""
    inside = counted = 0
    last = None
    for row in rows:
        name = name_of(row["case"], row["threads"])
        if name != last:
            total = sum(other["measured_ns"] * other["launches"] for other in rows if name_of(other["case"], other["threads"]) == name)
            predicted = sum(other["ns"] * other["launches"] for other in rows if name_of(other["case"], other["threads"]) == name)
            print(f"\n{name}: launches {total / 1e3:.0f} us measured, {predicted / 1e3:.0f} us predicted ({predicted / total - 1:+.0%})")
        last = name
        ratio = row["ns"] / row["measured_ns"]
        counts = row["measured_ns"] >= floor_us * 1e3
        fits = 1 / 1.25 <= ratio <= 1.25
        counted += counts
        inside += counts and fits
        mark = "" if not counts else "ok" if fits else "OFF"
        times = f"measured {row['measured_ns'] / 1e3:9.2f} us  predicted {row['ns'] / 1e3:9.2f} us  {ratio - 1:+5.0%}"
        print(f"  {row['kernel'][:44]:44} x{row['launches']:<4} {times}  {row['bound']:7} {mark}")
    print(f"\n{inside} of {counted} kernels of at least {floor_us} us are within 25 %")
    return inside, counted


def main():
    """Run all cases, or one number of threads of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, help="JSON file of all results")
    parser.add_argument("-i", "--input", type=pathlib.Path, help="report or fit these results in place of measuring")
    parser.add_argument("--packages", type=pathlib.Path, help="keep the packages in this folder, and use those that are there")
    parser.add_argument("--fit", action="store_true", help="print the table that fits best")
    parser.add_argument("--threads", type=int, nargs="+", default=CASES["threads"])
    parser.add_argument("--measure-at", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.input:
        results = json.loads(options.input.read_text())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = options.packages or pathlib.Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            if options.measure_at:
                measure(folder, options.measure_at)
                return 0
            compile_packages(folder)
            results = {"machines": [], "kernels": []}
            for threads in options.threads:
                command = [sys.executable, __file__, "--measure-at", str(threads), "--packages", str(folder)]
                output = subprocess.run(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True, check=True).stdout
                for line in map(json.loads, output.splitlines()):
                    results["machines" if "machine" in line else "kernels"].append(*line.values())
        if options.output:
            options.output.write_text(json.dumps(results, indent=1) + "\n")
    if options.fit:
        import prediction_fit

        prediction_fit.fit(results)
        return 0
    inside, counted = report(results["kernels"], CASES["floor_us"])
    return 0 if inside == counted else 1


if __name__ == "__main__":
    sys.exit(main())
