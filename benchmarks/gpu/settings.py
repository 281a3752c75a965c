"""What a run was asked for, and which cases that makes. Without torch: the process that starts the others reads it too."""

import dataclasses
import json
import pathlib
import re

from .package import Inconsistent, Package, packages

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PARTS = ("ceilings", "kernels", "tune", "regions", "decode", "prefill", "correct", "sanitize")
REHEARSED = 64 << 20  # bytes of weights, at most, of the packages that a dry run takes
SHARED_MEMORY = pathlib.Path("/dev/shm")


@dataclasses.dataclass
class Settings:
    """Folders, and what is to be done. Paths are strings, so that it goes through JSON."""

    packages: str
    library: str
    scratch: str
    quick: bool = False
    dry: bool = False
    sides: tuple = ()
    only: tuple = ()
    device: str = "cuda:0"

    @property
    def cases(self):
        """benchmarks/gpu/cases.json."""
        return json.loads((HERE / "cases.json").read_text())

    @property
    def rounds(self):
        """How often each side is measured."""
        if self.dry:
            return 2
        return self.cases["quick"]["rounds"] if self.quick else self.cases["rounds"]

    @property
    def tokens(self):
        """Rows of activations that products are measured with."""
        return self.cases["quick" if self.quick or self.dry else "tokens"]["tokens"] if self.quick or self.dry else self.cases["tokens"]

    def wants(self, side):
        """Whether a side of a comparison is to be measured."""
        return not self.sides or side in self.sides

    def package(self, name):
        """Open a package by name. Raises: Inconsistent when it is not there."""
        folder = pathlib.Path(self.packages) / name
        if not (folder / "manifest.json").is_file():
            raise Inconsistent(f"package {name} is not in {self.packages}")
        return Package(folder)


def names_of(part, settings):
    """The cases of a part, by name."""
    cases = settings.cases
    if settings.dry:
        names = rehearsed_names(part, settings)
    elif part == "ceilings":
        names = ["read", "copy", "matmul"]
    elif part == "kernels":
        shapes = cases["quick"]["shapes"] if settings.quick else [shape for shapes in cases["shapes"].values() for shape in shapes]
        names = [f"{rows}x{depth}" for rows, depth in shapes]
    elif part == "tune":
        names = tuned_names(packages(settings.packages))
    elif part == "regions":
        names = [f"{case['package']}:{case['kind']}:{tokens}" for case in cases["regions"] for tokens in case["tokens"]]
    elif part in ("decode", "prefill"):
        names = [case["package"] for case in cases[part]]
    elif part == "correct":
        names = [name for name, package in packages(settings.packages).items() if package.description.get("group") == "correct"]
    else:
        names = [f"{case['package']}:{tool}" for tool in ("memcheck", "racecheck") for case in cases["sanitize"] if tool in case["tools"]]
    if settings.only:
        names = [name for name in names if any(re.search(pattern, f"{part}/{name}") for pattern in settings.only)]
    return names


def rehearsed_names(part, settings):
    """The cases of a dry run: those that the CPU can stand for, on the packages that are small."""
    small = [package for package in packages(settings.packages).values() if package.data_bytes <= REHEARSED]
    if part == "tune":
        return tuned_names({package.name: package for package in small})
    if part != "correct":
        small = [package for package in small if "tuning" not in package.description]
    decoders = [package for package in small if package.manifest["model"]["task"] == "causal-lm"]
    encoders = [package for package in small if package.manifest["model"]["task"] != "causal-lm"]
    correct = [package for package in small if package.description.get("group") == "correct" and not package.is_random]
    if part == "ceilings":
        return ["copy", "matmul"]
    if part == "kernels":
        shapes = {(product.storage.rows, product.storage.depth) for package in decoders for product in package.products()}
        return [f"{rows}x{depth}" for rows, depth in sorted(shapes)[:2]]
    if part == "regions":
        found = [f"{package.name}:layer:1" for package in decoders[:1]] + [f"{package.name}:layer:16" for package in encoders[:1]]
        norms = [package for package in decoders if any(is_norm(launch) for launch in package.profile["prefill"])]
        found += [f"{package.name}:norm:16" for package in norms[:1]]
        return found + [f"{package.name}:attention:16" for package in decoders[:1]]
    if part == "decode":
        return [package.name for package in decoders[:2]]
    if part == "prefill":
        return [package.name for package in encoders[:1]]
    if part == "correct":
        return [package.name for package in correct]
    return []


def tuned_names(found):
    """A case for each package that has others which cut its products in other ways."""
    return sorted({package.description["tuning"]["base"] for package in found.values() if "tuning" in package.description})


def is_norm(launch):
    """Whether a launch is a norm and nothing else."""
    return launch["family"] == "row" and [op["op"] for op in launch["ops"]] in (["rms_norm"], ["layer_norm"])


def case_of(part, name, settings):
    """The entry of cases.json for a case of `regions`, `decode` or `prefill`; in a dry run one that any package serves."""
    package, *rest = name.split(":")
    if settings.dry:
        program = "decode" if settings.package(package).manifest["model"]["task"] == "causal-lm" else "encode"
        kind = rest[0] if rest else ""
        if kind in ("attention", "norm"):
            program = "prefill"
        sides = ["graph", "libdsrt", "eager", "compile"]
        names = {"graph mma": package, "graph cublaslt": f"{package}-cublaslt"}
        beside = {side: other for side, other in names.items() if (pathlib.Path(settings.packages) / other).is_dir()}
        return {"package": package, "kind": kind, "program": program, "past": [8], "tokens": [16, 24], "batches": [1, 2], "sides": sides,
                "dtype": "float32", "beside": beside}  # fmt: skip
    for case in settings.cases[part]:
        if case["package"] == package and (not rest or case["kind"] == rest[0]):
            return case
    raise Inconsistent(f"cases.json has no case {part}/{name}")
