"""Runs a command that must end with a status and write one line to standard error; prints that line. Arguments: STATUS COMMAND..."""

import subprocess
import sys

run = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
print(run.stderr, end="")
if run.returncode != int(sys.argv[1]):
    sys.exit(f"expected status {sys.argv[1]}, got {run.returncode}")
if len(run.stderr.splitlines()) != 1:
    sys.exit(f"expected one line on standard error, got {len(run.stderr.splitlines())}")
