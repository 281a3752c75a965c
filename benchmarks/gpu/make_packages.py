"""Makes what benchmarks/gpu/run needs on a machine with a GPU: packages of cases.json and libdsrt, in build/gpu/carry, to be carried there.

Weights of large models are left out: any will do for a measurement, so they are made where they are needed. Packages whose answers are
compared keep theirs, with the answers of the CPU. What is there and as new as the compiler is not made again.
"""

import argparse
import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

from . import candidates, checkpoint, expected
from .package import DESCRIPTION, HEAD, Inconsistent, Package
from .settings import HERE, ROOT

CASES = json.loads((HERE / "cases.json").read_text())
NAME = r'@(?:"((?:[^"\\]|\\.)*)"|([\w.$-]+))'
PARAMETER = re.compile(rf"ds\.parameter {NAME}.*: tensor<(\d+)x(\d+)x(.+)> loc|ds\.parameter {NAME}.*: tensor<(\d+)x(\d+)x(.+)>\s*$")
STORAGE = re.compile(rf"ds_plan\.storage {NAME}\s+(\w+)\s+of {NAME}")
QUANTIZED = re.compile(r"!ds\.quantized<(\d+) (symmetric|asymmetric)(?: group (\d+))?(?: scale (\w+))?")
CARRY_LIMIT = 60 << 20


def wanted(names):
    """The packages of cases.json: name, entry, model, weights. With `names` those that match one of these expressions."""
    for entry in CASES["packages"]:
        for model in entry["models"]:
            for weights in entry["weights"]:
                name = "-".join([model, weights, *([entry["suffix"]] if "suffix" in entry else [])])
                if not names or any(re.fullmatch(pattern, name) for pattern in names):
                    yield name, entry, model, weights


def flags(entry, weights):
    """The options of ds-compile."""
    return [*entry["options"], *(["--weights=bf16"] if weights == "bf16" else [f"--quantize={weights}", "--weights=bf16"])]


