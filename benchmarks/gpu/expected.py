"""What a package must answer: computed on the CPU and kept beside it, and compared on a GPU. Imports no more than numpy and libdsrt."""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import libdsrt

FOLDER = "expected"
PROMPT, STEPS, BATCH, LONG = 12, 12, 3, 100
LEAST_COSINE = 0.999


class Answers:
    """Runs one package through every kind of step, the same way wherever it runs."""

    def __init__(self, path, device, library_path=None, skip_hashes=False):
        self.manifest = json.loads((pathlib.Path(path) / "manifest.json").read_text())
        self.model = libdsrt.Model(path, 0, device=device, library_path=library_path, skip_hashes=skip_hashes)
        self.record, self.limit = self.manifest["model"], max(program["max_rows"] for program in self.manifest["programs"])
        self.ids = np.random.default_rng(7).integers(3, self.record["vocab_size"], (BATCH, LONG), dtype=np.int32)

    def output(self, name, ids, mask=None):
        """One output of a whole batch, at unmasked places."""
        width = self.record["vocab_size" if name == "logits" else "hidden_size"]
        out = np.full((*ids.shape, width) if name != "embedding" else (len(ids), width), np.nan, np.float32)
        self.model.forward(np.ascontiguousarray(ids), name, out, mask)
        return out if mask is None or name == "embedding" else out[mask.astype(bool)]

    def encoder(self):
        """Hidden states of one sequence and of a padded batch; embeddings where the package has them."""
        mask = np.ones((2, 24), np.int32)
        mask[1, 17:] = 0
        names = [place["name"] for place in self.manifest["programs"][0]["outputs"]]
        name = "logits" if "hidden" not in names else "hidden"
        yield "one", self.output(name, self.ids[:1, :PROMPT])
        yield "padded", self.output(name, self.ids[:2, :24], mask)
        yield "long", self.output(name, self.ids[:1, : min(LONG, self.limit)])
        if "embedding" in names:
            yield "embedding", self.output("embedding", self.ids[:2, :24], mask)

    def decoder(self, tokens=None):
        """Logits of whole sequences, and of steps: each greedy step continues with the token in `tokens`, else with the best.
        Args: tokens, those of another run, so that one token that differs does not change all that follow.
        """
        vocab, batch = self.record["vocab_size"], min(BATCH, self.manifest["programs"][0]["max_batch"])
        yield "whole", self.output("logits", self.ids[:2, :24])
        yield "long", self.output("logits", self.ids[:1, : min(LONG, self.limit)])
        self.model.open_session(1)
        logits, all_logits, best = np.empty((1, vocab), np.float32), [], []
        given = self.ids[:1, :PROMPT]
        for step in range(STEPS + 1):
            self.model.feed(given, logits)
            all_logits.append(logits[0].copy())
            best.append(int(logits[0].argmax()))
            given = np.array([[best[-1] if tokens is None else tokens[step]]], np.int32)
        yield "steps", np.stack(all_logits)
        yield "tokens", np.array(best, np.int32)
        self.model.open_session(batch)
        logits, all_logits = np.empty((batch, vocab), np.float32), []
        for begin, end in ((0, 8), (8, 9), (9, 10), (10, 11)):
            self.model.feed(self.ids[:batch, begin:end], logits)
            all_logits.append(logits.copy())
        yield "batch", np.stack(all_logits)

    def all(self, tokens=None):
        """Every answer: name, array."""
        return self.decoder(tokens) if self.record["task"] == "causal-lm" else self.encoder()


def keep(path, folder, library_path=None):
    """Run a package on the CPU and keep its answers in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in Answers(path, "cpu", library_path).all():
        np.save(folder / f"{name}.npy", array)


def difference(found, wanted):
    """How far an answer is from the wanted one: greatest error, cosine, mean square error by mean square."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    norm = np.linalg.norm(found) * np.linalg.norm(wanted)
    return {
        "max_abs_error": float(np.abs(found - wanted).max()),
        "cosine": float((found * wanted).sum() / norm) if norm else 0.0,
        "nmse": float(((found - wanted) ** 2).sum() / max((wanted**2).sum(), 1e-300)),
    }


def compare(path, folder, device, library_path=None):
    """Run a package on a device and hold its answers against those kept.
    Returns: {"ok", "answers": name -> difference}, and "note", what it runs without; of greedy tokens, how many are equal.
    """
    wanted = {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
    found, ok, run = {}, True, Answers(path, device, library_path)
    for name, array in run.all(wanted.get("tokens")):
        if name == "tokens":
            found[name] = {"equal": int((array == wanted[name]).sum()), "of": len(array)}
            continue
        found[name] = difference(array, wanted[name]) if array.shape == wanted[name].shape else {"shape": list(array.shape)}
        ok = ok and bool(np.isfinite(array).all()) and found[name].get("cosine", 0) >= LEAST_COSINE
    return {"ok": ok and len(found) == len(wanted), "answers": found} | ({"note": run.model.note} if run.model.note else {})
