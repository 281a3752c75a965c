"""The engine: forward and backward, accumulation, clipping, updates, and everything that changes from step to step."""

import math
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ds_mlir import errors
from ds_mlir.training import checkpoint
from ds_mlir.training.backend import Backend
from ds_mlir.training.batches import make_step
from ds_mlir.training.config import TrainingConfig
from ds_mlir.training.data import DataLoader, RepeatingLoader
from ds_mlir.training.dropout import draw_seed
from ds_mlir.training.layer_drop import LayerDrop
from ds_mlir.training.loss_scale import make_loss_scale
from ds_mlir.training.optimizer import Optimizer
from ds_mlir.training.record import Loss, Record
from ds_mlir.training.schedules import Schedule
from ds_mlir.training.watch import Watch


class Engine:
    """A model in training. Made by `ds_mlir.initialize`.
    `loss = engine(batch)`, `engine.backward(loss)`, `engine.step()`; the programs compute gradients together with the loss, so `backward`
    only says that they count. Every `gradient_accumulation_steps` times, `step` changes the parameters.
    Attributes: global_steps, updates, skipped ones included; micro_steps, forwards with a backward; skipped_steps; last, the Record of the
    last update, None before.
    """

    world_size = 1
    local_rank = global_rank = 0

    def __init__(
        self,
        backend: Backend,
        config: TrainingConfig,
        optimizer: Optimizer,
        lr_scheduler: Schedule | Any | None = None,
        dataloader: DataLoader | None = None,
    ):
        self.backend, self.config, self.optimizer, self.lr_scheduler = backend, config, optimizer, lr_scheduler
        self.training_dataloader, self._repeating = dataloader, None
        self.layer_drop = None
        if config.layer_drop is not None:
            if not backend.layers:
                raise errors.InvalidArgument(
                    "invalid argument: progressive_layer_drop: expects a model with layers to drop, got one without"
                )
            self.layer_drop = LayerDrop(config.layer_drop.theta, config.layer_drop.gamma, config.seed)
        self.loss_scaler = make_loss_scale(config)
        self.watch = Watch(backend, config)
        self.global_steps = self.micro_steps = self.skipped_steps = 0
        self.last: Record | None = None
        self._training = True
        self.model_folder: pathlib.Path | None = None  # where the model came from
        self._folder: Any = None  # a temporary package lives as long as the engine
        self._layer_of = np.array([tensor.layer for tensor in backend.tensors])
        self._start_accumulating()

    # Modes and numbers, by the names of DeepSpeed.

    def train(self, mode: bool = True) -> "Engine":
        """Compute gradients from now on."""
        self._training = mode
        return self

    def eval(self) -> "Engine":
        """Compute losses and logits alone: no gradients, no dropped layers or elements."""
        return self.train(False)

    def train_batch_size(self) -> int:
        """Samples of one update."""
        return self.config.batch.train

    def train_micro_batch_size_per_gpu(self) -> int:
        """Samples of one forward."""
        return self.config.batch.micro

    def gradient_accumulation_steps(self) -> int:
        """Forwards of one update."""
        return self.config.batch.accumulation

    def is_gradient_accumulation_boundary(self) -> bool:
        """Whether the current micro step is the last one before an update."""
        return (self.micro_steps + (0 if self._counted else 1)) % self.config.batch.accumulation == 0

    def get_lr(self) -> list[float]:
        """The rate of each group of parameters."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_pld_theta(self) -> float | None:
        """The keep probability of the last layer; None without progressive layer dropping."""
        return self.layer_drop.get_theta() if self.layer_drop else None

    def get_lamb_coeffs(self) -> list[float]:
        """The trust ratio of each parameter in the last update; ones for optimizers other than LAMB."""
        return self.optimizer.get_lamb_coeffs()

    def get_global_grad_norm(self) -> float | None:
        """The norm of all gradients of the last update, before clipping; None before the first."""
        return None if self.last is None else self.last.grad_norm

    # Forward, backward, step.

    def _start_accumulating(self) -> None:
        self._losses: list[float] = []
        self._kept: list[int] = []
        self._ran = np.zeros(self.backend.layers, bool)
        self._tokens, self._forward_s, self._began = 0, 0.0, time.perf_counter()
        self._pending: Loss | None = None  # a forward without its backward
        self._counted = False  # a backward without its step

    def __call__(self, batch: Mapping[str, Any] | None = None, **arrays: Any) -> Loss:
        """Run a micro batch; in train mode its gradients are added to those that wait for the next update.
        Args: batch, a dictionary, or its entries as keyword arguments: `input_ids` [B, T] and `labels`, -100 where none counts: [B, T]
            beside the ids (for causal models as well: the label of a token is compared with what the token before it predicts), or [B] for
            sequence classification; `attention_mask` and `token_type_ids` [B, T] where needed.
        Returns: the mean loss over labels that count.
        Raises: InvalidArgument that names what is wrong with the batch; nothing was added then.
        """
        step = make_step(self.backend, {**(batch or {}), **arrays} if arrays or batch is None else batch)
        if not self._training:
            losses, logits = self.backend.evaluate(step.arrays, step.rows, step.labels)
            return self._loss(losses, step, logits)
        if self._pending is not None:
            raise errors.InvalidArgument("invalid argument: forward: expects a backward of the loss before; eval() computes no gradients")
        if self._counted and self.is_gradient_accumulation_boundary():
            raise errors.InvalidArgument("invalid argument: forward: expects step() first, as the gradients of a whole batch wait for it")
        micro = len(self._losses)
        if micro == 0:
            self.watch.begin(self.global_steps)
            self._began = time.perf_counter()
        self._counted = False
        gates, scales = self._gates(micro)
        began = time.perf_counter()
        factor = self.loss_scaler.scale / (step.count * self.config.batch.accumulation)
        seed = draw_seed(self.config.seed, self.global_steps, micro) if self.backend.dropout else None
        losses = self.backend.step(step.arrays, step.rows, step.labels, factor, gates, scales, seed)
        self._forward_s += time.perf_counter() - began
        self.watch.forward(*step.arrays["input_ids"].shape, len(step.labels), gates)
        if gates is not None:
            self._ran |= gates != 0
            self._kept.append(int(gates.sum()))
        self._tokens += step.tokens
        self._pending = self._loss(losses, step, None)
        return self._pending

    def _loss(self, losses: np.ndarray, step: Any, logits: np.ndarray | None) -> Loss:
        loss = Loss(np.sum(losses, dtype=np.float64) / step.count)
        loss.tokens, loss.logits = step.count, logits
        return loss

    forward = __call__

    def _gates(self, micro: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        layers = self.backend.layers
        if self.layer_drop is not None:
            return self.layer_drop.draw(layers, self.global_steps, micro)
        return (np.ones(layers, np.int32), np.ones(layers, np.float32)) if layers else (None, None)

    def backward(self, loss: Loss) -> Loss:
        """Count the gradients of the last forward, which are there already; they are divided by the accumulation steps.
        Args: loss, what the forward returned.
        Returns: the loss.
        Raises: InvalidArgument for anything else.
        """
        if self._pending is None or loss is not self._pending:
            raise errors.InvalidArgument("invalid argument: backward: expects the loss of the last forward in train mode, as it came")
        self._losses.append(float(loss))
        self._pending, self._counted = None, True
        self.micro_steps += 1
        return loss

    def step(self) -> None:
        """Change the parameters when the gradients of a whole batch are there; do nothing before.
        Raises: InvalidArgument without a backward before; Internal when the loss or a gradient is not finite and the policy is to stop:
            then parameters, moments and counters are as before the batch.
        """
        if not self._counted:
            raise errors.InvalidArgument("invalid argument: step: expects backward(loss) first")
        if not self.is_gradient_accumulation_boundary():
            self._counted = False
            return
        began = time.perf_counter()
        present, squares = self._gradients()
        fault = self._fault(present, squares)
        if fault and not self.loss_scaler.dynamic and self.config.own.nan_policy == "stop":
            self.zero_grad()
            raise errors.Internal(f"internal: step {self.global_steps}: {fault}; parameters are as before (ds_mlir.nan_policy: stop)")
        norm = math.sqrt(float(squares.sum())) / self.loss_scaler.scale if not fault else math.inf
        rate = self.get_lr()[0]
        if fault:
            self.skipped_steps += 1
            self._clear_gradients(np.arange(len(present)))
        else:
            self._update(present, norm)
        self.loss_scaler.update(bool(fault))
        theta = self.get_pld_theta()
        if self.layer_drop is not None:
            self.layer_drop.update_state(self.global_steps)
        if self.lr_scheduler is not None and not fault:
            self.lr_scheduler.step()
        self.global_steps += 1
        self._record(rate, norm, theta, bool(fault), time.perf_counter() - began)
        self._start_accumulating()
        self.watch.write(self.last)

    def _gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """Which tensors have a gradient, and its sum of squares, 0 for the others: [N] each."""
        present = self.optimizer.trained.copy()
        if self.layer_drop is not None:
            layers = self._layer_of
            present &= (layers < 0) | self._ran[np.maximum(layers, 0)]
        return present, np.where(present, self.backend.norms().astype(np.float64), 0.0)

    def _fault(self, present: np.ndarray, squares: np.ndarray) -> str:
        """What is not finite, in words; nothing when all is well."""
        bad = np.flatnonzero(~np.isfinite(squares))
        loss = next((value for value in self._losses if not math.isfinite(value)), None)
        if not len(bad) and loss is None:
            return ""
        for tensor in self.backend.tensors:
            if not np.isfinite(self.backend.view("parameter", tensor.name)).all():
                return f"parameter '{tensor.name}' is not finite"
        if not len(bad):
            return f"the loss is {loss}"
        # Gradients come from the last tensor to the first: what is wrong begins at the last one.
        name = self.backend.tensors[bad[-1]].name
        start = f"the loss is {loss}, and " if loss is not None else ""
        more = f" (and of {len(bad) - 1} more of {int(present.sum())} parameters)" if len(bad) > 1 else ""
        return f"{start}the gradient of '{name}' is not finite{more}"

    def _clear_gradients(self, indices: np.ndarray) -> None:
        for index in indices:
            self.backend.view("gradient", self.backend.tensors[index].name)[...] = 0

    def zero_grad(self) -> None:
        """Drop the gradients that wait for the next update, and the micro steps they came from."""
        self.micro_steps -= len(self._losses)
        self._clear_gradients(np.arange(len(self.backend.tensors)))
        self._start_accumulating()

    def _update(self, present: np.ndarray, norm: float) -> None:
        clip = self.config.gradient_clipping
        factor = min(1.0, clip / (norm + 1e-6)) if clip > 0 else 1.0
        controls, hyper = self.optimizer.controls(present, factor / self.loss_scaler.scale)
        coefficients = self.backend.update(controls, hyper)
        self.optimizer.advance(present, coefficients)
        self._clear_gradients(np.flatnonzero(~self.optimizer.trained))  # the update leaves these alone

    def _record(self, rate: float, norm: float, theta: float | None, skipped: bool, update_s: float) -> None:
        seconds = time.perf_counter() - self._began
        kept = float(np.mean(self._kept)) if self._kept and self.layer_drop is not None else None
        loss = float(np.mean(self._losses))
        speed = self._tokens / seconds
        times = (self._forward_s, update_s)
        self.last = Record(self.global_steps, loss, rate, norm, theta, kept, self._tokens, seconds, speed, skipped, *times)
        self.watch.end(self.last)
        if self.global_steps % self.config.steps_per_print == 0 and self.print_line is not None:
            self.print_line(self.last)

    def print_line(self, record: Record) -> None:
        """Print a line about a step to standard error; called every `steps_per_print`. May be replaced, also by None."""
        from ds_mlir.training.log import describe

        print(describe(record, self.config.wall_clock_breakdown), file=sys.stderr)

    # Whole batches.

    def train_batch(self, data_iter: Iterator[Mapping[str, Any]] | None = None) -> float:
        """Run one update: as many micro batches as it takes.
        Args: data_iter, gives them; None for the engine's own data, again and again.
        Returns: the mean loss.
        Raises: InvalidArgument without data, and what forward and step raise.
        """
        if data_iter is None:
            if self.training_dataloader is None:
                raise errors.InvalidArgument("invalid argument: train_batch: expects data_iter, as the engine has no training_data")
            self._repeating = self._repeating or RepeatingLoader(self.training_dataloader)
            data_iter = self._repeating
        self.train()
        for _ in range(self.config.batch.accumulation - len(self._losses)):
            self.backward(self(self._next(data_iter)))
            self.step()
        return self.last.loss

    @staticmethod
    def _next(data_iter: Iterator[Mapping[str, Any]]) -> Mapping[str, Any]:
        try:
            return next(data_iter)
        except StopIteration:
            raise errors.InvalidArgument("invalid argument: data_iter: expects a micro batch, got the end of the data") from None

    def eval_batch(self, data: Mapping[str, Any] | Iterator[Mapping[str, Any]]) -> Loss:
        """Compute the loss of one micro batch without gradients; the mode stays as it was.
        Args: data, the micro batch or what gives it.
        Returns: the loss, with logits.
        """
        mode, self._training = self._training, False
        try:
            return self(data if isinstance(data, Mapping) else self._next(data))
        finally:
            self._training = mode

    # Checkpoints.

    def save_checkpoint(self, save_dir: str | os.PathLike, tag: str | None = None, client_state: Mapping[str, Any] | None = None) -> str:
        """Save everything that a bit-equal resume needs, all or nothing; `latest` then names it.
        Args: save_dir, the folder of checkpoints; tag, of this one, `global_step<N>` by default; client_state, what the caller wants back,
            as JSON has it.
        Returns: the path of the checkpoint.
        Raises: CannotWrite; the checkpoint before is still there then. InvalidArgument between a forward and its backward.
        """
        if self._pending is not None or (self._counted and self.is_gradient_accumulation_boundary()):
            raise errors.InvalidArgument("invalid argument: save_checkpoint: expects backward(loss) and step() after a forward")
        return checkpoint.save(self, save_dir, tag, client_state or {})

    def load_checkpoint(
        self,
        load_dir: str | os.PathLike,
        tag: str | None = None,
        *,
        load_optimizer_states: bool = True,
        load_lr_scheduler_states: bool = True,
        load_module_only: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Go on from a checkpoint; nothing changes when it cannot be used.
        Args: load_dir, the folder of checkpoints; tag, which one, the `latest` by default; load_module_only, parameters alone.
        Returns: the path of the checkpoint and the client's state.
        Raises: Missing, BadData for a torn checkpoint or one of another model.
        """
        optimizer = load_optimizer_states and not load_module_only
        return checkpoint.load(self, load_dir, tag, optimizer, load_lr_scheduler_states and not load_module_only, load_module_only)

    def export(self, folder: str | os.PathLike) -> pathlib.Path:
        """Write the model as a folder that transformers opens and ds-compile compiles.
        Args: folder, new or empty.
        Returns: the folder.
        Raises: CannotWrite, InvalidArgument for a folder that has files.
        """
        from ds_mlir.training.export import export

        return export(self.backend, folder, self.model_folder)

    def progress_state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the engine besides parameters, optimizer and schedule."""
        loader = self.training_dataloader
        accumulated = {"losses": self._losses, "kept": self._kept, "ran": self._ran.tolist(), "tokens": self._tokens}
        return {
            "global_steps": self.global_steps,
            "micro_steps": self.micro_steps,
            "skipped_steps": self.skipped_steps,
            "loss_scaler": self.loss_scaler.state_dict(),
            "theta": self.get_pld_theta(),
            "accumulated": accumulated if self._losses else None,
            "data": loader.state_dict() if loader is not None else None,
        }

    def load_progress_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `progress_state` gave."""
        self.global_steps, self.micro_steps, self.skipped_steps = (state[f"{name}_steps"] for name in ("global", "micro", "skipped"))
        self.loss_scaler.load_state_dict(state["loss_scaler"])
        if self.layer_drop is not None and state["theta"] is not None:
            self.layer_drop.current_theta = state["theta"]
        self._start_accumulating()
        if (kept := state["accumulated"]) is not None:
            self._losses, self._kept, self._tokens = list(kept["losses"]), list(kept["kept"]), kept["tokens"]
            self._ran = np.array(kept["ran"], bool)
        self.watch.rewind(self.global_steps)
        if self.training_dataloader is not None and state["data"] is not None:
            self.training_dataloader.load_state_dict(state["data"])
            self._repeating = None
