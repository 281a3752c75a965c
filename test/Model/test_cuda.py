"""Packages for CUDA: tiny models of every family compile for four architectures; some run whole on the emulator, beside the CPU."""

import json

import numpy as np
import pytest
import tiny_models

ARCHITECTURES = "cuda:sm_80,sm_90a,sm_100a,sm_120"


def model_folder(name, folder):
    tiny_models.make_model(name, folder)
    return folder


@pytest.fixture(scope="module", params=["gpt2-bf16", "gpt_neo-bf16", "llama-bf16", "gpt2-f16", "llama-f16"])
def decoders(request, torch, tmp_path_factory):
    """One model on the CPU and on the emulator, with the same weights."""
    import ds_mlir

    name, weights = request.param.split("-")
    folder = model_folder(name, tmp_path_factory.mktemp(name))
    options = {"max_rows": 32, "context": 64, "max_batch": 4, "weights": weights}
    cpu = ds_mlir.compile(folder, folder / "cpu", target_cpu="x86-64-v3", **options)
    gpu = ds_mlir.compile(folder, folder / "gpu", target="cuda:sm_90a", **options)
    return ds_mlir.load(cpu), ds_mlir.load(gpu, device="emulate")


def test_emulated_logits(decoders):
    """Rows of activations are rounded to the type of weights for the products: 2^-9 each of bf16, 2^-12 of f16. What attention multiplies
    is bf16 in both.
    """
    cpu, gpu = decoders
    assert cpu.info["weights_dtype"] == gpu.info["weights_dtype"]
    ids = np.random.default_rng(0).integers(3, 96, (2, 21)).astype(np.int32)
    expected, found = cpu.logits(ids), gpu.logits(ids)
    bound = {"bf16": 1e-3, "f16": 5e-5}[gpu.info["weights_dtype"]]
    assert np.square(found - expected).mean() <= bound * np.square(expected).mean()


def equal_tokens(cpu, gpu, rows, length):
    """Generate 8 tokens behind `length` random ones on both.
    Returns: how many in all are equal before the first that is not, whose logit on the CPU is close to the greatest.
    """
    ids = np.random.default_rng(rows).integers(3, 96, (rows, length)).astype(np.int32)
    expected, found = (model.generate(ids, max_new_tokens=8) for model in (cpu, gpu))
    equal = 0
    for row in range(rows):
        differs = np.flatnonzero(expected[row] != found[row])
        equal += (differs[0] if differs.size else length + 8) - length
        if differs.size:
            logits = cpu.logits(expected[row : row + 1, : differs[0]])[0, -1]
            gap = logits[expected[row, differs[0]]] - logits[found[row, differs[0]]]
            assert gap <= 0.05 * np.sqrt(np.square(logits).mean())
    return equal


def expect_greedy_tokens(cpu, gpu):
    """Steps of one token through the cache, for one and for several sequences: the CPU's greedy tokens, up to a step whose best two are
    closer than rounding activations moves them. Such a step is rare.
    """
    assert sum(equal_tokens(cpu, gpu, rows, 6) for rows in (1, 3)) >= 26  # of 32


