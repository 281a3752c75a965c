"""Measures this project's GPU code on the machine it runs on: `benchmarks/gpu/run --parts kernels,decode --out DIR`.

benchmarks/gpu/build makes what it needs, in build/gpu/carry. Each part runs in processes of its own: a kernel that faults or hangs costs
its case, and another process takes the cases behind. Results are in DIR/results.json after every case; benchmarks/gpu/merge joins them.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import selectors
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

from . import report
from .package import Inconsistent, packages
from .settings import HERE, PARTS, ROOT, SHARED_MEMORY, Settings, names_of
from .turns import message

CASE_SECONDS = {"ceilings": 120, "kernels": 120, "tune": 240, "regions": 180, "decode": 420, "prefill": 300, "correct": 60, "sanitize": 180}
START_SECONDS = 120
MOST_PROCESSES = 12  # of one part
QUERY = (
    "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,temperature.gpu,power.draw,power.limit,memory.total,memory.used"
)


def gpu_state():
    """What nvidia-smi says; empty where there is none."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = done.stdout.splitlines()[0].split(", ") if done.returncode == 0 and done.stdout.strip() else []
    return dict(zip(QUERY.split(","), values, strict=False))


def commit():
    """The commit, where the folder is a checkout."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def cublaslt_path():
    """The libcublasLt that torch brings, for libdsrt; None where there is none."""
    found = [path for folder in sys.path for path in pathlib.Path(folder or ".").glob("nvidia/*/lib/libcublasLt.so.*")]
    return str(max(found)) if found else None


class Results:
    """What was found, in a file that is whole after every case."""

    def __init__(self, path, settings):
        self.path, producers = path, sorted({package.manifest["producer"] for package in packages(settings.packages).values()})
        self.data = {
            "format": "ds-gpu-results",
            "date": time.strftime("%Y-%m-%d"),
            "commit": commit(),
            "producer": producers,
            "gpu": gpu_state(),
            "settings": {"quick": settings.quick, "dry": settings.dry, "device": settings.device},
            "parts": {},
        }
        self.save()

    def put(self, part, case, result):
        self.data["parts"].setdefault(part, {})[case] = result
        self.save()

    def save(self):
        text = json.dumps(self.data, indent=1)
        new = self.path.with_suffix(".new")
        new.write_text(text + "\n")
        new.replace(self.path)


class Part:
    """Runs the cases of one part, in as many processes as it takes."""

    def __init__(self, name, cases, settings, results, log, deadline):
        self.name, self.left, self.settings, self.results = name, list(cases), settings, results
        self.log, self.deadline, self.limit = log, deadline, deadline

    def run(self):
        """Run all cases, or say of each why not."""
        for _ in range(MOST_PROCESSES):
            if not self.left or time.monotonic() >= self.deadline:
                break
            before = len(self.left)
            self.process()
            if len(self.left) == before:  # it ended before its first case
                break
        over = time.monotonic() >= self.deadline
        for case in self.left:
            self.results.put(self.name, case, {"skipped": "the time was up" if over else "processes of this part ended too often"})
        self.left = []

    def process(self):
        """Start one process with the cases that are left, and listen to it until it ends, is late, or says nothing more."""
        request = {"part": self.name, "cases": self.left, "settings": dataclasses.asdict(self.settings)}
        path = pathlib.Path(self.settings.scratch) / "request.json"
        path.write_text(json.dumps(request))
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "ds-gpu-inductor"))
        if library := cublaslt_path():
            environment.setdefault("DS_CUBLASLT_LIBRARY", library)
        environment["DS_GPU_REHEARSAL"] = "1" if self.settings.dry else "0"
        command = [sys.executable, "-m", "gpu.worker", str(path)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment, start_new_session=True)
        current, so_far, why = None, None, None
        self.limit = min(self.deadline, time.monotonic() + START_SECONDS)
        try:
            for line in self.lines(worker):
                if line is None:
                    why = f"took longer than {CASE_SECONDS[self.name]} s" if time.monotonic() < self.deadline else "the time was up"
                    break
                if "versions" in line:
                    self.results.data.setdefault("versions", {}).update(line["versions"])
                elif "begin" in line:
                    current, so_far = line["begin"], None
                    self.limit = min(self.deadline, time.monotonic() + CASE_SECONDS[self.name])
                    print(f"[{time.strftime('%H:%M:%S')}] {self.name}/{current}", flush=True)
                elif "part" in line:
                    so_far = line["result"]
                    self.results.put(self.name, line["part"], {**so_far, "unfinished": True})
                else:
                    self.results.put(self.name, line["end"], line["result"])
                    self.left.remove(line["end"])
                    current = None
        finally:
            code = self.end(worker, 0 if why else 5)
        if current is not None:
            result = {**(so_far or {}), "error": why or f"the process ended with exit code {code}"}
            self.results.put(self.name, current, result)
            self.left.remove(current)
        elif why is None and code not in (0, 3):
            print(f"{self.name}: a process ended with exit code {code}; its log is {self.log.name}", flush=True)

    def lines(self, worker):
        """Yield what the process says, and None once it is later than `self.limit`."""
        with selectors.DefaultSelector() as selector:
            selector.register(worker.stdout, selectors.EVENT_READ)
            rest = b""
            while True:
                if not selector.select(max(0, self.limit - time.monotonic())):
                    yield None
                    return
                chunk = os.read(worker.stdout.fileno(), 1 << 16)
                if not chunk:
                    return
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield json.loads(line)

    def end(self, worker, patience):
        """End the process and all it has started, after `patience` seconds. Returns: its exit code."""
        try:
            code = worker.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            code = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.stdout.close()
        return worker.wait() if code is None else code


def unpack(carry, scratch):
    """Lay out what benchmarks/gpu/build packed. Returns: the folder of packages and the library."""
    with tarfile.open(carry / "packages.tar.xz") as archive:
        archive.extractall(scratch / "packages", filter="data")
    return scratch / "packages", carry / "libdsrt.so"


def check_packages(settings, results):
    """Hold every package's files against each other. Returns: whether all are well."""
    well = True
    for name, package in packages(settings.packages).items():
        try:
            stages = package.check()
            found = {"stages": stages, "kernels": len(package.table["kernels"]), "products": len(package.products())}
            if settings.dry:
                found["calls"] = evaluate(package)
        except Exception as error:
            well, found = False, {"error": message(error)}
            print(f"{name}: {found['error']}", file=sys.stderr, flush=True)
        results.put("packages", name, found)
    return well


