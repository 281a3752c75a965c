"""onnxruntime-genai: decoders its builder knows."""

import json
import time

import numpy as np
import onnxruntime_genai
from task import AFTER, MODELS, Unserved, token_ids


class Decoder:
    """A model folder of the builder, run by its generator."""

    def __init__(self, task):
        self.task = task
        folder = MODELS / task.model / f"genai-{task.precision}"
        if not (folder / "genai_config.json").is_file():
            raise Unserved(f"onnxruntime-genai's builder made no {task.precision} model of {task.model} for the CPU")
        config = json.loads((folder / "genai_config.json").read_text())
        settings = config["model"]["decoder"]["session_options"]
        if (settings.get("intra_op_num_threads"), settings.get("inter_op_num_threads")) != (task.threads, 1):
            settings["intra_op_num_threads"], settings["inter_op_num_threads"] = task.threads, 1
            (folder / "genai_config.json").write_text(json.dumps(config, indent=1))
        self.model = onnxruntime_genai.Model(str(folder))
        self.run()

    def versions(self):
        return {"onnxruntime-genai": onnxruntime_genai.__version__}

    def started(self):
        """A generator that has run the prompt."""
        length = self.task.tokens + self.task.steps + 8
        settings = onnxruntime_genai.GeneratorParams(self.model)
        settings.set_search_options(max_length=length, min_length=length, do_sample=False, batch_size=self.task.batch)
        generator = onnxruntime_genai.Generator(self.model, settings)
        generator.append_tokens(token_ids(self.task).astype(np.int32))
        return generator

    def answer(self):
        generator = self.started()
        if self.task.measure == "decode":
            generator.append_tokens(np.full((self.task.batch, 1), AFTER, np.int32))
        return np.asarray(generator.get_logits()).reshape(self.task.batch, -1, self.model_vocab(generator))[:, -1]

    def model_vocab(self, generator):
        return np.asarray(generator.get_logits()).shape[-1]

    def run(self):
        start = time.perf_counter()
        generator = self.started()
        generator.generate_next_token()
        if self.task.measure == "prefill":
            return time.perf_counter() - start
        generator.generate_next_token()
        start = time.perf_counter()
        for _ in range(self.task.steps):
            generator.generate_next_token()
        return (time.perf_counter() - start) / self.task.steps


def make(task):
    """Make the side of a task."""
    if task.measure == "encode":
        raise Unserved("onnxruntime-genai runs decoders")
    return Decoder(task)
