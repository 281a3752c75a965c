"""Transformer models, compiled ahead of time: `compile` makes a package, `load` opens one, `initialize` trains a model."""

from ds_mlir import errors
from ds_mlir.comparison import ClassifierComparison, Comparison, compare, compare_classifier
from ds_mlir.compiler import compile
from ds_mlir.errors import Error
from ds_mlir.evaluate import Accuracy, Perplexity, accuracy, perplexity
from ds_mlir.model import Generation, Model, load
from ds_mlir.moments import Calibration, calibrate
from ds_mlir.profile import Profile, profile
from ds_mlir.training import Engine, initialize

__all__ = [
    "Accuracy",
    "Calibration",
    "ClassifierComparison",
    "Comparison",
    "Engine",
    "Error",
    "Generation",
    "Model",
    "Perplexity",
    "Profile",
    "accuracy",
    "calibrate",
    "compare",
    "compare_classifier",
    "compile",
    "errors",
    "initialize",
    "load",
    "perplexity",
    "profile",
]
__version__ = "0.1.0"
