"""Progressive layer dropping: which layers a step leaves out. Source: Zhang and He 2020, arXiv:2010.13369."""

import math
from typing import Any

import numpy as np

_STREAM = 0x504C44  # of the random numbers, so that other users of the seed have others


def theta_at(step: int, theta: float, gamma: float) -> float:
    """The keep probability of the last layer at a global step: `(1 - theta) * exp(-gamma * step) + theta`."""
    return (1.0 - theta) * math.exp(-gamma * step) + theta


def keep_probabilities(layers: int, theta: float) -> np.ndarray:
    """The keep probability of each layer, linear in depth: `p_i = 1 - i / L * (1 - theta)`, i from 1.
    Returns: [L] float64.
    """
    return 1.0 - np.arange(1, layers + 1) / max(layers, 1) * (1.0 - theta)


def expected_depth(layers: int, theta: float) -> float:
    """How many layers run on average."""
    return float(keep_probabilities(layers, theta).sum())


class LayerDrop:
    """The schedule and the gates.
    Gates come from one counter-based stream: the seed is its key, the global step and the micro step its counter. So all ranks drop the
    same layers, and a run that was resumed drops what it would have dropped.
    Args: theta, in (0, 1]; gamma, at least 0; seed.
    """

    def __init__(self, theta: float = 0.5, gamma: float = 0.001, seed: int = 0):
        self.theta, self.gamma, self.seed = theta, gamma, seed
        self.current_theta = 1.0

    def update_state(self, global_step: int) -> None:
        """Set the probability to that of a global step."""
        self.current_theta = theta_at(global_step, self.theta, self.gamma)

    def get_theta(self) -> float:
        """The current probability; 1 before the first update."""
        return self.current_theta

    def get_state(self) -> dict[str, Any]:
        """The state under the names that DeepSpeed hands to models."""
        return {"progressive_layer_drop": True, "pld_theta": self.current_theta}

    def draw(self, layers: int, global_step: int, micro_step: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Draw the gates of one forward.
        Returns: gates [L] int32, 1 for a layer that runs; scales [L] float32, 1 / p_i.
        """
        keep = keep_probabilities(layers, self.current_theta)
        stream = np.random.Philox(key=[self.seed, _STREAM], counter=[0, 0, micro_step, global_step])
        uniform = (stream.random_raw(layers) >> np.uint64(11)) * 2.0**-53
        return (uniform < keep).astype(np.int32), (1.0 / keep).astype(np.float32)
