"""Files stay short: 400 lines is a warning, 800 an error; a line of code has at most 140 characters."""

import source_tree

SOFT_LINES = 400
HARD_LINES = 800
LINE_LENGTH = 140


def check(root):
    """Yield one finding per file that is too long and per line that is too long."""
    for path in source_tree.source_files(root):
        text = source_tree.read_text(root / path)
        if text is None or "Inputs" in path.parts:
            continue
        code = source_tree.is_code(path, text)
        if not code and path.suffix not in {".mlir", ".test"}:
            continue
        lines = text.splitlines()
        if len(lines) > HARD_LINES:
            yield f"{path}: {len(lines)} lines, expected at most {HARD_LINES}"
        elif len(lines) > SOFT_LINES:
            yield f"warning: {path}: {len(lines)} lines, more than {SOFT_LINES}"
        for number, line in enumerate(lines if code else [], 1):
            if len(line) > LINE_LENGTH:
                yield f"{path}:{number}: {len(line)} characters, expected at most {LINE_LENGTH}"


if __name__ == "__main__":
    source_tree.main(check, __doc__)
