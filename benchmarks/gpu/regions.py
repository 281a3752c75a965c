"""Parts of a layer: prompt attention beside SDPA and FlexAttention, norms beside the read ceiling, launches beside eager torch."""

import torch
from torch.nn import functional

from . import device
from .programs import Loaded, Program, by_kernel
from .settings import case_of
from .turns import attempt, measure


def run(settings, name, emit):
    """Measure one case, `PACKAGE:KIND:TOKENS`."""
    package_name, kind, tokens = name.split(":")
    case, package, tokens = case_of("regions", name, settings), settings.package(package_name), int(tokens)
    result = {"package": package_name, "kind": kind, "tokens": tokens}
    loaded = attempt(result, "load", lambda: Loaded(package)) if settings.wants("ours") else None
    {"attention": attention, "norm": norm, "layer": layer}[kind](settings, result, loaded, package, case["program"], tokens)
    return result


def launch_of(package, program, family, op):
    """The first launch of a family that is one op and nothing else. Returns: its number and its record, or (None, None)."""
    for index, launch in enumerate(package.profile[program]):
        if launch["family"] == family and [entry["op"] for entry in launch["ops"]] == [op]:
            return index, launch
    return None, None


def add_ours(result, runs, loaded, package, program, tokens, number, times):
    """Put our launch among the sides."""
    if loaded is None or number is None:
        result.setdefault("errors", {})["ours"] = "no such launch in the package" if number is None else "the package was not loaded"
        return
    # A norm alone is that of hidden rows.
    outputs = ("logits", "hidden") if package.manifest["model"]["task"] == "causal-lm" else ("hidden",)
    step = attempt(result, "ours", lambda: Program(loaded, program, 1, tokens, 0, outputs))
    graph = attempt(result, "ours", lambda: step.graph({number}, times=times)) if step else None
    if graph:
        runs["ours"] = lambda: device.seconds(graph) / times


def attention(settings, result, loaded, package, program, tokens):
    """Causal attention of a prompt, with grouped heads."""
    heads, kv_heads, dim = heads_of(package)
    runs, times = {}, 1 if settings.dry else 4
    number, _ = launch_of(package, program, "attention", "attention")
    add_ours(result, runs, loaded, package, program, tokens, number, times)
    kind = torch.float32 if settings.dry else torch.bfloat16
    q = torch.randn(1, heads, tokens, dim, device=device.NAME, dtype=kind)
    k, v = (torch.randn(1, kv_heads, tokens, dim, device=device.NAME, dtype=kind) for _ in range(2))

    def add(name, call):
        graph = attempt(result, name, lambda: device.Graph(lambda: [call() for _ in range(times)]))
        if graph:
            runs[name] = lambda: device.seconds(graph) / times

    add("sdpa", lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True))
    flex = None if settings.dry else attempt(result, "flex", lambda: flex_attention(q, k, v, tokens))
    if flex:
        add("flex", flex)
    result["sides"], flops = measure(runs, settings.rounds), 2 * tokens * tokens * heads * dim  # half of the pairs, two products
    result["flops_per_s"] = {name: flops / side["us"] * 1e6 for name, side in result["sides"].items()}


def flex_attention(q, k, v, tokens):
    """FlexAttention, compiled, with a causal mask of blocks. Returns: a function that runs it."""
    from torch.nn.attention.flex_attention import create_block_mask
    from torch.nn.attention.flex_attention import flex_attention as flex

    mask = create_block_mask(lambda b, h, i, j: i >= j, B=None, H=None, Q_LEN=tokens, KV_LEN=tokens, device=device.NAME)
    compiled = torch.compile(flex, dynamic=False)

    def call():
        return compiled(q, k, v, block_mask=mask, enable_gqa=True)

    with torch.no_grad():
        call()
    device.synchronize()
    return call


def norm(settings, result, loaded, package, program, tokens):
    """A norm and nothing else: bytes read and written."""
    runs, times = {}, 1 if settings.dry else 8
    for op in ("rms_norm", "layer_norm"):
        number, launch = launch_of(package, program, "row", op)
        if number is not None:
            break
    else:
        result["errors"] = {"ours": "no launch is a norm alone"}
        return
    width = package.manifest["model"]["hidden_size"]
    add_ours(result, runs, loaded, package, program, tokens, number, times)
    x, gain = torch.randn(tokens, width, device=device.NAME), torch.ones(width, device=device.NAME)
    graph = attempt(result, "torch", lambda: device.Graph(lambda: [functional.rms_norm(x, (width,), gain, 1e-5) for _ in range(times)]))
    if graph:
        runs["torch"] = lambda: device.seconds(graph) / times
    result["sides"], result["bytes"] = measure(runs, settings.rounds), launch["bytes_per_row"] * tokens + launch["weight_bytes"]
    result["bytes_per_s"] = {name: result["bytes"] / side["us"] * 1e6 for name, side in result["sides"].items()}


