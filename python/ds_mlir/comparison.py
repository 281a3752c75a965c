"""Variants of a model side by side: size, speed, and perplexity or accuracy."""

import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

from ds_mlir import compiler, errors
from ds_mlir.evaluate import accuracy, open_for, perplexity, read_text, tokens_of
from ds_mlir.model import Model

VARIANTS = ("f32", "bf16", "int8", "int4-g64")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One variant of a model.
    megabytes, of all files of the package; prefill and decode, tokens a second of one sequence; change, of the perplexity against the
    first variant in percent.
    """

    variant: str
    megabytes: float
    prefill: float
    decode: float
    perplexity: float
    change: float


@dataclasses.dataclass(frozen=True)
class ClassifierComparison:
    """One variant of a classifier.
    megabytes, of all files of the package; speed, texts a second of the run that measures the accuracy; change, of the accuracy against
    the first variant in points.
    """

    variant: str
    megabytes: float
    speed: float
    accuracy: float
    change: float


class _Stopwatch:
    """A streamer that notes when the prompt went in and each token came out."""

    def __init__(self):
        self.times: list[float] = []

    def put(self, tokens) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def _speeds(models: Sequence[Model], prompt: np.ndarray, new_tokens: int, repetitions: int) -> list[tuple[float, float]]:
    """Median tokens a second of prefill and of decode for each model.
    The models take turns, so that a busy moment is shared; one round warms up.
    """
    runs: list[list[tuple[float, float]]] = [[] for _ in models]
    for turn in range(repetitions + 1):
        for model, own in zip(models, runs, strict=True):
            watch = _Stopwatch()
            model.generate(prompt, max_new_tokens=new_tokens, eos_token_id=[], streamer=watch)
            begin, first, *_, last = watch.times
            if turn:
                own.append((len(prompt) / (first - begin), (new_tokens - 1) / (last - first)))
    return [(statistics.median(prefill for prefill, _ in own), statistics.median(decode for _, decode in own)) for own in runs]


def _options_of(variant: str, calibration: str | os.PathLike | None) -> dict[str, object]:
    return {"weights": variant} if variant in ("f32", "bf16", "f16") else {"quantize": variant, "calibration": calibration}


def _different(variants: Sequence[str]) -> list[str]:
    variants = list(variants)
    if not variants or len(set(variants)) != len(variants):
        raise errors.InvalidArgument(f"invalid argument: variants: expects different names, got {','.join(variants) or 'none'}")
    return variants


def _teller(progress: str) -> Callable[[str], None]:
    def say(line: str) -> None:
        if progress == "on" or (progress == "auto" and sys.stderr.isatty()):
            print(line, file=sys.stderr, flush=True)

    return say


def _compiled(model, variants, calibration, folder, say, options) -> tuple[list[pathlib.Path], list[float]]:
    """Compile each variant into `folder`. Returns: the packages and their megabytes."""
    packages = []
    for variant in variants:
        say(f"{variant}: compiling")
        of_variant = {"target_cpu": "native", "progress": "off", **_options_of(variant, calibration), **options}
        packages.append(compiler.compile(model, pathlib.Path(folder) / f"{len(packages)}", **of_variant))
    return packages, [sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6 for package in packages]


def compare(
    model: str | os.PathLike,
    text: str | os.PathLike,
    variants: Sequence[str] = VARIANTS,
    *,
    window: int = 512,
    stride: int | None = None,
    threads: int | None = None,
    calibration: str | os.PathLike | None = None,
    prompt_tokens: int = 128,
    new_tokens: int = 32,
    repetitions: int = 5,
    progress: str = "auto",
    **options,
) -> list[Comparison]:
    """Compile a model in several variants and measure size, speed and perplexity of each.
    Args: model, a Hugging Face folder or a GGUF file; text, window and stride as in `perplexity`; variants, `f32`, `bf16`, `f16` or a
        scheme of `compile`'s `quantize`; calibration, a file of `calibrate` for those; prompt_tokens and new_tokens, of a timed run, whose
        prompt is the beginning of the text, both less where the context is short; repetitions, how many of those: speeds are medians;
        progress, `on`, `off` or `auto`: lines on standard error; options, of `compile`, whose target_cpu is `native` here.
    Returns: a Comparison for each variant, in their order.
    Raises: what `compile` and `perplexity` raise.
    """
    variants = _different(variants)
    if prompt_tokens < 1 or new_tokens < 2 or repetitions < 1:
        raise errors.InvalidArgument(
            "invalid argument: expects prompt_tokens and repetitions of at least 1 and new_tokens of at least 2, "
            f"got {prompt_tokens}, {repetitions} and {new_tokens}"
        )
    if not isinstance(text, str):
        read_text(text)  # before minutes of compiling

    say = _teller(progress)
    with tempfile.TemporaryDirectory(prefix="ds-compare-") as folder:
        packages, sizes = _compiled(model, variants, calibration, folder, say, {"task": "causal-lm", **options})
        loaded = [open_for(package, threads, "causal-lm") for package in packages]
        say("speed")
        ids, _ = tokens_of(loaded[0], text, window, window if stride is None else stride)
        context = loaded[0].info["context"]
        new_tokens = max(2, min(new_tokens, context // 2))
        prompt = ids[: max(1, min(prompt_tokens, context - new_tokens))]
        speeds = _speeds(loaded, prompt, new_tokens, repetitions)
        scores = []
        for variant, one in zip(variants, loaded, strict=True):
            say(f"{variant}: perplexity")
            scores.append(perplexity(one, text, window=window, stride=stride).perplexity)
        return [
            Comparison(variant, size, *speed, score, 100 * (score / scores[0] - 1))
            for variant, size, speed, score in zip(variants, sizes, speeds, scores, strict=True)
        ]


def compare_classifier(
    model: str | os.PathLike,
    labels: str | os.PathLike,
    variants: Sequence[str] = VARIANTS,
    *,
    threads: int | None = None,
    calibration: str | os.PathLike | None = None,
    progress: str = "auto",
    **options,
) -> list[ClassifierComparison]:
    """Compile a classifier in several variants and measure size, speed and accuracy of each.
    Args: model, a Hugging Face folder; labels, a file as in `accuracy`; the rest as in `compare`.
    Returns: a ClassifierComparison for each variant, in their order.
    Raises: what `compile` and `accuracy` raise.
    """
    variants, say, rows = _different(variants), _teller(progress), []
    read_text(labels)  # before minutes of compiling
    with tempfile.TemporaryDirectory(prefix="ds-compare-") as folder:
        packages, sizes = _compiled(model, variants, calibration, folder, say, {"task": "sequence-classification", **options})
        for variant, package, size in zip(variants, packages, sizes, strict=True):
            say(f"{variant}: accuracy")
            loaded = open_for(package, threads, "sequence-classification")
            start = time.perf_counter()
            found = accuracy(loaded, labels)
            speed = found.examples / (time.perf_counter() - start)
            change = 100 * (found.accuracy - rows[0].accuracy) if rows else 0.0
            rows.append(ClassifierComparison(variant, size, speed, found.accuracy, change))
    return rows
