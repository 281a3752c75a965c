"""Candidates of the tuner: the best by the model of what `ds-compile --report-tuning=FILE` lists, each forced on a package."""

import dataclasses
import itertools
import json
import pathlib

KEY = ("arch", "builder", "weights", "n", "k", "rows", "norm", "form")


def key_of(line):
    """The key of an entry or a candidate, as it is sorted."""
    return tuple(line[name] for name in KEY)


def read_lines(path):
    """Parse lines of JSON."""
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.strip()]


def spaces(lines):
    """Candidates by key: what is taken first, then the others, the best by the model in front."""
    found = {}
    for line in lines:
        found.setdefault(key_of(line), []).append(line)
    return {key: sorted(space, key=lambda line: not line["chosen"]) for key, space in found.items()}


def entry_line(key, config, **more):
    """The line of an entry, as ds-compile writes it."""
    return json.dumps({**dict(zip(KEY, key, strict=True)), "config": dict(sorted(config.items())), **more}, separators=(",", ":"))


@dataclasses.dataclass(frozen=True)
class Variant:
    """Candidate number `index` of each key that has as many. `entries` are (key, config)."""

    base: str
    index: int
    entries: tuple
    taken: tuple  # (key, config) of candidate 0

    def name_of(self, name):
        """The package that has them."""
        return f"{name}.t{self.index}"

    def write(self, folder):
        """Write the file for --tuning. Returns: its path."""
        path = pathlib.Path(folder) / "tuning.jsonl"
        path.write_text("".join(entry_line(key, config, source="asked") + "\n" for key, config in self.entries))
        return path

    def description(self):
        """What the package's bench.json says of it."""
        return {"base": self.base, "index": self.index, "entries": self.entries, "taken": self.taken}


def variants(name, lines, most):
    """The variants of a package: `most` - 1 of them where some key has as many candidates.
    Args: lines, its candidates; most, candidates of a key with what is taken.
    """
    found = spaces(lines)
    taken = tuple((key, space[0]["config"]) for key, space in found.items())
    for index in itertools.count(1):
        entries = tuple((key, space[index]["config"]) for key, space in found.items() if index < min(most, len(space)))
        if not entries:
            return
        yield Variant(name, index, entries, taken)
