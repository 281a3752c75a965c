"""This project: compiles a model to a package once, and runs it."""

import dataclasses
import filecmp
import hashlib
import re
import sys
import time
import weakref

import ds_mlir
import numpy as np
from ds_mlir.compiler import compiler_path
from task import MODELS, ROOT, GreedyDecoder, Unserved, processor, token_ids

sys.path.insert(0, str(ROOT / "benchmarks"))
import libdsrt

KERNEL = re.compile(r"^gemm_(\d+)x(\d+)(?:_bias)?$")


def package(task):
    """Compile the model, unless this compiler did before. Returns the package's folder."""
    # SmolLM2 as the GGUF file it is published as, all others as folders.
    path = MODELS / task.model / "original.gguf"
    if task.model != "smollm2":
        path = MODELS / task.model / "checkpoint"
    compiler, weights = hashlib.sha256(compiler_path().read_bytes()).hexdigest()[:16], task.scheme or task.precision
    target = ROOT / "build" / "peers" / "packages" / f"{compiler}-{processor()}" / f"{task.model}-{weights}-{task.fusion}-{task.cache}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Activations as those of the peers: of 8 bits in encoders, and where a prompt is read.
            options = {"quantize": task.scheme, "activations": "int8"} if task.scheme else {"weights": task.precision}
            ds_mlir.compile(path, target, **options, fusion=task.fusion, cache=task.cache, target_cpu="native", progress="off")
        except ds_mlir.Error as error:
            raise Unserved(f"ds-compile of {weights} weights, --fusion={task.fusion} --cache={task.cache}: {error}") from error
    return target


def package_of_level(task):
    """Compile the model at a fusion level, whose weights are those of every level.
    Returns: the package's folder, with the weights of `none` as links: where a file lies in memory decides how fast it is read.
    """
    path, none = package(task), package(dataclasses.replace(task, fusion="none"))
    for file in path.glob("weights-*"):
        same = none / file.name
        if not file.samefile(same) and filecmp.cmp(file, same, shallow=False):
            file.unlink()
            file.hardlink_to(same)
    return path


def versions():
    """Return what ran."""
    return {"ds-mlir": ds_mlir.__version__}


class Encoder:
    """Hidden states, by the Python package."""

    def __init__(self, task):
        self.versions, self.model = versions, ds_mlir.load(package(task), threads=task.threads, huge_pages=True)
        self.ids = token_ids(task).astype(np.int32)
        self.run()

    def answer(self):
        return self.model.hidden_states(self.ids)

    def run(self):
        start = time.perf_counter()
        self.model.hidden_states(self.ids)
        return time.perf_counter() - start


LOADED = weakref.WeakValueDictionary()  # models of decoders, by package


class Decoder(GreedyDecoder):
    """A session, stepped by hand."""

    def __init__(self, task):
        self.task, self.versions = task, versions
        path = package(task)
        loaded = LOADED.get(path)
        if loaded is None:
            loaded = LOADED[path] = libdsrt.Model(path, task.threads)
        self.model = loaded.again()
        self.logits = np.empty((task.batch, ds_mlir.load(path, threads=1, verify=False).info["vocab_size"]), np.float32)
        self.model.open_session(task.batch)
        self.reset = self.model.reset
        self.run()

    def feed(self, ids):
        self.model.feed(ids, self.logits)
        return self.logits


class Traced:
    """Where the time of a step goes: seconds of the step and of each of its launches. All levels read their weights at one place."""

    def __init__(self, task, huge_pages=False):
        self.task, self.versions = task, versions
        path = package_of_level(task)
        self.model, info = libdsrt.Model(path, task.threads, huge_pages=huge_pages), ds_mlir.load(path, threads=1, verify=False).info
        self.ids = token_ids(task).astype(np.int32)
        self.program = {"encode": "encode", "prefill": "prefill", "decode": "decode"}[task.within]
        if task.within == "encode":
            out = np.empty((task.batch, task.tokens, info["hidden_size"]), np.float32)
            self.work = lambda: self.model.forward(self.ids, "hidden", out)
        else:
            logits = np.empty((task.batch, info["vocab_size"]), np.float32)
            self.model.open_session(task.batch)
            self.work = lambda: self.prompt_and_steps(logits)
        self.launches = self.model.description()[self.program]
        self.run()

    def prompt_and_steps(self, logits):
        self.model.reset()
        self.model.feed(self.ids, logits)
        for _ in range(self.task.steps if self.task.within == "decode" else 0):
            self.model.feed(self.ids[:, :1], logits)

    def describe(self):
        """The launches as profile.json has them."""
        return self.launches

    def run(self):
        traced = [step for step in self.model.trace(self.work, self.task.steps + 8) if step[0] == self.program]
        if not traced:
            raise Unserved(f"no step of the package ran as program {self.program}")
        rows = [libdsrt.launch_seconds(begin, times.tolist()) for _, begin, _, times in traced]
        return {
            "step": float(np.median([(end - begin) / 1e9 for _, begin, end, _ in traced])),
            "launches": np.median(rows, axis=0).tolist(),
        }


class Product(Traced):
    """A matrix product as it is inside a model, where other layers push its matrix out of the caches: the mean of all such launches."""

    def __init__(self, task):
        super().__init__(task, huge_pages=True)
        wanted = (str(task.inputs), str(task.outputs))
        names = [KERNEL.match(launch["kernel"]) for launch in self.launches]
        places = [index for index, name in enumerate(names) if name and name.groups() == wanted]
        # The last layer's rows are fewer, and its launches for all tokens do not run.
        self.places = [index for index in places if self.launches[index]["rows"] == self.launches[places[0]]["rows"]]
        if not self.places:
            raise Unserved(f"{task.model} has no launch of a bare product of {task.inputs} by {task.outputs} at --fusion={task.fusion}")

    def run(self):
        found = super().run()
        if not hasattr(self, "places"):
            return found
        return float(np.mean([seconds for index in self.places if (seconds := found["launches"][index]) > 0]))


def make(task):
    """Make the side of a task."""
    return {"encode": Encoder, "trace": Traced, "gemm": Product}.get(task.measure, Decoder)(task)
