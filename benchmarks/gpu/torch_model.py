"""The same models by transformers, eager and compiled with CUDA graphs, on the device."""

import copy
import os

import torch

from . import checkpoint, device, weights

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


def make(config, dtype):
    """Make a model of cases.json with random weights on the device."""
    import transformers

    configuration, model_class = checkpoint.configuration(config)
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device.NAME):
            model = getattr(transformers, model_class)(configuration)
    finally:
        torch.set_default_dtype(before)
    model.tie_weights()
    return model.eval().requires_grad_(False).to(getattr(torch, dtype))


def take_weights(model, package, data):
    """Give a model the weights of a package, those that it keeps in parts or turned too.
    Returns: names of parameters that the package has in another form; they keep random values.
    """
    storages, left = {storage.parameter: storage for storage in package.storages}, []
    turned = {f"{name}.weight" for name, module in model.named_modules() if type(module).__name__ == "Conv1D"}
    for name, parameter in model.named_parameters():
        parts = [storages[part] for part in (name, f"{name}.q", f"{name}.k", f"{name}.v") if part in storages]
        if not parts:
            left.append(name)
            continue
        shape = parameter.shape[::-1] if name in turned else parameter.shape
        # Vectors are filled up with zeros.
        values = torch.cat([weights.dense(part, data, parameter.dtype)[: shape[0] // len(parts)] for part in parts])
        if values.shape != shape:
            left.append(name)
        else:
            parameter.data.copy_(values.T if name in turned else values)
    return left


def logits_of(model, ids):
    """The logits of the last token of each sequence, f32 on the CPU."""
    with torch.no_grad():
        out = model(torch.as_tensor(ids, dtype=torch.long, device=device.NAME), use_cache=False)
    return out.logits[:, -1].float().cpu().numpy()


class Decoder:
    """Single steps behind `past` tokens.
    Args: limit, tokens that the cache of a compiled model holds.
    """

    def __init__(self, model, batch, past, limit):
        from transformers import DynamicCache, StaticCache

        self.model, self.past = model, past
        self.prompt = torch.randint(3, model.config.vocab_size, (batch, past), device=device.NAME)
        self.ids, self.positions = self.prompt[:, :1].clone(), torch.full((batch, 1), past, device=device.NAME)
        self.new_cache = lambda: DynamicCache(config=model.config)
        self.new_static = lambda: StaticCache(config=model.config, max_cache_len=limit)
        self.compiled = None

    @torch.no_grad()
    def prefill(self, cache):
        self.model(input_ids=self.prompt, past_key_values=cache, use_cache=True)
        return cache

    def eager(self, count):
        """Seconds of `count` steps, as transformers runs them."""
        cache = getattr(self, "filled", None)
        if cache is None:
            cache = self.filled = self.prefill(self.new_cache())
        cache = copy.deepcopy(cache)

        @torch.no_grad()
        def step():
            self.model(input_ids=self.ids, position_ids=self.positions, past_key_values=cache, use_cache=True)

        return device.wall_seconds(step, count)

    def compile(self, count):
        """Seconds of `count` steps of the compiled model, whose cache has one place."""
        if self.compiled is None:
            self.static = self.prefill(self.new_static())
            options = {"backend": "eager"} if device.REHEARSAL else {"mode": "reduce-overhead", "fullgraph": True}

            def step(ids, positions):
                return self.model(input_ids=ids, position_ids=positions, past_key_values=self.static, use_cache=True).logits

            self.compiled = torch.compile(step, dynamic=False, **options)
            with torch.no_grad():
                for _ in range(4):
                    self.one()
            self.rewind()
        seconds = device.wall_seconds(self.one, count)
        self.rewind()
        return seconds

    @torch.no_grad()
    def one(self):
        if not device.REHEARSAL:
            torch.compiler.cudagraph_mark_step_begin()
        self.compiled(self.ids, self.positions)

    def rewind(self):
        """Forget all tokens behind the prompt."""
        for layer in self.static.layers:
            if torch.is_tensor(getattr(layer, "cumulative_length", None)):
                layer.cumulative_length.fill_(self.past)
            elif hasattr(layer, "cumulative_length"):
                layer.cumulative_length = self.past


class Encoder:
    """Hidden states of one batch."""

    def __init__(self, model, ids):
        self.model, self.ids, self.compiled = model, torch.as_tensor(ids, dtype=torch.long, device=device.NAME), None
        self.mask = torch.ones_like(self.ids)

    @torch.no_grad()
    def forward(self):
        return self.model(input_ids=self.ids, attention_mask=self.mask)

    def eager(self, count):
        """Seconds of `count` batches."""
        return device.wall_seconds(self.forward, count)

    def compile(self, count):
        """Seconds of `count` batches of the compiled model."""
        if self.compiled is None:
            options = {"backend": "eager"} if device.REHEARSAL else {"mode": "reduce-overhead", "fullgraph": True}
            self.compiled = torch.compile(self.model, dynamic=False, **options)
            with torch.no_grad():
                for _ in range(4):
                    self.one()
        return device.wall_seconds(self.one, count)

    @torch.no_grad()
    def one(self):
        if not device.REHEARSAL:
            torch.compiler.cudagraph_mark_step_begin()
        self.compiled(input_ids=self.ids, attention_mask=self.mask)


def skipped_graphs():
    """Why the compiler made no CUDA graph, where it did not: an anchor without graphs is a weak one."""
    counters = torch._dynamo.utils.counters["inductor"]
    return {name: count for name, count in counters.items() if "cudagraph" in name and count}
