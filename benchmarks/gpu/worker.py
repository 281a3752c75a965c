"""Runs the cases of one part in a process of its own, `python -m gpu.worker REQUEST.json`, and writes a line of JSON for all it learns.

Lines: {"begin": case}, {"part": case, "result": so far}, {"end": case, "result"}; {"versions"} first. A process whose GPU is lost ends with
exit code 3 once it has said so, and another takes the cases behind.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time

from .settings import Settings
from .turns import message

MODULES = {"kernels": "products"}
LOST = 3


def versions(part):
    """What runs here. Parts that need no torch do not load it."""
    found = {"python": platform.python_version()}
    if part in ("correct", "sanitize"):
        return found
    import torch

    found |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    for name in ("triton", "transformers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        cache = getattr(properties, "L2_cache_size", 0)
        found |= {
            "gpu": properties.name,
            "processors": properties.multi_processor_count,
            "cache_bytes": cache,
            "bytes": properties.total_memory,
        }
    return found


def main():
    """Run the cases that the request names. Returns: the exit code."""
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    part, settings = request["part"], Settings(**request["settings"])
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes with the log

    def say(**what):
        lines.write(json.dumps(what) + "\n")
        lines.flush()

    say(versions=versions(part))
    module = importlib.import_module(f"gpu.{MODULES.get(part, part)}")
    for case in request["cases"]:
        say(begin=case)
        start = time.monotonic()
        try:
            result = module.run(settings, case, lambda result, case=case: say(part=case, result=result))
        except Exception as error:
            result = {"error": message(error)}
            print(f"{part}/{case}: {message(error)}", file=sys.stderr, flush=True)
        result["seconds"] = round(time.monotonic() - start, 2)
        if "torch" in sys.modules:
            device = importlib.import_module("gpu.device")
            device.release()
            lost = device.is_lost()
        else:
            lost = part == "correct" and "error" in result  # nobody can be asked whether the GPU is
        if lost:
            result["lost"] = True
        say(end=case, result=result)
        if lost:
            return LOST
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The destructors of a library whose GPU is lost may wait for ever.
    os._exit(code)
