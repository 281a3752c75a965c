"""A package run by libdsrt, as a program that uses the library would."""

import json
import pathlib
import shutil
import sys

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import libdsrt

from .package import DESCRIPTION, HEAD


def with_weights(package, data, scratch):
    """Copy a package that has no weights file and give it one.
    Args: data, the data part, uint8 on any device; scratch, a folder in memory if possible.
    Returns: the folder.
    """
    folder = pathlib.Path(scratch) / package.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(package.folder, folder, ignore=shutil.ignore_patterns(HEAD, DESCRIPTION, "expected"))
    target = folder / package.manifest["weights"]["file"]
    total, head = package.data_offset + package.data_bytes, package.head
    recorded = package.manifest["files"][package.manifest["weights"]["file"]]["bytes"]
    with target.open("wb") as file:
        file.write(head)
        file.truncate(max(total, recorded))
    mapped = torch.from_file(str(target), shared=True, size=total, dtype=torch.uint8)
    mapped[package.data_offset :].copy_(data)
    return folder


class RuntimeModel:
    """A package on a device. Its weights file is deleted again once it is loaded."""

    def __init__(self, package, data, settings):
        # A library that runs on the device has its own copy of the weights; one that runs on the CPU keeps the file mapped.
        folder = with_weights(package, data, settings.scratch) if package.is_random else package.folder
        try:
            self.model = libdsrt.Model(folder, 0, device=settings.device, library_path=settings.library, skip_hashes=True)
        finally:
            if package.is_random:
                shutil.rmtree(folder, ignore_errors=True)
        self.record = json.loads((package.folder / "manifest.json").read_text())["model"]
        self.logits = None

    def start(self, ids):
        """Begin sequences with ids [B, T] and keep room for logits. Returns: the logits of the last tokens."""
        self.model.open_session(len(ids))
        self.logits = np.zeros((len(ids), self.record["vocab_size"]), np.float32)
        self.model.feed(ids, self.logits)
        return self.logits

    def steps(self, count):
        """A function that appends `count` single tokens to each sequence, one by one, with their logits."""
        ids = np.random.default_rng(3).integers(3, self.record["vocab_size"], (count, len(self.logits), 1), dtype=np.int32)

        def run():
            for step in ids:
                self.model.feed(step, self.logits)

        return run

    def encode(self, ids, output="hidden"):
        """A function that computes hidden states of ids [B, T]."""
        width = self.record["vocab_size" if output == "logits" else "hidden_size"]
        out = np.empty((*ids.shape, width), np.float32)

        def run():
            self.model.forward(ids, output, out)

        run.out = out
        return run
