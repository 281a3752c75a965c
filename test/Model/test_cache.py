"""Narrow caches (codes, bf16): compiled models against the interpreter, which rounds alike, and what a package says of its cache."""

import json
import re
import subprocess

import ds_mlir
import numpy as np
import pytest
import tiny_models
from ds_mlir.compiler import compiler_path
from test_families import padded
from test_levels import load_at

CONTEXT = 64
OPTIONS = {"max_rows": 32, "context": CONTEXT}
# Of the largest logit. Keys and values of f32 and of f64 differ in the last bit, so one in thousands is rounded to another code, or to
# another bf16, which is nearer: over all families and four prompts by 2.9e-4 at most.
BOUNDS = {"int8": 2e-3, "bf16": 1e-3}
NARROW = tuple(BOUNDS)


def run_tool(name, *arguments):
    """Run a tool of the build tree and return what it writes; its own message is the failure."""
    run = subprocess.run([compiler_path().parent / name, *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def interpret(folder, work, ids, steps, cache):
    """Run steps of the f64 interpreter with a narrow cache, one behind the other.
    Args: ids [B, T] without padding; steps, pairs of a program and how many tokens it takes.
    Returns: logits [B, T, V] of the tokens that the steps cover.
    """
    normalized, cached = work / "normalized.mlir", work / "cached.mlir"
    normalized.write_text(run_tool("ds-compile", folder, "--to=normalized", "--quiet"))
    run_tool("ds-opt", f"--ds-insert-cache=context={CONTEXT} elements={cache}", normalized, "-o", cached)
    text = cached.read_text().rstrip()
    results = re.search(r"@prefill\(.*?-> \((tensor<\S+>) .*?(tensor<\S+>) ", text).groups()
    vocabulary = int(re.fullmatch(r"tensor<\?x(\d+)xf32>", results[1])[1])
    offset = int(re.search(r"ds.positions = {[^}]*offset = (\d+)", text)[1])
    types = ["tensor<?x?xi32>", "tensor<?x?xi32>", "tensor<?xi32>", "tensor<?xi32>"]
    arguments, calls, returned, options, done = [], [], [], [], 0
    for number, (program, tokens) in enumerate(steps):
        values = {
            "ids": ids[:, done : done + tokens],
            "positions": np.tile(np.arange(done, done + tokens) + offset, (len(ids), 1)),
            "past": np.full(len(ids), done),
            "rows": np.arange(len(ids) * tokens),
        }
        names = [f"{name}{number}" for name in values]
        arguments += [f'%{name}: {kind} {{ds.name = "{name}"}}' for name, kind in zip(names, types, strict=True)]
        operands = ", ".join(f"%{name}" for name in names)
        calls.append(f"  %r{number}:2 = func.call @{program}({operands}) : ({', '.join(types)}) -> ({', '.join(results)})")
        returned.append(f"%r{number}#1")
        options.append(f"--output=logits{number}=@{work / f'logits{number}.npy'}")
        for name, value in zip(names, values.values(), strict=True):
            shape = "x".join(map(str, value.shape))
            options.append(f"--input={name}={shape}xi32={','.join(map(str, value.flatten()))}")
        done += tokens
    outputs = [f'{results[1]} {{ds.name = "logits{number}"}}' for number in range(len(steps))]
    body = "\n".join(calls) + f"\n  return {', '.join(returned)} : {', '.join([results[1]] * len(steps))}\n"
    function = f"func.func @steps({', '.join(arguments)}) -> ({', '.join(outputs)}) {{\n{body}}}\n"
    cached.write_text(text[: text.rindex("}")] + function + "}\n")
    run_tool("ds-reference", cached, "--model", folder, "--function=steps", *options)
    parts = [np.load(work / f"logits{number}.npy").reshape(len(ids), -1, vocabulary) for number in range(len(steps))]
    return np.concatenate(parts, axis=1)


@pytest.fixture(scope="module", params=[(name, cache) for name in tiny_models.DECODERS for cache in NARROW], ids="-".join)
def decoder(request, compiled, tmp_path_factory):
    name, cache = request.param
    folder = tmp_path_factory.mktemp(name)
    tiny_models.make_model(name, folder)
    return folder, ds_mlir.load(compiled(folder, cache=cache, **OPTIONS))


def test_logits_are_those_of_the_interpreter(decoder, tmp_path):
    folder, model = decoder
    ids, _ = padded((21, 21), "right")
    cache = model.info["cache_type"]
    expected = interpret(folder, tmp_path, ids, [("prefill", 21)], cache)
    assert np.abs(model.logits(ids) - expected).max() <= BOUNDS[cache] * np.abs(expected).max()


def test_greedy_tokens_at_any_chunk_and_batch(decoder, tmp_path):
    folder, model = decoder
    ids, mask = padded((11, 3, 17), "left", seed=1)
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": []}
    first = model.generate(ids, mask, **options)[:, ids.shape[1] :]
    for chunk in (1, 5):
        assert model.generate(ids, mask, prefill_chunk=chunk, **options)[:, ids.shape[1] :].tolist() == first.tolist(), chunk
    for row in range(len(ids)):
        alone = ids[row : row + 1][:, mask[row] == 1]
        found = model.generate(alone, **options)
        assert found[0, alone.shape[1] :].tolist() == first[row].tolist()
        # The interpreter takes the prompt in two steps and each token it is given in one more.
        length = alone.shape[1]
        steps = [("prefill", length - length // 2), ("prefill", length // 2)] + [("decode", 1)] * 7
        logits = interpret(folder, tmp_path, found[:, :-1], steps, model.info["cache_type"])[0, length - 1 :]
        chosen = logits[np.arange(8), found[0, length:]]
        assert (logits.max(axis=1) - chosen <= BOUNDS[model.info["cache_type"]] * np.abs(logits).max()).all()


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    tiny_models.make_model("llama", folder)
    return folder


@pytest.mark.parametrize(("cache", "least"), [("int8", 2 * BOUNDS["int8"]), ("bf16", 2 * BOUNDS["bf16"])])
def test_rounding_shows(llama, compiled, cache, least):
    """What the bound above tells apart: the logits are not those of a cache of f32, and close to them."""
    ids, _ = padded((21, 21), "right")
    found, exact = (ds_mlir.load(compiled(llama, cache=kind, **OPTIONS)).logits(ids) for kind in (cache, "f32"))
    difference = np.abs(found - exact).max() / np.abs(exact).max()
    assert least < difference < 0.1


@pytest.mark.parametrize("cache", NARROW)
@pytest.mark.parametrize("fusion", ["none", "generic"])
def test_fusion_levels_agree(llama, compiled, fusion, cache):
    ids, _ = padded((21, 21), "right")
    fused, apart = (ds_mlir.load(compiled(llama, cache=cache, fusion=level, **OPTIONS)).logits(ids) for level in ("specialized", fusion))
    assert np.abs(fused - apart).max() <= BOUNDS[cache] * np.abs(apart).max()


@pytest.mark.parametrize("cache", NARROW)
def test_levels_and_threads_agree(llama, compiled, cache):
    ids, _ = padded((21, 21), "right")
    path = compiled(llama, cache=cache, quantize="int8-g16", target_cpu="x86-64-v2,x86-64-v3,x86-64-v4,x86-64-v4-vnni", **OPTIONS)
    expected = ds_mlir.load(path, isa="x86-64-v2", threads=1).logits(ids)
    assert np.abs(ds_mlir.load(path).logits(ids) - expected).max() <= BOUNDS[cache] * np.abs(expected).max()
    one = ds_mlir.load(path, threads=1).logits(ids)
    for threads in (2, 3, 5):
        assert np.array_equal(ds_mlir.load(path, threads=threads).logits(ids), one)


@pytest.mark.parametrize("cache", NARROW)
def test_masked_tokens_see_the_cache_as_well(llama, compiled, cache):
    """A padded batch has the logits of its rows alone, and zeros where there is no token."""
    model = ds_mlir.load(compiled(llama, cache=cache, **OPTIONS))
    ids, mask = padded((13, 4, 9), "right")  # on the left, rope turns keys by other angles before they are rounded
    found = model.logits(ids, mask)
    for row in range(len(ids)):
        alone = model.logits(ids[row : row + 1][:, mask[row] == 1])[0]
        assert np.abs(found[row][mask[row] == 1] - alone).max() <= BOUNDS[cache] * np.abs(alone).max()
    assert not found[mask == 0].any()


@pytest.fixture(scope="module")
def llama_of_bf16(torch, tmp_path_factory):
    """Matrices are numbers of bf16, so that storing them as such loses nothing."""
    folder = tmp_path_factory.mktemp("llama-of-bf16")
    model = tiny_models.make_model("llama", folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(parameter.bfloat16().float())
    model.save_pretrained(folder)
    return folder


# Products at the latter level round their rows to bf16 as well: a mean square error of 2^-16 / 3 each, over some ten products.
@pytest.mark.parametrize(("level", "most"), [("x86-64-v3", BOUNDS["bf16"] ** 2), ("x86-64-v4-bf16", 1e-3)])
def test_beside_weights_of_bf16(llama_of_bf16, compiled, tmp_path, level, most):
    path = compiled(llama_of_bf16, cache="bf16", weights="bf16", target_cpu="x86-64-v3,x86-64-v4-bf16", **OPTIONS)
    model = load_at(path, level)
    assert (model.info["weights_dtype"], model.info["cache_type"]) == ("bf16", "bf16")
    ids, _ = padded((21, 21), "right")
    expected = interpret(llama_of_bf16, tmp_path, ids, [("prefill", 21)], "bf16")
    assert np.square(model.logits(ids) - expected).mean() <= most * np.square(expected).mean()
    # Steps of one token behind it choose as the interpreter does, up to that error.
    found = model.generate(ids[:1], max_new_tokens=6, do_sample=False, eos_token_id=[])
    logits = interpret(llama_of_bf16, tmp_path, found[:, :-1], [("prefill", 21)] + [("decode", 1)] * 5, "bf16")[0, 20:]
    chosen = logits[np.arange(6), found[0, 21:]]
    assert (logits.max(axis=1) - chosen <= 6 * np.sqrt(most * np.square(logits).mean())).all()


def test_what_the_package_says(llama, compiled):
    sizes = {}
    for cache in ("f32", "bf16", "int8"):
        model = ds_mlir.load(compiled(llama, cache=cache, **OPTIONS))
        assert model.info["cache_type"] == cache
        assert json.loads((compiled(llama, cache=cache, **OPTIONS) / "manifest.json").read_text())["cache"]["type"] == cache
        sizes[cache] = model.info["kv_bytes_per_sequence"]
        model.generate(np.array([[3, 4, 5]], dtype=np.int32), max_new_tokens=2)
        assert model.memory()["kv"] == sizes[cache]
    # Two layers, keys and values, two heads of eight values, padded to 16, and a scale.
    assert sizes["f32"] == 2 * 2 * 2 * CONTEXT * 8 * 4
    assert sizes["bf16"] == sizes["f32"] // 2
    assert sizes["int8"] == 2 * 2 * 2 * CONTEXT * (16 + 4)


def test_other_models_and_types_are_refused(llama, tmp_path):
    tiny_models.make_model("bert", tmp_path / "bert")
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="--cache=int8: expects a model of task causal-lm, as others keep no past"):
        ds_mlir.compile(tmp_path / "bert", tmp_path / "package", cache="int8")
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="--cache: expects f32, bf16 or int8, got 'int3'"):
        ds_mlir.compile(llama, tmp_path / "package", cache="int3")
    assert not (tmp_path / "package").exists()
