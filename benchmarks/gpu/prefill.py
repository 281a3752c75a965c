"""Whole sequences: encoders at batch 1, and prompts of decoders, ours beside transformers."""

import numpy as np

from . import device
from .decode import scratch_for
from .programs import Loaded, Program, by_kernel
from .runtime_model import RuntimeModel
from .settings import case_of
from .turns import attempt, measure

REPEATS = 8


def run(settings, name, emit):
    """Measure one package at each number of tokens, then each kernel of the longest step."""
    case, package = case_of("prefill", name, settings), settings.package(name)
    is_decoder = package.manifest["model"]["task"] == "causal-lm"
    program, output = ("prefill", "logits") if is_decoder else ("encode", "hidden")
    result = {"model": package.description.get("model"), "dtype": case.get("dtype"), "tokens": []}
    sides = {side for side in case["sides"] if settings.wants(side)}
    settings.scratch = scratch_for(settings, package.data_bytes + package.data_offset)
    loaded = attempt(result, "load", lambda: Loaded(package)) if sides & {"graph", "libdsrt"} else None
    runtime = attempt(result, "libdsrt", lambda: RuntimeModel(package, loaded.data, settings)) if loaded and "libdsrt" in sides else None
    model = None
    if sides & {"eager", "compile"}:
        from . import torch_model

        model = attempt(result, "transformers", lambda: torch_model.make(package.description["config"], case["dtype"]))
        if model and runtime and not is_decoder:
            result["check"] = attempt(result, "check", lambda: compare_hidden(package, loaded.data, runtime, model, case["dtype"]))
    beside = {}
    for side, other in case.get("beside", {}).items() if loaded and "graph" in sides else ():
        beside[side] = attempt(result, side, lambda other=other: Loaded(settings.package(other), loaded.data))
    for tokens in case["tokens"]:
        result["tokens"].append(measure_tokens(settings, result, package, tokens, program, output, loaded, runtime, model, sides, beside))
        emit(result)
    if loaded and "graph" in sides:
        longest = attempt(result, "program", lambda: Program(loaded, program, 1, case["tokens"][-1], 0, (output,)))
        result["kernels"] = attempt(result, "kernels", lambda: by_kernel(longest, 3)) if longest else None
    return result


def compare_hidden(package, data, runtime, model, dtype):
    """Hold the library's hidden states against transformers' with the same weights, in f32."""
    import torch

    from . import torch_model
    from .expected import difference

    left = [name for name in torch_model.take_weights(model, package, data) if not name.startswith("pooler.")]
    if left:
        return {"not_compared": f"{len(left)} parameters have another form, such as {left[0]}"}
    ids = np.random.default_rng(5).integers(3, package.manifest["model"]["vocab_size"], (1, 64), dtype=np.int32)
    with torch.no_grad():
        wanted = model.float()(torch.as_tensor(ids, dtype=torch.long, device=device.NAME)).last_hidden_state.cpu().numpy()
    model.to(getattr(torch, dtype))
    encode = runtime.encode(ids)
    encode()
    return difference(encode.out, wanted)


def measure_tokens(settings, result, package, tokens, program, output, loaded, runtime, model, sides, beside):
    """All sides at one length, in turns. `beside`: the graphs of other packages of the same weights, by the name of their side."""
    entry, runs, repeats = {"batch": 1, "tokens": tokens}, {}, 1 if settings.dry else REPEATS
    ids = np.random.default_rng(4).integers(3, package.manifest["model"]["vocab_size"], (1, tokens), dtype=np.int32)
    if loaded and "graph" in sides:
        step = attempt(result, f"program {tokens}", lambda: Program(loaded, program, 1, tokens, 0, (output,)))
        for name, programmatic in (("graph", True), ("graph apart", False)):
            graph = attempt(result, f"{name} {tokens}", lambda p=programmatic: step.graph(programmatic=p)) if step else None
            if graph:
                runs[name] = lambda graph=graph: device.wall_seconds(graph, repeats) / repeats
    for name, other in beside.items():
        step = attempt(result, f"{name} {tokens}", lambda other=other: Program(other, program, 1, tokens, 0, (output,))) if other else None
        graph = attempt(result, f"{name} {tokens}", lambda step=step: step.graph(programmatic=True)) if step else None
        if graph:
            runs[name] = lambda graph=graph: device.wall_seconds(graph, repeats) / repeats
    if runtime and program == "encode":
        encode = runtime.encode(ids)
        if attempt(result, f"libdsrt {tokens}", lambda: encode() or True):
            runs["libdsrt"] = lambda: device.wall_seconds(encode, repeats) / repeats
    elif runtime and attempt(result, f"libdsrt {tokens}", lambda: runtime.start(ids)) is not None:
        runs["libdsrt"] = lambda: prompt_seconds(runtime, ids)
    if model:
        from . import torch_model

        encoder = torch_model.Encoder(model, ids)
        for side in ("eager", "compile"):
            if side in sides and attempt(result, f"{side} {tokens}", lambda side=side: getattr(encoder, side)(repeats)):
                runs[side] = lambda side=side: getattr(encoder, side)(repeats) / repeats
        if "compile" in sides:
            result["compile_skips"] = torch_model.skipped_graphs()
        entry["attention"] = model.config._attn_implementation
    entry["sides"] = measure(runs, settings.rounds) if runs else {}
    return entry


def prompt_seconds(runtime, ids):
    """Seconds of one prompt on empty sequences, with the logits of its last token."""
    runtime.model.reset()
    return device.wall_seconds(lambda: runtime.model.feed(ids, runtime.logits))
