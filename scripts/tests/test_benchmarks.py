"""What the benchmarks compute from a measurement, and that their cases hang together. No peer is needed."""

import importlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Import modules of benchmarks/."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    return importlib.import_module


def cases(name):
    return json.loads((BENCHMARKS / "cases" / f"{name}.json").read_text())


def test_flops_of_minilm(load):
    shape = cases("speed")["models"]["minilm"]
    # By hand: 6 layers of 4 * 384 * 384 + 2 * 384 * 1536 weights, and two products of 128 x 128 x 384 in each layer's attention.
    assert load("verdicts").model_flops(shape, "encode", 1, 128) == 2 * 128 * 6 * 1769472 + 2 * 6 * 2 * 128 * 128 * 384
    assert load("verdicts").model_flops(shape, "encode", 8, 128) == 8 * load("verdicts").model_flops(shape, "encode", 1, 128)


def test_bytes_of_smollm2(load):
    verdicts, shape = load("verdicts"), cases("speed")["models"]["smollm2"]
    norms = 61 * 576
    assert verdicts.weight_bytes(shape, "f32") == 4 * (134515008 - norms)
    assert verdicts.weight_bytes(shape, "bf16") == verdicts.weight_bytes(shape, "f16") == 2 * (134515008 - norms)
    step = verdicts.model_flops(shape, "decode", 1, 0)
    assert step == verdicts.weight_bytes(shape, "bf16")
    assert verdicts.model_flops(shape, "prefill", 1, 1) == step + 4 * 30 * 576


def test_speed_metrics(load):
    verdicts, models = load("verdicts"), cases("speed")["models"]
    limits = {"f32": 1e11, "bf16": 2e11, "read": 1e10}
    case = {"measure": "decode", "batch": 1, "tokens": 128, "steps": 32}
    seconds = {"ours": 0.06, "slow": 0.12, "fast": 0.09}
    found = verdicts.speed_metrics(case, models["smollm2"], seconds, limits, "f32")
    assert found["ratio"] == pytest.approx(1.5)
    assert found["read_share"] == pytest.approx(4 * 134479872 / 0.06 / 1e10)
    alone = verdicts.speed_metrics({"measure": "encode", "batch": 1, "tokens": 16}, models["minilm"], {"ours": 0.01}, limits, "bf16")
    assert alone.keys() == {"peak_share"}
    assert verdicts.fastest({"ours": 1.0}) is None


def test_products_are_held_to_the_roofline(load):
    verdicts = load("verdicts")
    limits = {"f32": 1e11, "read": 1e10}
    # 1 x 1000 x 1000: 4 MB take 400 us to read and 20 us to compute.
    found = verdicts.product_metrics(1, 1000, 1000, "f32", {"ours": 800e-6, "theirs": 1e-3}, limits)
    assert found == pytest.approx({"peak_share": 0.025, "roofline_share": 0.5, "ratio": 1.25})
    assert verdicts.product_metrics(100, 1000, 1000, "f32", {"ours": 4e-3}, limits) == pytest.approx(
        {"peak_share": 0.5, "roofline_share": 0.5}
    )


def test_outside_metrics(load):
    found = load("verdicts").outside_metrics({"none": 10.0, "generic": 8.0, "specialized": 5.0}, 6.0)
    expected = {"none_outside_of_step": 0.4, "generic_outside": 0.5, "generic_speedup": 1.25}
    # Faster than the bare products: nothing is outside, not less than nothing.
    assert found == pytest.approx({**expected, "specialized_outside": 0, "specialized_speedup": 2})


@pytest.mark.parametrize(
    ("value", "bar", "expected"),
    [
        (1.2, {"at_least": 1.1}, "met"),
        (1.0, {"at_least": 1.1}, "not met"),
        (2.0, {"at_least": 1.4, "stretch": 2}, "stretch"),
        (9.0, {"at_most": 10, "stretch": 5}, "met"),
        (4.0, {"at_most": 10, "stretch": 5}, "stretch"),
        (11.0, {"at_most": 10}, "not met"),
        (0.8, {"stretch": 0.9}, "short of stretch"),
        (None, {"at_least": 1}, "not measured"),
    ],
)
def test_verdict(load, value, bar, expected):
    assert load("verdicts").verdict(value, bar) == expected


def test_answers(load):
    np = pytest.importorskip("numpy")
    agree = load("verdicts").answers_agree
    one = np.array([[1.0, 2.0, 3.0]])
    assert agree(2 * one, one, "f32") == {"cosine": pytest.approx(1), "argmax_equal": True, "agrees": True}
    assert not agree(one[:, ::-1], one, "bf16")["agrees"]
    assert not agree(one[:, :2], one, "f32")["agrees"]


