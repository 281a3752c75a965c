"""A small model in NumPy with gradients by hand, in place of a compiled package: x = E[ids]; x += gate * scale * tanh(x W + b); x U^T."""

import numpy as np
from ds_mlir import initialize
from ds_mlir.training import Tensor


class NumpyBackend:
    """A Backend of `blocks` layers. Sums are in f64, the state in f32.
    Args: gated, whether layers can be switched off; kind, the optimizer; masked, whether padding is known to the program.
    """

    def __init__(
        self,
        *,
        vocabulary=11,
        hidden=5,
        blocks=3,
        gated=False,
        kind="adamw",
        task="causal-lm",
        labels=3,
        seed=0,
        masked=False,
        smoothing=0.0,
    ):
        self.layers, self.kind, self.task, self.smoothing, self.blocks = blocks if gated else 0, kind, task, smoothing, blocks
        self.width = labels if task == "sequence-classification" else vocabulary
        self.inputs = ["input_ids", "positions", *(["mask"] if masked else [])]
        self.positions = {"rule": "arange", "offset": 0, "pad_id": 0}
        self.info = {"task": task, "family": "numpy", "vocab_size": vocabulary, "max_positions": 64, "labels": []}
        shapes = {"embed.weight": (vocabulary, hidden)}
        for i in range(blocks):
            shapes |= {f"layers.{i}.weight": (hidden, hidden), f"layers.{i}.bias": (hidden,)}
        shapes["head.weight"] = (self.width, hidden)
        layer = {name: int(name.split(".")[1]) if name.startswith("layers") and gated else -1 for name in shapes}
        self.tensors = [Tensor(name, shape, name, shape, None, layer[name]) for name, shape in shapes.items()]
        self.frozen, self.dropout = [], False
        random = np.random.default_rng(seed)
        self.state = {
            part: {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            for part in ("parameter", "gradient", "moment1", "moment2")
        }
        for name, shape in shapes.items():
            self.state["parameter"][name][...] = random.normal(size=shape, scale=0.5)
        self.steps_run = []

    def view(self, part, name):
        return self.state[part][name]

    def _forward(self, arrays, rows, gates, scales):
        p = {name: value.astype(np.float64) for name, value in self.state["parameter"].items()}
        ids = arrays["input_ids"].reshape(-1)
        xs, hidden = [p["embed.weight"][ids]], []
        for i in range(self.blocks):
            factor = float(gates[i]) * float(scales[i]) if gates is not None else 1.0
            hidden.append(np.tanh(xs[-1] @ p[f"layers.{i}.weight"] + p[f"layers.{i}.bias"]))
            xs.append(xs[-1] + factor * hidden[-1])
        if rows is None:
            batch, tokens = arrays["input_ids"].shape
            mask = arrays.get("mask", np.ones((batch, tokens))).astype(np.float64)
            pool = np.zeros((batch, batch * tokens))
            for row in range(batch):
                pool[row, row * tokens : (row + 1) * tokens] = mask[row] / mask[row].sum()
        else:
            pool = np.eye(len(ids))[rows]
        return p, ids, xs, hidden, pool, pool @ xs[-1] @ p["head.weight"].T

    def _losses(self, logits, labels):
        shifted = logits - logits.max(axis=1, keepdims=True)
        logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        chosen = logp[np.arange(len(labels)), np.maximum(labels, 0)]
        losses = -(1 - self.smoothing) * chosen - self.smoothing * logp.mean(axis=1)
        return logp, np.where(labels < 0, 0.0, losses)

    def step(self, arrays, rows, labels, loss_scale, gates, scales, seed=None):
        self.steps_run.append({"arrays": arrays, "rows": rows, "labels": labels, "gates": gates, "scales": scales})
        p, ids, xs, hidden, pool, logits = self._forward(arrays, rows, gates, scales)
        logp, losses = self._losses(logits, labels)
        d = np.exp(logp) - self.smoothing / self.width
        d[np.arange(len(labels)), np.maximum(labels, 0)] -= 1 - self.smoothing
        d = np.where(labels[:, None] < 0, 0.0, d) * np.float32(loss_scale)
        self._add("head.weight", d.T @ (pool @ xs[-1]))
        dx = pool.T @ (d @ p["head.weight"])
        for i in reversed(range(self.blocks)):
            if gates is not None and not gates[i]:
                continue
            inner = (float(scales[i]) if gates is not None else 1.0) * dx * (1 - hidden[i] ** 2)
            self._add(f"layers.{i}.weight", xs[i].T @ inner)
            self._add(f"layers.{i}.bias", inner.sum(axis=0))
            dx = dx + inner @ p[f"layers.{i}.weight"].T
        table = np.zeros(p["embed.weight"].shape)
        np.add.at(table, ids, dx)
        self._add("embed.weight", table)
        return losses.astype(np.float32)

    def _add(self, name, value):
        self.state["gradient"][name] += value.astype(np.float32)

    def evaluate(self, arrays, rows, labels):
        logits = self._forward(arrays, rows, None, None)[-1]
        return self._losses(logits, labels)[1].astype(np.float32), logits.astype(np.float32)

    def norms(self):
        with np.errstate(over="ignore"):
            return np.array([np.square(self.state["gradient"][t.name], dtype=np.float64).sum() for t in self.tensors]).astype(np.float32)

    def update(self, controls, hyper):
        rows = controls.reshape(5, -1).astype(np.float64)
        scale, beta1, beta2, eps, least, most, rest1, rest2 = (float(value) for value in hyper[0])
        coefficients = np.ones(len(self.tensors), np.float32)
        for i, tensor in enumerate(self.tensors):
            rate, decay, b1, b2, present = rows[:, i]
            if not present:
                continue
            p, g, m, v = (self.state[part][tensor.name].astype(np.float64) for part in ("parameter", "gradient", "moment1", "moment2"))
            g = g * scale
            if self.kind in ("sgd", "adam"):
                g = g + decay * p
            if self.kind == "sgd":
                m = beta1 * m + g
                p = p - rate * m
            else:
                m, v = beta1 * m + rest1 * g, beta2 * v + rest2 * g * g
                if self.kind == "lamb":
                    u = m / (np.sqrt(v) + eps) + decay * p
                    norms = np.linalg.norm(p), np.linalg.norm(u)
                    coefficients[i] = c = np.clip(norms[0] / norms[1], least, most) if all(norms) else 1.0
                    p = p - rate * np.sqrt(b2) / b1 * c * u
                else:
                    p = p * (1 - rate * decay) if self.kind == "adamw" else p
                    p = p - rate / b1 * m / (np.sqrt(v) / np.sqrt(b2) + eps)
            for part, value in (("parameter", p), ("moment1", m), ("moment2", v)):
                self.state[part][tensor.name][...] = value
            self.state["gradient"][tensor.name][...] = 0
        return coefficients


def snapshot(backend):
    """A copy of the whole state, to be compared bit for bit."""
    return {f"{part}.{name}": value.copy() for part, values in backend.state.items() for name, value in values.items()}


def same(first, second):
    """Whether two snapshots are equal bit for bit."""
    return first.keys() == second.keys() and all(np.array_equal(first[name].view(np.int32), second[name].view(np.int32)) for name in first)


def config(**changes):
    """A configuration of one sample a micro batch and AdamW, with changes."""
    base = {"train_micro_batch_size_per_gpu": 2, "optimizer": {"type": "AdamW", "params": {"lr": 0.05, "weight_decay": 0.01}}}
    return {**base, "steps_per_print": 1000000, **changes}


def batches(count, *, vocabulary=11, batch=2, tokens=6, seed=1, task="causal-lm", labels=3):
    """Random micro batches."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = random.integers(0, vocabulary, (batch, tokens))
        made.append({"input_ids": ids, "labels": random.integers(0, labels, batch) if task == "sequence-classification" else ids})
    return made


def engine_of(backend, **changes):
    """An engine that prints nothing."""
    engine, *_ = initialize(model=backend, config=config(**changes))
    engine.print_line = None
    return engine


def run(engine, data):
    """Train on micro batches; the losses of the updates."""
    return [
        engine.train_batch(iter(data[i : i + engine.gradient_accumulation_steps()]))
        for i in range(0, len(data), engine.gradient_accumulation_steps())
    ]
