"""How good a package is: perplexity on a text, accuracy on labelled texts."""

import csv
import dataclasses
import io
import json
import math
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from ds_mlir import errors
from ds_mlir.model import Model, load

SCORED_ROWS = 64  # rows of logits that are widened to f64 at a time
WINDOW = 512  # tokens of a run over a text where neither the caller nor the context says less


@dataclasses.dataclass(frozen=True)
class Perplexity:
    """How well a model predicts a text.
    perplexity, `exp(nll)`; nll, the mean over the scored tokens in nats; tokens, how many were scored; windows, runs it took;
    bits_per_byte, nll in bits times the tokens a byte of the text has in UTF-8.
    """

    perplexity: float
    nll: float
    tokens: int
    windows: int
    bits_per_byte: float


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How often a classifier's most likely label is the right one: `correct` of `examples`."""

    accuracy: float
    correct: int
    examples: int


def open_for(package: str | os.PathLike | Model, threads: int | None, task: str, device: str | None = None) -> Model:
    if isinstance(package, Model):
        for name, value in (("threads", threads), ("device", device)):
            if value is not None:
                raise errors.InvalidArgument(f"invalid argument: {name}: expects None for a model that is loaded, got {value}")
        model = package
    else:
        model = load(package, device, threads)
    if model.info["task"] != task:
        raise errors.InvalidArgument(f"invalid argument: '{model.path}': expects a model of the task {task}, got {model.info['task']}")
    return model


def read_text(path: str | os.PathLike) -> str:
    """Read a UTF-8 file as it is, line ends included.
    Raises: Missing, BadData with the place of the first wrong byte.
    """
    try:
        return pathlib.Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise errors.BadData(f"bad data: '{path}': byte {error.start}: expects UTF-8, found {error.object[error.start]:#04x}") from error
    except OSError as error:
        raise errors.Missing(f"missing: '{path}': expects a text file, found {(error.strerror or 'nothing').lower()}") from error


