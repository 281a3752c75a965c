"""benchmarks/gpu from the compiler to the table, without a GPU: packages are made, checked, and emulated."""

import json
import os
import pathlib
import subprocess
import sys

GPU = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"
PACKAGES = (
    "tiny-llama-bf16-none",
    "tiny-llama-bf16-cache-int8",
    "tiny-llama-bf16-cache-bf16",
    "tiny-llama-int4-g64",
    "tiny-llama-int4-g64-cublaslt",
    "tiny-bert-bf16",
    "tiny-bert-bf16-cublaslt",
)


def test_dry_run(tmp_path):
    build = [sys.executable, str(GPU / "build"), "--out", str(tmp_path), "--tune", "3", *PACKAGES]
    made = subprocess.run(build, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    run = [sys.executable, str(GPU / "run"), "--dry-run", "--carry", str(tmp_path / "carry"), "--out", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if name != "OUT"}
    done = subprocess.run(run, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "out" / "results.json").read_text())["parts"]
    variants = {f"{PACKAGES[0]}.t1", f"{PACKAGES[0]}.t2"}
    assert set(parts["packages"]) == {*PACKAGES, *variants}
    assert variants <= set(parts["correct"])
    assert all(entry["stages"] and entry["calls"] for entry in parts["packages"].values())
    assert all(case["ok"] for case in parts["correct"].values())
    assert parts["kernels"]
    tuned = parts["tune"][PACKAGES[0]]["tokens"]
    assert {entry["key"][1] for entry in tuned.values()} >= {"rows1", "rows8", "rows16", "wgmma"}
    assert any(set(entry["sides"]) == {"0", "1", "2"} for entry in tuned.values())
    assert parts["decode"]
    (prompt,) = parts["prefill"].values()
    assert all({"graph", "graph mma", "graph cublaslt"} <= set(entry["sides"]) for entry in prompt["tokens"])
