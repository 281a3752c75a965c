"""Sections of a configuration, read strictly: what nobody asked for is refused by its path."""

import difflib
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ds_mlir import errors

_ABSENT = object()


def _describe(value: Any) -> str:
    """A value as it would stand in JSON, cut short."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise errors.BadData(f"'{key}' occurs twice")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise errors.BadData(f"expects numbers of JSON, found {name}")


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read a JSON object from a file; a key that occurs twice is an error.
    Args: path, the file.
    Returns: the object.
    Raises: Missing; BadData with the line, or the key that occurs twice.
    """
    file = pathlib.Path(path)
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise errors.BadData(f"bad data: '{file}': byte {error.start}: expects UTF-8, found {error.object[error.start]:#04x}") from error
    except OSError as error:
        raise errors.Missing(f"missing: '{file}': expects a JSON file, found {(error.strerror or 'nothing').lower()}") from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise errors.BadData(f"bad data: '{file}': line {error.lineno}: {error.msg[:1].lower()}{error.msg[1:]}") from error
    except RecursionError as error:
        raise errors.BadData(f"bad data: '{file}': expects fewer levels of nesting") from error
    except errors.BadData as error:
        raise errors.BadData(f"bad data: '{file}': {error}") from None
    if not isinstance(value, dict):
        raise errors.BadData(f"bad data: '{file}': expects an object, found {_describe(value)}")
    return value


class Section:
    """One object of a configuration. Values are taken by name and checked; `end` refuses what is left.
    Args: values, the object; source, what messages call the whole, such as `'ds.json'`; path, of this object in it.
    Raises: InvalidArgument when it is no object.
    """

    def __init__(self, values: Any, source: str, path: str = ""):
        self.source, self.path = source, path
        if not isinstance(values, Mapping):
            self.refuse("", f"expects an object, found {_describe(values)}")
        self.values = values
        self._known: list[str] = []

    def _place(self, key: str) -> str:
        return ".".join(part for part in (self.path, key) if part)

    def refuse(self, key: str, why: str) -> NoReturn:
        """Raise InvalidArgument that names a key of this section."""
        place = self._place(key)
        raise errors.InvalidArgument(f"invalid argument: {self.source}: {place + ': ' if place else ''}{why}")

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key as it is; it counts as known from now on."""
        self._known.append(key)
        return self.values.get(key, default)

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self.values

    def section(self, key: str) -> "Section | None":
        """The object of a key; None when the key is absent."""
        value = self.take(key, _ABSENT)
        return None if value is _ABSENT else Section(value, self.source, self._place(key))

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.take(key, default)
        if not isinstance(value, bool):
            self.refuse(key, f"expects true or false, found {_describe(value)}")
        return value

    def integer(self, key: str, default: int | None, least: int | None = None) -> int | None:
        """A whole number of at least `least`."""
        value = self.take(key, _ABSENT)
        if value is _ABSENT:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value != math.floor(value):
            self.refuse(key, f"expects a whole number, found {_describe(value)}")
        if least is not None and value < least:
            self.refuse(key, f"expects at least {least}, found {_describe(value)}")
        return int(value)

    def number(
        self,
        key: str,
        default: float | None,
        *,
        least: float | None = None,
        above: float | None = None,
        most: float | None = None,
        below: float | None = None,
    ) -> float | None:
        """A finite number within limits; `above` and `below` are outside of them."""
        value = self.take(key, _ABSENT)
        return default if value is _ABSENT else self._checked(key, value, least, above, most, below)

    def _checked(self, key, value, least=None, above=None, most=None, below=None) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.refuse(key, f"expects a number, found {_describe(value)}")
        wrong = (
            (least is not None and value < least)
            or (above is not None and value <= above)
            or (most is not None and value > most)
            or (below is not None and value >= below)
        )
        if wrong:
            low = f"at least {least:g}" if least is not None else f"more than {above:g}" if above is not None else ""
            high = f"at most {most:g}" if most is not None else f"less than {below:g}" if below is not None else ""
            self.refuse(key, f"expects {' and '.join(part for part in (low, high) if part)}, found {_describe(value)}")
        return float(value)

    def numbers(self, key: str, default: Sequence[float], **limits: float) -> tuple[float, ...]:
        """As many numbers as the default has."""
        value = self.take(key, _ABSENT)
        if value is _ABSENT:
            return tuple(default)
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != len(default):
            self.refuse(key, f"expects {len(default)} numbers, found {_describe(value)}")
        return tuple(self._checked(key, one, **limits) for one in value)

    def choice(self, key: str, default: str | None, choices: Sequence[str]) -> str | None:
        """One of some words."""
        value = self.take(key, _ABSENT)
        if value is _ABSENT:
            return default
        if value not in choices:
            listed = f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]
            self.refuse(key, f"expects {listed}, found {_describe(value)}")
        return value

    def text(self, key: str, default: str | None) -> str | None:
        """A string, or a path."""
        value = self.take(key, _ABSENT)
        if value is _ABSENT:
            return default
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str) or not value:
            self.refuse(key, f"expects a string, found {_describe(value)}")
        return value

    def only(self, key: str, neutral: Sequence[Any], why: str = "not implemented yet") -> None:
        """Take a key that may be there with a value that changes nothing.
        Raises: InvalidArgument with the reason for any other value.
        """
        value = self.take(key, _ABSENT)
        if value is not _ABSENT and not any(value is one or (type(value) is type(one) and value == one) for one in neutral):
            self.refuse(key, f"{why}; expects {' or '.join(_describe(one) for one in neutral)}, found {_describe(value)}")

    def end(self, reasons: Mapping[str, str] | None = None) -> None:
        """Refuse every key that nobody took.
        Args: reasons, why some known keys are refused.
        Raises: InvalidArgument that names the first one.
        """
        for key in self.values:
            if key in self._known:
                continue
            if reasons and key in reasons:
                self.refuse(str(key), reasons[key])
            close = difflib.get_close_matches(str(key), self._known, 1)
            self.refuse(str(key), "unknown key" + (f", did you mean '{close[0]}'?" if close else ""))
