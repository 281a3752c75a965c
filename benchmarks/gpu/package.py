"""Reads a package for a GPU: manifest, launches, what each launch computes, and where each weight lies.

A package of benchmarks/gpu/build has one file more, bench.json: how its weights are packed (`storages`), what is done with it (`group`),
and, where its weights file was too large to be carried, `random`: then weights.head holds the file's first bytes.
"""

import dataclasses
import functools
import json
import pathlib
import struct

from .launches import place_of

SIZES = ("batch", "tokens", "token_rows", "selected")
POINTERS = ("arena", "weights", "input", "output", "kv", "counters")
HEAD = "weights.head"
DESCRIPTION = "bench.json"
TYPES = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4}


class Inconsistent(ValueError):
    """A package whose files do not fit each other."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """A weight as it is packed. `rows` and `depth` are of the matrix; `bits` is 16 for bf16, `group` 0 for one scale a row."""

    name: str
    parameter: str
    layout: str
    dtype: str
    shape: tuple
    offset: int
    bytes: int
    rows: int = 0
    depth: int = 0
    bits: int = 16
    group: int = 0
    asymmetric: bool = False
    scale: str = "f16"

    @property
    def label(self):
        """bf16, int8-g64, int4-g64: what a table calls it."""
        if self.bits == 16:
            return "bf16"
        return f"int{self.bits}-" + (f"g{self.group}" if self.group else "row") + ("-asym" if self.asymmetric else "")


@dataclasses.dataclass(frozen=True)
class Product:
    """A launch that is one product and nothing else. `x` and `y` are (kind, value) as a launch's arguments have them."""

    package: "Package"
    program: str
    launch: int
    storage: Storage
    x: tuple
    y: tuple
    kernel: str