def _windows(tokens: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Begin, end and first scored token of each window. The first token of a window has nothing before it and is not scored."""
    scored = 0
    for begin in range(0, tokens, stride):
        end = min(begin + window, tokens)
        first = max(scored, begin + 1)
        if first < end:
            yield begin, end, first
        scored = end
        if end == tokens:
            return


def _nll(logits: np.ndarray, targets: np.ndarray) -> float:
    """Sum the negative log-likelihoods of targets [T] under logits [T, V] f32, in f64; NaN where a row is no distribution."""
    total = 0.0
    for start in range(0, len(targets), SCORED_ROWS):
        rows = logits[start : start + SCORED_ROWS].astype(np.float64)
        with np.errstate(invalid="ignore"):
            rows -= rows.max(axis=1, keepdims=True)
        wanted = np.take_along_axis(rows, targets[start : start + SCORED_ROWS, None], axis=1)[:, 0]
        total += float((np.log(np.exp(rows).sum(axis=1)) - wanted).sum())
    return total


def window_of(model: Model, window: int | None) -> int:
    """Check the window of a run over a text; None becomes `WINDOW`, or the context where that is shorter."""
    limit = min(value for value in (model.info["context"], model.info["max_positions"]) if value > 0)
    window = min(WINDOW, limit) if window is None else window
    if not 2 <= window <= limit:
        raise errors.InvalidArgument(f"invalid argument: window: expects 2 to {limit} tokens, the context of '{model.path}', got {window}")
    return window


def tokens_of(model: Model, text: str | os.PathLike, window: int, stride: int) -> tuple[np.ndarray, float]:
    """Check the stride and the text that `perplexity` is given.
    Returns: tokens [T] int32 of the text with the special ones that the tokenizer adds, and tokens a byte without those.
    """
    place, text = ("text", text) if isinstance(text, str) else (f"'{os.fspath(text)}'", read_text(text))
    if not 1 <= stride <= window:
        raise errors.InvalidArgument(f"invalid argument: stride: expects 1 to {window} tokens, the window, got {stride}")
    tokenizer = model.tokenizer.raw
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoded = tokenizer.encode(text)
    own = len(encoded.ids) - sum(encoded.special_tokens_mask)
    if len(encoded.ids) < 2 or own < 1:
        raise errors.InvalidArgument(f"invalid argument: {place}: expects at least 2 tokens, got {own}")
    return np.array(encoded.ids, dtype=np.int32), own / len(text.encode())


def perplexity(
    package: str | os.PathLike | Model,
    text: str | os.PathLike,
    *,
    window: int | None = None,
    stride: int | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> Perplexity:
    """Measure how well a causal language model predicts a text.
    The whole text is tokenized once. Windows of `window` tokens begin every `stride` tokens; a token is scored in the first window that
    holds it together with one before it, as in transformers' guide to perplexity. No window: 512, or the context where that is shorter.
    No stride: windows do not overlap.
    Args: package, a folder or a loaded model; text, the text itself, or a `pathlib.Path` of a UTF-8 file; threads and device, for a folder.
    Returns: a Perplexity; log-softmax and sums are in f64.
    Raises: InvalidArgument (window, stride, a text of fewer than two tokens, a package of another task), BadData, Missing, Internal (the
        model gives NaN).
    """
    model = open_for(package, threads, "causal-lm", device)
    window = window_of(model, window)
    stride = window if stride is None else stride
    ids, tokens_per_byte = tokens_of(model, text, window, stride)
    total, scored, count = 0.0, 0, 0
    for begin, end, first in _windows(len(ids), window, stride):
        logits = model.logits(ids[begin:end])[0]
        nll = _nll(logits[first - begin - 1 : -1], ids[first:end])
        if math.isnan(nll):
            raise errors.Internal(f"internal: '{model.path}': tokens {begin} to {end}: expects numbers as logits, found NaN")
        total, scored, count = total + nll, scored + end - first, count + 1
    mean = total / scored
    with np.errstate(over="ignore"):
        value = float(np.exp(mean))
    return Perplexity(value, mean, scored, count, mean / math.log(2) * tokens_per_byte)


def _json_lines(path: pathlib.Path, text: str) -> Iterator[tuple[int, object, object]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise errors.BadData(f"bad data: '{path}': line {number}: expects a JSON object, found {line.strip()[:40]!r}") from error
        if not isinstance(entry, dict):
            raise errors.BadData(f"bad data: '{path}': line {number}: expects a JSON object, found {line.strip()[:40]!r}")
        yield number, entry.get("text"), entry.get("label")


def _table(path: pathlib.Path, text: str, delimiter: str) -> Iterator[tuple[int, object, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        missing = {"text", "label"}.difference(reader.fieldnames or [])
        if missing:
            raise errors.BadData(
                f"bad data: '{path}': line 1: expects the columns text and label, found no {' and no '.join(sorted(missing))}"
            )
        for row in reader:
            if None in row or None in row.values():
                found = sum(value is not None for name, value in row.items() if name is not None) + len(row.get(None) or [])
                raise errors.BadData(f"bad data: '{path}': line {reader.line_num}: expects {len(reader.fieldnames)} columns, found {found}")
            yield reader.line_num, row["text"], row["label"]
    except csv.Error as error:
        raise errors.BadData(f"bad data: '{path}': line {reader.reader.line_num}: expects a row of a table, found: {error}") from error


def _label_id(label: object, names: list[str]) -> int | None:
    """The id of a label that is an id or a name; None when it is neither."""
    if isinstance(label, str) and label in names:
        return names.index(label)
    if isinstance(label, str) and label.isascii() and label.isdigit() and len(label) < 10:
        label = int(label)
    return label if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(names) else None


def _examples(path: pathlib.Path, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Read the texts and label ids of a labelled file."""
    delimiters = {".csv": ",", ".tsv": "\t"}
    if path.suffix not in (".jsonl", *delimiters):
        raise errors.InvalidArgument(f"invalid argument: '{path}': expects a file .jsonl, .csv or .tsv, got '{path.suffix}'")
    text = read_text(path).removeprefix("\ufeff")
    rows = _json_lines(path, text) if path.suffix == ".jsonl" else _table(path, text, delimiters[path.suffix])
    texts, labels = [], []
    for number, example, label in rows:
        if not isinstance(example, str) or any("\ud800" <= letter <= "\udfff" for letter in example):
            raise errors.BadData(f"bad data: '{path}': line {number}: text: expects a string, found {example!r}")
        if (index := _label_id(label, names)) is None:
            listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise errors.BadData(f"bad data: '{path}': line {number}: label: expects 0 to {len(names) - 1} or {listed}, found {label!r}")
        texts.append(example)
        labels.append(index)
    if not texts:
        raise errors.BadData(f"bad data: '{path}': expects at least one example, found none")
    return texts, np.array(labels)


def accuracy(
    package: str | os.PathLike | Model,
    path: str | os.PathLike,
    *,
    batch: int | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> Accuracy:
    """Measure how often a classifier is right.
    Args: package, a folder or a loaded model; path, a file of texts and labels: `.jsonl` with the keys text and label, `.csv` or `.tsv`
        with a header that has those columns; a label is an id or a name of the model's `id2label`, a text is cut at the model's length;
        batch, texts of a run, as many as the package takes by default; threads and device, for a folder.
    Returns: an Accuracy.
    Raises: InvalidArgument, Missing, BadData with the line of the first wrong example.
    """
    model = open_for(package, threads, "sequence-classification", device)
    names = model.manifest["model"]["labels"]
    texts, labels = _examples(pathlib.Path(path), names)
    batch = model.info["max_batch"] if batch is None else batch
    if batch < 1:
        raise errors.InvalidArgument(f"invalid argument: batch: expects at least 1, got {batch}")
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # texts of similar length share a batch
    correct = 0
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        logits = model.logits(*model.tokenizer.batch([texts[index] for index in part], model.info["context"]))
        if np.isnan(logits).any():
            raise errors.Internal("internal: the logits of a text hold NaN")
        correct += int((logits.argmax(axis=1) == labels[part]).sum())
    return Accuracy(correct / len(texts), correct, len(texts))
