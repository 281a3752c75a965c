"""Data: tokens of files and arrays, blocks of them, masking, and loaders that can go on where they stopped."""

import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ds_mlir import errors
from ds_mlir.evaluate import read_text
from ds_mlir.text import Tokenizer
from ds_mlir.training.batches import IGNORED

_SHUFFLE, _MASK = 0x53485546, 0x4D41534B  # streams of random numbers of one seed
_CHUNK = 1 << 20  # characters that are tokenized at once


def _stream(seed: int, stream: int, *counter: int) -> np.random.Generator:
    """Random numbers that depend on a seed and a counter alone, not on what was drawn before."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, 0, *counter][-4:]))


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Stack samples of equal shape: a list of dictionaries becomes a dictionary of arrays."""
    try:
        return {name: np.stack([np.asarray(sample[name]) for sample in samples]) for name in samples[0]}
    except (KeyError, ValueError) as error:
        raise errors.InvalidArgument("invalid argument: training_data: expects samples of the same keys and shapes") from error


class DataLoader:
    """Micro batches of a data set, shuffled anew in each epoch; its position can be saved.
    Args: data, anything with a length whose items are dictionaries of arrays; batch_size, samples of a micro batch; collate_fn, makes one
        of samples; a `Masking` is also told the epoch and position; shuffle; seed, of the order; drop_last, leave out what fills no batch.
    Raises: InvalidArgument for data without a single batch.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        batch_size: int,
        *,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = True,
    ):
        self.data, self.batch_size, self.collate_fn = data, batch_size, collate_fn or collate
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.epoch = self.position = 0
        if not len(self):
            raise errors.InvalidArgument(f"invalid argument: training_data: expects at least {batch_size} samples, got {len(data)}")

    def __len__(self) -> int:
        count = len(self.data)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def _order(self) -> np.ndarray:
        count = len(self.data)
        return _stream(self.seed, _SHUFFLE, self.epoch).permutation(count) if self.shuffle else np.arange(count)

    def __iter__(self) -> Iterator[Any]:
        """Give the micro batches that are left of this epoch; at its end the next one begins."""
        order = self._order()
        while self.position < len(self):
            at = self.position * self.batch_size
            samples = [self.data[int(index)] for index in order[at : at + self.batch_size]]
            epoch, position = self.epoch, self.position
            self.position += 1
            yield self.collate_fn(samples, epoch, position) if isinstance(self.collate_fn, Masking) else self.collate_fn(samples)
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where it is."""
        return {"epoch": self.epoch, "position": self.position, "samples": len(self.data), "batch_size": self.batch_size, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from there.
        Raises: BadData when it was a loader of other data.
        """
        for name, expected in self.state_dict().items():
            if name not in ("epoch", "position") and state[name] != expected:
                raise errors.BadData(f"bad data: training_data: expects {name} {expected}, found {state[name]} in the checkpoint")
        self.epoch, self.position = state["epoch"], state["position"]


class RepeatingLoader:
    """A loader that begins again when it ends."""

    def __init__(self, loader: Any):
        self.loader = loader
        self._iterator = iter(loader)

    def __iter__(self) -> "RepeatingLoader":
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            self._iterator = iter(self.loader)
            return next(self._iterator)


class Blocks:
    """Token blocks as samples: `input_ids`, and `labels` that are the same where the task is to predict the next token."""

    def __init__(self, blocks: np.ndarray, labels: bool):
        self.blocks, self.labels = blocks, labels

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        ids = self.blocks[index]
        return {"input_ids": ids, "labels": ids} if self.labels else {"input_ids": ids}


class Labelled:
    """Texts with labels as samples, padded by `pad_batch`."""

    def __init__(self, texts: list[str], labels: np.ndarray, tokenizer: Tokenizer, length: int):
        ids, mask, types = tokenizer.batch(texts, length)
        self.ids, self.mask, self.types, self.labels = ids, mask, types, labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        end = max(1, int(self.mask[index].sum()))
        arrays = {"input_ids": self.ids, "attention_mask": self.mask, "token_type_ids": self.types}
        return {name: array[index, :end] for name, array in arrays.items()} | {"labels": self.labels[index]}


def pad_batch(samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Stack samples of different lengths, with zeros behind; `labels` are single numbers."""
    longest = max(len(sample["input_ids"]) for sample in samples)
    batch: dict[str, np.ndarray] = {"labels": np.array([sample["labels"] for sample in samples], np.int32)}
    for name in samples[0]:
        if name != "labels":
            batch[name] = np.zeros((len(samples), longest), np.int32)
            for row, sample in enumerate(samples):
                batch[name][row, : len(sample[name])] = sample[name]
    return batch


class Masking:
    """Masks tokens for a masked language model, as BERT was trained: of the tokens chosen 80 % become the mask, 10 % another token, 10 %
    stay. Special tokens are never chosen; each block has at least one that is. What is chosen depends on the seed, the epoch and the
    position.
    Args: vocabulary, its size; mask_id; special_ids, of special tokens; probability, of a token to be chosen; seed.
    Raises: InvalidArgument for a probability outside of (0, 1].
    Source: Devlin et al. 2018, arXiv:1810.04805.
    """

    def __init__(self, vocabulary: int, mask_id: int, special_ids: Sequence[int], probability: float = 0.15, seed: int = 0):
        if not 0 < probability <= 1:
            raise errors.InvalidArgument(f"invalid argument: mlm_probability: expects more than 0 and at most 1, got {probability}")
        self.mask_id, self.probability, self.seed = mask_id, probability, seed
        self.special = np.array(sorted({*special_ids, mask_id}), np.int32)
        self.ordinary = np.setdiff1d(np.arange(vocabulary, dtype=np.int32), self.special)

    def __call__(self, samples: Sequence[Mapping[str, Any]], epoch: int, position: int) -> dict[str, np.ndarray]:
        """Make a micro batch with `labels`, -100 where nothing was chosen."""
        batch = collate(samples)
        ids, labels = self.mask(batch["input_ids"], epoch, position)
        return {**batch, "input_ids": ids, "labels": labels}

    def mask(self, ids: np.ndarray, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask blocks.
        Args: ids [B, T]; epoch and position, the counter of the random numbers.
        Returns: masked ids and labels, [B, T] int32.
        Raises: BadData for a block of special tokens alone.
        """
        random = _stream(self.seed, _MASK, epoch, position)
        draw, kind = random.random(ids.shape), random.random(ids.shape)
        others = self.ordinary[random.integers(0, len(self.ordinary), ids.shape)]
        free = ~np.isin(ids, self.special)
        if not free.any(axis=1).all():
            raise errors.BadData("bad data: training_data: expects blocks with a token to mask, found one of special tokens alone")
        draw = np.where(free, draw, 2.0)
        chosen = draw < np.maximum(self.probability, np.nextafter(draw.min(axis=1, keepdims=True), 3.0))
        masked = np.where(chosen & (kind < 0.8), self.mask_id, np.where(chosen & (kind >= 0.9), others, ids))
        return masked.astype(np.int32), np.where(chosen, ids, IGNORED).astype(np.int32)


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids of a tokenizer's special tokens."""
    return [index for index, token in tokenizer.raw.get_added_tokens_decoder().items() if token.special]


def mask_id(tokenizer: Tokenizer) -> int:
    """The id of the mask token.
    Raises: BadData when there is none.
    """
    for name in (tokenizer._special("mask_token"), "[MASK]", "<mask>"):
        if name and (index := tokenizer.raw.token_to_id(name)) is not None:
            return index
    raise errors.BadData("bad data: tokenizer.json: expects a mask token, found none")


def _pieces(text: str) -> Iterator[str]:
    """A text in parts that end with a line, so that a tokenizer need not hold all of it at once."""
    while text:
        cut = text.find("\n", _CHUNK) + 1 or len(text)
        yield text[:cut]
        text = text[cut:]


def read_tokens(path: str | os.PathLike, tokenizer: Tokenizer | None) -> np.ndarray:
    """Read the tokens of a file, without special tokens.
    Args: path, a .npy array of integers, or a UTF-8 text; tokenizer, for texts.
    Returns: [N] int32.
    Raises: Missing, BadData, InvalidArgument for a text without a tokenizer.
    """
    file = pathlib.Path(path)
    if file.suffix == ".npy":
        try:
            tokens = np.load(file, allow_pickle=False)
        except FileNotFoundError as error:
            raise errors.Missing(f"missing: '{file}': expects an array of tokens, found nothing") from error
        except (OSError, ValueError) as error:
            raise errors.BadData(f"bad data: '{file}': expects a .npy array, found other bytes") from error
        if tokens.dtype.kind not in "iu":
            raise errors.BadData(f"bad data: '{file}': expects integers, found {tokens.dtype}")
        return tokens.reshape(-1).astype(np.int32)
    if tokenizer is None:
        raise errors.InvalidArgument(f"invalid argument: '{file}': expects a tokenizer for a text, got none (data.tokenizer)")
    tokenizer.raw.no_truncation()
    tokenizer.raw.no_padding()
    ids = [np.array(tokenizer.encode(piece, special=False), np.int32) for piece in _pieces(read_text(file))]
    return np.concatenate(ids) if ids else np.zeros(0, np.int32)


def hold_out(tokens: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Split tokens: the end of them is held out, so that no held-out block overlaps training.
    Returns: tokens for training and for validation.
    """
    cut = len(tokens) - round(len(tokens) * fraction)
    return tokens[:cut], tokens[cut:]


def pack(documents: Sequence[np.ndarray], length: int, prefix: Sequence[int] = (), suffix: Sequence[int] = ()) -> np.ndarray:
    """Pack tokens into blocks of a fixed length; what fills no block at the end is left out.
    Args: documents, tokens of each, joined as they are; length, of a block; prefix and suffix, special tokens around each block.
    Returns: [blocks, length] int32.
    Raises: InvalidArgument when not one block comes out.
    """
    inner = length - len(prefix) - len(suffix)
    tokens = np.concatenate([np.zeros(0, np.int32), *documents])
    count = len(tokens) // inner if inner > 0 else 0
    if not count:
        raise errors.InvalidArgument(
            f"invalid argument: data: expects at least {max(inner, 1)} tokens for a block of {length}, got {len(tokens)}"
        )
    blocks = np.empty((count, length), np.int32)
    blocks[:, : len(prefix)] = prefix
    blocks[:, length - len(suffix) :] = suffix
    blocks[:, len(prefix) : length - len(suffix)] = tokens[: count * inner].reshape(count, inner)
    return blocks


def special_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before and after a text, such as [CLS] and [SEP]."""
    inner, whole = tokenizer.encode("a", special=False), tokenizer.encode("a")
    for at in range(len(whole) - len(inner) + 1):
        if whole[at : at + len(inner)] == inner:
            return whole[:at], whole[at + len(inner) :]
    return [], []
