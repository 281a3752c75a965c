"""Every line of IR shown in a .td file stands verbatim in a test under test/, as input or as a FileCheck line."""

import re

import source_tree

BLOCK = re.compile(r"```mlir\n(.*?)```", re.S)
CHECK_LINE = re.compile(r"^//\s*[A-Z][\w-]*:\s*")


def squeeze(line):
    """Return a line with every run of white space made one space."""
    return " ".join(line.split())


def check(root):
    """Yield one finding per example line that no test holds."""
    files = source_tree.source_files(root)
    tests = set()
    for path in files:
        if path.parts[0] == "test" and path.suffix in {".mlir", ".test"}:
            for line in (root / path).read_text().splitlines():
                tests.add(squeeze(line))
                tests.add(squeeze(CHECK_LINE.sub("", line.strip())))
    for path in files:
        if path.suffix != ".td" or path.parts[0] == "test":
            continue
        text = (root / path).read_text()
        for block in BLOCK.finditer(text):
            first = text.count("\n", 0, block.start(1)) + 1
            for offset, line in enumerate(block.group(1).splitlines()):
                if squeeze(line) and squeeze(line) not in tests:
                    yield f"{path}:{first + offset}: no test holds: {squeeze(line)}"


if __name__ == "__main__":
    source_tree.main(check, __doc__)
