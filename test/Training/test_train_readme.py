"""What the README says of training, as it stands there but for fewer steps."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
from ds_mlir import compiler

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_commands_of_the_readme(tmp_path):
    text = (ROOT / "README.md").read_text()
    script = re.search(r"<!-- BEGIN training -->\n```sh\n(.*?)```", text, re.S).group(1)
    script = script.replace('"steps": 60, "validate_every": 20', '"steps": 2').replace("build/venv/bin/python", sys.executable)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    path = os.pathsep.join([str(compiler.compiler_path().parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "alice" / "checkpoints" / "latest").read_text().strip() == "global_step2"
    import ds_mlir

    hidden = ds_mlir.load(tmp_path / "alice.ds").logits([[101, 2054, 103, 102]])
    assert hidden.shape[-1] == 30522
    assert np.isfinite(hidden).all()