def test_emulated_tokens(decoders):
    expect_greedy_tokens(*decoders)


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False, "repetition_penalty": 1.3},
        {"do_sample": True, "temperature": 0.8, "top_k": 0},
        {"do_sample": True, "temperature": 1.5, "top_k": 20, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.1},
    ],
)
def test_tokens_chosen_on_the_device(decoders, monkeypatch, options):
    """A seed gives the tokens that the host would choose from the same logits, for prompts of two lengths whose answers end apart."""
    _, gpu = decoders
    ids = np.random.default_rng(1).integers(3, 96, (3, 6)).astype(np.int32)
    mask = (np.arange(6) >= np.array([[0], [2], [0]])).astype(np.int32)
    settings = {"attention_mask": mask, "max_new_tokens": 8, "seed": 4, **options}
    monkeypatch.setenv("DS_SAMPLE", "host")
    free = gpu.generate(ids, **settings)
    ends = [int(free[0, 8]), int(free[1, 10])]
    ended = gpu.generate(ids, eos_token_id=ends, **settings)
    assert not np.array_equal(free, ended)
    monkeypatch.setenv("DS_SAMPLE", "device")
    assert np.array_equal(gpu.generate(ids, **settings), free)
    assert np.array_equal(gpu.generate(ids, eos_token_id=ends, **settings), ended)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {"weights": "bf16"}),
        ("llama", {"weights": "bf16", "cache": "int8"}),  # heads are rounded by a launch behind the product
        ("gpt2", {"weights": "f16"}),
        ("qwen2", {"weights": "bf16", "quantize": "int8-row"}),
    ],
)
def test_products_of_cublaslt(torch, tmp_path, monkeypatch, name, options):
    """Prompts through the library, which the emulator stands for: the CPU's logits and greedy tokens, as without it."""
    import ds_mlir

    folder = model_folder(name, tmp_path / name)
    sizes = {"max_rows": 64, "context": 64, "max_batch": 4}
    cpu = ds_mlir.load(ds_mlir.compile(folder, tmp_path / "cpu", target_cpu="x86-64-v3", **sizes, **options))
    package = ds_mlir.compile(folder, tmp_path / "gpu", target="cuda:sm_90a", cublaslt=17, **sizes, **options)
    launches = json.loads((package / "code/launches.json").read_text())["programs"]
    products = {program["name"]: sum("product" in launch for launch in program["launches"]) for program in launches}
    assert products["prefill"] >= 8  # of two layers, but the head's
    assert products["decode"] == 0
    monkeypatch.setenv("DS_EMULATE_CHECK", "all")
    gpu = ds_mlir.load(package, device="emulate")
    assert gpu.info["note"] == ""
    ids = np.random.default_rng(0).integers(3, 96, (2, 21)).astype(np.int32)
    expected, found = cpu.logits(ids), gpu.logits(ids)
    bound = 5e-5 if options["weights"] == "f16" else 1e-3
    assert np.square(found - expected).mean() <= bound * np.square(expected).mean()
    assert equal_tokens(cpu, gpu, 2, 19) >= 12  # of 16
    monkeypatch.setenv("DS_CUBLASLT", "off")
    with pytest.warns(UserWarning, match="without cuBLASLt, as DS_CUBLASLT is off: the package's own kernels"):
        alone = ds_mlir.load(package, device="emulate")
    without = alone.logits(ids)
    assert np.square(found - without).mean() <= bound * np.square(expected).mean()
    with alone.profile() as profile:
        alone.logits(ids)
    assert "without cuBLASLt" in str(profile)


def test_emulated_encoder(torch, tmp_path):
    import ds_mlir

    folder = model_folder("bert", tmp_path / "bert")
    cpu = ds_mlir.load(ds_mlir.compile(folder, folder / "cpu", weights="bf16", target_cpu="x86-64-v3"))
    gpu = ds_mlir.load(ds_mlir.compile(folder, folder / "gpu", target="cuda:sm_90a"), device="emulate")
    ids = np.random.default_rng(0).integers(3, 96, (3, 17)).astype(np.int32)
    mask = (np.arange(17) < np.array([[17], [5], [11]])).astype(np.int32)
    for given in (None, mask):
        expected, found = cpu.hidden_states(ids, given), gpu.hidden_states(ids, given)
        seen = np.ones_like(mask, dtype=bool) if given is None else mask.astype(bool)
        assert np.square(found - expected)[seen].mean() <= 1e-3 * np.square(expected)[seen].mean()


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "gptj", "llama", "qwen2", "bert", "distilbert-mlm"])
def test_compiles_for_four_architectures(torch, tmp_path, name):
    """Seven families; machine code where there is an assembler, PTX otherwise."""
    import ds_mlir

    folder = model_folder(name, tmp_path / name)
    package = ds_mlir.compile(folder, folder / "gpu", target=ARCHITECTURES, emulation=False, max_rows=32, max_batch=2)
    made = {path.stem for path in (package / "code").iterdir()}
    assert made == {"sm_80", "sm_90a", "sm_100a", "sm_120", "compute_80", "launches"}


