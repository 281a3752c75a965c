"""Who may include whom, and which build file may name LLVM.

    runtime             nothing of ours but dsrt/ and itself; no LLVM
    dialects            dialects/
    include/ds, lib     dialects/, ds/, lib/, dsrt/package.h; lib/Analysis and its headers: dsrt/machine.h and
                        dsrt/gpu_machine.h too, the cost model; lib/Target/CUDA: dsrt/emulate.h, dsrt/gpu_machine.h and
                        dsrt/sample.h too
    lib/Import/Formats  ds/Import/, ds/Support/ and itself; no MLIR, not even through one of these headers
    tools               dialects/, ds/, dsrt/, tools/profiling/; tools/profiling and a tool marked RUNTIME_ONLY: no LLVM, of ours dsrt/ and
                        tools/profiling/ alone, ds-bench runtime/ too
    python              ds/, dialects/, dsrt/
    every product file  JSON is read with nlohmann, never with llvm::json

Only cmake/AddDS.cmake names MLIR, LLVM or LLD targets.
"""

import os
import pathlib
import re

import source_tree

INCLUDE = re.compile(r'^[ \t]*#?[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.M)
OURS = ("dialects", "ds", "dsrt", "lib", "python", "runtime", "test", "tools")
TOOLCHAIN = ("clang", "clang-c", "lld", "llvm", "llvm-c", "mlir", "mlir-c")
PRODUCT = ("dialects", "include", "lib", "python", "runtime", "tools")
RUNTIME_TOOLS = {"ds-bench", "ds-run", "profiling"}
CMAKE_TARGET = re.compile(r"(?<![\w/.$<{-])(?:MLIR[A-Za-z]*|LLVM[A-Za-z0-9]*|lld[A-Z]\w*|LLD)(?![\w/.-])")


def project_path(root, file, name):
    """Return an include as a path from the root, `ds/...`, `dsrt/...`, `mlir/...`; None for one that is not ours to judge."""
    first = name.split("/")[0]
    if "/" in name and first in OURS + TOOLCHAIN:
        return name
    local = pathlib.Path(os.path.normpath(root / file.parent / name))
    if local.is_file() and local.is_relative_to(root):
        path = local.relative_to(root).as_posix()
        for public in ("include/", "runtime/include/"):
            path = path.removeprefix(public)
        return path
    return None


def allowed(file, runtime_only):
    """Return what a file may include: prefixes of ours, and prefixes of the toolchain."""
    path = file.as_posix()
    everything = tuple(f"{name}/" for name in TOOLCHAIN)
    if path.startswith("runtime/"):
        return ("dsrt/", "runtime/"), ()
    if path.startswith("dialects/"):
        return ("dialects/",), everything
    if "/Import/Formats/" in path:
        return ("ds/Import/", "ds/Support/", "lib/Import/Formats/"), ("llvm/",)
    if path.startswith(("include/", "lib/")):
        more = {"/Analysis/": ("dsrt/machine.h", "dsrt/gpu_machine.h")}
        more["/Target/CUDA/"] = ("dsrt/emulate.h", "dsrt/gpu_machine.h", "dsrt/sample.h")
        shared = [header for folder, headers in more.items() if folder in path for header in headers]
        return ("dialects/", "ds/", "lib/", "dsrt/package.h", *shared), everything
    if path.startswith("tools/"):
        own = "/".join(file.parts[:2]) + "/"
        inside = ("runtime/",) if file.parts[1] == "ds-bench" else ()
        return ("dsrt/", "tools/profiling/", own, *inside), () if runtime_only else everything
    return ("dialects/", "ds/", "dsrt/", "python/"), everything


def check_file(root, file, runtime_only):
    """Yield one finding per include that a file may not have."""
    ours, toolchain = allowed(file, runtime_only)
    if file.parts[0] == "tools" and not runtime_only:
        ours += ("dialects/", "ds/")
    text = (root / file).read_text()
    for match in INCLUDE.finditer(text):
        name = match.group(1)
        line = text.count("\n", 0, match.start(1)) + 1
        if name == "llvm/Support/JSON.h":
            yield f"{file}:{line}: includes {name}, expected nlohmann/json.hpp"
            continue
        path = project_path(root, file, name)
        if path is not None and not path.startswith(ours + toolchain):
            yield f"{file}:{line}: may not include {name}"


def reached(root, file):
    """Yield each include of MLIR or of a dialect that a file reaches through our public headers, and the header that has it."""
    seen, waiting = set(), [file]
    while waiting:
        current = waiting.pop()
        for name in INCLUDE.findall((root / current).read_text()):
            path = project_path(root, current, name) or name
            if path.startswith(("mlir/", "dialects/")) and current != file:
                yield path, current
            header = pathlib.Path("include") / path
            if path.startswith("ds/") and header not in seen and (root / header).is_file():
                seen.add(header)
                waiting.append(header)


def check_cmake(root, file):
    """Yield one finding per MLIR, LLVM or LLD target that a build file names."""
    for number, line in enumerate((root / file).read_text().splitlines(), 1):
        code = re.sub(r'"[^"]*"', "", line.split("#", 1)[0])
        for name in CMAKE_TARGET.findall(code):
            yield f"{file}:{number}: names {name}, which only cmake/AddDS.cmake may"


def check(root):
    """Yield one finding per broken layer."""
    files = source_tree.source_files(root)
    for file in files:
        if file.name == "CMakeLists.txt":
            yield from check_cmake(root, file)
        if file.parts[0] not in PRODUCT or file.suffix not in {".c", ".cpp", ".h", ".td"}:
            continue
        runtime_only = False
        if file.parts[0] == "tools" and len(file.parts) > 2:
            build = root / "tools" / file.parts[1] / "CMakeLists.txt"
            marked = build.is_file() and "RUNTIME_ONLY" in build.read_text()
            runtime_only = marked or file.parts[1] in RUNTIME_TOOLS
        yield from check_file(root, file, runtime_only)
        if "/Import/Formats/" in file.as_posix():
            for name, header in reached(root, file):
                yield f"{file}: reaches {name} through {header}"


if __name__ == "__main__":
    source_tree.main(check, __doc__.splitlines()[0])
