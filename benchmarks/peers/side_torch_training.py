"""torch's training step: eager, or forward and backward by torch.compile; AdamW is torch's fused one in both."""

import contextlib
import json
import os
import time

import torch
import transformers
from task import MODELS, ROOT, Memory, Unserved, training_batch

os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / "build" / "peers" / "inductor"))


class Training:
    """One update after another with the same batch. bf16 is autocast's: parameters and moments stay f32."""

    def __init__(self, task, variant):
        if task.precision not in ("f32", "bf16"):
            raise Unserved(f"measured in f32 and bf16, not in {task.precision}")
        torch.set_num_threads(task.threads)
        self.task, self.memory = task, Memory()
        folder = MODELS / task.model / "checkpoint"
        name = json.loads((folder / "config.json").read_text())["architectures"][0]
        model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
        ids, labels = (torch.from_numpy(array) for array in training_batch(task, "CausalLM" in name or "LMHead" in name))
        self.inputs = {"input_ids": ids, "labels": labels}
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
        self.call = torch.compile(model, dynamic=False) if variant == "compile" else model
        self.low = task.precision == "bf16"
        self.losses = [self.step() for _ in range(3)]
        self.memory.begin()

    def versions(self):
        """Return what ran."""
        return {"torch": torch.__version__, "transformers": transformers.__version__}

    def step(self):
        """Run one update and return its loss."""
        with torch.autocast("cpu", dtype=torch.bfloat16) if self.low else contextlib.nullcontext():
            loss = self.call(**self.inputs).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    def answer(self):
        """Return the losses of the first three steps."""
        return self.losses

    def run(self):
        """Return seconds of a step, and the memory of all of them."""
        start = time.perf_counter()
        self.step()
        return {"seconds": time.perf_counter() - start, "bytes": self.memory.peak()}


def make(task, variant="eager"):
    """Make the side of a task."""
    return Training(task, variant)
