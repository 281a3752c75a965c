"""Products of a few rows by a large matrix, with weights that are not in the cache: ours beside cuBLAS and cuBLASLt."""

import dataclasses
import functools
import math

import torch

from . import cublaslt, device, launches, weights
from .package import packages
from .turns import attempt, measure

LEAST_SECONDS = 4e-4  # of one graph
MOST_LAUNCHES = 2048
BOUNDS = {16: 1e-4, 8: 5e-4, 4: 5e-4}  # mean square error of a product by its mean square, by the bits of weights
LABELS = ("bf16", "int8-g64", "int4-g64")
ASSUMED_BYTES_PER_S, ASSUMED_LAUNCH = 3e12, 2e-6
ALGORITHMS = 16  # of cublasLtMatmulAlgoGetHeuristic that are tried


@functools.cache
def all_products(folder):
    """The products of every package, by (rows, depth): a list, packages made for it first."""
    found = {}
    for package in sorted(packages(folder).values(), key=lambda package: package.description.get("group") != "kernels"):
        if package.manifest["model"]["task"] == "causal-lm":
            for product in package.products():
                found.setdefault((product.storage.rows, product.storage.depth), {}).setdefault(product.storage.label, product)
    return found


class Ours:
    """One product of a package, with its weights in so many copies that none is in the cache when its turn comes."""

    def __init__(self, product):
        self.product, package = product, product.package
        self.module, self.arch = device.load(package)
        storage = dataclasses.replace(product.storage, offset=0)
        self.storage, self.sizes = storage, package.program(product.program)
        copies = max(1, -(-device.cold_bytes() // storage.bytes))
        self.stride = -(-storage.bytes // 256) * 256
        self.copies = torch.empty(copies, self.stride, dtype=torch.uint8, device=device.NAME)
        weights.fill(storage, self.copies[0], torch.Generator(device.NAME).manual_seed(1))
        self.copies[1:] = self.copies[0]
        record = package.launches(product.program)
        self.stages = package.stages_of(product.program, product.launch)
        self.arena = torch.randn(record["arena_bytes"] // 4 + 64, device=device.NAME)
        self.counters = torch.zeros(record["counters_bytes"] // 4 + 64, dtype=torch.int32, device=device.NAME)
        self.outputs = []
        for place in self.sizes["outputs"]:
            width = place["shape"][-1]
            self.outputs.append(torch.empty(self.sizes["max_rows"] * width, device=device.NAME))

    @property
    def bytes(self):
        return self.storage.bytes

    def values(self):
        """The matrix, as f32."""
        return weights.dense(self.storage, self.copies[0])

    def place(self, where, rows, columns):
        """The rows of activations at an argument's place."""
        kind, value = where
        flat = self.arena[value // 4 :] if kind == "arena" else self.outputs[value]
        return flat[: rows * columns].view(rows, columns)

    def calls(self, rows):
        """The launches of the product with `rows` rows, once for each copy."""
        sizes, found = launches.step_sizes(rows, 1, rows), []
        outputs = tuple(output.data_ptr() for output in self.outputs)
        memory = launches.Memory(arena=self.arena.data_ptr(), counters=self.counters.data_ptr(), outputs=outputs)
        for copy in range(len(self.copies)):
            base = self.copies.data_ptr() + copy * self.stride - self.product.storage.offset
            found.append(launches.calls_of(self.stages, dataclasses.replace(memory, weights=base), sizes))
        return found

    def record(self, rows, count, programmatic=True):
        """A function that puts `count` products on the stream."""
        calls = self.calls(rows)
        if not calls[0]:
            raise ValueError(f"no stage of {self.product.kernel} runs with {rows} rows")

        def run():
            stream = device.stream()
            for index in range(count):
                for call in calls[index % len(calls)]:
                    self.module.launch(call, stream, programmatic)

        return run

    def check(self, rows):
        """Hold one product against f32 products of the same weights. Returns: {"nmse", "ok"}."""
        x, y = self.place(self.product.x, rows, self.storage.depth), self.place(self.product.y, rows, self.storage.rows)
        x.normal_()
        y.fill_(float("nan"))
        wanted = x.clone() @ self.values().T
        self.record(rows, 1, False)()
        device.synchronize()
        if device.REHEARSAL:
            return {"nmse": 0.0, "ok": True}
        nmse = float(((y - wanted).double().square().sum() / wanted.double().square().sum()).item())
        # What is no number at all has no place in JSON.
        return {"nmse": nmse if math.isfinite(nmse) else 1e300, "ok": nmse <= BOUNDS[self.storage.bits]}

    def numbers(self, all_rows):
        """Registers and the like of the kernels that run, and their grids by the rows of activations."""
        found = {}
        for rows in all_rows:
            for call in self.calls(rows)[0]:
                kernel = self.product.package.table["kernels"][call.kernel]
                shape = {"threads": kernel["threads"], "shared_bytes": kernel["shared_bytes"], "grids": {}}
                entry = found.setdefault(kernel["name"], shape | self.module.numbers(call.kernel))
                entry["grids"][str(rows)] = call.grid
        return found


def launches_of(size, copies):
    """How many products a graph has: long enough to be timed, each copy as often as any other."""
    expected = size / ASSUMED_BYTES_PER_S + ASSUMED_LAUNCH
    count = min(MOST_LAUNCHES, max(copies, LEAST_SECONDS / expected))
    return 2 if device.REHEARSAL else max(1, round(count / copies)) * copies


def vendor_sides(settings, matrix, rows):
    """cuBLAS and cuBLASLt on bf16: name -> function that records `count` products, over copies of the matrix.
    Args: matrix, [N, K] f32.
    """
    copies = max(1, -(-device.cold_bytes() // (2 * matrix.numel())))
    all_weights = torch.empty(copies, *matrix.shape, dtype=torch.bfloat16, device=device.NAME)
    all_weights[:] = matrix.bfloat16()
    x = torch.randn(rows, matrix.shape[1], device=device.NAME).bfloat16()
    y = torch.empty(rows, matrix.shape[0], dtype=torch.bfloat16, device=device.NAME)

    def with_torch(library):
        def record(count):
            def run():
                before = None if device.REHEARSAL else torch.backends.cuda.preferred_blas_library()
                try:
                    if library and not device.REHEARSAL:
                        torch.backends.cuda.preferred_blas_library(library)
                    for index in range(count):
                        torch.matmul(x, all_weights[index % copies].T, out=y)
                finally:
                    if before is not None:
                        torch.backends.cuda.preferred_blas_library(before)

            return run

        return record

    sides = {"cublas": with_torch("cublas"), "cublaslt": with_torch("cublaslt")}
    return {name: record for name, record in sides.items() if settings.wants(name)}, copies, (x, all_weights, y)


def best_algorithm(found, operands, count):
    """Try what cuBLASLt offers for a product, each in a graph of its own. Returns: the function that records the fastest, or None."""
    x, all_weights, y = operands
    product = cublaslt.Product(x, all_weights, y)
    times = {}
    for index in range(len(product.algorithms(ALGORITHMS))):
        try:
            graph = device.Graph(product.record(index, count))
            graph()
            times[index] = min(device.seconds(graph) for _ in range(2))
        except cublaslt.LtError as error:
            found.setdefault("errors", {})[f"cublaslt algorithm {index}"] = str(error)
    if not times:
        return None
    found["algorithms"] = len(times)
    return product.record(min(times, key=times.get), count)


def measure_rows(settings, sides, matrix, rows):
    """Time all sides at one number of rows.
    Args: sides, label -> Ours; matrix, the values of bf16 weights, [N, K] f32.
    """
    found, graphs = {"checks": {}}, {}

    def add(name, record, count):
        graph = attempt(found, name, lambda: device.Graph(record(count)))
        if graph is not None:
            graphs[name] = lambda: device.seconds(graph) / count

    for label, ours in sides.items():
        check = attempt(found, f"{label} check", lambda ours=ours: ours.check(rows))
        if check:
            found["checks"][label] = check
        count = launches_of(ours.bytes, len(ours.copies))
        add(label, lambda count, ours=ours: ours.record(rows, count), count)
        add(f"{label} apart", lambda count, ours=ours: ours.record(rows, count, False), count)
    recorders, copies, operands = vendor_sides(settings, matrix, rows)
    count = launches_of(2 * matrix.numel(), copies)
    for name, record in recorders.items():
        add(name, record, count)
    if not device.REHEARSAL and settings.wants("cublaslt best"):
        best = attempt(found, "cublaslt best", lambda: best_algorithm(found, operands, count))
        if best:
            add("cublaslt best", lambda count: best, count)
    found["sides"] = measure(graphs, settings.rounds) if graphs else {}
    return found


def run(settings, name, emit):
    """Measure one shape, `ROWSxDEPTH`, at every number of tokens."""
    rows, depth = map(int, name.split("x"))
    products = all_products(settings.packages).get((rows, depth), {}) if settings.wants("ours") else {}
    result, sides = {"rows": rows, "depth": depth, "weights": {}, "tokens": {}}, {}
    for label, product in products.items():
        ours = attempt(result, label, lambda product=product: Ours(product))
        if ours is not None:
            sides[label] = ours
            result["weights"][label] = {"bytes": ours.bytes, "kernel": product.kernel, "package": product.package.name, "code": ours.arch}
    missing = [label for label in LABELS if label not in products]
    if missing:
        result["missing"] = missing
    matrix = sides["bf16"].values() if "bf16" in sides else torch.randn(rows, depth, device=device.NAME) * weights.SPREAD
    for tokens in settings.tokens:
        result["tokens"][str(tokens)] = measure_rows(settings, sides, matrix, tokens)
        emit(result)
    for label, ours in sides.items():
        result["weights"][label]["kernels"] = attempt(result, f"{label} numbers", lambda ours=ours: ours.numbers(settings.tokens))
    return result
