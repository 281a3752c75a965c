"""torch: eager, torch.compile and AOTInductor."""

import os
import time

import numpy as np
import torch
from task import MODELS, ROOT, GreedyDecoder, Ring, Unserved, processor, ring_arrays, token_ids

os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / "build" / "peers" / "inductor"))
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def versions():
    """Return what ran."""
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__}


class Encoder:
    """Hidden states of an encoder."""

    def __init__(self, task, variant):
        from transformers import AutoModel

        attention = {"attn_implementation": "sdpa"}
        self.model = AutoModel.from_pretrained(MODELS / task.model / "checkpoint", dtype=TYPES[task.precision], **attention).eval()
        ids = torch.from_numpy(token_ids(task))
        self.inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        self.call = self.model
        if variant == "compile":
            self.call = torch.compile(self.model, dynamic=False)
        elif variant == "aoti":
            self.call = self.compiled_ahead(task)
        self.versions = versions
        for _ in range(2):
            self.run()

    def compiled_ahead(self, task):
        """Compile for this shape, weights packed into the package; what was compiled before is used again."""
        import torch._inductor.config

        torch._inductor.config.freezing = True
        folder = ROOT / "build" / "peers" / "aoti"
        folder.mkdir(exist_ok=True)
        name = f"{task.model}-{task.batch}x{task.tokens}-{task.precision}-{task.threads}-{torch.__version__}-{processor()}"
        package = folder / f"{name}.pt2"
        if not package.is_file():
            model = self.model

            class LastHidden(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.model = model

                def forward(self, input_ids, attention_mask, token_type_ids):
                    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
                    return self.model(**inputs).last_hidden_state

            with torch.no_grad():
                exported = torch.export.export(LastHidden().eval(), (), kwargs=self.inputs)
                made = torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / f"{name}.part.pt2"))
            os.replace(made, package)
        return torch._inductor.aoti_load_package(str(package))

    @torch.no_grad()
    def answer(self):
        found = self.call(**self.inputs)
        return (found if isinstance(found, torch.Tensor) else found.last_hidden_state).float().numpy()

    @torch.no_grad()
    def run(self):
        start = time.perf_counter()
        self.call(**self.inputs)
        return time.perf_counter() - start


class Decoder(GreedyDecoder):
    """A causal model with a cache that grows, or one of fixed size for torch.compile."""

    def __init__(self, task, variant):
        from transformers import AutoModelForCausalLM, StaticCache

        if variant == "aoti":
            raise Unserved("transformers has no export of a decoder with its cache that AOTInductor takes as it is")
        path = MODELS / task.model / "checkpoint"
        self.task, self.versions = task, versions
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=TYPES[task.precision], attn_implementation="sdpa").eval()
        self.static = variant == "compile"
        if self.static:
            self.cache = StaticCache(config=self.model.config, max_cache_len=-(-(task.tokens + task.steps + 8) // 16) * 16)
            self.compiled = torch.compile(self.static_step, dynamic=False)
        self.run()

    def static_step(self, ids, positions, cache):
        return self.model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1).logits

    def reset(self):
        self.length = 0
        if self.static:
            self.cache.reset()
        else:
            self.cache = None

    @torch.no_grad()
    def feed(self, ids):
        ids = torch.from_numpy(np.ascontiguousarray(ids))
        if self.static:
            positions = torch.arange(self.length, self.length + ids.shape[1])[None].expand(len(ids), -1)
            logits = self.compiled(ids, positions, self.cache)
        else:
            found = self.model(input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
            self.cache, logits = found.past_key_values, found.logits
        self.length += ids.shape[1]
        return logits[:, -1].float().numpy()


class Product:
    """torch's linear, which is oneDNN's or oneMKL's product; `onednn` packs the matrices for oneDNN before."""

    def __init__(self, task, variant):
        self.versions = versions
        x, matrix, count = ring_arrays(task)
        self.x = torch.from_numpy(x).to(TYPES[task.precision])
        weight = torch.from_numpy(matrix).to(TYPES[task.precision])
        if variant == "onednn":
            packed = [torch.ops.mkldnn._reorder_linear_weight(weight.clone(), task.rows) for _ in range(count)]
            self.multiply = lambda w: torch.ops.mkldnn._linear_pointwise(self.x, w, None, "none", [], "")
            self.ring = Ring(packed, self.multiply)
        else:
            self.multiply = lambda w: torch.mm(self.x, w.t())
            self.ring = Ring([weight.clone() for _ in range(count)], self.multiply)
        self.run()

    @torch.no_grad()
    def answer(self):
        return self.multiply(self.ring.matrices[0]).float().numpy()

    @torch.no_grad()
    def run(self):
        return self.ring.run()


def make(task, variant="eager"):
    """Make the side of a task."""
    torch.set_num_threads(task.threads)
    if task.precision not in TYPES:
        raise Unserved(f"measured in f32 and bf16, not in {task.precision}")
    return {"encode": Encoder, "gemm": Product}.get(task.measure, Decoder)(task, variant)
