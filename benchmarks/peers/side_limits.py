"""The machine's own limits, measured as a side like any other, so that they are of the same minutes."""

import ctypes
import subprocess
import threading

from task import ROOT, processor

BYTES = 512 << 20  # a thread; far beyond any cache
TURNS = 2_000_000


def library():
    """Compile limits.c for this machine, and load it."""
    folder = ROOT / "build" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    source, made = ROOT / "benchmarks" / "peers" / "limits.c", folder / f"limits-{processor()}.so"
    if not made.is_file() or made.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", str(source), "-o", str(made)], check=True)
    lib = ctypes.CDLL(str(made))
    lib.limits_peak.restype = lib.limits_read.restype = ctypes.c_double
    lib.limits_peak.argtypes = [ctypes.c_int, ctypes.c_long]
    lib.limits_read.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    lib.limits_memory.restype, lib.limits_memory.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return lib


class Limits:
    """Peaks in FLOP/s and the read bandwidth in bytes/s, of all threads together."""

    def __init__(self, task):
        self.lib, self.threads = library(), task.threads
        self.memory = self.together(lambda index: self.lib.limits_memory(BYTES))
        if not all(self.memory):
            raise MemoryError(f"no {BYTES} bytes a thread for reading")

    def versions(self):
        return {}

    def together(self, work):
        """Run work(index) on every thread at once. ctypes lets go of the interpreter while it computes."""
        found, gate = [None] * self.threads, threading.Barrier(self.threads)

        def one(index):
            gate.wait()
            found[index] = work(index)

        threads = [threading.Thread(target=one, args=(index,)) for index in range(1, self.threads)]
        for thread in threads:
            thread.start()
        one(0)
        for thread in threads:
            thread.join()
        return found

    def run(self):
        f32 = sum(self.together(lambda index: self.lib.limits_peak(0, TURNS)))
        bf16 = self.together(lambda index: self.lib.limits_peak(1, TURNS))
        read = sum(self.together(lambda index: self.lib.limits_read(self.memory[index], BYTES)))
        # Without an instruction for it, bf16 is computed in f32.
        return {"f32": f32, "bf16": f32 if min(bf16) < 0 else sum(bf16), "read": read}


def make(task):
    """Make the side of a task."""
    return Limits(task)
