"""What an engine asks of the machine that computes: parameters in memory and four programs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ds_mlir import errors
from ds_mlir.profile import Profile
from ds_mlir.training.flops import StepFlops

PARTS = ("parameter", "gradient", "moment1", "moment2")
PROGRAMS = ("step", "evaluate", "norms", "update")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A parameter that is trained. `source` is the tensor of the checkpoint that it is `view` of, {offset, sizes, strides} in elements, or
    all of (None); `layer` is the layer that it belongs to, -1 for none.
    """

    name: str
    shape: tuple[int, ...]
    source: str
    stored_shape: tuple[int, ...]
    view: Mapping[str, Any] | None = None
    layer: int = -1
    offset: int = 0


class Backend(Protocol):
    """Parameters and programs. Shapes: B = batch, T = tokens, R = rows whose loss counts, L = layers, N = tensors, V = width of logits.
    tensors, in the order of norms and controls; frozen, parameters without a gradient, with a view of their parameter alone; inputs, names
    of [B, T] int32 arrays that a step takes besides rows and labels; layers, the gates of a step, 0 without; width, V; positions, the rule
    {rule, offset, pad_id}; dropout, whether a step takes a seed; info, of the model: task, vocab_size, .... A `NativeBackend` also says
    what a step computes (`flops`) and keeps (`memory`), and can be profiled (`profile`).
    """

    tensors: Sequence[Tensor]
    frozen: Sequence[Tensor]
    inputs: Sequence[str]
    layers: int
    width: int
    dropout: bool
    positions: Mapping[str, Any]
    info: Mapping[str, Any]

    def view(self, part: str, name: str) -> np.ndarray:
        """A writable view of a tensor's parameter, gradient, moment1 or moment2, float32."""
        ...

    def step(
        self,
        arrays: Mapping[str, np.ndarray],
        rows: np.ndarray | None,
        labels: np.ndarray,
        loss_scale: float,
        gates: np.ndarray | None,
        scales: np.ndarray | None,
        seed: np.ndarray | None = None,
    ) -> np.ndarray:
        """Run forward and backward, and add the gradients to the state.
        Args: rows, [R] int32, None where logits are [B, V]; labels, [R] or [B]; loss_scale, the gradient of each loss; gates and scales,
            [L], None where the backend has no layers to switch; seed, [2] int32 of dropout, None where the backend has none.
        Returns: losses [R] or [B] float32.
        """
        ...

    def evaluate(self, arrays: Mapping[str, np.ndarray], rows: np.ndarray | None, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Run forward.
        Returns: losses [R] and logits [R, V] float32.
        """
        ...

    def norms(self) -> np.ndarray:
        """The sum of squares of each gradient, [N] float32."""
        ...

    def update(self, controls: np.ndarray, hyper: np.ndarray) -> np.ndarray:
        """Change the parameters; gradients that were used are zero afterwards.
        Args: controls [1, 5 N] and hyper [1, 8] float32, as `ds.optimizer_update` has them.
        Returns: coefficients [N] float32.
        """
        ...


def _read_tensor(entry: Mapping[str, Any]) -> Tensor:
    shapes = tuple(entry["shape"]), tuple(entry["stored_shape"])
    return Tensor(entry["name"], shapes[0], entry["source"], shapes[1], entry.get("view"), entry.get("layer", -1), entry["offset"])


def _bits(array: np.ndarray) -> np.ndarray:
    """What the runtime takes: int32, floats as their bits."""
    return np.ascontiguousarray(array).view(np.int32)


class NativeBackend:
    """A training package, by the runtime.
    Args: model, the runtime's model, with `state()` and `run_program(program, batch, tokens, inputs, outputs)`; manifest, of the package;
        flops, what a step computes, None where the package does not say.
    Raises: BadData when the package is not one for training.
    """

    def __init__(self, model: Any, manifest: Mapping[str, Any], flops: StepFlops | None = None):
        self._model, self.flops = model, flops
        self._profile: Profile | None = None  # the one whose steps the runtime holds
        self.notes: list[str] = []  # of the compiler
        programs = {program["name"]: program for program in manifest["programs"]}
        missing = [name for name in PROGRAMS if name not in programs]
        if missing or not manifest.get("state"):
            raise errors.BadData(f"bad data: manifest.json: expects a package for training, found one without {(missing or ['state'])[0]}")
        state = manifest["state"]
        if list(state["parts"]) != list(PARTS):
            raise errors.BadData(f"bad data: manifest.json: state.parts: expects {', '.join(PARTS)}, found {', '.join(state['parts'])}")
        self.tensors = [_read_tensor(entry) for entry in state["tensors"]]
        self.frozen = [_read_tensor(entry) for entry in state.get("frozen", [])]
        self._named = {tensor.name: tensor for tensor in (*self.tensors, *self.frozen)}
        self._part_bytes = int(state["part_bytes"])
        self._state = model.state()
        if self._state.nbytes < self._part_bytes * len(PARTS):
            raise errors.Internal(f"internal: state: expects {self._part_bytes * len(PARTS)} bytes, got {self._state.nbytes}")
        self._inputs = {name: {entry["name"]: entry["shape"] for entry in programs[name]["inputs"]} for name in PROGRAMS}
        self.inputs = [name for name in ("input_ids", "positions", "mask", "token_type_ids") if name in self._inputs["step"]]
        self.layers = int(self._inputs["step"].get("layer_gates", [0])[0])
        self.dropout = "dropout_seed" in self._inputs["step"]
        self.width = int(next(entry["shape"][-1] for entry in programs["evaluate"]["outputs"] if entry["name"] == "logits"))
        self.max_batch, self.max_rows = int(programs["step"]["max_batch"]), int(programs["step"]["max_rows"])
        self.positions, self.info = manifest["positions"], manifest["model"]
        self.recomputed_layers = int(state.get("recomputed_layers", 0))
        self._arena_bytes = int(programs["step"].get("arena_bytes", 0))

    def memory(self) -> dict[str, int]:
        """Bytes of a step: parameters, gradients, moments, and arena, the values that it keeps."""
        return {
            "parameters": self._part_bytes,
            "gradients": self._part_bytes,
            "moments": 2 * self._part_bytes,
            "arena": self._arena_bytes,
        }

    def profile(self, max_steps: int = 4096) -> Profile:
        """Record the programs that run in a `with` block, as `ds_mlir.Model.profile` does."""
        return Profile(self, max_steps)

    def view(self, part: str, name: str) -> np.ndarray:
        """A writable view of a tensor's parameter, gradient, moment1 or moment2, float32."""
        tensor = self._named[name]
        begin = PARTS.index(part) * self._part_bytes + tensor.offset
        return self._state[begin : begin + 4 * math.prod(tensor.shape)].view(np.float32).reshape(tensor.shape)

    def _run(self, program: str, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        batch, tokens = inputs["input_ids"].shape if "input_ids" in inputs else (1, 1)
        if "input_ids" in inputs and (batch > self.max_batch or batch * tokens > self.max_rows):
            raise errors.InvalidArgument(
                f"invalid argument: input_ids: expects at most {self.max_batch} sequences and {self.max_rows} tokens in a micro batch "
                f"(train_micro_batch_size_per_gpu, ds_mlir.max_tokens), got {batch} x {tokens}"
            )
        given = [(name, _bits(array)) for name, array in inputs.items() if name in self._inputs[program]]
        self._model.run_program(program, batch, tokens, given, list(outputs.items()))

    def step(self, arrays, rows, labels, loss_scale, gates, scales, seed=None) -> np.ndarray:
        """Run forward and backward, as in Backend."""
        inputs = {**arrays, "labels": labels, "loss_scale": np.array([loss_scale], np.float32)}
        inputs |= {} if rows is None else {"rows": rows}
        inputs |= {"layer_gates": gates, "layer_scales": scales} if self.layers else {}
        inputs |= {"dropout_seed": seed} if self.dropout else {}
        losses = np.empty((len(labels), 1), np.float32)
        self._run("step", inputs, {"loss": losses})
        return losses[:, 0]

    def evaluate(self, arrays, rows, labels) -> tuple[np.ndarray, np.ndarray]:
        """Run forward, as in Backend."""
        losses, logits = np.empty((len(labels), 1), np.float32), np.empty((len(labels), self.width), np.float32)
        self._run("evaluate", {**arrays, "labels": labels} | ({} if rows is None else {"rows": rows}), {"loss": losses, "logits": logits})
        return losses[:, 0], logits

    def norms(self) -> np.ndarray:
        """The sum of squares of each gradient, [N]."""
        norms = np.empty((1, len(self.tensors)), np.float32)
        self._run("norms", {}, {"norms": norms})
        return norms[0]

    def update(self, controls: np.ndarray, hyper: np.ndarray) -> np.ndarray:
        """Change the parameters, as in Backend."""
        coefficients = np.empty((1, len(self.tensors)), np.float32)
        self._run("update", {"controls": controls, "hyper": hyper}, {"coefficients": coefficients})
        return coefficients[0]