def compile_model(compiler, model, out, options):
    """Run ds-compile. Returns: seconds. Raises: RuntimeError with its message."""
    start = time.monotonic()
    done = subprocess.run([compiler, str(model), "-o", str(out), "--quiet", *options], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(f"exit code {done.returncode}: {(lines or [''])[0]}"[:600])
    return time.monotonic() - start


def ptxas_version():
    """The version of the ptxas in PATH or DS_PTXAS, such as 13.0.88; empty where there is none."""
    ptxas = os.environ.get("DS_PTXAS") or shutil.which("ptxas")
    said = subprocess.run([ptxas, "--version"], capture_output=True, text=True).stdout if ptxas else ""
    match = re.search(r"\bV(\d+[\d.]*)", said)
    return match[1] if match else ""


def storage_types(plan):
    """How matrices in tiles are packed: storage -> rows, depth, bits, group, asymmetric, scale; from the text of --emit=plan."""
    types, found = {}, {}
    for line in plan.splitlines():
        if match := PARAMETER.search(line):
            quoted, plain, rows, depth, element = (
                first or second for first, second in zip(match.groups()[:5], match.groups()[5:], strict=True)
            )
            types[quoted or plain] = (int(rows), int(depth), element)
        elif match := STORAGE.search(line):
            quoted, plain, layout, parameter, plain_parameter = match.groups()
            if layout not in ("tiles", "tile_codes"):
                continue
            rows, depth, element = types[parameter or plain_parameter]
            found[quoted or plain] = {"rows": rows, "depth": depth}
            if quantized := QUANTIZED.search(element):
                bits, kind, group, scale = quantized.groups()
                found[quoted or plain] |= {
                    "bits": int(bits),
                    "group": int(group or 0),
                    "asymmetric": kind == "asymmetric",
                    "scale": scale or "f32",
                }
    return found


def source_of(model, scratch, is_random):
    """The folder of a model: installed, or written here."""
    if CASES["models"][model]["type"] == "installed":
        import models

        return models.model_path(CASES["models"][model]["module"])
    folder = scratch / f"{model}-{'holes' if is_random else 'values'}"
    if not folder.is_dir():
        seed = None if is_random else int.from_bytes(hashlib.sha256(model.encode()).digest()[:4], "little")
        checkpoint.write(CASES["models"][model], folder, seed)
    return folder


def make(name, entry, model, weights, settings, scratch, variant=None):
    """Make one package, its description, and what it must answer.
    Args: variant, a candidates.Variant: products cut as it says, in a package of its own.
    """
    if variant:
        name = variant.name_of(name)
    out, is_random = settings.packages / name, entry["group"] != "correct"
    shutil.rmtree(out, ignore_errors=True)
    source, options = source_of(model, scratch, is_random), flags(entry, weights)
    target = [f"--target={settings.target}", *(["--no-emulation"] if is_random else []), *entry.get("target_options", [])]
    if variant:
        target.append(f"--tuning={variant.write(scratch)}")
    seconds = compile_model(settings.compiler, source, out, [*options, *target])
    plan = scratch / "plan.mlir"
    compile_model(settings.compiler, source, plan, [*options, *target, "--emit=plan"])
    description = {
        "group": entry["group"],
        "model": model,
        "weights": weights,
        "options": options,
        "compile_seconds": round(seconds, 2),
        "config": CASES["models"][model],
        "storages": storage_types(plan.read_text()),
    }
    if variant:
        description |= {"tuning": variant.description(), "ptxas": ptxas_version()} | ({"group": "tune"} if is_random else {})
    (out / DESCRIPTION).write_text(json.dumps(description))
    if is_random:
        package = Package(out)
        (out / HEAD).write_bytes(package.head)
        package.weights_path.unlink()
    else:
        reference = scratch / "reference"
        shutil.rmtree(reference, ignore_errors=True)
        compile_model(settings.compiler, source, reference, [*options, "--target-cpu=native"])
        expected.keep(reference, out / expected.FOLDER)
    stages = Package(out).check()
    found = Package(out)
    products = len(found.products()) if entry["group"] == "kernels" else 0
    print(f"{name}: {seconds:.1f} s, {stages} stages" + (f", {products} products" if products else ""), flush=True)


def spaces_of(entry, model, weights, settings, scratch):
    """The lines of `ds-compile --report-tuning=FILE` for a package."""
    source, path = source_of(model, scratch, entry["group"] != "correct"), scratch / "spaces.jsonl"
    options = [*flags(entry, weights), f"--target={settings.target}", *entry.get("target_options", [])]
    compile_model(settings.compiler, source, scratch / "code.mlir", [*options, "--emit=gpu", f"--report-tuning={path}"])
    return path.read_text().splitlines()


def make_variants(name, entry, model, weights, settings, scratch):
    """Make a package for each candidate of the products that stand alone, all but those that are taken anyhow."""
    lines = spaces_of(entry, model, weights, settings, scratch)
    for variant in candidates.variants(name, map(json.loads, lines), settings.tune):
        make(name, entry, model, weights, settings, scratch, variant)


def write_spaces(settings):
    """Write how the products of packages can be cut to `settings.spaces`, each key once."""
    lines = {}
    with tempfile.TemporaryDirectory(dir=settings.out) as scratch:
        for name, entry, model, weights in wanted(settings.names):
            lines |= dict.fromkeys(spaces_of(entry, model, weights, settings, pathlib.Path(scratch)))
            print(f"{name}: {len(lines)} lines", flush=True)
    settings.spaces.write_text("".join(line + "\n" for line in lines))
    return 0


def pack(settings):
    """Put packages and library into build/gpu/carry."""
    carry = settings.out / "carry"
    shutil.rmtree(carry, ignore_errors=True)
    carry.mkdir(parents=True)
    with lzma.open(carry / "packages.tar.xz", "wb", preset=6) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for folder in sorted(settings.packages.iterdir()):
            if (folder / "manifest.json").is_file():
                archive.add(folder, folder.name)
    library = ROOT / "build" / "release" / "lib" / "libdsrt.so"
    shutil.copyfile(library.resolve(), carry / "libdsrt.so")
    size = sum(path.stat().st_size for path in carry.iterdir())
    print(f"{carry}: {size / (1 << 20):.1f} MiB")
    if size > CARRY_LIMIT:
        print(f"gpu/build: {carry} is larger than {CARRY_LIMIT >> 20} MiB", file=sys.stderr)
        return 1
    return 0


def main():
    """Make what is missing and pack it. Returns: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="packages to make, as regular expressions (default: all)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "gpu", help="where to (default: build/gpu)")
    parser.add_argument("--target", default="cuda:sm_90a", help="as ds-compile's (default: cuda:sm_90a)")
    parser.add_argument("--compiler", default=os.environ.get("DS_BIN", str(ROOT / "build" / "release" / "bin")) + "/ds-compile")
    parser.add_argument(
        "--tune", type=int, default=0, metavar="N", help="also N candidates of each way that products are cut, where packages fuse nothing"
    )
    parser.add_argument("--spaces", type=pathlib.Path, metavar="FILE", help="write how products can be cut, and make no packages")
    parser.add_argument("--force", action="store_true", help="make packages again that are there")
    parser.add_argument("--no-pack", dest="pack", action="store_false", help="do not write build/gpu/carry")
    settings = parser.parse_args()
    settings.out, settings.packages = settings.out.resolve(), settings.out.resolve() / "packages"
    settings.packages.mkdir(parents=True, exist_ok=True)
    if settings.spaces:
        return write_spaces(settings)
    compiled, failed = pathlib.Path(settings.compiler).stat().st_mtime, []
    with tempfile.TemporaryDirectory(dir=settings.out) as scratch:
        for name, entry, model, weights in wanted(settings.names):
            made = settings.packages / name / DESCRIPTION
            if not settings.force and not settings.tune and made.is_file() and made.stat().st_mtime > compiled:
                continue
            try:
                make(name, entry, model, weights, settings, pathlib.Path(scratch))
                if settings.tune > 1 and "--fusion=none" in entry["options"]:
                    make_variants(name, entry, model, weights, settings, pathlib.Path(scratch))
            except (RuntimeError, Inconsistent, OSError) as error:
                failed.append(name)
                shutil.rmtree(settings.packages / name, ignore_errors=True)
                print(f"{name}: {error}", file=sys.stderr, flush=True)
    status = pack(settings) if settings.pack else 0
    if failed:
        print(f"gpu/build: failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else status
