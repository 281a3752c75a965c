"""Small packages under compute-sanitizer, launch by launch: bad addresses and races."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)")
PLACES = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/usr/local/cuda-13.0/bin", "/usr/local/cuda-13.0/compute-sanitizer")
SECONDS = 150


def sanitizer():
    """Find compute-sanitizer."""
    found = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    if not found:
        raise FileNotFoundError("compute-sanitizer is not on the PATH")
    return found


def run(settings, name, emit):
    """Run one case, `PACKAGE:TOOL`: prompts and steps of a package in a process of its own."""
    package, tool = name.split(":")
    folder = pathlib.Path(settings.packages) / package
    # A driver that lacks a function says so by an error; libdsrt reports those that matter.
    options = ["--report-api-errors", "no"] if tool == "memcheck" else []
    command = [sanitizer(), "--tool", tool, *options, "--print-limit", "20", sys.executable, str(HERE / "sanitize.py"), str(folder)]
    environment = {**os.environ, "DS_CUDA_SCHEDULE": "launches", "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [*command, settings.device, settings.library], capture_output=True, text=True, env=environment, timeout=SECONDS, errors="replace"
    )
    text = done.stdout + done.stderr
    counts = [int(first or second) for first, second in SUMMARY.findall(text)]
    findings = [line[9:].strip() for line in text.splitlines() if line.startswith("=========") and line[9:].strip()]
    result = {"tool": tool, "findings": sum(counts) if counts else None, "exit_code": done.returncode, "report": findings[:40]}
    ran = [line for line in done.stdout.splitlines() if line.startswith("{")]
    result["answers"] = json.loads(ran[-1]) if ran else None
    result["ok"] = bool(ran) and counts == [0] * len(counts) and bool(counts) and done.returncode == 0
    if not ran:
        result["output"] = text[-1500:]
    return result


def main():
    """Run every kind of step of a package and print which; called under the sanitizer."""
    sys.path[0] = str(HERE.parent)  # in place of this folder, whose modules are those of a package
    from gpu.expected import Answers

    folder, device, library = sys.argv[1:4]
    print(json.dumps({name: list(array.shape) for name, array in Answers(folder, device, library).all()}), flush=True)


if __name__ == "__main__":
    main()
