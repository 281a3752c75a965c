"""Where and when something was measured."""

import datetime
import os
import pathlib
import platform
import subprocess


def provenance(**more):
    """Describe this machine, the commit and the day; `more` is added."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    folder = pathlib.Path(__file__).resolve().parent
    commit = subprocess.run(["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "cpu": next((line.split(":")[1].strip() for line in lines if "model name" in line), ""),
        "processors": os.cpu_count(),
        "system": platform.platform(),
        **more,
        "load_average": os.getloadavg()[0],
    }
