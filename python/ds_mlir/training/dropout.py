"""The seed of dropout: what decides, with the place in the model, which elements a forward leaves out."""

import numpy as np

_STREAM = 0x44524F50  # of the random numbers, so that other users of the seed have others


def draw_seed(seed: int, global_step: int, micro_step: int = 0) -> np.ndarray:
    """Draw the seed of one forward; the backward pass has the same. Nothing is kept, so a run that was resumed goes on as it would have.
    Args: seed, of the configuration; global_step and micro_step, where the run is.
    Returns: [2] int32, any bits.
    """
    stream = np.random.Philox(key=[seed, _STREAM], counter=[0, 0, micro_step, global_step])
    return stream.random_raw(1).view(np.int32)
