"""Measures the foundation: agreement with torch, speed against eager torch, compile time, load time, memory, size.

Both sides of a ratio run in one process, interleaved round by round, on the same number of threads; reported are medians and the spread
(half the distance of the quartiles, as a share of the median). Run it on an idle machine: `benchmarks/foundation.py -o results.json`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from provenance import provenance
from timing import interleave, median_and_spread

HERE = pathlib.Path(__file__).resolve().parent
CASES = json.loads((HERE / "cases" / "foundation.json").read_text())


def child(code, *arguments):
    """Run Python code in a process of its own and return its last line as JSON."""
    output = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def run_and_watch(command):
    """Run a command and return its seconds and peak memory. getrusage would count what this process held when it forked."""
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            peak = max([peak, *(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))])
            time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed with status {process.returncode}")
    return time.perf_counter() - start, peak


LOAD_TO_TOKEN = """
import json, sys, time
import ds_mlir
start = time.perf_counter()
model = ds_mlir.load(sys.argv[1])
model.generate([[1, 2, 3, 4, 5]], max_new_tokens=1)
print(json.dumps({"seconds": time.perf_counter() - start, **model.memory()}))
"""

# The peak of a process that holds nothing else: ctypes on libdsrt, no NumPy.
RUN_MEMORY = """
import ctypes, json, sys
lib = ctypes.CDLL(sys.argv[1])
class Batch(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("batch", ctypes.c_int32), ("tokens", ctypes.c_int32)] + [
        (name, ctypes.POINTER(ctypes.c_int32)) for name in ("ids", "mask", "types")]
class Memory(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t)] + [(name, ctypes.c_int64) for name in ("weights", "arena", "kv")]
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
model = ctypes.c_void_p()
lib.dsrt_last_error.restype = ctypes.c_char_p
def check(status):
    assert status == 0, lib.dsrt_last_error()
check(lib.dsrt_load(sys.argv[2].encode(), None, ctypes.byref(model)))
tokens, kind, width = int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
ids = (ctypes.c_int32 * tokens)(*([5] * tokens))
batch = Batch(ctypes.sizeof(Batch), 1, tokens, ids, None, None)
if kind == "encoder":
    out = (ctypes.c_float * width)()
    check(lib.dsrt_forward(model, ctypes.byref(batch), b"embedding", out, ctypes.c_size_t(width)))
else:
    session = ctypes.c_void_p()
    check(lib.dsrt_session_create(model, 1, ctypes.byref(session)))
    check(lib.dsrt_session_forward(session, ctypes.byref(batch), None, ctypes.c_size_t(0)))
memory = Memory(ctypes.sizeof(Memory))
check(lib.dsrt_get_memory(model, ctypes.byref(memory)))
print(json.dumps({"before": before, "peak_bytes": peak(), "weights": memory.weights, "arena": memory.arena, "kv": memory.kv}))
"""


def compile_models(folder):
    """Compile both models and return their packages, with time and peak memory of the compiler."""
    import models
    from ds_mlir.compiler import compiler_path

    packages, rows = {}, []
    for name, model in CASES["models"].items():
        path = models.model_path(model["package"])
        packages[name] = folder / name
        seconds, peak = run_and_watch([str(compiler_path()), str(path), "-o", str(packages[name]), "--progress=off"])
        weights = sum(file.stat().st_size for file in packages[name].glob("*.safetensors"))
        code = sum(file.stat().st_size for file in (packages[name] / "code").iterdir())
        source = path.stat().st_size if path.is_file() else (path / "model.safetensors").stat().st_size
        rows.append(
            {
                "model": name,
                "seconds": seconds,
                "peak_bytes": peak,
                "model_bytes": source,
                "weights_bytes": weights,
                "code_bytes": code,
            }
        )
        print(json.dumps({"compile": rows[-1]}), flush=True)
    return packages, rows


def measure_agreement(packages):
    """Compare both models with eager torch."""
    import ds_mlir
    import models
    import numpy as np
    import torch

    rows = []
    ours = ds_mlir.load(packages["smollm2"])
    theirs = models.torch_causal_lm(models.model_path(CASES["models"]["smollm2"]["package"]))
    for prompt in CASES["prompts"]:
        ids = ours.tokenizer.encode(prompt)
        tensor = torch.tensor([ids])
        with torch.no_grad():
            expected = theirs(tensor).logits.numpy()
            greedy = theirs.generate(
                tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        found = ours.generate(ids, max_new_tokens=64, eos_token_id=[])
        difference = float(np.abs(ours.logits(ids) - expected).max())
        rows.append(
            {
                "model": "smollm2",
                "tokens": len(ids),
                "max_abs_difference": difference,
                "greedy_equal": found[0].tolist() == greedy[0].tolist(),
            }
        )
    ours = ds_mlir.load(packages["minilm"])
    theirs = models.torch_encoder(models.model_path(CASES["models"]["minilm"]["package"]))
    ids, mask, _ = ours.tokenizer.batch(CASES["sentences"], 256)
    with torch.no_grad():
        expected = models.torch_embed(theirs, torch.tensor(ids).long(), torch.tensor(mask).long()).numpy()
    difference = float(np.abs(ours.encode(ids, mask) - expected).max())
    rows.append({"model": "minilm", "tokens": int(mask.sum()), "max_abs_difference": difference})
    return rows


def speed_sides(case, ours, theirs, threads):
    """Return two functions that do the same work: ours and eager torch's."""
    import numpy as np
    import torch

    generator = np.random.default_rng(0)
    ids = generator.integers(1000, 20000, (case["batch"], case["tokens"]), dtype=np.int32)
    tensor = torch.tensor(ids).long()
    if case["measure"] == "encode":
        mask = torch.ones_like(tensor)
        return {"ours": lambda: ours.hidden_states(ids), "torch": lambda: theirs(input_ids=tensor, attention_mask=mask)}
    if case["measure"] == "prefill":
        return {
            "ours": lambda: ours.generate(ids, max_new_tokens=1, eos_token_id=[]),
            "torch": lambda: theirs(tensor, use_cache=True, logits_to_keep=1).logits[:, -1].argmax(-1),
        }

    def torch_decode():
        output = theirs(tensor[:, :1], use_cache=True)
        for _ in range(case["tokens"]):
            token = output.logits[:, -1].argmax(-1, keepdim=True)
            output = theirs(token, past_key_values=output.past_key_values, use_cache=True)

    return {"ours": lambda: ours.generate(ids[:, :1], max_new_tokens=case["tokens"] + 1, eos_token_id=[]), "torch": torch_decode}


