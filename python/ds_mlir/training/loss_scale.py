"""The factor on the loss that keeps small gradients of 16-bit types from becoming zero."""

from typing import Any

from ds_mlir import errors


class StaticLossScale:
    """A factor that never changes; 1 for f32."""

    dynamic = False

    def __init__(self, scale: float = 1.0):
        self.scale = float(scale)

    def update(self, overflow: bool) -> None:
        """Nothing: the factor stays."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"scale": self.scale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; what a dynamic factor had become says nothing here."""
        if "left" not in state:
            self.scale = float(state["scale"])


class DynamicLossScale:
    """A factor that halves when gradients overflow and doubles after `window` steps in which none did.
    Args: initial, the first factor; window, steps; hysteresis, overflows until the factor is halved; consecutive, whether every step
        without an overflow gives the hysteresis back; minimum, the least factor; raise_at_minimum, whether an overflow there is an error.
    """

    dynamic = True

    def __init__(
        self,
        initial: float = 2.0**16,
        window: int = 1000,
        hysteresis: int = 2,
        consecutive: bool = False,
        minimum: float = 1.0,
        raise_at_minimum: bool = False,
    ):
        self.scale, self.window, self.hysteresis, self.consecutive = float(initial), window, hysteresis, consecutive
        self.minimum, self.raise_at_minimum = float(minimum), raise_at_minimum
        self.left, self.iteration, self.last_overflow = hysteresis, 0, -1

    def update(self, overflow: bool) -> None:
        """Take note of one step.
        Args: overflow, whether its gradients were not finite.
        Raises: InvalidArgument at the minimum, where that is asked for.
        """
        if overflow:
            if self.hysteresis == 1 or self.left == 1:
                if self.scale == self.minimum and self.raise_at_minimum:
                    raise errors.InvalidArgument(f"invalid argument: loss scale: gradients overflow at the least scale, {self.minimum:g}")
                self.scale = max(self.scale / 2, self.minimum)
            else:
                self.left -= 1
            self.last_overflow = self.iteration
        else:
            if self.consecutive:
                self.left = self.hysteresis
            stable = self.iteration - self.last_overflow - 1
            if stable > 0 and stable % self.window == 0:
                if not self.consecutive:
                    self.left = self.hysteresis
                self.scale *= 2
        self.iteration += 1

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"scale": self.scale, "left": self.left, "iteration": self.iteration, "last_overflow": self.last_overflow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; after a static factor, from the beginning."""
        if "left" not in state:
            return
        self.scale, self.left = float(state["scale"]), int(state["left"])
        self.iteration, self.last_overflow = int(state["iteration"]), int(state["last_overflow"])


def make_loss_scale(config: Any) -> StaticLossScale | DynamicLossScale:
    """Make the factor that a TrainingConfig asks for."""
    wanted = config.loss_scale
    if wanted is None:
        return StaticLossScale()
    if wanted.scale > 0:
        return StaticLossScale(wanted.scale)
    stops = config.own.nan_policy == "stop"
    return DynamicLossScale(wanted.initial, wanted.window, wanted.hysteresis, wanted.consecutive, wanted.minimum, raise_at_minimum=stops)
