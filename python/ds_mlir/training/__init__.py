"""Training: `initialize` makes an engine from a model and a configuration with DeepSpeed's keys."""

from ds_mlir.training.backend import Backend, NativeBackend, Tensor
from ds_mlir.training.config import TrainingConfig, parse_config
from ds_mlir.training.data import Blocks, DataLoader, Masking, RepeatingLoader, pack
from ds_mlir.training.engine import Engine
from ds_mlir.training.layer_drop import LayerDrop
from ds_mlir.training.log import plot_losses
from ds_mlir.training.loss_scale import DynamicLossScale, StaticLossScale
from ds_mlir.training.optimizer import Optimizer
from ds_mlir.training.prepare import initialize
from ds_mlir.training.record import Loss, Record
from ds_mlir.training.schedules import LRRangeTest, OneCycle, WarmupCosineLR, WarmupDecayLR, WarmupLR

__all__ = [
    "Backend",
    "Blocks",
    "DataLoader",
    "DynamicLossScale",
    "Engine",
    "LRRangeTest",
    "LayerDrop",
    "Loss",
    "Masking",
    "NativeBackend",
    "OneCycle",
    "Optimizer",
    "Record",
    "RepeatingLoader",
    "StaticLossScale",
    "Tensor",
    "TrainingConfig",
    "WarmupCosineLR",
    "WarmupDecayLR",
    "WarmupLR",
    "initialize",
    "pack",
    "parse_config",
    "plot_losses",
]
