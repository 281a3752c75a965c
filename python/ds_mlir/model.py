"""A loaded package: logits, hidden states, embeddings, generation."""

import contextlib
import dataclasses
import json
import operator
import os
import pathlib
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ds_mlir import _dsrt, errors
from ds_mlir.profile import Profile
from ds_mlir.text import Tokenizer, read_checked

FINISH = ("none", "eos", "stop", "length", "cancelled")


@dataclasses.dataclass(frozen=True)
class Generation:
    """What `generate` made.
    Shapes: B = batch, T = tokens of the prompt, N = most new tokens of a row.
    sequences [B, T + N] int32, prompts included, shorter rows filled with the pad token; lengths [B], new tokens of each row; finish, why
    each row ended: `eos`, `stop`, `length` or `cancelled`.
    """

    sequences: np.ndarray
    lengths: np.ndarray
    finish: list[str]


def _ids(values: Any, name: str) -> np.ndarray:
    """Turn lists, NumPy arrays or any array with `__dlpack__` into int32 [B, T]; one sequence becomes a batch of one."""
    if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        values = np.from_dlpack(values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise errors.InvalidArgument(f"invalid argument: {name}: expects rows of equal length, use attention_mask for padding") from error
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise errors.InvalidArgument(f"invalid argument: {name}: expects shape [batch, tokens], got {list(array.shape)}")
    if array.dtype.kind not in "iub":
        if array.size:
            raise errors.InvalidArgument(f"invalid argument: {name}: expects integers, got {array.dtype}")
        array = array.astype(np.int32)
    limits = np.iinfo(np.int32)
    if array.size and array.dtype.kind != "b" and (array.min() < limits.min or array.max() > limits.max):
        raise errors.InvalidArgument(f"invalid argument: {name}: expects 32-bit integers, got {array.max()}")
    return np.ascontiguousarray(array, dtype=np.int32)


def _integer(value: Any, name: str, bits: int = 32) -> int:
    """Check an integer that the runtime takes, of 32 bits with a sign or of 64 without."""
    least, greatest = (-(2**31), 2**31 - 1) if bits == 32 else (0, 2**64 - 1)
    with contextlib.suppress(TypeError):
        if least <= (number := operator.index(value)) <= greatest:
            return number
    raise errors.InvalidArgument(f"invalid argument: {name}: expects an integer from {least} to {greatest}, got {value!r}")


def _optional(values: Any, name: str) -> np.ndarray | None:
    return None if values is None else _ids(values, name)


class Model:
    """A package in memory. Made by `load`."""

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        threads: int | None = None,
        isa: str | None = None,
        verify: bool = True,
        huge_pages: bool = False,
        device: str | None = None,
    ):
        self.path = pathlib.Path(path)
        self._model = _dsrt.Model(
            os.fspath(path),
            threads=_integer(threads or 0, "threads"),
            isa=isa,
            skip_hashes=not verify,
            huge_pages=huge_pages,
            device=device,
        )
        self.info: dict[str, Any] = self._model.info()
        self._folder = self.path.absolute()  # of files that are read later
        self._hashes = {name: file["sha256"] for name, file in self.manifest["files"].items() if "sha256" in file}
        self._defaults = self._generation_defaults()
        self._tokenizer: Tokenizer | None = None
        self._profile: Profile | None = None  # the one whose steps the runtime holds

    def _generation_defaults(self) -> dict[str, Any]:
        text = read_checked(self._folder / "generation_config.json", self._hashes)
        return json.loads(text) if text is not None else {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The package's tokenizer.
        Raises: Missing when the package has none, BadData when it was changed.
        """
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(self._folder, self._hashes)
        return self._tokenizer

    @property
    def manifest(self) -> dict[str, Any]:
        """The package's manifest."""
        return json.loads(self._model.manifest())

    def memory(self) -> dict[str, int]:
        """Bytes of mapped weights, of the arena, of cache address space, and of all that is on a device."""
        return self._model.memory()

    def profile(self, max_steps: int = 4096) -> Profile:
        """Record the steps that run in a `with` block.
        Args: max_steps, how many are kept; a report says how many were not.
        Returns: a Profile, to be entered: `with model.profile() as p: model.encode("a text")`, then `print(p)` or `p.save("p.html")`.
        """
        return Profile(self, max_steps)

    def _default_output(self) -> str:
        """The output that a run is for: embedding or logits, else hidden."""
        outputs = {output["name"] for program in self.manifest["programs"] for output in program["outputs"]}
        return next(name for name in ("embedding", "logits", "hidden") if name in outputs)

    def _forward(self, output, input_ids, attention_mask, token_type_ids):
        arrays = _ids(input_ids, "input_ids"), _optional(attention_mask, "attention_mask"), _optional(token_type_ids, "token_type_ids")
        return self._model.forward(*arrays, output)

    def logits(self, input_ids, attention_mask=None, token_type_ids=None) -> np.ndarray:
        """Compute logits.
        Shapes: B = batch, T = tokens, V = vocabulary.
        Returns: [B, T, V] float32; [B, labels] for a classifier.
        Raises: InvalidArgument for ids outside the vocabulary or too many tokens.
        """
        return self._forward("logits", input_ids, attention_mask, token_type_ids)

    def hidden_states(self, input_ids, attention_mask=None, token_type_ids=None) -> np.ndarray:
        """Compute the last hidden states, after the last norm.
        Returns: [B, T, H] float32.
        """
        return self._forward("hidden", input_ids, attention_mask, token_type_ids)

    def encode(self, inputs, attention_mask=None, token_type_ids=None) -> np.ndarray:
        """Embed texts or token ids, with the model's own pooling.
        Args: inputs, a text, a list of texts (tokenized and padded here; cut at the model's length), or ids [B, T].
        Returns: [B, H] float32.
        """
        if isinstance(inputs, str):
            inputs = [inputs]
        if isinstance(inputs, Sequence) and inputs and all(isinstance(text, str) for text in inputs):
            inputs, attention_mask, token_type_ids = self.tokenizer.batch(inputs, self.info["context"])
        return self._forward("embedding", inputs, attention_mask, token_type_ids)

    def generate(
        self,
        input_ids,
        attention_mask=None,
        *,
        max_new_tokens: int | None = None,
        do_sample: bool = False,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int = 0,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int | None = None,
        stop_strings: str | Sequence[str] | None = None,
        streamer=None,
        prefill_chunk: int = 0,
        return_dict_in_generate: bool = False,
    ) -> np.ndarray | Generation:
        """Continue prompts, by the names and defaults of transformers: what is None comes from generation_config.json, then from there.
        Shapes: B = batch, T = tokens of the prompt, N = most new tokens of a row.
        Args: streamer, an object with `put(tokens)` and `end()`, for a batch of one; it is given the prompt first and must not use this
            model; seed, for sampling: the same seed and row give the same tokens at any batch size; stop_strings, end a row whose new text
            holds one.
        Returns: sequences [B, T + N] int32, or a Generation.
        Raises: InvalidArgument; a prompt that fills the context is not one: its row ends with `length`.
        """
        ids, mask = _ids(input_ids, "input_ids"), _optional(attention_mask, "attention_mask")
        if streamer is not None and len(ids) != 1:
            raise errors.InvalidArgument(f"invalid argument: streamer: expects a batch of one, got {len(ids)}")

        def setting(value, name, neutral):
            value = self._defaults.get(name) if value is None else value
            return neutral if value is None else value

        def integer(value, name, neutral):
            return _integer(setting(value, name, neutral), name)

        if eos_token_id is not None:
            several = isinstance(eos_token_id, Iterable) and not isinstance(eos_token_id, str)
            eos_token_id = [_integer(token, "eos_token_id") for token in (eos_token_id if several else [eos_token_id])]
        stops = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings or [])
        texts = [self.tokenizer.stream() for _ in ids] if stops else []
        seen = [""] * len(ids)

        def on_token(row: int, token: int, finish: int) -> int:
            if streamer is not None:
                streamer.put(np.array([token], dtype=np.int32))
            if stops:
                seen[row] += texts[row].push(token)
                if any(stop in seen[row] for stop in stops):
                    return 1
            return 0

        if streamer is not None:
            streamer.put(ids)
        most = setting(max_new_tokens, "max_new_tokens", 20)
        if self.info["context"] > 0 and hasattr(most, "__index__"):  # no row has more
            most = min(most, self.info["context"])
        tokens, lengths, finish = self._model.generate(
            ids,
            mask,
            max_new_tokens=_integer(most, "max_new_tokens"),
            do_sample=do_sample,
            temperature=setting(temperature, "temperature", 1.0) if do_sample else 1.0,
            top_k=integer(top_k, "top_k", 50) if do_sample else 0,
            top_p=setting(top_p, "top_p", 1.0) if do_sample else 1.0,
            min_p=setting(min_p, "min_p", 0.0) if do_sample else 0.0,
            repetition_penalty=setting(repetition_penalty, "repetition_penalty", 1.0),
            seed=_integer(seed, "seed", 64),
            eos=eos_token_id,
            pad=None if pad_token_id is None else _integer(pad_token_id, "pad_token_id"),
            prefill_chunk=_integer(prefill_chunk, "prefill_chunk"),
            callback=on_token if streamer is not None or stops else None,
        )
        if streamer is not None:
            streamer.end()
        sequences = np.concatenate([ids, tokens[:, : int(lengths.max())]], axis=1)
        if not return_dict_in_generate:
            return sequences
        return Generation(sequences, lengths, [FINISH[reason] for reason in finish])


def load(
    package: str | os.PathLike,
    device: str | None = None,
    threads: int | None = None,
    *,
    isa: str | None = None,
    verify: bool = True,
    huge_pages: bool = False,
) -> Model:
    """Open a package.
    Args: package, the folder; device, `cpu`, `cuda`, `cuda:1` or `emulate`, None for DS_DEVICE, else the CPU where the package has code
        for it, else `cuda:0`; threads, None for all that may be used; isa, the highest CPU level to use; verify, hash the weights as well
        as the code; huge_pages, copy the weights to 2 MiB pages where memory is plenty: faster steps, but a longer load and memory that
        processes do not share.
        A warning says what the model does without though its package has it, such as cuBLASLt where that is not there.
    Raises: Missing, BadData (a file was changed), Unavailable (no code for this machine or device, no GPU, no driver, out of memory),
        InvalidArgument (another device).
    """
    model = Model(package, threads=threads, isa=isa, verify=verify, huge_pages=huge_pages, device=device)
    if model.info["note"]:
        warnings.warn(f"{os.fspath(package)}: {model.info['note']}", stacklevel=2)
    return model