def test_turns_begin_with_another_side(load):
    order = []
    sides = {name: lambda name=name: order.append(name) or name for name in "abc"}
    assert load("timing").take_turns(sides, 2) == {name: [name, name] for name in "abc"}
    assert "".join(order) == "abcbcacab"


def test_launches_share_the_time_of_a_step(load):
    # Two threads; the second launch overlaps the first, the third is run by one thread alone.
    times = [[[10, 20], [20, 30], [0, 0]], [[10, 25], [25, 28], [40, 50]]]
    assert load("libdsrt").launch_seconds(5, times) == pytest.approx([20e-9, 5e-9, 20e-9])


def launch(family, *ops):
    return {
        "family": family,
        "ops": [{"op": op, "module": module, "weights": dict.fromkeys(weights, 1)} for op, module, *weights in ops],
    }


def test_regions_compare_the_same_ops(load):
    regions = load("regions")
    norm, product, add = ("layer_norm", "h.0.ln", "ln.weight"), ("linear", "h.0.fc", "fc.weight", "fc.bias"), ("add", "h.0")
    none = [launch("row", norm), launch("gemm", product), launch("row", add), launch("row", add)]
    fused = [launch("gemm", norm, product, add), launch("row", add)]
    levels = {
        "none": {"description": none, "launches": [1.0, 6.0, 2.0, 4.0]},
        "specialized": {"description": fused, "launches": [6.0, 4.0]},
    }
    found = regions.compare(["linear fc"], levels, ["gemm"])
    assert found == pytest.approx({"ratio": 1.5, "products_share": 6 / 9, "unfused_seconds": 9, "fused_seconds": 6})
    assert regions.compare(["add h.0 2"], levels, ["gemm"])["ratio"] == 1
    assert regions.compare(["softmax"], levels, ["gemm"]) == {}
    side = {"turns": [[{"step": 3, "launches": [1, 2]}], [{"step": 5, "launches": [3, 2]}]], "description": none[:2]}
    assert regions.seconds_in_families(regions.average(side), ["gemm"]) == 2


def test_cases_hang_together():
    speed, peers = cases("speed"), cases("peers")
    for row in speed["speed"] + speed["outside"] + speed["products"]["shapes"] + speed["skinny products"]["shapes"]:
        assert row["model"] in speed["models"]
        assert row.get("bars", "speed") in speed["bars"] or "bars" not in row
    environments = {*peers["environments"], "ours"}
    for side in [*peers["sides"].values(), *peers["product_sides"].values()]:
        assert side["environment"] in environments
        assert (BENCHMARKS / "peers" / f"side_{side['module'].split(':')[0]}.py").is_file()
    assert {step["environment"] for step in peers["conversions"]} <= environments
    for region in speed["regions"]["regions"]:
        assert {step["model"] for step in speed["regions"]["steps"]} <= region["ops"].keys()
        for patterns in region["ops"].values():
            assert all(re.compile(pattern) for pattern in patterns)


def test_report(tmp_path):
    case = {"model": "minilm", "measure": "encode", "batch": 1, "tokens": 16}
    sides = {
        "ours": {"seconds": 1e-3, "spread": 0.01, "versions": {"ds-mlir": "0.1.0"}},
        "openvino": {"seconds": 2.5e-3, "spread": 0.02, "versions": {"openvino": "1"}},
        "wrong": {"seconds": 1e-4, "spread": 0, "answer": {"agrees": False}},
        "llama.cpp": {"left_out": "measured for decoders alone"},
    }
    row = {"id": "x", "kind": "speed", "case": case, "precision": "f32", "threads": 1, "sides": sides, "metrics": {"ratio": 2.5}}
    row |= {"bars": [{"metric": "ratio", "at_least": 1.4, "stretch": 2}], "limits": {"f32": 1e11, "bf16": 1e11, "read": 1e10}}
    place = {"date": "2026-01-01", "commit": "0", "cpu": "a", "processors": 2, "system": "b"}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"provenance": place, "rows": [row]}))
    command = [sys.executable, str(BENCHMARKS / "report.py"), str(path)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "| MiniLM encode (1, 16) | f32 | 1 | against the fastest peer | >= 1.40x | 2.00x | 2.50x (openvino) | stretch |" in text
    assert "| MiniLM encode (1, 16) | f32 | 1 | 1 ms ± 1% | 2.5 ms ± 2% | 100 us ± 0% (another answer) |" in text
    assert "| llama.cpp | f32 | measured for decoders alone | 1 |" in text
    assert "| 1 | 100 (100-100) | 100 (100-100) | 10 (10-10) | 0 of 1 |" in text