def test_one_package_for_cpu_and_gpu(torch, tmp_path):
    """The CPU and the emulator take their parts of one package; an encoder's tables of embeddings are stored once."""
    import ds_mlir

    folder = model_folder("bert", tmp_path / "bert")
    cpu = ds_mlir.compile(folder, tmp_path / "cpu", weights="bf16", target_cpu="x86-64-v3")
    gpu = ds_mlir.compile(folder, tmp_path / "gpu", target="cuda:sm_90a")
    both = ds_mlir.compile(folder, tmp_path / "both", target=["cpu", "cuda:sm_90a", "cuda:sm_80"], target_cpu=["x86-64-v3"])
    manifest, table = (json.loads((both / name).read_text()) for name in ("manifest.json", "code/launches.json"))
    tables = sum(2 * rows * 48 for rows in (96, 40, 2))  # words, positions and segments, in bf16
    assert manifest["weights"]["data_bytes"] - table["weights"]["offset"] >= tables
    ids = np.random.default_rng(0).integers(3, 96, (3, 17)).astype(np.int32)
    for device, alone in (("cpu", cpu), ("emulate", gpu)):
        model = ds_mlir.load(both, device=device)
        assert model.info["device"] == device
        assert (model.hidden_states(ids) == ds_mlir.load(alone, device=device).hidden_states(ids)).all()
        with model.profile() as profile:
            model.hidden_states(ids)
        assert "linear" in str(profile) or "gemm" in str(profile)
    with pytest.raises(ds_mlir.errors.Unavailable, match="has code for x86-64-v3, nothing for the device emulate"):
        ds_mlir.load(cpu, device="emulate")


def test_products_cut_as_asked(torch, tmp_path):
    """A file of tuning entries gives other kernels, by Python and by its command line; one that is wrong is told by its line."""
    import subprocess
    import sys

    import ds_mlir
    from ds_mlir.compiler import compiler_path

    folder, spaces, tuning = model_folder("llama", tmp_path / "llama"), tmp_path / "spaces.jsonl", tmp_path / "tuning.jsonl"
    listed = [compiler_path(), folder, "-o", tmp_path / "code", "--emit=gpu", "--target=cuda:sm_90a", f"--report-tuning={spaces}"]
    subprocess.run([*listed, "--progress=off"], check=True)
    candidate = next(line for line in map(json.loads, spaces.read_text().splitlines()) if not line["chosen"])
    names = ("arch", "builder", "weights", "n", "k", "rows", "norm", "form", "config")
    entry = {name: candidate[name] for name in names} | {"source": "asked"}
    tuning.write_text(json.dumps(entry) + "\n")
    options = {"target": "cuda:sm_90a", "emulation": False}
    plain = ds_mlir.compile(folder, tmp_path / "plain", **options)
    asked = ds_mlir.compile(folder, tmp_path / "asked", tuning=tuning, **options)
    ptx = [(package / "code" / "compute_80.ptx").read_bytes() for package in (plain, asked)]
    assert ptx[0] != ptx[1]
    command = [sys.executable, "-m", "ds_mlir", "compile", folder, "-o", tmp_path / "again", "--target=cuda:sm_90a", f"--tuning={tuning}"]
    subprocess.run(command, check=True)
    assert (tmp_path / "again" / "code" / "compute_80.ptx").read_bytes() == ptx[1]
    tuning.write_text("\n" + json.dumps({**entry, "rows": 3}) + "\n")
    with pytest.raises(ds_mlir.errors.BadData, match=r"tuning.jsonl:2': key 'rows': expects 1 for builder rows1, found 3"):
        ds_mlir.compile(folder, tmp_path / "bad", tuning=tuning, **options)
