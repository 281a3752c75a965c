"""Steps of one token: whole models at batch 1 and a few sequences, ours beside transformers."""

import numpy as np

from . import device, weights
from .programs import Loaded, Program, by_kernel
from .runtime_model import RuntimeModel
from .settings import case_of
from .turns import attempt, measure

STEPS = 16  # that are timed together
LARGEST_F32 = 3_000_000_000  # parameters of a model that is compared in f32
CHECK_TOKENS = 24


def scratch_for(settings, size):
    """A folder for a file of `size` bytes: in memory where there is room."""
    import shutil

    from .settings import SHARED_MEMORY

    if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 1.2 * size:
        return str(SHARED_MEMORY / "ds-gpu-bench")
    return settings.scratch


def floor_bytes(package, program):
    """Bytes of weights that a step of one sequence must read: tables that are looked up count one row. The last layer stands there twice,
    for chosen rows and for all.
    """
    return sum({(launch["module"], launch["kernel"]): launch["weight_bytes"] for launch in package.profile[program]}.values())


def compare_launches(loaded, runtime):
    """Hold a prompt run by launches.py against the same by the library: the same kernels, so what differs is how they are launched."""
    from .expected import difference

    ids = np.random.default_rng(6).integers(3, loaded.package.manifest["model"]["vocab_size"], (1, CHECK_TOKENS), dtype=np.int32)
    found = Program(loaded, "prefill", 1, CHECK_TOKENS).run(ids)["logits"]
    return difference(np.nan_to_num(found, nan=1e9), runtime.start(ids))


def compare_logits(package, data, runtime, model, dtype):
    """Hold the library's logits of a prompt against transformers' with the same weights.
    Returns: cosine and greatest error; or which weights differ in form, so that nothing can be said.
    """
    import torch

    from . import torch_model
    from .expected import difference

    left = torch_model.take_weights(model, package, data)
    if left:
        return {"not_compared": f"{len(left)} parameters have another form, such as {left[0]}"}
    ids = np.random.default_rng(5).integers(3, package.manifest["model"]["vocab_size"], (1, CHECK_TOKENS), dtype=np.int32)
    is_small = package.manifest["model"]["parameters"] < LARGEST_F32
    wanted = torch_model.logits_of(model.float() if is_small else model, ids)
    model.to(getattr(torch, dtype))
    ours = runtime.start(ids).copy()
    return {"against": "float32" if is_small else dtype, **difference(ours, wanted), "same_token": bool(ours.argmax() == wanted.argmax())}


def run(settings, name, emit):
    """Measure one package: each `past` and batch, each side; then each kernel of a step."""
    case, package = case_of("decode", name, settings), settings.package(name)
    steps = 2 if settings.dry else STEPS
    result = {
        "model": package.description.get("model"),
        "weight_bytes": floor_bytes(package, "decode"),
        "steps": [],
        "dtype": case.get("dtype"),
    }
    sides, rounds = {side for side in case["sides"] if settings.wants(side)}, settings.rounds
    settings.scratch = scratch_for(settings, package.data_bytes + package.data_offset)
    loaded = attempt(result, "load", lambda: Loaded(package)) if sides & {"graph", "libdsrt"} else None
    data = loaded.data if loaded else None
    if loaded and "graph" in sides:
        result["code"] = loaded.arch
        for batch in case["batches"]:
            for past in case["past"]:
                result["steps"].append(graph_times(result, loaded, batch, past, rounds))
                emit(result)
        program = attempt(result, "program", lambda: Program(loaded, "decode", 1, 1, case["past"][0]))
        result["kernels"] = attempt(result, "kernels", lambda: by_kernel(program, 3)) if program else None
        emit(result)
    runtime = None
    if "libdsrt" in sides:
        if data is None:
            data = attempt(result, "data", lambda: weights.random_data(package, device.NAME))
        runtime = attempt(result, "libdsrt", lambda: RuntimeModel(package, data, settings))
    if loaded and runtime and not settings.dry:
        result["launches_check"] = attempt(result, "launches check", lambda: compare_launches(loaded, runtime))
    model = None
    if sides & {"eager", "compile"}:
        from . import torch_model

        model = attempt(result, "transformers", lambda: torch_model.make(package.description["config"], case["dtype"]))
        if model and runtime and data is not None:
            result["check"] = attempt(result, "check", lambda: compare_logits(package, data, runtime, model, case["dtype"]))
            emit(result)
    for past in case["past"]:
        measured = with_others(
            settings, result, case, past, steps, runtime, model, loaded, sides if past == case["past"][0] else sides - {"compile"}
        )
        result["steps"].append(measured)
        emit(result)
    return result


def graph_times(result, loaded, batch, past, rounds):
    """Ours alone, as one graph of a step: with launches that overlap, as the runtime has them, and apart."""
    entry = {"batch": batch, "past": past}
    program = attempt(result, f"graph {batch} x {past}", lambda: Program(loaded, "decode", batch, 1, past))
    if program is None:
        return entry
    graphs = {}
    for name, programmatic in (("graph", True), ("graph apart", False)):
        graph = attempt(result, f"{name} {batch} x {past}", lambda p=programmatic: program.graph(programmatic=p))
        if graph:
            graphs[name] = lambda graph=graph: device.seconds(graph, 4) / 4
    entry["launches"], entry["sides"] = len(program.calls()), measure(graphs, rounds) if graphs else {}
    return entry


def with_others(settings, result, case, past, steps, runtime, model, loaded, sides):
    """All sides at batch 1 in turns: seconds of a step by the clock, from an idle device to an idle device."""
    entry, runs = {"batch": 1, "past": past, "together": True}, {}
    if loaded and "graph" in sides:
        program = attempt(result, f"program {past}", lambda: Program(loaded, "decode", 1, 1, past))
        graph = attempt(result, f"graph {past}", lambda: program.graph()) if program else None
        if graph:
            runs["graph"] = lambda: device.wall_seconds(graph, steps) / steps
    if runtime:
        prompt = np.random.default_rng(2).integers(3, runtime.record["vocab_size"], (1, past), dtype=np.int32)
        step = None

        def ours():
            runtime.model.reset()
            runtime.model.feed(prompt, runtime.logits)
            return device.wall_seconds(step) / steps

        if attempt(result, f"libdsrt {past}", lambda: runtime.start(prompt)) is not None:
            step = runtime.steps(steps)
            if attempt(result, f"libdsrt {past}", ours):
                runs["libdsrt"] = ours
    if model:
        from . import torch_model

        decoder = torch_model.Decoder(model, 1, past, past + 4 * steps)
        for side in ("eager", "compile"):
            if side in sides and attempt(result, f"{side} {past}", lambda side=side: getattr(decoder, side)(steps)):
                runs[side] = lambda side=side: getattr(decoder, side)(steps) / steps
        if "compile" in sides:
            result["compile_skips"], entry["attention"] = torch_model.skipped_graphs(), model.config._attn_implementation
    entry["sides"] = measure(runs, settings.rounds) if runs else {}
    return entry
