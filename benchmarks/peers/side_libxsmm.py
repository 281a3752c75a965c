"""libxsmm's products, on matrices that are packed for it before."""

import ctypes

import numpy as np
from task import ROOT, Ring, Unserved, ring_arrays


class Product:
    """A product with one matrix of a ring after the other."""

    def __init__(self, task):
        self.task, self.lib = task, ctypes.CDLL(str(ROOT / "build" / "peers" / "libxsmm" / "libxsmm_product.so"))
        self.lib.product_open.restype = ctypes.c_void_p
        self.lib.product_run.restype = ctypes.POINTER(ctypes.c_float)
        self.lib.product_run.argtypes = self.lib.product_close.argtypes = [ctypes.c_void_p]
        x, matrix, count = ring_arrays(task)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, matrix)]
        self.handle = self.lib.product_open(task.rows, task.outputs, task.inputs, int(task.precision != "f32"), count, *pointers)
        if not self.handle:
            raise Unserved(f"libxsmm makes no {task.precision} kernel for {task.rows}x{task.outputs}x{task.inputs}")
        self.ring = Ring([None], lambda _: self.lib.product_run(self.handle))
        self.run()

    def __del__(self):
        if getattr(self, "handle", None):
            self.lib.product_close(self.handle)

    def versions(self):
        return {"libxsmm": "1.17"}

    def answer(self):
        return np.ctypeslib.as_array(self.lib.product_run(self.handle), shape=(self.task.rows, self.task.outputs))

    def run(self):
        return self.ring.run()


def make(task):
    """Make the side of a task."""
    return Product(task)
