"""One side of a comparison in a process of its own: `python worker.py SIDE THREADS`, in the environment of the side.

Reads a JSON object a line and answers each with one: {"load": task} loads, {"answer": path} writes the answer as a .npy file,
{"describe": 1} says what was loaded, {"run": seconds} measures for about as long. A "beside" of a request names what is loaded beside the
task without one, which ends all others when it is loaded. What a library prints goes to the standard error.
"""

import importlib
import json
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import task as tasks


def runs_within(side, seconds):
    """Run for about so long and return what the runs measured. The first wakes the side's threads and counts only if it is long."""
    start = time.perf_counter()
    first = side.run()
    if time.perf_counter() - start > max(0.3, seconds):
        return [first]
    runs, start = [], time.perf_counter()
    while not runs or time.perf_counter() - start < seconds:
        runs.append(side.run())
    return runs


def serve(requests, reply, make):
    """Answer requests until there are no more."""
    sides = {}
    for line in requests:
        request = json.loads(line)
        beside = request.get("beside", "")
        side = sides.get(beside)
        try:
            if "load" in request:
                side = None
                if not beside:
                    sides.clear()
                side = sides[beside] = make(tasks.Task(**request["load"]))
                reply({"versions": side.versions()})
            elif "answer" in request:
                import numpy as np

                np.save(request["answer"], np.asarray(side.answer(), np.float32))
                reply({})
            elif "describe" in request:
                reply({"description": side.describe()})
            else:
                reply({"runs": runs_within(side, request["run"])})
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            unserved = isinstance(error, tasks.Unserved)
            reply({"unserved" if unserved else "error": lines[0][:300] if unserved else f"{type(error).__name__}: {lines[0][:300]}"})


def main():
    """Load the side's module and serve it."""
    name, threads = sys.argv[1], int(sys.argv[2])
    tasks.use_threads(threads)
    os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message):
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    module, _, variant = name.partition(":")
    make = importlib.import_module(f"side_{module}").make
    serve(sys.stdin, reply, (lambda task: make(task, variant)) if variant else make)


if __name__ == "__main__":
    main()
