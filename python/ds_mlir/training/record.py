"""What a forward and an update say of themselves."""

import dataclasses

import numpy as np


class Loss(float):
    """The mean loss of a micro batch, over `tokens` labels. In eval mode `logits` [R, V] are there as well."""

    logits: np.ndarray | None = None
    tokens: int = 0

    def item(self) -> float:
        """The number, as of a torch tensor."""
        return float(self)


@dataclasses.dataclass
class Record:
    """What one step did, for logs. `kept_layers` is the mean over its micro steps; `skipped` says that nothing moved, as gradients were not
    finite; forward_s (with backward) and update_s are seconds in the programs; flops_per_second of the whole step, and peak_share, what
    part of the machine's that is: None where it is not known.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    theta: float | None
    kept_layers: float | None
    tokens: int
    seconds: float
    tokens_per_second: float
    skipped: bool
    forward_s: float
    update_s: float
    flops_per_second: float | None = None
    peak_share: float | None = None
