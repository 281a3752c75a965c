"""OpenVINO: encoders, and decoders in the stateful form of optimum-intel."""

import time

import numpy as np
import openvino
from task import MODELS, GreedyDecoder, Unserved, token_ids


def request_of(task):
    """Compile the model for one stream of this many threads, computing in the task's precision: `int8` and `int4` are those of the weights,
    with f32, or with bf16 as in `int8-bf16`, beside them.
    """
    core = openvino.Core()
    weights, _, beside = task.precision.partition("-")
    path = MODELS / task.model / (f"openvino-{weights}.xml" if weights in ("int8", "int4") else "openvino.xml")
    if not path.is_file():
        raise Unserved(f"NNCF made no {weights} model of {task.model}")
    if beside == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unserved("this processor has no instructions for bf16")
    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(task.threads)}
    settings["INFERENCE_PRECISION_HINT"] = beside or ("f32" if path.stem != "openvino" else weights)
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    return compiled, compiled.create_infer_request()


def versions():
    """Return what ran."""
    return {"openvino": openvino.__version__}


class Encoder:
    """Hidden states of an encoder."""

    def __init__(self, task):
        self.versions = versions
        self.compiled, self.request = request_of(task)
        ids = token_ids(task)
        self.inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        self.run()

    def answer(self):
        return self.request.infer(self.inputs)[self.compiled.output(0)]

    def run(self):
        start = time.perf_counter()
        self.request.infer(self.inputs)
        return time.perf_counter() - start


class Decoder(GreedyDecoder):
    """A decoder that keeps its cache in the request."""

    def __init__(self, task):
        self.task, self.versions = task, versions
        self.compiled, self.request = request_of(task)
        self.names = {name for item in self.compiled.inputs for name in item.get_names()}
        self.run()

    def reset(self):
        self.request.reset_state()
        self.length = 0

    def feed(self, ids):
        rows, count = ids.shape
        positions = np.broadcast_to(np.arange(self.length, self.length + count, dtype=np.int64), ids.shape)
        inputs = {
            "input_ids": np.ascontiguousarray(ids),
            "attention_mask": np.ones((rows, self.length + count), np.int64),
            "position_ids": np.ascontiguousarray(positions),
            "beam_idx": np.arange(rows, dtype=np.int32),
        }
        self.request.infer({name: value for name, value in inputs.items() if name in self.names})
        self.length += count
        return self.request.get_tensor("logits").data[:, -1]


def make(task):
    """Make the side of a task."""
    return (Encoder if task.measure == "encode" else Decoder)(task)
