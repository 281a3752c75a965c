"""Variants of a model side by side: size, speed, and perplexity or accuracy."""

import dataclasses
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ds_mlir import compiler, errors
from ds_mlir.evaluate import accuracy, open_for, perplexity, read_text, tokens_of, window_of
from ds_mlir.model import Model
from ds_mlir.text import tokenizer_of

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


def _packages(model, variants, calibration, folder, say, options) -> Iterator[pathlib.Path]:
    """Compile the variants into `folder` one by one, so that what is wrong with the first is said before minutes of compiling others."""
    for index, variant in enumerate(variants):
        say(f"{variant}: compiling")
        of_variant = {"target_cpu": "native", "progress": "off", **_options_of(variant, calibration), **options}
        yield compiler.compile(model, folder / f"{index}", **of_variant)


def _megabytes(package: pathlib.Path) -> float:
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file()) / 1e6


def compare(
    model: str | os.PathLike,
    text: str | os.PathLike,
    variants: Sequence[str] = VARIANTS,
    *,
    window: int | None = None,
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
    # Before minutes of compiling:
    if not isinstance(text, str):
        read_text(text)
    tokenizer_of(model)

    say = _teller(progress)
    with compiler.scratch_folder(model, "ds-compare-") as folder:
        packages = _packages(model, variants, calibration, folder, say, {"task": "causal-lm", **options})
        first = open_for(next(packages), threads, "causal-lm")
        window = window_of(first, window)
        ids, _ = tokens_of(first, text, window, window if stride is None else stride)
        loaded = [first, *(open_for(package, threads, "causal-lm") for package in packages)]
        say("speed")
        context = first.info["context"]
        new_tokens = max(2, min(new_tokens, context // 2))
        prompt = ids[: max(1, min(prompt_tokens, context - new_tokens))]
        speeds = _speeds(loaded, prompt, new_tokens, repetitions)
        scores = []
        for variant, one in zip(variants, loaded, strict=True):
            say(f"{variant}: perplexity")
            scores.append(perplexity(one, text, window=window, stride=stride).perplexity)
        return [
            Comparison(variant, _megabytes(one.path), *speed, score, 100 * (score / scores[0] - 1))
            for variant, one, speed, score in zip(variants, loaded, speeds, scores, strict=True)
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
    # Before minutes of compiling:
    read_text(labels)
    tokenizer_of(model)
    with compiler.scratch_folder(model, "ds-compare-") as folder:
        packages = _packages(model, variants, calibration, folder, say, {"task": "sequence-classification", **options})
        for variant, package in zip(variants, packages, strict=True):
            say(f"{variant}: accuracy")
            loaded = open_for(package, threads, "sequence-classification")
            start = time.perf_counter()
            found = accuracy(loaded, labels)
            speed = found.examples / (time.perf_counter() - start)
            change = 100 * (found.accuracy - rows[0].accuracy) if rows else 0.0
            rows.append(ClassifierComparison(variant, _megabytes(package), speed, found.accuracy, change))
    return rows
