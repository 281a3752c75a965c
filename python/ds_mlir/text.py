"""Text to tokens and back, with the package's tokenizer.json and chat template."""

import functools
import hashlib
import json
import os
import pathlib
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from ds_mlir import errors


def read_checked(file: pathlib.Path, hashes: Mapping[str, str]) -> bytes | None:
    """Read a file of a package; None when there is none.
    Args: hashes, sha256 by name, of the files that are to have one.
    Raises: BadData when the file is another one than when the package was made.
    """
    if not file.is_file():
        return None
    data = file.read_bytes()
    expected = hashes.get(file.name)
    if expected is not None and (found := hashlib.sha256(data).hexdigest()) != expected:
        raise errors.BadData(f"bad data: '{file}': expects sha256 {expected}, found {found}")
    return data


class Tokenizer:
    """The tokenizer of a package, whose files have these `hashes`, or of a model's folder."""

    def __init__(self, package: pathlib.Path, hashes: Mapping[str, str] = types.MappingProxyType({})):
        import tokenizers

        file = package / "tokenizer.json"
        text = read_checked(file, hashes)
        if text is None:
            raise errors.Missing(f"missing: '{package}': expects a tokenizer, found no tokenizer.json")
        try:
            self.raw = tokenizers.Tokenizer.from_buffer(text)
        except Exception as error:  # it has no class of its own
            raise errors.BadData(f"bad data: '{file}': expects a tokenizer, found: {error}") from error
        config = read_checked(package / "tokenizer_config.json", hashes)
        self.config: dict[str, Any] = json.loads(config) if config is not None else {}
        sentence = read_checked(package / "sentence_bert_config.json", hashes)
        self.sentence_limit = json.loads(sentence).get("max_seq_length") if sentence is not None else None
        template = read_checked(package / "chat_template.jinja", hashes)
        self.chat_template = template.decode() if template is not None else self.config.get("chat_template")
        if isinstance(self.chat_template, list):
            self.chat_template = {entry["name"]: entry["template"] for entry in self.chat_template}.get("default")

    def _special(self, name: str) -> str | None:
        token = self.config.get(name)
        return token["content"] if isinstance(token, dict) else token

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Tokens of a text."""
        self.raw.no_truncation()
        return self.raw.encode(text, add_special_tokens=special).ids

    def decode(self, tokens, *, skip_special: bool = True) -> str:
        """Text of tokens."""
        return self.raw.decode([int(token) for token in tokens], skip_special_tokens=skip_special)

    def batch(self, texts: list[str], limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens of several texts, right-padded and cut at `limit`.
        Returns: ids, mask and token types, each [B, T] int32.
        """
        limit = min(limit, int(self.config.get("model_max_length") or limit), self.sentence_limit or limit)
        self.raw.no_padding()
        self.raw.enable_truncation(limit)
        encoded = self.raw.encode_batch(texts)
        self.raw.no_truncation()
        arrays = np.zeros((3, len(texts), max(1, max(len(one.ids) for one in encoded))), dtype=np.int32)
        for row, one in enumerate(encoded):
            arrays[0, row, : len(one.ids)] = one.ids
            arrays[1, row, : len(one.ids)] = 1
            arrays[2, row, : len(one.ids)] = one.type_ids
        return arrays[0], arrays[1], arrays[2]

    def apply_chat_template(self, messages: list[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Render a conversation. The template is data from the model: it runs in a sandbox.
        Raises: Missing when the model has no template.
        """
        if not self.chat_template:
            raise errors.Missing("missing: the package has no chat template")
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        tokens = {name: self._special(name) for name in names if self._special(name)}
        return _template(self.chat_template).render(messages=messages, add_generation_prompt=add_generation_prompt, **tokens)

    def stream(self) -> "TextStream":
        """A decoder of tokens that come one by one."""
        return TextStream(self)


def tokenizer_of(model: str | os.PathLike) -> Tokenizer | None:
    """Open the tokenizer of a model that is yet to be compiled; None for a GGUF file, whose tokenizer the compiler makes.
    Raises: Missing when a model's folder has none.
    """
    folder = pathlib.Path(model)
    return Tokenizer(folder) if (folder / "config.json").is_file() else None


@functools.lru_cache(maxsize=8)
def _template(source: str):
    import jinja2
    import jinja2.sandbox

    def raise_exception(message):
        raise errors.BadData(f"bad data: chat template: {message}")

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(source)


class TextStream:
    """Turns tokens into text piece by piece; a character is given out when all its bytes are there."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        self.tokens: list[int] = []
        self.start = 0
        self.shown = 0

    def push(self, token: int) -> str:
        """Add a token and return the text it completes, often empty."""
        self.tokens.append(int(token))
        before = self.tokenizer.decode(self.tokens[self.start : self.shown])
        now = self.tokenizer.decode(self.tokens[self.start :])
        if len(now) <= len(before) or now.endswith("\ufffd"):
            return ""
        self.start, self.shown = self.shown, len(self.tokens)
        return now[len(before) :]


class TextStreamer:
    """A streamer for `generate` that writes text as it comes."""

    def __init__(self, tokenizer: Tokenizer, *, skip_prompt: bool = True, file=None):
        self.stream = tokenizer.stream()
        self.skip = skip_prompt
        self.file = file or sys.stdout

    def put(self, tokens: np.ndarray) -> None:
        """Write the text of tokens; those of the first call are the prompt."""
        if self.skip:
            self.skip = False
            return
        for token in np.ravel(tokens):
            self.file.write(self.stream.push(int(token)))
        self.file.flush()

    def end(self) -> None:
        """End the line."""
        self.file.write("\n")
        self.file.flush()
