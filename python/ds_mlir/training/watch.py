"""What looks at an engine's updates from beside it: FLOP/s, monitors, the profiler."""

import os
import warnings
from typing import Any

import numpy as np

from ds_mlir import errors
from ds_mlir.training.backend import Backend
from ds_mlir.training.config import TrainingConfig
from ds_mlir.training.flops import peak_flops
from ds_mlir.training.monitors import make_monitors
from ds_mlir.training.record import Record
from ds_mlir.training.step_profile import StepProfiler


class Watch:
    """Called by the engine around each update.
    Args: backend; config. A backend that does not say what it computes (`flops` and `profile`) has no FLOP/s.
    Raises: InvalidArgument where the configuration wants a profile or the share of a machine's peak that this backend cannot give;
        Unavailable for a monitor whose package is not installed; Missing and BadData for the machine's file.
    """

    def __init__(self, backend: Backend, config: TrainingConfig):
        self._backend, self._samples = backend, config.batch.train
        self._count = getattr(backend, "flops", None)
        self._flops, self.peak = 0.0, None
        for key, wanted in (("flops_profiler", config.profiler), ("ds_mlir.machine", config.own.machine)):
            if wanted is not None and not hasattr(backend, "profile"):
                raise errors.InvalidArgument(f"invalid argument: config: {key}: expects a compiled package, got another backend")
        if config.own.machine is not None:
            self.peak = peak_flops(backend._model, os.fspath(config.own.machine), backend.norms)
        self.monitors = make_monitors(config.tensorboard, config.csv_monitor)
        self.profiler = StepProfiler(backend, config.profiler) if config.profiler is not None else None

    def begin(self, steps: int) -> None:
        """Before the first forward of an update. Args: steps, updates that are done."""
        self._flops = 0.0
        if self.profiler is not None:
            self.profiler.begin(steps)

    def forward(self, batch: int, tokens: int, rows: int, gates: np.ndarray | None) -> None:
        """After a forward with its backward; sizes as of `StepFlops.count`."""
        if self._count is not None:
            self._flops += self._count.count(batch, tokens, rows, gates)
        if self.profiler is not None:
            self.profiler.forward(gates)

    def end(self, record: Record) -> None:
        """After an update; completes its record."""
        if self.profiler is not None:
            self.profiler.end()
        if self._count is not None:
            record.flops_per_second = self._flops / record.seconds
            record.peak_share = record.flops_per_second / self.peak if self.peak else None

    def write(self, record: Record) -> None:
        """Write what there is to write about an update, once the engine is ready for the next.
        Raises: CannotWrite.
        """
        if self.profiler is not None:
            self.profiler.write(record)
        samples = record.step * self._samples
        values = {"train_loss": record.loss, "lr": record.lr, "grad_norm": record.grad_norm, "tokens_per_second": record.tokens_per_second}
        more: dict[str, Any] = {"theta": record.theta, "kept_layers": record.kept_layers, "flops_per_second": record.flops_per_second}
        values |= {key: value for key, value in more.items() if value is not None}
        for monitor in self.monitors:
            monitor.write([(f"Train/Samples/{key}", value, samples) for key, value in values.items()])

    def validation(self, step: int, loss: float) -> None:
        """After a loss of held-out data."""
        for monitor in self.monitors:
            monitor.write([("Validation/Samples/loss", loss, step * self._samples)])

    def rewind(self, step: int) -> None:
        """The run goes on after this update: what monitors have of later ones is no longer true."""
        for monitor in self.monitors:
            monitor.rewind(step * self._samples)

    def close(self) -> None:
        """Close what is open. Warns when the update that was to be profiled never came."""
        if self.profiler is not None and self.profiler.root is None:
            warnings.warn("flops_profiler: no update was profiled, as the run ended before profile_step", stacklevel=2)
        for monitor in self.monitors:
            monitor.close()
