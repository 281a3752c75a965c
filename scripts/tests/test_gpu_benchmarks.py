"""What benchmarks/gpu reads and computes, on a package made up here. No GPU and no compiler is needed."""

import importlib
import json
import pathlib
import struct

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
ROWS, DEPTH = 24, 160  # three blocks of rows and one that fills; a tile of 4 bits that is not full


@pytest.fixture
def load(monkeypatch):
    """Import modules of benchmarks/gpu, with the CPU for a GPU."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv("DS_GPU_REHEARSAL", "1")
    return lambda name: importlib.import_module(f"gpu.{name}")


def matrix_types(bits):
    types = {"rows": ROWS, "depth": DEPTH}
    return types if bits == 16 else {**types, "bits": bits, "group": 32, "asymmetric": bits == 4, "scale": "f16"}


def block_bytes(bits):
    """Bytes of 8 rows, by hand: whole tiles of 512 bytes, then 5 groups of 8 scales of 2 bytes, twice with offsets."""
    return {16: 5 * 512, 8: 3 * 512 + 80, 4: 2 * 512 + 160}[bits]


@pytest.fixture
def folder(tmp_path):
    """A package with one product and one norm in program decode, for each packing one matrix."""
    made, header, types, end = tmp_path / "made", {"__metadata__": {"format": "ds-package"}}, {}, 0
    made.mkdir()
    for bits in (16, 8, 4):
        name, size = f"w{bits}.weight.{'tiles' if bits == 16 else 'tile_codes'}", 4 * block_bytes(bits)
        shape, dtype = ([4, 5, 8, 32], "BF16") if bits == 16 else ([4, size // 16], "I32")
        header[name], types[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}, matrix_types(bits)
        end = -(-(end + size) // 64) * 64
    header["norm.weight.vector"] = {"dtype": "F32", "shape": [DEPTH], "data_offsets": [end, end + 4 * DEPTH]}
    text = json.dumps(header).encode().ljust(4088)
    (made / "weights.head").write_bytes(struct.pack("<Q", len(text)) + text)
    program = {"name": "decode", "max_batch": 16, "max_rows": 16, "arena_bytes": 1 << 16}
    program["inputs"] = [{"name": "input_ids", "shape": ["batch", "tokens"]}, {"name": "past", "shape": ["batch"]}]
    program["outputs"] = [{"name": "logits", "shape": ["rows", ROWS]}]
    manifest = {"producer": "ds-compile 0.1.0", "model": {"task": "causal-lm", "vocab_size": ROWS, "hidden_size": DEPTH}, "positions": {}}
    manifest |= {"weights": {"file": "weights.safetensors", "data_offset": 4096, "data_bytes": end + 4 * DEPTH}, "programs": [program]}
    (made / "manifest.json").write_text(json.dumps(manifest))
    launches, profiles = [], []
    for index, bits in enumerate((16, 8, 4)):
        name = f"w{bits}.weight.{'tiles' if bits == 16 else 'tile_codes'}"
        offset, arguments = (
            header[name]["data_offsets"][0],
            [["arena", 0], ["weights", 0], ["output", 0], ["arena", 1 << 15], ["counters", 0]],
        )
        arguments[1][1] = offset
        arguments += [["batch"], ["tokens"], ["selected"]]
        stage = {"kernel": 0, "launch": index, "when": [["selected", 1, 8]], "wants": [0], "grid": [[3, ["selected", 8]], [1], [1]]}
        launches += [{**stage, "args": arguments}, {**stage, "kernel": 1, "when": [["selected", 9, 16]], "args": arguments}]
        op = {"op": "linear", "weights": {f"w{bits}.weight": ROWS * DEPTH}, "macs_per_row": ROWS * DEPTH}
        profiles.append({"kernel": f"gemm{bits}", "family": "gemm", "rows": "selected", "weight_bytes": 4 * block_bytes(bits), "ops": [op]})
    norm = header["norm.weight.vector"]["data_offsets"][0]
    arguments = [["arena", 0], ["weights", norm], ["arena", 0], ["i64", -3], ["kv"], ["input", 1], ["token_rows"]]
    launches.append({"kernel": 2, "launch": 3, "grid": [[1, ["token_rows", 1]], [1], [1]], "args": arguments})
    profiles.append({"kernel": "norm", "family": "row", "rows": "tokens", "weight_bytes": 640, "ops": [{"op": "rms_norm", "weights": {}}]})
    kernels = [{"name": name, "threads": 256, "shared_bytes": 0} for name in ("few", "more", "norm")]
    table = {"format": "ds-launches", "version": 1, "kernels": kernels}
    table["modules"] = [{"target": "cuda", "arch": arch, "file": f"code/{arch}"} for arch in ("sm_90a", "sm_80", "compute_80")]
    table["programs"] = [{"name": "decode", "arena_bytes": 1 << 16, "counters_bytes": 64, "launches": launches}]
    (made / "code").mkdir()
    for module in table["modules"]:
        (made / module["file"]).write_bytes(b"")
    (made / "code" / "launches.json").write_text(json.dumps(table))
    (made / "profile.json").write_text(json.dumps({"programs": [{"name": "decode", "launches": profiles}]}))
    (made / "bench.json").write_text(json.dumps({"group": "kernels", "random": True, "storages": types}))
    return made


def test_a_package_is_read(load, folder):
    package = load("package").Package(folder)
    assert package.is_random
    assert package.check() == 7
    assert [storage.label for storage in package.storages] == ["bf16", "int8-g32", "int4-g32-asym", "bf16"]
    products = package.products()
    assert [(product.storage.label, product.x, product.y) for product in products] == [
        (label, ("arena", 0), ("output", 0)) for label in ("bf16", "int8-g32", "int4-g32-asym")
    ]


def test_the_module_of_a_gpu(load, folder):
    package = load("package").Package(folder)
    assert package.module_for((9, 0))[0] == "sm_90a"
    assert package.module_for((8, 6))[0] == "sm_80"
    assert package.module_for((10, 0))[0] == "compute_80"
    with pytest.raises(load("package").Inconsistent, match="sm_75"):
        package.module_for((7, 5))


def test_what_does_not_fit_is_named(load, folder):
    path = folder / "code" / "launches.json"
    for change, text in (
        (lambda table: table["programs"][0]["launches"][0]["args"][1].__setitem__(1, 64), "no weight begins at byte 64"),
        (lambda table: table["programs"][0]["launches"][0]["args"][0].__setitem__(1, 1 << 20), "arena 1048576 is outside 65536"),
        (lambda table: table["programs"][0]["launches"][6].__setitem__("grid", [[1, ["rows", 1]], [1], [1]]), "found rows"),
        (lambda table: table["programs"][0]["launches"][6].__setitem__("kernel", 3), "a kernel below 3, found 3"),
        (lambda table: table["programs"][0]["launches"][6].__setitem__("launch", 4), "launch 4, but profile.json has 4"),
    ):
        kept = path.read_text()
        table = json.loads(kept)
        change(table)
        path.write_text(json.dumps(table))
        with pytest.raises(load("package").Inconsistent, match=text):
            load("package").Package(folder).check()
        path.write_text(kept)


def test_launches_at_sizes(load, folder):
    launches, package = load("launches"), load("package").Package(folder)
    memory = launches.Memory(arena=1000, weights=2000, counters=3000, kv=4000, inputs=(5000, 6000), outputs=(7000,))
    stages = package.launches("decode")["launches"]
    calls = launches.calls_of(stages, memory, launches.step_sizes(12, 1, 12))
    assert [(call.kernel, call.launch, call.grid) for call in calls] == [
        (1, 0, (6, 1, 1)),
        (1, 1, (6, 1, 1)),
        (1, 2, (6, 1, 1)),
        (2, 3, (12, 1, 1)),
    ]
    assert calls[0].arguments == ((1000, 8), (2000, 8), (7000, 8), (1000 + (1 << 15), 8), (3000, 8), (12, 4), (1, 4), (12, 4))
    assert calls[3].arguments[3:] == ((-3, 8), (4000, 8), (6000, 8), (12, 4))
    # An output that nobody wants: what writes it does not run.
    unwanted = launches.calls_of(stages, launches.Memory(inputs=(1, 1), outputs=(0,)), launches.step_sizes(1, 1, 1))
    assert [call.launch for call in unwanted] == [3]


def element(storage, data, row, k):
    """One element as dialects/DSPlan/TileCodes.h says, byte by byte."""
    bits, block = storage.bits, storage.bytes // storage.shape[0]
    tile_depth = 512 // 8 * 8 // bits
    in_tile, i = k % tile_depth, k % 8
    lane, part = row % 8 * 4 + in_tile % 32 // 8, in_tile // 32
    in_lane = {16: i * 2, 8: part * 8 + i, 4: part * 4}[bits]
    base = storage.offset + row // 8 * block
    place = base + k // tile_depth * 512 + lane * 16 + in_lane
    if bits == 16:
        return struct.unpack("<f", b"\0\0" + data[place : place + 2])[0]
    code = data[place] if bits == 8 else struct.unpack_from("<I", data, place)[0] >> (i // 2 * 4 + i % 2 * 16) & 15
    tiles, groups = -(-storage.depth // tile_depth), -(-storage.depth // storage.group)
    at = base + tiles * 512 + (k // storage.group * 8 + row % 8) * 2
    (scale,) = struct.unpack_from("<e", data, at)
    if storage.asymmetric:
        return code * scale + struct.unpack_from("<e", data, at + groups * 16)[0]
    return (code - (1 << bits - 1)) * scale


@pytest.mark.parametrize("index", [0, 1, 2])
def test_random_weights_are_packed_as_the_compiler_does(load, folder, index):
    torch, weights, package = pytest.importorskip("torch"), load("weights"), load("package").Package(folder)
    storage = package.storages[index]
    data = weights.random_data(package, "cpu", 3)
    assert len(data) == package.data_bytes
    values, raw = weights.dense(storage, data), bytes(data.numpy())
    assert values.shape == (ROWS, DEPTH)
    assert abs(float(values.std()) / weights.SPREAD - 1) < 0.2
    for row in (0, 7, 8, 23):
        for k in (0, 1, 2, 7, 8, 31, 32, 63, 64, 100, 127, 128, 159):
            assert float(values[row, k]) == pytest.approx(element(storage, raw, row, k), rel=1e-6, abs=1e-9)
    # What fills blocks and tiles adds nothing.
    for row, k in ((24, 0), (31, 159)):
        assert element(storage, raw, row, k) == pytest.approx(0, abs=1e-9) or storage.asymmetric
    if not storage.asymmetric:
        assert torch.isfinite(values).all()


def test_weights_in_parts(load, folder, monkeypatch):
    pytest.importorskip("torch")
    weights, package = load("weights"), load("package").Package(folder)
    data = weights.random_data(package, "cpu", 3)
    whole = [weights.dense(storage, data) for storage in package.storages[:3]]
    monkeypatch.setattr(weights, "CHUNK", 1)
    for storage, values in zip(package.storages, whole, strict=False):
        assert len(list(weights.parts(storage))) == 2
        assert (weights.dense(storage, data) == values).all()


def test_products_are_rehearsed(load, folder):
    pytest.importorskip("torch")
    settings = load("settings").Settings(str(folder.parent), "", str(folder.parent), dry=True)
    assert load("settings").names_of("kernels", settings) == [f"{ROWS}x{DEPTH}"]
    result = load("products").run(settings, f"{ROWS}x{DEPTH}", lambda result: None)
    assert not load("report").failures(result)
    sides = result["tokens"]["8"]["sides"]
    assert {"bf16", "int8-g32", "int4-g32-asym", "cublas", "cublaslt"} <= set(sides)


def test_cases_hang_together(load):
    cases = json.loads((BENCHMARKS / "gpu" / "cases.json").read_text())
    names = {name for name, *_ in load("make_packages").wanted([])}
    for part in ("decode", "prefill", "regions", "sanitize"):
        assert {case["package"] for case in cases[part]} <= names
    shapes = {tuple(shape) for shapes in cases["shapes"].values() for shape in shapes}
    made = set()
    for name in {model for entry in cases["packages"] if entry["group"] == "kernels" for model in entry["models"]}:
        model = cases["models"][name]
        hidden, inner, dim = model["hidden_size"], model["intermediate_size"], model["head_dim"]
        queries, keys = dim * model["num_attention_heads"], dim * model["num_key_value_heads"]
        made |= {(queries, hidden), (keys, hidden), (hidden, queries), (inner, hidden), (hidden, inner), (model["vocab_size"], hidden)}
    assert len(shapes) == 24
    assert shapes <= made


def test_storage_types_of_a_plan(load):
    plan = """
  ds.parameter @lm_head.weight from "lm_head.weight" : tensor<50257x1600x!ds.quantized<4 symmetric group 64 scale f16>> loc(#loc3)
  ds.parameter @"a/b.weight" from "a/b.weight" view #ds.view<transposed> : tensor<48x32xbf16>
  ds.parameter @norm.weight from "norm.weight" : tensor<256xf32> loc(#loc2)
  ds_plan.storage @lm_head.weight.tile_codes  tile_codes of @lm_head.weight offset 0 : memref<6284x1700xi32> loc(#loc3)
  ds_plan.storage @"a/b.weight.tiles" tiles of @"a/b.weight" offset 64 : memref<6x1x8x32xbf16>
  ds_plan.storage @norm.weight.vector  vector of @norm.weight offset 67584 : memref<256xf32> loc(#loc2)
"""
    assert load("make_packages").storage_types(plan) == {
        "lm_head.weight.tile_codes": {"rows": 50257, "depth": 1600, "bits": 4, "group": 64, "asymmetric": False, "scale": "f16"},
        "a/b.weight.tiles": {"rows": 48, "depth": 32},
    }


def test_report_and_merge(load):
    def side(us):
        return {"us": us, "spread": 0.01, "least_us": us}

    entry = {"sides": {"bf16": side(10.0), "bf16 apart": side(12.0), "int8-g64": side(5.0), "cublas": side(12.0), "cublaslt": side(11.0)}}
    entry["checks"] = {"bf16": {"nmse": 1e-6, "ok": True}, "int8-g64": {"nmse": 0.5, "ok": False}}
    shape = {
        "weights": {"bf16": {"bytes": 33554432}},
        "tokens": {"1": entry, "8": {"sides": {}, "checks": {}, "errors": {"bf16": "X: lost"}}},
    }
    step = {"batch": 1, "past": 512, "sides": {"graph": side(700.0), "eager": side(7000.0)}}
    results = {
        "gpu": {"name": "NVIDIA H200"},
        "parts": {
            "ceilings": {"read": {"bytes_per_s": 4.2e12}},
            "kernels": {"4096x4096": shape, "1024x1024": {"skipped": "the time was up"}},
            "decode": {"llama": {"weight_bytes": 2.4e9, "steps": [step], "errors": {}}},
            "correct": {"tiny": {"ok": True, "answers": {"whole": {"cosine": 0.99999}, "tokens": {"equal": 13, "of": 13}}}},
            "sanitize": {"tiny:memcheck": {"ok": False, "tool": "memcheck", "report": ["Invalid read"]}},
        },
    }
    text = load("report").text(results)
    for wanted in (
        "1.10",
        "2.20",
        "80%",
        "10.00",
        "greedy 13/13",
        "Invalid read",
        "int8-g64 is wrong",
        "X: lost",
        "skipped (the time was up): 1024x1024",
    ):
        assert wanted in text, wanted
    into = load("merge_results").merge({}, results)
    again = {"gpu": {"name": "NVIDIA H200"}, "parts": {"kernels": {"4096x4096": {"error": "lost"}, "1024x1024": shape}}}
    load("merge_results").merge(into, again)
    assert into["parts"]["kernels"]["4096x4096"]["tokens"]
    assert into["parts"]["kernels"]["1024x1024"]["run"] == 1


def candidate(config, chosen, us, **key):
    """A line of --report-tuning."""
    line = {"arch": "sm_90a", "builder": "rows1", "weights": "bf16", "n": 4096, "k": 4096, "rows": 1, "norm": False, "form": "plain"}
    return {**line, **key, "config": config, "chosen": chosen, "us": us, "threads": 256, "blocks": 264, "shared_bytes": 13984}


def test_candidates_are_the_best_and_what_is_taken(load):
    candidates = load("candidates")
    lines = [candidate({"warps": 4}, False, 1), candidate({"warps": 16}, False, 2), candidate({"warps": 8}, True, 3)]
    lines += [candidate({"warps": 16}, True, 4, builder="rows8", rows=8)]
    first, second = candidates.variants("k", lines, 3)
    assert (first.name_of("k"), second.name_of("k")) == ("k.t1", "k.t2")
    assert [config for _, config in first.taken] == [{"warps": 8}, {"warps": 16}]
    assert [config for _, config in first.entries] == [{"warps": 4}]  # the other key has no more
    assert [config for _, config in second.entries] == [{"warps": 16}]
    assert len(list(candidates.variants("k", lines, 2))) == 1


def test_tuning_entries(load, tmp_path, monkeypatch):
    """The fastest right candidate becomes an entry where it is clearly faster; a time alone where the kernel is that of now."""
    entries = load("tuning_entries")

    def side(us):
        return {"us": us, "spread": 0.002, "least_us": us}

    def tuned(rows, sides, wrong=()):
        checks = {name: {"nmse": 0.0, "ok": name not in wrong} for name in sides}
        key = ["sm_90a", f"rows{rows}", "bf16", 4096, 4096, rows, False, "plain"]
        configs = {name: {"warps": 8 + int(name)} for name in sides}
        return {"key": key, "configs": configs, "checks": checks, "sides": {name: side(us) for name, us in sides.items()}, "bytes": 1 << 25}

    kernel = {"threads": 256, "shared_bytes": 13984, "grids": {"1": [264, 1, 1]}}
    other = {"threads": 512, "shared_bytes": 13984, "grids": {"16": [132, 1, 1]}}
    shape = {"rows": 4090, "depth": 4096, "run": 0, "tokens": {}}
    shape["weights"] = {"bf16": {"bytes": 1 << 25, "code": "sm_90a", "kernels": {"gemm_rows1": kernel, "gemm_rows16": other}}}
    for rows in ("1", "16"):
        shape["tokens"][rows] = {"sides": {"bf16": side(10.0)}, "checks": {"bf16": {"nmse": 0.0, "ok": True}}}
    gpu = {"name": "NVIDIA H200", "driver_version": "580"}
    run = {"gpu": gpu, "date": "2026-11-27", "commit": "abc"}
    tokens = {"a": tuned(1, {"0": 9.0, "1": 8.0, "2": 7.0}, wrong="2"), "b": tuned(8, {"0": 9.0, "1": 8.95}), "c": tuned(16, {"1": 8.0})}
    ceilings = {"read": {"bytes_per_s": 4e12}, "matmul": {"flops_per_s": 6e14}}
    results = {**run, "runs": [run], "parts": {"ceilings": ceilings, "kernels": {"4090x4096": shape}}}
    lines = [candidate({"warps": 8}, True, 3), candidate({"warps": 16}, True, 3, builder="rows16", rows=16)]
    measured = entries.kernel_entries(results, lines)
    assert [json.loads(line)["config"] for line in measured.values()] == [{"warps": 8}]  # of 16 rows the threads are others
    results["parts"]["tune"] = {"k": {"tokens": tokens, "ptxas": "13.0.88"}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "spaces.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [str(tmp_path / "results.json"), "--spaces", str(tmp_path / "spaces.jsonl"), "--folder", str(tmp_path / "tuning")]
    monkeypatch.setattr("sys.argv", ["tune", *arguments])
    assert entries.main() == 0
    written = [json.loads(line) for line in (tmp_path / "tuning" / "nvidia-h200.jsonl").read_text().splitlines()]
    assert [(line["rows"], line["config"]["warps"], line["us"], line["candidates"]) for line in written] == [(1, 9, 8.0, 2), (8, 8, 9.0, 2)]
    assert written[0]["rate"] == 4194.3
    assert written[0]["share"] == 1.049
    assert written[0]["ptxas"] == "13.0.88"
    del results["parts"]["ceilings"]
    with pytest.raises(entries.Incomplete, match="part ceilings"):
        entries.tuned_entries(results)