class Package:
    """A package folder.
    Raises: Inconsistent, with the file and what is wrong.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.name = self.folder.name
        self.manifest = self.read("manifest.json")
        description = self.folder / DESCRIPTION
        self.description = json.loads(description.read_text()) if description.is_file() else {}
        self.data_bytes = self.manifest["weights"]["data_bytes"]
        self.data_offset = self.manifest["weights"]["data_offset"]

    def read(self, name):
        """Parse one of the package's JSON files."""
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError) as error:
            raise Inconsistent(f"{self.folder / name}: {error}") from error

    @functools.cached_property
    def table(self):
        """The launches: code/launches.json."""
        table = self.read(self.manifest.get("launches", "code/launches.json"))
        if table.get("format") != "ds-launches" or table.get("version") not in (1, 3, 4):
            raise Inconsistent(f"{self.name}: expects ds-launches version 1, 3 or 4, found {table.get('format')} {table.get('version')}")
        return table

    @functools.cached_property
    def arch(self):
        """The architecture whose launches are looked at, until `module_for` chooses one: the first that the package is for."""
        return next((module["arch"] for module in self.table["modules"] if module["target"] == "cuda"), "")

    def is_here(self, stage):
        """Whether a stage is launched on `arch`."""
        if "product" in stage:
            return True
        kernel = self.table["kernels"][stage["kernel"]]
        return kernel.get("only", self.arch) == self.arch and kernel.get("except") != self.arch

    @functools.cached_property
    def profile(self):
        """What launches compute: program -> list, from profile.json."""
        return {program["name"]: program["launches"] for program in self.read("profile.json")["programs"]}

    @property
    def weights_path(self):
        """The weights file, which need not be there."""
        return self.folder / self.manifest["weights"]["file"]

    @property
    def is_random(self):
        """Whether the weights file was left out, so that any weights serve."""
        return not self.weights_path.is_file()

    @functools.cached_property
    def head(self):
        """The bytes of the weights file in front of the data."""
        path = self.folder / HEAD if self.is_random else self.weights_path
        with path.open("rb") as file:
            head = file.read(self.data_offset)
        if len(head) != self.data_offset:
            raise Inconsistent(f"{path}: expects {self.data_offset} bytes, found {len(head)}")
        return head

    @functools.cached_property
    def storages(self):
        """Every weight, in the order of the file."""
        (length,) = struct.unpack_from("<Q", self.head)
        types, found = self.description.get("storages", {}), []
        for name, tensor in json.loads(self.head[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            parameter, _, layout = name.rpartition(".")
            if name.startswith("rope."):
                parameter, layout = name, "rope"
            found.append(
                Storage(name, parameter, layout, tensor["dtype"], tuple(tensor["shape"]), begin, end - begin, **types.get(name, {}))
            )
        return found

    @functools.cached_property
    def storage_at(self):
        """Byte offset -> storage."""
        return {storage.offset: storage for storage in self.storages}

    def program(self, name):
        """The manifest's record of a program."""
        for program in self.manifest["programs"]:
            if program["name"] == name:
                return program
        raise Inconsistent(f"{self.name}: has no program {name}")

    def launches(self, name):
        """The table's record of a program, with the launches of `arch`."""
        for program in self.table["programs"]:
            if program["name"] == name:
                return program | {"launches": [stage for stage in program["launches"] if self.is_here(stage)]}
        raise Inconsistent(f"{self.name}: code/launches.json has no program {name}")

    def stages_of(self, program, launch):
        """The stages of one launch of the plan, in order."""
        return [stage for stage in self.launches(program)["launches"] if stage["launch"] == launch]

    def module_for(self, capability):
        """Choose the module for a GPU: a cubin of its own, else PTX that its driver compiles.
        Args: capability, (major, minor).
        Returns: (architecture, path).
        """
        number, best = capability[0] * 10 + capability[1], None
        for module in self.table["modules"]:
            if module["target"] != "cuda":
                continue
            kind, _, arch = module["arch"].partition("_")
            version = int(arch.rstrip("af"))
            exact = kind == "sm" and version // 10 == capability[0] and (version == number if arch.endswith("a") else version <= number)
            if exact:
                rank = (1, version, arch.endswith("a"))
            elif kind == "compute" and version <= number and not arch.endswith("a"):
                rank = (0, version, False)
            else:
                continue
            if best is None or rank > best[0]:
                best = (rank, module)
        if best is None:
            has = ", ".join(module["arch"] for module in self.table["modules"] if module["target"] == "cuda")
            raise Inconsistent(f"{self.name}: has no code for sm_{number}: it has {has or 'none for cuda'}")
        self.arch = best[1]["arch"]
        return self.arch, self.folder / best[1]["file"]

    def products(self, program="decode"):
        """Find the launches that are one product with a packed matrix and nothing else, one for each shape and packing."""
        found = {}
        if all(record["name"] != program for record in self.table["programs"]):
            return []
        for index, launch in enumerate(self.profile.get(program, [])):
            ops = launch["ops"]
            if launch["family"] != "gemm" or [op["op"] for op in ops] != ["linear"]:
                continue
            stages = self.stages_of(program, index)
            if not stages:
                continue
            arguments = [tuple(argument) for argument in stages[0]["args"]]
            weights = [self.storage_at.get(argument[1]) for argument in arguments if argument[0] == "weights"]
            matrices = [storage for storage in weights if storage is not None and storage.layout in ("tiles", "tile_codes")]
            # Operands come first: what the launch reads, then what it writes; scratch and counters are behind them.
            places = [argument for argument in arguments if argument[0] in ("arena", "output")]
            if len(weights) != 1 or len(matrices) != 1 or len(places) < 2 or places[0][0] != "arena":
                continue
            kernel = self.table["kernels"][stages[0]["kernel"]]["name"]
            storage = matrices[0]
            found.setdefault((storage.rows, storage.depth, storage.label), Product(self, program, index, storage, *places[:2], kernel))
        return list(found.values())

    def check(self):
        """Hold the launches against manifest, profile and weights.
        Returns: how many stages were looked at.
        Raises: Inconsistent, with what was expected and found.
        """
        kernels, seen = self.table["kernels"], 0
        for module in self.table["modules"]:
            if module["target"] == "cuda" and not (self.folder / module["file"]).is_file():
                raise Inconsistent(f"{self.name}: {module['file']} is not there")
        for index, kernel in enumerate(kernels):
            if kernel["threads"] % 32 or not 32 <= kernel["threads"] <= 1024 or not 0 <= kernel["shared_bytes"] <= 227 << 10:
                raise Inconsistent(f"{self.name}: kernel {index} {kernel}: threads or shared bytes no block can have")
        for record in self.table["programs"]:
            program = self.program(record["name"])
            for stage in record["launches"]:
                seen += 1
                self.check_stage(record, program, stage, f"{self.name}: {record['name']} launch {stage['launch']}", len(kernels))
            if self.profile and record["launches"]:
                last, count = max(stage["launch"] for stage in record["launches"]), len(self.profile[record["name"]])
                if last >= count:
                    raise Inconsistent(f"{self.name}: {record['name']}: launch {last}, but profile.json has {count}")
        return seen

    def check_stage(self, record, program, stage, place, kernels):
        """Check one stage: sizes that exist, addresses inside what they point to."""
        if "product" in stage:
            self.check_product(record, program, stage["product"], place)
            return
        if not 0 <= stage["kernel"] < kernels:
            raise Inconsistent(f"{place}: expects a kernel below {kernels}, found {stage['kernel']}")
        named = [bound[0] for bound in stage.get("when", [])]
        for dimension in stage["grid"]:
            named += [factor[0] for factor in dimension[1:]]
        for name in named:
            if name not in SIZES:
                raise Inconsistent(f"{place}: expects a size of {', '.join(SIZES)}, found {name}")
        limits = {
            "arena": record["arena_bytes"],
            "weights": self.data_bytes,
            "counters": record["counters_bytes"],
            "input": len(program["inputs"]),
            "output": len(program["outputs"]),
        }
        for argument in stage["args"]:
            kind = argument[0]
            if kind in limits and not (0 <= argument[1] < limits[kind] or (argument[1] == limits[kind] and kind in ("arena", "counters"))):
                raise Inconsistent(f"{place}: {kind} {argument[1]} is outside {limits[kind]}")
            if kind == "weights" and argument[1] not in self.storage_at:
                raise Inconsistent(f"{place}: no weight begins at byte {argument[1]}")
            if kind not in (*POINTERS, "i64", *SIZES):
                raise Inconsistent(f"{place}: argument {kind} is unknown")

    def check_product(self, record, program, product, place):
        """Check a product of cuBLASLt at the most rows of a step."""
        rows, columns, depth = program["max_rows"], product["columns"], product["depth"]
        for name, size in (("x", rows * depth * 2), ("weights", columns * depth * 2), ("sums", rows * columns * 4)):
            if place_of(product[name], rows) + size > record["arena_bytes"]:
                raise Inconsistent(f"{place}: {name} of {size} bytes is outside {record['arena_bytes']}")


def packages(folder):
    """Every package below a folder: name -> Package; a folder without a readable manifest is left out."""
    found = {}
    for manifest in sorted(pathlib.Path(folder).glob("*/manifest.json")):
        found[manifest.parent.name] = Package(manifest.parent)
    return found
