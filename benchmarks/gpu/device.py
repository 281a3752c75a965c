"""The GPU as torch has it: graphs, times by events, turns. In a rehearsal (DS_GPU_REHEARSAL=1) the CPU stands for it."""

import contextlib
import gc
import os
import time

import torch

from . import driver

REHEARSAL = os.environ.get("DS_GPU_REHEARSAL") == "1"
NAME = "cpu" if REHEARSAL else "cuda"
_driver, _side = [], []


def synchronize():
    """Wait for all that was asked for. Raises what went wrong meanwhile."""
    if not REHEARSAL:
        torch.cuda.synchronize()


def release():
    """Give back the memory of what nobody refers to any more. A GPU that is lost has none."""
    gc.collect()
    if not REHEARSAL:
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


def is_lost():
    """Whether a kernel faulted, after which nothing works in this process."""
    try:
        synchronize()
        torch.zeros(1, device=NAME).add_(1).sum().item()
    except Exception:
        return True
    return False


def capability():
    """(major, minor) of the GPU."""
    return (9, 0) if REHEARSAL else torch.cuda.get_device_capability()


def processors():
    """Multiprocessors of the GPU."""
    return 4 if REHEARSAL else torch.cuda.get_device_properties(0).multi_processor_count


def cache_bytes():
    """The second-level cache."""
    return (1 << 16) if REHEARSAL else getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 60 << 20)


def cold_bytes():
    """How much must be read between two reads of one byte, for the second to come from memory."""
    return 3 * cache_bytes() if REHEARSAL else max(200_000_000, 3 * cache_bytes())


def free_bytes():
    """Device memory that can be taken."""
    return (1 << 30) if REHEARSAL else torch.cuda.mem_get_info()[0]


def stream():
    """The handle of the stream that torch puts work on now: while a graph is captured, the capturing one."""
    return None if REHEARSAL else torch.cuda.current_stream().cuda_stream


def load(package):
    """Load the kernels of a package. Returns: the module, and the architecture of the code that was chosen."""
    arch, path = package.module_for(capability())
    if REHEARSAL:
        return driver.Rehearsal(package.table["kernels"]), arch
    torch.zeros(1, device=NAME)
    if not _driver:
        _driver.append(driver.Driver())
    return driver.Module(_driver[0], path.read_bytes(), package.table["kernels"]), arch


class Graph:
    """What `record()` puts on the current stream, captured once; `record` runs once before, so that nothing is loaded meanwhile."""

    def __init__(self, record):
        self.record, self.graph = record, None
        if REHEARSAL:
            record()
            return
        if not _side:
            _side.append(torch.cuda.Stream())
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        # As torch.cuda.graph does, less its collection of garbage, which takes longer than all else. One stream for all: libraries have a
        # workspace for each.
        with torch.cuda.stream(_side[0]):
            record()
            torch.cuda.synchronize()
            self.graph.capture_begin()
            try:
                record()
            finally:
                self.graph.capture_end()
        torch.cuda.synchronize()

    def __call__(self):
        if self.graph is None:
            self.record()
        else:
            self.graph.replay()


def seconds(run, times=1):
    """The time of `run()`, `times` in a row, by events on the stream."""
    if REHEARSAL:
        start = time.perf_counter()
        for _ in range(times):
            run()
        return max(time.perf_counter() - start, 1e-9)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def wall_seconds(run, times=1):
    """The time of `run()`, `times` in a row, by the clock, from an idle device to an idle device."""
    synchronize()
    start = time.perf_counter()
    for _ in range(times):
        run()
    synchronize()
    return time.perf_counter() - start
