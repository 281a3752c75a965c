"""llama.cpp, through the C API that llama-cpp-python carries."""

import ctypes

import llama_cpp
import numpy as np
from task import MODELS, GreedyDecoder, Unserved


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _silent(level, text, user):
    pass


class Decoder(GreedyDecoder):
    """A decoder; each row of a batch is a sequence of its own."""

    def __init__(self, task):
        self.task = task
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        path = MODELS / task.model / f"{task.precision}.gguf"
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise Unserved(f"llama.cpp does not open {path.name} of {task.model}")
        settings = llama_cpp.llama_context_default_params()
        slots = task.batch * (-(-(task.tokens + task.steps + 8) // 256) * 256)
        settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = slots, max(512, slots), 512, task.batch
        settings.n_threads = settings.n_threads_batch = task.threads
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        if not self.context:
            raise RuntimeError("llama.cpp makes no context")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.batch = llama_cpp.llama_batch_init(max(512, task.batch * task.tokens), 0, 1)
        self.run()

    def __del__(self):
        if getattr(self, "context", None):
            llama_cpp.llama_free(self.context)
            llama_cpp.llama_model_free(self.model)

    def versions(self):
        return {"llama-cpp-python": llama_cpp.__version__, "llama.cpp": llama_cpp.llama_print_system_info().decode()[:200]}

    def reset(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        self.length = 0

    def feed(self, ids):
        rows, count = ids.shape
        batch, index = self.batch, 0
        for row in range(rows):
            for column in range(count):
                batch.token[index], batch.pos[index] = int(ids[row, column]), self.length + column
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
                batch.logits[index] = column == count - 1
                index += 1
        batch.n_tokens = index
        status = llama_cpp.llama_decode(self.context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        self.length += count
        places = [llama_cpp.llama_get_logits_ith(self.context, (row + 1) * count - 1) for row in range(rows)]
        return np.stack([np.ctypeslib.as_array(place, shape=(self.vocab,)) for place in places])


def make(task):
    """Make the side of a task."""
    if task.measure == "encode":
        raise Unserved("measured for decoders alone")
    return Decoder(task)