def layer(settings, result, loaded, package, program, tokens):
    """Each kernel of a model, over all its layers, beside the same ops one by one in eager torch, f16, in a graph."""
    name = "logits" if package.manifest["model"]["task"] == "causal-lm" else "hidden"
    if loaded:
        step = attempt(result, "ours", lambda: Program(loaded, program, 1, tokens, 128 if program == "decode" else 0, (name,)))
        result["ours"] = attempt(result, "ours", lambda: by_kernel(step, settings.rounds)) if step else None
    result["torch"] = {}
    for kernel, numbers in kernels_of(package, program).items():
        twins = [eager_twin(package, package.profile[program][number], tokens) for number in numbers]
        if not all(twins):
            continue
        graph = attempt(result, kernel, lambda twins=twins: device.Graph(lambda: [op() for twin in twins for op in twin]))
        if graph:
            found = measure({kernel: lambda graph=graph, twins=twins: device.seconds(graph) / len(twins)}, settings.rounds)
            result["torch"][kernel] = found[kernel]
    ours = result.get("ours") or {}
    result["ratio"] = {kernel: side["us"] / ours[kernel]["us"] for kernel, side in result["torch"].items() if kernel in ours}


def heads_of(package):
    """Heads, heads of keys and values, and the width of a head."""
    config = package.description["config"]
    heads = next((config[name] for name in ("num_attention_heads", "n_head", "num_heads") if name in config), 12)
    return heads, config.get("num_key_value_heads", heads), config.get("head_dim", package.manifest["model"]["hidden_size"] // heads)


def kernels_of(package, program):
    """The launches of a program by the name of their kernel: name -> numbers."""
    found = {}
    for number, launch in enumerate(package.profile[program]):
        found.setdefault(launch["kernel"], []).append(number)
    return found


def eager_twin(package, launch, tokens):
    """The ops of a launch as calls of torch, one kernel each or more. Returns: a list of functions, empty when an op has no twin here."""
    kind = torch.float32 if device.REHEARSAL else torch.float16
    rows = {"tokens": tokens, "selected": 1, "batch": 1}[launch["rows"]]
    matrices = {storage.parameter: storage for storage in package.storages if storage.layout in ("tiles", "tile_codes")}
    width, found = None, []

    def tensor(*shape):
        return torch.randn(*shape, device=device.NAME, dtype=kind)

    for op in launch["ops"]:
        storage = next((matrices[name] for name in op["weights"] if name in matrices), None)
        if op["op"] == "linear" and storage:
            x, w, width = tensor(rows, storage.depth), tensor(storage.rows, storage.depth), storage.rows
            bias = tensor(storage.rows) if len(op["weights"]) > 1 else None
            found.append(lambda x=x, w=w, bias=bias: functional.linear(x, w, bias))
        elif op["op"] in ("layer_norm", "rms_norm") and op["weights"]:
            width = next(iter(op["weights"].values()))
            x, gain, shift = tensor(rows, width), tensor(width), tensor(width)
            if op["op"] == "layer_norm":
                found.append(lambda x=x, width=width, gain=gain, shift=shift: functional.layer_norm(x, (width,), gain, shift))
            else:
                found.append(lambda x=x, width=width, gain=gain: functional.rms_norm(x, (width,), gain))
        elif op["op"] in ("gelu", "silu", "relu", "tanh") and width:
            x, call = (
                tensor(rows, width),
                {"gelu": functional.gelu, "silu": functional.silu, "relu": functional.relu, "tanh": torch.tanh}[op["op"]],
            )
            found.append(lambda x=x, call=call: call(x))
        elif op["op"] in ("add", "mul") and width:
            x, y, call = tensor(rows, width), tensor(rows, width), {"add": torch.add, "mul": torch.mul}[op["op"]]
            found.append(lambda x=x, y=y, call=call: call(x, y))
        elif op["op"] == "store_cache" and width:
            x, y = tensor(rows, width), tensor(rows, width)
            found.append(lambda x=x, y=y: y.copy_(x))
        elif op["op"] == "attention" and launch["rows"] == "tokens" and tokens > 1:
            heads, kv_heads, dim = heads_of(package)
            q, k, v = tensor(1, heads, tokens, dim), tensor(1, kv_heads, tokens, dim), tensor(1, kv_heads, tokens, dim)
            causal = package.manifest["model"]["task"] == "causal-lm"
            found.append(lambda q=q, k=k, v=v, c=causal: functional.scaled_dot_product_attention(q, k, v, is_causal=c, enable_gqa=True))
        else:
            return []
    return found
