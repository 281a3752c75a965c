"""One name for a pass and for an op.

A pass `FuseResidualNorm` in include/ds/Transforms/Passes.td has the flag `ds-fuse-residual-norm`, its code in
lib/Transforms/FuseResidualNorm.cpp, its test in test/Transforms/fuse-residual-norm.mlir, that flag as the category of its
remarks, and a RUN line in its test for each of its options. A conversion is `ConvertXToY` with the flag `convert-x-to-y`.
An op `ds.rms_norm` is `DS_RmsNormOp`.
"""

import re

import source_tree

PASS = re.compile(r'^def (\w+)\s*:\s*Pass<\s*"([^"]*)"', re.M)
OPTION = re.compile(r'\b(?:List)?Option<\s*"\w+"\s*,\s*"([\w-]+)"')
CATEGORY = re.compile(r'\.category\(\s*"([^"]*)"\s*\)')
OP = re.compile(r'^def (\w+)\s*:\s*\w*Op\w*<\s*"([a-z0-9_.]+)"', re.M)


def kebab(name):
    """Turn `ConvertDSToPlan` into `convert-ds-to-plan`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def check_pass(root, td, name, flag, body):
    """Yield what one pass definition lacks."""
    room = td.parent.name
    words = kebab(name)
    expected = words if name.startswith("Convert") else f"ds-{words}"
    if flag != expected:
        yield f"{td}: pass {name} has the flag '{flag}', expected '{expected}'"

    source = root / "lib" / room / f"{name}.cpp"
    if not source.is_file():
        yield f"{td}: pass {name} lacks lib/{room}/{name}.cpp"
    else:
        text = source.read_text()
        if f"GEN_PASS_DEF_{name.upper()}" not in text:
            yield f"lib/{room}/{name}.cpp: does not define pass {name}"
        for category in CATEGORY.findall(text):
            if category != expected:
                yield f"lib/{room}/{name}.cpp: remark category '{category}', expected '{expected}'"

    test = root / "test" / room / f"{words}.mlir"
    if not test.is_file():
        yield f"{td}: pass {name} lacks test/{room}/{words}.mlir"
        return
    runs = "\n".join(line for line in test.read_text().splitlines() if "RUN:" in line)
    if flag not in runs:
        yield f"test/{room}/{words}.mlir: no RUN line has '--{flag}'"
    for option in OPTION.findall(body):
        if not re.search(rf"(?<![\w-]){re.escape(option)}=", runs):
            yield f"test/{room}/{words}.mlir: no RUN line sets option '{option}' of pass {name}"


def check(root):
    """Yield one finding per broken name."""
    flags = {}
    for td in source_tree.source_files(root):
        if td.suffix != ".td" or td.parts[0] not in {"dialects", "include"}:
            continue
        text = (root / td).read_text()
        if td.name == "Passes.td":
            starts = list(PASS.finditer(text))
            for index, match in enumerate(starts):
                end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
                name, flag = match.groups()
                if flag in flags:
                    yield f"{td}: flag '{flag}' of pass {name} is also that of {flags[flag]}"
                flags[flag] = name
                yield from check_pass(root, td, name, flag, text[match.end() : end])
        for name, mnemonic in OP.findall(text):
            camel = "".join(part[:1].upper() + part[1:] for part in re.split(r"[_.]", mnemonic)) + "Op"
            if name.split("_", 1)[-1] != camel:
                yield f"{td}: op '{mnemonic}' is {name}, expected it to end in _{camel}"


if __name__ == "__main__":
    source_tree.main(check, __doc__.splitlines()[0])