def measure_speed(packages, threads):
    """Time the cases at one number of threads; the caller runs one process a number."""
    import ds_mlir
    import models
    import torch

    torch.set_num_threads(threads)
    loaded = {name: ds_mlir.load(package, threads=threads) for name, package in packages.items()}
    torches = {
        "minilm": models.torch_encoder(models.model_path(CASES["models"]["minilm"]["package"])),
        "smollm2": models.torch_causal_lm(models.model_path(CASES["models"]["smollm2"]["package"])),
    }
    rows = []
    with torch.inference_mode():
        for case in CASES["speed"]:
            sides = speed_sides(case, loaded[case["model"]], torches[case["model"]], threads)
            seconds = interleave(sides, case.get("rounds", CASES["rounds"]))
            (mine, my_spread), (other, other_spread) = median_and_spread(seconds["ours"]), median_and_spread(seconds["torch"])
            rows.append(
                {
                    **{key: case[key] for key in ("model", "measure", "batch", "tokens")},
                    "threads": threads,
                    "ours_ms": mine * 1e3,
                    "ours_spread": my_spread,
                    "torch_ms": other * 1e3,
                    "torch_spread": other_spread,
                    "ratio": other / mine,
                }
            )
            print(json.dumps({"speed": rows[-1]}), flush=True)
    return rows


def measure_runtime(packages):
    """Time from load to the first token, peak memory of a run, size of the runtime and what it links."""
    import ds_mlir

    library = next(
        path for path in (pathlib.Path(ds_mlir.__file__).parent.parent.parent / "lib").glob("libdsrt.so*") if not path.is_symlink()
    )
    with tempfile.NamedTemporaryFile(suffix=".so") as stripped:
        subprocess.run(["strip", "-o", stripped.name, str(library)], check=True)
        size = os.path.getsize(stripped.name)
    linked = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=True).stdout
    first = [child(LOAD_TO_TOKEN, packages["smollm2"])["seconds"] for _ in range(7)]
    memory = {
        "smollm2": child(RUN_MEMORY, library, packages["smollm2"], 128, "causal-lm", 0),
        "minilm": child(RUN_MEMORY, library, packages["minilm"], 128, "encoder", 384),
    }
    return {
        "load_to_first_token_seconds": dict(zip(("median", "spread"), median_and_spread(first), strict=True)),
        "memory": memory,
        "libdsrt_bytes": size,
        "libraries": sorted(line.split()[0] for line in linked.splitlines() if line.strip()),
    }


def main():
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", help="JSON file of all results")
    parser.add_argument("--packages", type=pathlib.Path, help="keep the packages in this folder, and use those that are there")
    parser.add_argument("--only", choices=("agreement", "speed", "runtime", "compile"))
    parser.add_argument("--speed-at", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.packages or pathlib.Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        packages = {name: folder / name for name in CASES["models"]}
        if options.speed_at:
            measure_speed(packages, options.speed_at)
            return
        import torch

        results = {"provenance": provenance(torch=torch.__version__)}
        if options.only in (None, "compile") or not all(path.is_dir() for path in packages.values()):
            packages, results["compile"] = compile_models(folder)
        if options.only in (None, "runtime"):
            results["runtime"] = measure_runtime(packages)
            print(json.dumps({"runtime": results["runtime"]}), flush=True)
        if options.only in (None, "agreement"):
            results["agreement"] = measure_agreement(packages)
            print(json.dumps({"agreement": results["agreement"]}), flush=True)
        if options.only in (None, "speed"):
            results["speed"] = []
            for threads in CASES["threads"]:
                command = [sys.executable, __file__, "--speed-at", str(threads), "--packages", str(folder)]
                environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
                for line in subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
                    print(line, flush=True)
                    results["speed"].append(json.loads(line)["speed"])
        if options.output:
            pathlib.Path(options.output).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
