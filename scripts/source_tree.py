"""The files of a checkout and the frame that all check scripts share."""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CODE = {".c", ".cmake", ".cpp", ".cu", ".h", ".py", ".pyi", ".td"}
SKIPPED = {".git", "build", "__pycache__"}


def source_files(root):
    """List the files that are committed or about to be, as sorted paths relative to `root`."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
        paths = {pathlib.Path(name) for name in names if name}
    else:
        paths = {path.relative_to(root) for path in root.rglob("*") if not SKIPPED.intersection(path.relative_to(root).parts)}
    return sorted(path for path in paths if (root / path).is_file() and not (root / path).is_symlink())


def read_text(path):
    """Return a file's text, or None for a file that is not UTF-8 text."""
    data = path.read_bytes()
    if b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def is_code(path, text=""):
    """Whether a file is source code by its name or its `#!` line."""
    return path.suffix in CODE or path.name == "CMakeLists.txt" or text.startswith("#!")


def main(check, description):
    """Run `check(root)`, which yields findings as text, and exit with 1 when there is one.

    A finding that opens with `warning: ` is printed and does not count.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the checkout to look at")
    root = parser.parse_args().root.resolve()
    errors = 0
    for finding in check(root):
        print(finding)
        errors += not finding.startswith("warning: ")
    sys.exit(1 if errors else 0)
