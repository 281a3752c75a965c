"""This project's training step, by `ds_mlir.initialize`."""

import itertools
import time
import warnings

import ds_mlir
from ds_mlir import errors
from task import MODELS, Memory, Unserved, training_batch


class Training:
    """One update after another with the same batch."""

    def __init__(self, task):
        self.task, self.memory = task, Memory()
        config = {
            "train_batch_size": task.batch,
            "optimizer": {"type": "AdamW", "params": {"lr": 1e-4, "weight_decay": 0.0}},
            "steps_per_print": 1 << 30,
            "ds_mlir": {"threads": task.threads, "max_tokens": task.batch * task.tokens, "recompute": task.recompute, "dropout": 0},
        }
        if task.precision != "f32":
            config[task.precision] = {"enabled": True}
        if task.theta:
            # From the first step as after many: theta(t) is at its limit.
            config["progressive_layer_drop"] = {"enabled": True, "theta": task.theta, "gamma": 1e9}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.engine, *_ = ds_mlir.initialize(model=MODELS / task.model / "checkpoint", config=config)
        except errors.Error as error:
            raise Unserved(str(error)) from error
        ids, labels = training_batch(task, self.engine.backend.info["task"] == "causal-lm")
        self.batches = itertools.repeat({"input_ids": ids, "labels": labels})
        self.losses = [self.engine.train_batch(self.batches) for _ in range(3)]
        self.memory.begin()

    def versions(self):
        """Return what ran."""
        return {"ds-mlir": ds_mlir.__version__}

    def answer(self):
        """Return the losses of the first three steps."""
        return self.losses

    def run(self):
        """Return seconds of a step, the memory of all of them, and what layer dropping kept."""
        start = time.perf_counter()
        self.engine.train_batch(self.batches)
        seconds, last = time.perf_counter() - start, self.engine.last
        arena = self.engine.backend.memory()["arena"]
        found = {"seconds": seconds, "bytes": self.memory.peak(), "arena_bytes": arena, "update_seconds": last.update_s}
        return found if last.kept_layers is None else {**found, "kept_layers": last.kept_layers}


def make(task):
    """Make the side of a task."""
    return Training(task)
