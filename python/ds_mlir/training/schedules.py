"""Learning-rate schedules of DeepSpeed. `k` is the last iteration: the first `step()` sets it to 0."""

import inspect
import math
from typing import Any, ClassVar

from ds_mlir import errors
from ds_mlir.training.sections import Section


class Schedule:
    """Base of all schedules: sets `lr` of an optimizer's `param_groups`.
    Args: optimizer, an object with `param_groups`, dictionaries with `lr`; last_batch_iteration, -1 for a new start.
    """

    _state: ClassVar[tuple[str, ...]] = ()

    def __init__(self, optimizer: Any, last_batch_iteration: int = -1):
        self.optimizer = optimizer
        self.last_batch_iteration = int(last_batch_iteration)
        self._last_lr = [group["lr"] for group in optimizer.param_groups]

    def _start(self) -> None:
        """Give the optimizer what it has before the first step."""
        if self.last_batch_iteration == -1:
            self._set()

    def _set(self) -> None:
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def rate(self, k: int, group: int) -> float:
        """The rate of a group after iteration k."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rate of each group by the schedule."""
        return [self.rate(self.last_batch_iteration, group) for group in range(len(self.optimizer.param_groups))]

    def get_last_lr(self) -> list[float]:
        """The rate of each group that was set last."""
        return list(self._last_lr)

    def step(self, last_batch_iteration: int | None = None) -> None:
        """Go on by one iteration, or to the one given, and set the optimizer's rates."""
        self.last_batch_iteration = self.last_batch_iteration + 1 if last_batch_iteration is None else int(last_batch_iteration)
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"last_batch_iteration": self.last_batch_iteration, **{name: getattr(self, name) for name in self._state}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.
        Raises: BadData when it is not of this schedule.
        """
        if sorted(state) != sorted(self.state_dict()):
            expected, found = (", ".join(sorted(keys)) for keys in (self.state_dict(), state))
            raise errors.BadData(f"bad data: scheduler: expects {expected} of {type(self).__name__}, found {found}")
        for name in ("last_batch_iteration", *self._state):
            setattr(self, name, state[name])
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def _warm_up(k: int, steps: int, kind: str) -> float:
    """How far iteration k of a warm-up is, from 0 to 1."""
    return math.log(k + 1) / math.log(steps) if kind == "log" else k / steps


class WarmupLR(Schedule):
    """From `warmup_min_lr` to `warmup_max_lr` in `warmup_num_steps`, logarithmic or linear, and constant from there."""

    def __init__(
        self,
        optimizer: Any,
        warmup_min_lr: float = 0.0,
        warmup_max_lr: float = 0.001,
        warmup_num_steps: int = 1000,
        warmup_type: str = "log",
        last_batch_iteration: int = -1,
    ):
        super().__init__(optimizer, last_batch_iteration)
        self.low, self.high = warmup_min_lr, warmup_max_lr
        self.warmup_num_steps, self.warmup_type = max(2, warmup_num_steps), warmup_type
        self._start()

    def _gamma(self, k: int) -> float:
        return self._after(k) if k >= self.warmup_num_steps else _warm_up(k, self.warmup_num_steps, self.warmup_type)

    def _after(self, k: int) -> float:
        return 1.0

    def rate(self, k: int, group: int) -> float:
        return self.low if k < 0 else self.low + (self.high - self.low) * self._gamma(k)


class WarmupDecayLR(WarmupLR):
    """WarmupLR, then linearly to `warmup_min_lr` at `total_num_steps`."""

    def __init__(
        self,
        optimizer: Any,
        total_num_steps: int,
        warmup_min_lr: float = 0.0,
        warmup_max_lr: float = 0.001,
        warmup_num_steps: int = 1000,
        warmup_type: str = "log",
        last_batch_iteration: int = -1,
    ):
        self.total_num_steps = total_num_steps
        super().__init__(optimizer, warmup_min_lr, warmup_max_lr, warmup_num_steps, warmup_type, last_batch_iteration)

    def _after(self, k: int) -> float:
        return max(0.0, (self.total_num_steps - k) / max(1.0, self.total_num_steps - self.warmup_num_steps))


class WarmupCosineLR(Schedule):
    """The optimizer's own rates times a ratio: warm-up from `warmup_min_ratio` to 1, then half a cosine to `cos_min_ratio`."""

    _state = ("org_lrs",)

    def __init__(
        self,
        optimizer: Any,
        total_num_steps: int,
        warmup_min_ratio: float = 0.0,
        warmup_num_steps: int = 1000,
        cos_min_ratio: float = 0.0001,
        warmup_type: str = "log",
        last_batch_iteration: int = -1,
    ):
        super().__init__(optimizer, last_batch_iteration)
        self.total_num_steps, self.warmup_num_steps = total_num_steps, max(2, warmup_num_steps)
        self.warmup_min_ratio, self.cos_min_ratio, self.warmup_type = warmup_min_ratio, cos_min_ratio, warmup_type
        self.org_lrs = [group["lr"] for group in optimizer.param_groups]
        self._start()

    def _ratio(self, k: int) -> float:
        if k < 0:
            return 0.0
        warm, least = self.warmup_num_steps, self.cos_min_ratio
        if k < warm:
            return self.warmup_min_ratio + _warm_up(k, warm, self.warmup_type) * (1.0 - self.warmup_min_ratio)
        done = min(1.0, (k - warm + 1) / max(1, self.total_num_steps - warm))
        return least + (1.0 - least) * (1.0 + math.cos(math.pi * done)) / 2.0

    def rate(self, k: int, group: int) -> float:
        return self.org_lrs[group] * self._ratio(k)


