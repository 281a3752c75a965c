"""The side of an optimizer that is not arithmetic: groups of parameters, their rates, and how often each has moved."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ds_mlir import errors
from ds_mlir.training.backend import Tensor
from ds_mlir.training.config import OptimizerSettings

_GROUP_KEYS = ("lr", "weight_decay")


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _matches(entry: Any, tensors: Sequence[Tensor], named: Mapping[int, str]) -> list[int]:
    """Indices of the tensors that an entry of `params` means: a name, a pattern, or a torch parameter of the model."""
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
        entry = entry[0]  # of named_parameters()
    if _is_tensor(entry):
        if id(entry) not in named:
            raise errors.InvalidArgument(
                f"invalid argument: model_parameters: expects parameters of the model, got a tensor of shape {list(entry.shape)}"
            )
        entry = named[id(entry)]
    if not isinstance(entry, str):
        raise errors.InvalidArgument(
            f"invalid argument: model_parameters: expects names, patterns or parameters, got {type(entry).__name__}"
        )
    found = [i for i, tensor in enumerate(tensors) if entry in (tensor.name, tensor.source)]
    found = found or [
        i for i, tensor in enumerate(tensors) if fnmatch.fnmatchcase(tensor.name, entry) or fnmatch.fnmatchcase(tensor.source, entry)
    ]
    if not found:
        raise errors.InvalidArgument(f"invalid argument: model_parameters: no parameter is called '{entry}'")
    return found


class Optimizer:
    """Groups of parameters as torch has them, and the controls of each update.
    Args: settings, of the configuration; tensors, of the backend; model_parameters, None for all of them in one group, or names, patterns
        (`*.bias`), parameters of a torch model, or groups: dictionaries with `params`, and `lr` and `weight_decay` where they differ. What
        is in no group is not trained; named, the names of torch parameters by their `id`.
    Raises: InvalidArgument for what matches nothing, or is in two groups.
    """

    def __init__(
        self,
        settings: OptimizerSettings,
        tensors: Sequence[Tensor],
        model_parameters: Iterable[Any] | None = None,
        named: Mapping[int, str] | None = None,
    ):
        self.settings, self.kind = settings, settings.kind
        self.names = [tensor.name for tensor in tensors]
        self.group_of = np.full(len(tensors), -1)
        self.steps = np.zeros(len(tensors), np.int64)
        self.coefficients = np.ones(len(tensors), np.float32)
        self.param_groups: list[dict[str, Any]] = []
        entries = ["*"] if model_parameters is None else list(model_parameters)
        if not entries:
            raise errors.InvalidArgument("invalid argument: model_parameters: expects at least one parameter, got none")
        groups = entries if all(isinstance(entry, Mapping) for entry in entries) else [{"params": entries}]
        for index, group in enumerate(groups):
            self._add(index, dict(group), tensors, named or {})

    def _add(self, index: int, group: dict[str, Any], tensors: Sequence[Tensor], named: Mapping[int, str]) -> None:
        place = f"invalid argument: model_parameters[{index}]"
        params = group.pop("params", None)
        if params is None:
            raise errors.InvalidArgument(f"{place}: expects params, got {', '.join(group) or 'nothing'}")
        params = [params] if isinstance(params, str) or _is_tensor(params) else list(params)
        settings = {key: getattr(self.settings, key) for key in _GROUP_KEYS}
        for key, value in group.items():
            if key == "name":
                settings[key] = value
                continue
            if key not in _GROUP_KEYS:
                raise errors.InvalidArgument(f"{place}: {key}: expects params, lr or weight_decay")
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise errors.InvalidArgument(f"{place}: {key}: expects a number of at least 0, got {value!r}")
            settings[key] = float(value)
        found: list[int] = []
        for entry in params:
            for i in _matches(entry, tensors, named):
                if self.group_of[i] not in (-1, index):
                    raise errors.InvalidArgument(f"{place}: '{tensors[i].name}' is in another group too")
                if self.group_of[i] == -1:
                    self.group_of[i] = index
                    found.append(i)
        if self.kind == "sgd":
            settings["momentum"] = self.settings.betas[0]
        else:
            settings |= {"betas": self.settings.betas, "eps": self.settings.eps, "bias_correction": self.settings.bias_correction}
        if self.kind == "lamb":
            settings |= {"max_coeff": self.settings.max_coeff, "min_coeff": self.settings.min_coeff}
        self.param_groups.append({"params": [self.names[i] for i in found], **settings})

    @property
    def trained(self) -> np.ndarray:
        """Which tensors are in a group, [N] bool."""
        return self.group_of >= 0

    def _shared(self, key: str, default: Any) -> Any:
        """A hyper-parameter that one update has once."""
        values = [group.get(key, default) for group in self.param_groups]
        if any(value != values[0] for value in values):
            raise errors.InvalidArgument(f"invalid argument: param_groups: {key}: expects one value for all groups, got {values}")
        return values[0]

    def controls(self, present: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """The operands of the next update. Nothing changes; `advance` does that.
        Shapes: N = tensors.
        Args: present, [N] bool, which have a gradient; scale, what gradients are multiplied with.
        Returns: controls [1, 5 N] and hyper [1, 8] float32, as `ds.optimizer_update` has them.
        Raises: InvalidArgument when groups differ in what must be one value.
        """
        count = len(self.names)
        momentum = self._shared("momentum", 0.0) if self.kind == "sgd" else 0.0
        betas = (momentum, 0.0) if self.kind == "sgd" else tuple(self._shared("betas", None))
        used = present & self.trained
        rows = np.zeros((5, count))
        for index, group in enumerate(self.param_groups):
            rows[0, self.group_of == index] = group["lr"]
            rows[1, self.group_of == index] = group["weight_decay"]
        corrected = self.kind != "sgd" and self._shared("bias_correction", True)
        for row, beta in ((2, betas[0]), (3, betas[1])):
            rows[row] = 1.0 - beta ** np.maximum(self.steps + 1, 1).astype(np.float64) if corrected else 1.0
        rows[4] = used
        hyper = np.zeros((1, 8), np.float32)
        coefficients = (self._shared("min_coeff", 0.0), self._shared("max_coeff", 0.0))
        rests = (1.0 - beta for beta in betas)  # in double: that of a beta in float32 is off by 1e-5
        hyper[0] = scale, *betas, self._shared("eps", 0.0), *coefficients, *rests
        return rows.astype(np.float32).reshape(1, 5 * count), hyper

    def advance(self, present: np.ndarray, coefficients: np.ndarray) -> None:
        """Take note of an update that ran.
        Args: present, [N] bool, as for `controls`; coefficients, [N], of the update.
        """
        self.steps[present & self.trained] += 1
        self.coefficients = np.array(coefficients, np.float32)

    def get_lamb_coeffs(self) -> list[float]:
        """The trust ratio of each parameter in the last update; a list of its own."""
        return [float(value) for value in self.coefficients]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps besides the moments."""
        return {
            "kind": self.kind,
            "param_groups": [
                {key: list(value) if isinstance(value, tuple) else value for key, value in g.items()} for g in self.param_groups
            ],
            "steps": {name: int(step) for name, step in zip(self.names, self.steps, strict=True)},
            "coefficients": [float(value) for value in self.coefficients],
        }

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise BadData when a state is not of this optimizer; nothing changes."""
        if state["kind"] != self.kind:
            raise errors.BadData(f"bad data: optimizer: expects a state of {self.kind}, found one of {state['kind']}")
        groups = [[sorted(group["params"]) for group in one] for one in (self.param_groups, state["param_groups"])]
        if groups[0] != groups[1]:
            raise errors.BadData(
                f"bad data: optimizer: expects the same {len(groups[0])} groups of parameters, found {len(groups[1])} that differ"
            )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.
        Raises: BadData when it is of another kind, or its groups are others.
        """
        self.check_state(state)
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group.update({key: tuple(value) if key == "betas" else value for key, value in saved.items() if key != "params"})
        self.steps = np.array([state["steps"][name] for name in self.names], np.int64)
        self.coefficients = np.array(state["coefficients"], np.float32)
