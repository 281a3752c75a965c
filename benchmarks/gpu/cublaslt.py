"""Products by libcublasLt itself, each by one of the algorithms that its heuristic offers; torch and the runtime take the first alone."""

import ctypes
import functools
import pathlib

import torch

from . import device

REAL_F32, REAL_F16, REAL_BF16, COMPUTE_F32 = 0, 2, 14, 68
TRANSPOSE_A, MOST_WORKSPACE = 3, 1  # CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
WORKSPACE = 32 << 20


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


class LtError(RuntimeError):
    """A call that failed."""


@functools.cache
def library():
    """The libcublasLt that torch has loaded, and a handle of it."""
    torch.ones(16, 16, device=device.NAME).bfloat16() @ torch.ones(16, 16, device=device.NAME).bfloat16()
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    paths = sorted({line.split()[-1] for line in lines if "libcublasLt.so" in line})
    lib, handle = ctypes.CDLL(paths[0] if paths else "libcublasLt.so.13"), ctypes.c_void_p()
    call(lib.cublasLtCreate, ctypes.byref(handle))
    return lib, handle, torch.empty(WORKSPACE, dtype=torch.uint8, device=device.NAME)


def call(function, *arguments):
    """Call a function of the library and raise what it returns."""
    status = function(*arguments)
    if status:
        raise LtError(f"{function.__name__}: status {status}")


class Sizes:
    """y [rows, columns] = x [rows, depth] times weights [columns, depth] transposed, sums in f32.
    Args: factor, result, types of the library.
    """

    def __init__(self, rows, columns, depth, factor, result):
        self.found = []
        lib, _, _ = library()
        self.operation, transpose = ctypes.c_void_p(), ctypes.c_int(1)
        call(lib.cublasLtMatmulDescCreate, ctypes.byref(self.operation), COMPUTE_F32, REAL_F32)
        call(lib.cublasLtMatmulDescSetAttribute, self.operation, TRANSPOSE_A, ctypes.byref(transpose), ctypes.c_size_t(4))
        # The library's matrices go down columns: weights are [K, N], x is [K, M], y is [N, M].
        self.layouts = []
        for element, down, across in ((factor, depth, columns), (factor, depth, rows), (result, columns, rows)):
            layout = ctypes.c_void_p()
            sizes = ctypes.c_uint64(down), ctypes.c_uint64(across), ctypes.c_int64(down)
            call(lib.cublasLtMatrixLayoutCreate, ctypes.byref(layout), element, *sizes)
            self.layouts.append(layout)

    def algorithms(self, count):
        """Ask the heuristic, best first."""
        lib, handle, _ = library()
        preference, most, returned = ctypes.c_void_p(), ctypes.c_uint64(WORKSPACE), ctypes.c_int()
        call(lib.cublasLtMatmulPreferenceCreate, ctypes.byref(preference))
        call(lib.cublasLtMatmulPreferenceSetAttribute, preference, MOST_WORKSPACE, ctypes.byref(most), ctypes.c_size_t(8))
        results, (a, b, c) = (Heuristic * count)(), self.layouts
        arguments = handle, self.operation, a, b, c, c, preference, ctypes.c_int(count), results, ctypes.byref(returned)
        call(lib.cublasLtMatmulAlgoGetHeuristic, *arguments)
        self.found = [result for result in results[: returned.value] if result.state == 0]
        return self.found

    def multiply(self, index, x, weights, y, stream):
        """Put a product by one algorithm on a stream; x, weights and y are addresses."""
        lib, handle, workspace = library()
        one, zero, (a, b, c) = ctypes.c_float(1), ctypes.c_float(0), self.layouts
        x, weights, y = (ctypes.c_void_p(address) for address in (x, weights, y))
        product = ctypes.byref(one), weights, a, x, b, ctypes.byref(zero), y, c, y, c
        algorithm = ctypes.byref(self.found[index].algorithm)
        place = algorithm, ctypes.c_void_p(workspace.data_ptr()), ctypes.c_size_t(WORKSPACE), ctypes.c_void_p(stream)
        call(lib.cublasLtMatmul, handle, self.operation, *product, *place)


class Product(Sizes):
    """y [M, N] = x [M, K] times weights [copies, N, K] transposed, all bf16, sums in f32."""

    def __init__(self, x, weights, y):
        super().__init__(x.shape[0], y.shape[1], x.shape[1], REAL_BF16, REAL_BF16)
        self.x, self.weights, self.y = x, weights, y

    def record(self, index, count):
        """A function that puts `count` products by one algorithm on the stream."""

        def run():
            stream = device.stream()
            for turn in range(count):
                weights = self.weights[turn % len(self.weights)].data_ptr()
                self.multiply(index, self.x.data_ptr(), weights, self.y.data_ptr(), stream)

        return run


@functools.cache
def first_choice(rows, columns, depth, kind):
    """Sizes of a launch's product, with the algorithm that the heuristic offers first."""
    sizes = Sizes(rows, columns, depth, {"bf16": REAL_BF16, "f16": REAL_F16}[kind], REAL_F32)
    if not sizes.algorithms(1):
        raise LtError(f"no algorithm for {rows} rows, {columns} columns and depth {depth} in {kind}")
    return sizes


def multiply(product, stream):
    """Put a product of a package's launches (launches.Product) on a stream, as the runtime does."""
    sizes = first_choice(product.rows, product.columns, product.depth, product.type)
    sizes.multiply(0, product.x, product.weights, product.sums, stream)
