"""onnxruntime: encoders, and GPT-2 with its cache as inputs and outputs."""

import time

import numpy as np
import onnxruntime
from task import MODELS, GreedyDecoder, Unserved, token_ids


def session_of(task):
    """Open the model with all of onnxruntime's own optimisations."""
    if task.precision in ("bf16", "f16"):
        raise Unserved("onnxruntime has no 16-bit matrix product on x86-64: it casts to f32 and back")
    folder = MODELS / task.model
    if not (folder / "model.onnx").is_file():
        raise Unserved(f"{task.model} is measured through onnxruntime-genai")
    path = folder / ("model.onnx" if task.precision == "f32" else f"model-{task.precision}.onnx")
    if not path.is_file():
        raise Unserved(f"onnxruntime's quantizer made no {task.precision} model of {task.model}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = task.threads, 1, 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def versions():
    """Return what ran."""
    return {"onnxruntime": onnxruntime.__version__}


class Encoder:
    """Hidden states of an encoder."""

    def __init__(self, task):
        self.versions, self.session = versions, session_of(task)
        ids = token_ids(task)
        self.inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        self.run()

    def answer(self):
        return self.session.run(None, self.inputs)[0]

    def run(self):
        start = time.perf_counter()
        self.session.run(None, self.inputs)
        return time.perf_counter() - start


class Decoder(GreedyDecoder):
    """GPT-2; the cache stays in onnxruntime's own values."""

    def __init__(self, task):
        self.task, self.versions, self.session = task, versions, session_of(task)
        self.names = [output.name for output in self.session.get_outputs()]
        heads, width = next(item.shape[1::2] for item in self.session.get_inputs() if item.name == "past0")
        self.empty = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((task.batch, heads, 0, width), np.float32))
        self.run()

    def reset(self):
        self.length, self.cache = 0, [self.empty] * (len(self.names) - 1)

    def feed(self, ids):
        count = ids.shape[1]
        positions = np.arange(self.length, self.length + count)
        hidden = np.where(np.arange(self.length + count)[None] > positions[:, None], -1e9, 0).astype(np.float32)
        binding = self.session.io_binding()
        binding.bind_cpu_input("ids", np.ascontiguousarray(ids))
        binding.bind_cpu_input("positions", positions[None].astype(np.int64))
        binding.bind_cpu_input("bias", hidden[None, None])
        for index, value in enumerate(self.cache):
            binding.bind_ortvalue_input(f"past{index}", value)
        for name in self.names:
            binding.bind_output(name)
        self.session.run_with_iobinding(binding)
        logits, *self.cache = binding.get_outputs()
        self.length += count
        return logits.numpy()


def make(task):
    """Make the side of a task."""
    return (Encoder if task.measure == "encode" else Decoder)(task)
