"""What one side of a comparison is asked to do, and the same inputs for all of them."""

import dataclasses
import hashlib
import os
import pathlib
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = ROOT / "build" / "peers" / "models"
AFTER = 1000  # the token that a decoder's answer is about, put behind the prompt


@dataclasses.dataclass(frozen=True)
class Task:
    """One cell of a table.
    measure: `encode` (hidden states [B, T, H]), `prefill` (logits of the last token of a prompt of T tokens), `decode` (one step after
    another behind such a prompt, greedy), `gemm` (`rows` times a matrix [`outputs`, `inputs`], another one each time until `ring_bytes` of
    them were read), `training` (one update by AdamW of B sequences of T tokens), or `trace` (each launch of one step, of this project
    alone).
    scheme: how this project quantizes for `int8` and `int4`, see --quantize of ds-compile.
    cache: what this project keeps of past tokens, see --cache of ds-compile.
    theta and recompute: of a `training`, the limit of progressive layer dropping (0: dense), and layers whose values are computed again.
    within: the step that a `trace`, and this project's side of a `gemm`, looks into: `encode`, `prefill` or `decode`.
    """

    model: str
    measure: str
    precision: str = "f32"
    scheme: str = ""
    cache: str = "f32"
    threads: int = 1
    batch: int = 1
    tokens: int = 1
    steps: int = 32
    fusion: str = "specialized"
    within: str = ""
    rows: int = 0
    inputs: int = 0
    outputs: int = 0
    ring_bytes: int = 0
    theta: float = 0.0
    recompute: str = "none"


def token_ids(task):
    """Return ids [B, T] int64 that depend on the shape alone. All models here have them in their vocabulary."""
    import numpy as np

    return np.random.RandomState(1000 * task.batch + task.tokens).randint(1000, 20000, (task.batch, task.tokens)).astype(np.int64)


def training_batch(task, is_causal):
    """Return ids and labels [B, T] int64: of a causal model the ids themselves, else those of 15 % of the places, -100 for the others."""
    import numpy as np

    ids = token_ids(task)
    if is_causal:
        return ids, ids
    chosen = np.random.RandomState(task.tokens).rand(*ids.shape) < 0.15
    return ids, np.where(chosen, ids, -100)


class Memory:
    """The most memory this process had since `begin`, beyond what it had at `before`."""

    def __init__(self):
        self.before = self._bytes("VmRSS")

    def begin(self):
        """Forget what was needed until now."""
        pathlib.Path("/proc/self/clear_refs").write_text("5")

    def peak(self):
        """Return bytes."""
        return self._bytes("VmHWM") - self.before

    @staticmethod
    def _bytes(name):
        line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) << 10


def ring_arrays(task):
    """Return the input [M, K] and the matrix [N, K] of a `gemm`, as float32, and how many copies of the matrix make the ring."""
    import numpy as np

    generator = np.random.RandomState(task.rows)
    matrix = (generator.randn(task.outputs, task.inputs) * 0.02).astype(np.float32)
    count = max(1, round(task.ring_bytes / (matrix.size * (4 if task.precision == "f32" else 2))))
    return generator.randn(task.rows, task.inputs).astype(np.float32), matrix, count


class Ring:
    """Calls a product with one matrix after the other."""

    def __init__(self, matrices, multiply):
        self.matrices, self.multiply, self.next = matrices, multiply, 0

    def run(self, at_least=0.02):
        """Return the mean seconds of a product, over as many as take `at_least` seconds."""
        matrices, multiply, index, count = self.matrices, self.multiply, self.next, 0
        start = time.perf_counter()
        while True:
            for _ in range(8):
                multiply(matrices[index])
                index = index + 1 if index + 1 < len(matrices) else 0
            count += 8
            elapsed = time.perf_counter() - start
            if elapsed > at_least:
                self.next = index
                return elapsed / count


class GreedyDecoder:
    """Frame of the sides that step themselves. A side has `feed(ids)`, which appends ids [B, n] to its cache and returns the logits [B, V]
    of the last token, and `reset()`.
    """

    task: Task

    def prompt(self):
        """Run the prompt on an empty cache and return its last logits."""
        self.reset()
        return self.feed(token_ids(self.task))

    def answer(self):
        """Return the logits [B, V] that are compared with torch's."""
        import numpy as np

        logits = self.prompt()
        if self.task.measure == "decode":
            logits = self.feed(np.full((self.task.batch, 1), AFTER, np.int64))
        return np.asarray(logits, np.float32)

    def run(self):
        """Return the seconds of a prompt, or the mean seconds of a step."""
        start = time.perf_counter()
        next_ids = self.prompt().argmax(-1)
        if self.task.measure == "prefill":
            return time.perf_counter() - start
        next_ids = self.feed(next_ids[:, None]).argmax(-1)
        start = time.perf_counter()
        for _ in range(self.task.steps):
            next_ids = self.feed(next_ids[:, None]).argmax(-1)
        return (time.perf_counter() - start) / self.task.steps


def processor():
    """Name this kind of processor by what it can do: code that was made for one need not run, or be fast, on another."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    told = [line for line in lines if line.startswith(("model name", "flags"))][:2]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


class Unserved(RuntimeError):
    """The side cannot do this task; the message says why."""


def use_threads(threads):
    """Keep this process, before it loads a peer, on as many processors: the last ones, as the first serves interrupts."""
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[-threads:])
