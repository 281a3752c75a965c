"""NumPy's matrix product: the OpenBLAS of its wheel."""

import numpy as np
from task import Ring, Unserved, ring_arrays


class Product:
    """One row is a matrix times a vector, more are a product with the turned matrix."""

    def __init__(self, task):
        x, matrix, count = ring_arrays(task)
        out = np.empty((task.rows, task.outputs), np.float32)
        one = task.rows == 1
        self.multiply = (lambda w: np.dot(w, x[0], out=out[0])) if one else (lambda w: np.matmul(x, w.T, out=out))
        self.out, self.ring = out, Ring([matrix.copy() for _ in range(count)], self.multiply)
        self.run()

    def versions(self):
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {"numpy": np.__version__, blas["name"]: blas["version"]}

    def answer(self):
        self.multiply(self.ring.matrices[0])
        return self.out

    def run(self):
        return self.ring.run()


def make(task):
    """Make the side of a task."""
    if task.precision != "f32":
        raise Unserved("the OpenBLAS of NumPy has no product in bf16 that NumPy calls")
    return Product(task)