def evaluate(package):
    """Evaluate every program at several sizes. Returns: how many launches that makes."""
    from . import launches

    count = 0
    for program in package.table["programs"]:
        manifest = package.program(program["name"])
        outputs = tuple(1 << 40 for _ in manifest["outputs"])
        memory = launches.Memory(1 << 41, 1 << 42, 1 << 43, 1 << 44, tuple(1 << 45 for _ in manifest["inputs"]), outputs)
        for batch, tokens in ((1, 1), (manifest["max_batch"], 1), (1, manifest["max_rows"])):
            if batch * tokens > manifest["max_rows"] or (program["name"] == "decode" and tokens > 1):
                continue
            calls = []
            for library in (True, False):
                some = launches.calls_of(program["launches"], memory, launches.step_sizes(batch, tokens, batch), library)
                missing = {stage["launch"] for stage in program["launches"]} - {call.launch for call in some}
                if missing:
                    place = f"{package.name}: {program['name']}: launch {min(missing)}"
                    raise Inconsistent(f"{place} has no stage for {batch} x {tokens} tokens{'' if library else ' without cuBLASLt'}")
                calls += [call for call in some if call not in calls]
            for call in calls:
                if isinstance(call, launches.Call) and (max(call.grid[1:]) > 65535 or call.grid[0] >= 1 << 31):
                    raise Inconsistent(f"{package.name}: {program['name']}: launch {call.launch} has a grid of {call.grid}")
            count += len(calls)
    return count


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all, in this order)")
    parser.add_argument("--only", action="append", default=[], help="cases that match one of these expressions, as in decode/llama-1b")
    parser.add_argument("--sides", default="", help="sides to measure, such as ours,cublas or graph,eager (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer shapes, tokens and rounds")
    parser.add_argument("--budget", type=float, default=540, help="seconds after which cases are skipped (default: 540)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(os.environ.get("OUT") or ROOT / "build" / "gpu" / "out"))
    parser.add_argument("--carry", type=pathlib.Path, default=ROOT / "build" / "gpu" / "carry", help="what benchmarks/gpu/build packed")
    parser.add_argument("--packages", type=pathlib.Path, help="a folder of packages, in place of those packed")
    parser.add_argument("--library", type=pathlib.Path, help="libdsrt.so, in place of the one packed")
    parser.add_argument("--device", help="of libdsrt (default: cuda:0; emulate in a dry run)")
    parser.add_argument(
        "--dry-run", dest="dry", action="store_true", help="no GPU: check all packages, and let the CPU stand for small ones"
    )
    parsed = parser.parse_args()
    parsed.chosen = parsed.parts.split(",")
    for part in parsed.chosen:
        if part not in PARTS:
            parser.error(f"no part '{part}': there are {', '.join(PARTS)}")
    return parsed


def main():
    """Run the parts and print a table. Returns: 1 when a package is not well or, in a dry run, when a case failed."""
    parsed = parse()
    start = time.monotonic()
    parsed.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ds-gpu-bench-") as scratch:
        folder, library = parsed.packages, parsed.library
        if folder is None or library is None:
            unpacked = unpack(parsed.carry, pathlib.Path(scratch))
            folder, library = folder or unpacked[0], library or unpacked[1]
        device = parsed.device or ("emulate" if parsed.dry else "cuda:0")
        sides = tuple(side for side in parsed.sides.split(",") if side)
        settings = Settings(
            str(folder.resolve()), str(library.resolve()), scratch, parsed.quick, parsed.dry, sides, tuple(parsed.only), device
        )
        results = Results(parsed.out / "results.json", settings)
        well = check_packages(settings, results)
        with (parsed.out / "log.txt").open("w") as log:
            for part in parsed.chosen:
                Part(part, names_of(part, settings), settings, results, log, start + parsed.budget).run()
                results.data.setdefault("gpu_after", {})[part] = gpu_state()
                results.save()
        shutil.rmtree(SHARED_MEMORY / "ds-gpu-bench", ignore_errors=True)
    print(report.text(results.data))
    failed = [
        f"{part}/{case}" for part, cases in results.data["parts"].items() for case, result in cases.items() if report.failures(result)
    ]
    if failed:
        print(f"{len(failed)} cases with failures: {', '.join(failed[:12])}{' ...' if len(failed) > 12 else ''}")
    print(f"{time.monotonic() - start:.0f} s; {parsed.out / 'results.json'}")
    return 1 if not well or (parsed.dry and failed) else 0
