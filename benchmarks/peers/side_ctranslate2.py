"""CTranslate2: encoders and decoders in float32, and with matrices of 8 bits, which it rounds when it loads."""

import time

import ctranslate2
import numpy as np
from task import AFTER, MODELS, Unserved, token_ids

TYPES = {"f32": "float32", "int8": "int8_float32"}


def versions():
    """Return what ran."""
    return {"ctranslate2": ctranslate2.__version__}


class Encoder:
    """Hidden states of an encoder."""

    def __init__(self, task, options):
        self.versions = versions
        self.encoder = ctranslate2.Encoder(str(MODELS / task.model / "ctranslate2"), **options)
        self.ids = token_ids(task).astype(np.int32)
        self.lengths = np.full(task.batch, task.tokens, np.int32)
        self.run()

    def answer(self):
        # from_array shares memory with the array.
        ids, lengths = map(ctranslate2.StorageView.from_array, (self.ids, self.lengths))
        return np.array(self.encoder.forward_batch(ids, lengths=lengths).last_hidden_state)

    def run(self):
        start = time.perf_counter()
        self.answer()
        return time.perf_counter() - start


class Decoder:
    """A decoder. It has no call for one step: a step is the difference between a long and a short continuation."""

    def __init__(self, task, options):
        from tokenizers import Tokenizer

        self.task, self.versions = task, versions
        self.generator = ctranslate2.Generator(str(MODELS / task.model / "ctranslate2"), **options)
        path = MODELS / task.model / "checkpoint" / "tokenizer.json"
        name = Tokenizer.from_file(str(path)).id_to_token if path.is_file() else "t{}".format
        self.prompts = [[name(index) for index in row] for row in token_ids(task).tolist()]
        self.after = name(AFTER)
        self.run()

    def generate(self, count):
        lengths = {"max_length": count, "min_length": count, "sampling_topk": 1, "include_prompt_in_result": False}
        return self.generator.generate_batch(self.prompts, **lengths)

    def answer(self):
        prompts = [[*prompt, self.after] for prompt in self.prompts] if self.task.measure == "decode" else self.prompts
        # Without a least length, which would put the end token's logit out of the way.
        rows = self.generator.generate_batch(prompts, max_length=1, include_prompt_in_result=False, return_logits_vocab=True)
        return np.stack([np.array(row.logits[0][0]) for row in rows])

    def run(self):
        start = time.perf_counter()
        self.generate(1)
        short = time.perf_counter() - start
        if self.task.measure == "prefill":
            return short
        start = time.perf_counter()
        self.generate(1 + self.task.steps)
        return (time.perf_counter() - start - short) / self.task.steps


def make(task):
    """Make the side of a task."""
    if task.precision not in TYPES:
        raise Unserved(
            f"CTranslate2 refuses {task.precision} on this processor: it offers "
            + ", ".join(sorted(ctranslate2.get_supported_compute_types("cpu")))
        )
    options = {"device": "cpu", "compute_type": TYPES[task.precision], "inter_threads": 1, "intra_threads": task.threads}
    return (Encoder if task.measure == "encode" else Decoder)(task, options)
