"""The text speaks of the project alone, not of the machine or the way it was written on; names say what a file holds.

The patterns put one letter of each word in brackets, so that this file does not match itself.
"""

import re

import source_tree

FORBIDDEN = [
    ("machine path", r"(?<![\w.])/(?:w[o]rk|h[o]me|r[o]ot)/[\w.-]+|/[o]pt/(?:ds|pypi|pypi-more|wheels)\b"),
    ("package registry or mirror", r"deb[.]debian[.]org|pypi[.]org/s[i]mple|(?:extra-)?[i]ndex-url|[f]ind-links"),
    ("writing tool", r"(?i)\b(?:cl[a]ude|anthr[o]pic|chatg[p]t|c[o]pilot|c[o]dex)\b"),
    ("writing tool", r"(?i)\b(?:A[I]|LL[M]|coding|language model)[- ](?:agents?|assistants?|generated|tools?|written)\b"),
    ("way of working", r"(?i)\b(?:previous|earlier|work|coding) s[e]ssions?\b|\bs[u]b-?agents?\b"),
    ("open end", r"\b(?:T[O]DO|F[I]XME)\b"),
]
VAGUE_STEM = re.compile(r"(?i)^(?:.*[_-])?(?:utils?|utilit(?:y|ies)|helpers?|common|misc)$")
VAGUE_NAMESPACE = re.compile(r"\bnamespace\s+(?:[\w:]*::)?(?:utils?|helpers?|common|misc)\b")


def check(root):
    """Yield one finding per forbidden word and per vague file, folder or namespace name."""
    for path in source_tree.source_files(root):
        for part in path.parts:
            if VAGUE_STEM.match(part.split(".")[0]):
                yield f"{path}: '{part}' does not say what it holds"
        text = source_tree.read_text(root / path)
        if text is None or path.suffix in {".json", ".npy", ".safetensors"}:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for kind, pattern in FORBIDDEN:
                for match in re.finditer(pattern, line):
                    yield f"{path}:{number}: {kind}: '{match.group()}'"
            if VAGUE_NAMESPACE.search(line):
                yield f"{path}:{number}: the namespace's name does not say what it holds"


if __name__ == "__main__":
    source_tree.main(check, __doc__)