class LRRangeTest(Schedule):
    """Rates that only grow, to find the greatest that trains: `min * (1 + rate * (k + 1) / step_size)`."""

    def __init__(
        self,
        optimizer: Any,
        lr_range_test_min_lr: float = 1e-3,
        lr_range_test_step_size: int = 2000,
        lr_range_test_step_rate: float = 1.0,
        lr_range_test_staircase: bool = False,
        last_batch_iteration: int = -1,
    ):
        super().__init__(optimizer, last_batch_iteration)
        self.low, self.step_size = lr_range_test_min_lr, lr_range_test_step_size
        self.step_rate, self.staircase = lr_range_test_step_rate, lr_range_test_staircase
        self._start()

    def rate(self, k: int, group: int) -> float:
        interval = (k + 1) / self.step_size
        return self.low * (1 + self.step_rate * (math.floor(interval) if self.staircase else interval))


class OneCycle(Schedule):
    """Rates up and down once, then slowly down; the momentum goes the other way. Source: Smith 2018, arXiv:1803.09820."""

    def __init__(
        self,
        optimizer: Any,
        cycle_min_lr: float,
        cycle_max_lr: float,
        decay_lr_rate: float = 0.0,
        cycle_first_step_size: int = 2000,
        cycle_second_step_size: int | None = None,
        cycle_first_stair_count: int = 0,
        cycle_second_stair_count: int | None = None,
        decay_step_size: int = 0,
        cycle_momentum: bool = True,
        cycle_min_mom: float = 0.8,
        cycle_max_mom: float = 0.9,
        decay_mom_rate: float = 0.0,
        last_batch_iteration: int = -1,
    ):
        super().__init__(optimizer, last_batch_iteration)
        if cycle_first_stair_count or cycle_second_stair_count:
            raise errors.InvalidArgument("invalid argument: OneCycle: stairs are not implemented yet")
        first = float(cycle_first_step_size)
        self.length = first + (first if cycle_second_step_size is None else float(cycle_second_step_size))
        self.turn = first / self.length
        self.low, self.high, self.decay_lr_rate, self.decay_step_size = cycle_min_lr, cycle_max_lr, decay_lr_rate, decay_step_size
        self.min_mom, self.max_mom, self.decay_mom_rate = cycle_min_mom, cycle_max_mom, decay_mom_rate
        self.cycle_momentum = cycle_momentum and all("betas" in group for group in optimizer.param_groups)
        if self.last_batch_iteration == -1:
            for group in optimizer.param_groups:
                group["lr"] = self.low
                if self.cycle_momentum:
                    group["betas"] = (self.min_mom, 0.99)
            self._last_lr = [self.low] * len(optimizer.param_groups)

    def _height(self, k: int) -> float:
        """Where in the triangle: 0 at its ends, 1 at its top."""
        at = (k + 1) / self.length
        x = 1.0 + at - math.floor(1 + at)
        return x / self.turn if x <= self.turn else (x - 1) / (self.turn - 1)

    def _decay(self, k: int, rate: float) -> float:
        """What the decay phase divides rates by, and multiplies momentum with."""
        return 1.0 + rate * (k - self.length + 1) / self.decay_step_size if rate and self.decay_step_size else 1.0

    def rate(self, k: int, group: int) -> float:
        if k < self.length:
            return self.low + (self.high - self.low) * self._height(k)
        return self.low / self._decay(k, self.decay_lr_rate)

    def momentum(self, k: int) -> float:
        """The first beta after iteration k."""
        if k < self.length:
            return self.max_mom - (self.max_mom - self.min_mom) * self._height(k)
        return self.max_mom * self._decay(k, self.decay_mom_rate)

    def _set(self) -> None:
        super()._set()
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                group["betas"] = (self.momentum(self.last_batch_iteration), 0.99)


SCHEDULES = {kind.__name__: kind for kind in (WarmupLR, WarmupDecayLR, WarmupCosineLR, LRRangeTest, OneCycle)}
_COUNTS = {"warmup_num_steps": 0, "total_num_steps": 1, "lr_range_test_step_size": 1, "cycle_first_step_size": 1}
_COUNTS |= {"cycle_second_step_size": 1, "decay_step_size": 0}
_FLAGS = ("lr_range_test_staircase", "cycle_momentum")
_STAIRS = ("cycle_first_stair_count", "cycle_second_stair_count")


def check_schedule(name: str, params: Section) -> dict[str, Any]:
    """Read the parameters of a schedule.
    Args: name, a key of SCHEDULES; params, its section.
    Returns: the arguments that were given.
    Raises: InvalidArgument that names an unknown, wrong or missing parameter.
    """
    values: dict[str, Any] = {}
    for key, parameter in inspect.signature(SCHEDULES[name]).parameters.items():
        if key == "optimizer":
            continue
        if not params.has(key):
            if parameter.default is inspect.Parameter.empty:
                params.refuse(key, f"expects a value, as {name} has no default, found none")
            params.take(key)
        elif key == "warmup_type":
            values[key] = params.choice(key, None, ("log", "linear"))
        elif key == "last_batch_iteration":
            values[key] = params.integer(key, None, least=-1)
        elif key in _COUNTS:
            values[key] = params.integer(key, None, least=_COUNTS[key])
        elif key in _FLAGS:
            values[key] = params.boolean(key, True)
        elif key in _STAIRS:
            params.only(key, (0, None))
        else:
            values[key] = params.number(key, None, least=0)
    params.end()
    return values


def make_schedule(name: str, optimizer: Any, params: dict[str, Any]) -> Schedule:
    """Make a schedule by its name.
    Args: name, a key of SCHEDULES; optimizer, whose rates it sets; params, its arguments.
    Returns: the schedule.
    """
    return SCHEDULES[name](optimizer, **params)
