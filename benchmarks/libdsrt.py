"""The parts of libdsrt that the Python package does not have: sessions stepped by hand, and traces of each launch."""

import ctypes
import json
import pathlib
import sys

import numpy as np

INT32, INT64 = ctypes.c_int32, ctypes.c_int64


class Batch(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("batch", INT32),
        ("tokens", INT32),
        *((name, ctypes.POINTER(INT32)) for name in ("input_ids", "attention_mask", "token_type_ids")),
    ]


class LoadOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("threads", INT32),
        ("skip_hashes", INT32),
        ("pin", INT32),
        ("huge_pages", INT32),
        ("isa", ctypes.c_char_p),
        ("device", ctypes.c_char_p),
    ]


class Info(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        *((name, ctypes.c_char_p) for name in ("path", "producer", "family", "name", "task", "weights_dtype", "level")),
        *((name, INT32) for name in ("package_version", "threads", "is_decoder", "vocab_size", "hidden_size", "layers", "label_count")),
        *((name, INT32) for name in ("max_positions", "context", "max_batch", "max_rows")),
        *((name, ctypes.POINTER(INT32)) for name in ("bos", "eos")),
        *((name, INT32) for name in ("bos_count", "eos_count", "pad")),
        *((name, INT64) for name in ("parameters", "weights_bytes", "kv_bytes_per_sequence")),
        *((name, ctypes.c_char_p) for name in ("device", "device_name", "cache_type", "note")),
    ]


class TracedStep(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("program", ctypes.c_char_p),
        *((name, INT32) for name in ("batch", "tokens", "rows", "threads", "launches")),
        *((name, INT64) for name in ("keys", "pairs", "begin", "end")),
        ("times", ctypes.POINTER(INT64)),
    ]


def library(path=None):
    """Load the libdsrt at `path`, else the one beside the Python package."""
    if path is None:
        import ds_mlir

        path = pathlib.Path(ds_mlir.__file__).parent.parent.parent / "lib" / "libdsrt.so"
    lib = ctypes.CDLL(str(pathlib.Path(path).resolve()))
    lib.dsrt_last_error.restype = lib.dsrt_version.restype = lib.dsrt_profile_description.restype = ctypes.c_char_p
    return lib


class Model:
    """A package, by libdsrt's C API.
    Args: device, "cuda:0" and the like; None: as the library chooses. library_path, of libdsrt; None: beside the Python package.
        huge_pages, whether weights are copied to such pages; None: on CPUs.
    """

    owner = None  # the model that has the handle; None: this one

    def __init__(self, path, threads, device=None, library_path=None, skip_hashes=False, huge_pages=None):
        self.handle, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.lib = library(library_path)
        options = LoadOptions()
        options.size = ctypes.sizeof(options)
        self.lib.dsrt_load_options_init(ctypes.byref(options))
        options.size, options.threads = ctypes.sizeof(options), threads
        options.huge_pages = int(device is None if huge_pages is None else huge_pages)
        options.skip_hashes, options.device = int(skip_hashes), device.encode() if device else None
        self.check(self.lib.dsrt_load(str(path).encode(), ctypes.byref(options), ctypes.byref(self.handle)))

    def __del__(self):
        if sys.is_finalizing():  # in any order
            return
        if self.session:
            self.lib.dsrt_session_free(self.session)
        if self.handle and not self.owner:
            self.lib.dsrt_free(self.handle)

    def again(self):
        """Return this model once more, for a session of its own."""
        other = object.__new__(Model)
        other.handle, other.session, other.lib, other.owner = self.handle, ctypes.c_void_p(), self.lib, self.owner or self
        return other

    def check(self, status):
        """Raise the library's own line for a status that is not zero."""
        if status:
            raise RuntimeError(self.lib.dsrt_last_error().decode())

    @property
    def note(self):
        """What the model does without though its package has it; empty: nothing."""
        info = Info()
        info.size = ctypes.sizeof(info)
        self.check(self.lib.dsrt_get_info(self.handle, ctypes.byref(info)))
        return (info.note or b"").decode()

    def batch_of(self, ids, mask=None):
        """Describe ids and mask [B, T] int32, which must live as long as what is returned."""
        masked = None if mask is None else mask.ctypes.data_as(ctypes.POINTER(INT32))
        return Batch(ctypes.sizeof(Batch), *ids.shape, ids.ctypes.data_as(ctypes.POINTER(INT32)), masked, None)

    def open_session(self, batch):
        """Make the sequences that `feed` appends to."""
        if self.session:
            self.lib.dsrt_session_free(self.session)
            self.session = ctypes.c_void_p()
        self.check(self.lib.dsrt_session_create(self.handle, batch, ctypes.byref(self.session)))

    def reset(self):
        """Forget all tokens."""
        self.check(self.lib.dsrt_session_reset(self.session))

    def feed(self, ids, logits):
        """Append ids [B, n] and write the logits [B, V] f32 of the last token."""
        ids = np.ascontiguousarray(ids, np.int32)
        out = logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        batch = self.batch_of(ids)
        self.check(self.lib.dsrt_session_forward(self.session, ctypes.byref(batch), out, ctypes.c_size_t(logits.size)))

    def forward(self, ids, output, out, mask=None):
        """Compute one output for ids [B, T] int32 into `out` f32."""
        pointer = out.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        batch = self.batch_of(ids, mask)
        self.check(self.lib.dsrt_forward(self.handle, ctypes.byref(batch), output.encode(), pointer, ctypes.c_size_t(out.size)))

    def description(self):
        """What the launches of each program are: profile.json."""
        text = self.lib.dsrt_profile_description(self.handle)
        if not text:
            raise RuntimeError("the package has no profile.json")
        return {program["name"]: program["launches"] for program in json.loads(text)["programs"]}

    def trace(self, run, steps):
        """Trace `run()`. Returns: a list of (program, begin ns, end ns, times [threads, launches, 2] ns), at most `steps` long."""
        self.check(self.lib.dsrt_trace_start(self.handle, steps))
        try:
            run()
        finally:
            self.check(self.lib.dsrt_trace_stop(self.handle))
        found = []
        for index in range(self.lib.dsrt_trace_count(self.handle, None)):
            step = TracedStep(ctypes.sizeof(TracedStep))
            self.check(self.lib.dsrt_trace_get(self.handle, index, ctypes.byref(step)))
            times = np.ctypeslib.as_array(step.times, shape=(step.threads, step.launches, 2)).copy()
            found.append((step.program.decode(), step.begin, step.end, times))
        return found


def launch_seconds(begin, times):
    """Share the time of a step among its launches: each has the time by which it moves the finish of the work.
    Barriers and gaps count for the launch behind them; launches that overlap are not counted twice.
    Shapes: N = threads, L = launches.
    Args: begin, ns; times, [N][L][2] ns, zeros where a thread did not run a launch.
    Returns: seconds of each launch.
    """
    seconds, finish = [], begin
    for launch in range(len(times[0])):
        end = max(int(thread[launch][1]) for thread in times)
        seconds.append(max(0, end - finish) / 1e9)
        finish = max(finish, end)
    return seconds
