"""The profile of an update: sums over a report by hand, and of a compiled step what each module's forward, backward and update are."""

import json

import ds_mlir
import numpy as np
import pytest
from ds_mlir import errors
from ds_mlir.__main__ import main
from ds_mlir.training import Tensor
from ds_mlir.training.config import ProfilerSettings
from ds_mlir.training.model_config import model_config
from ds_mlir.training.record import Record
from ds_mlir.training.step_profile import module_times, profile_text
from numpy_backend import NumpyBackend, config, initialize
from test_train_data import word_tokenizer
from test_train_package import SIZES, micro_batches, settings


def module(name, ms, flops, *children):
    return {"name": name, "latency_ns": 1e6 * ms, "flops": flops, "children": list(children)}


def report():
    forward = module("h", 4, 40, module("0", 1, 10), module("1", 3, 30))
    backward = module("backward", 9, 80, module("h", 8, 80, module("1", 8, 80)), module("loss", 1, 0))
    return {
        "programs": [
            {"program": "step", "steps": 2, "modules": module("model", 15, 130, forward, module("wte", 1, 5), backward)},
            {"program": "update", "steps": 1, "modules": module("model", 6, 0)},
            {"program": "norms", "steps": 1, "modules": module("model", 2, 0)},
            {"program": "evaluate", "steps": 9, "modules": module("model", 100, 0)},
        ]
    }


TENSORS = [Tensor("h.0.w", (3, 4), "", ()), Tensor("h.1.w", (2, 2), "", ()), Tensor("wte.weight", (4, 4), "", ())]


def test_sums_by_hand():
    root = module_times(report(), TENSORS)
    assert (root.forward_s, root.backward_s, root.update_s) == pytest.approx((12e-3, 18e-3, 8e-3))
    assert (root.forward_flops, root.flops, root.parameters) == (100, 260, 32)
    h = root.children["h"]
    assert (h.forward_s, h.backward_s, h.update_s, h.parameters) == pytest.approx((8e-3, 16e-3, 4e-3, 16))
    assert [h.children[name].update_s for name in "01"] == pytest.approx([3e-3, 1e-3])
    assert h.children["0"].backward_s == 0
    assert root.children["loss"].backward_s == pytest.approx(2e-3)
    part = module_times(report(), [Tensor("h.0.w.weight.q", (2, 2), "", ())]).children["h"].children["0"].children["w"]
    assert (part.parameters, part.children) == (4, {})
    assert "backward" not in root.children


def test_a_profile_as_text():
    record = Record(7, 1.0, 0.1, 1.0, None, None, 64, 0.05, 1280.0, False, 0.03, 0.01)
    root = module_times(report(), TENSORS)
    lines = profile_text(root, record, ProfilerSettings(top_modules=2)).splitlines()
    assert " profile of update 7 " in lines[0]
    assert "fwd latency:                12.00 ms, 24.0%" in lines
    assert "outside of launches:        12.00 ms, 24.0% (barriers, the host)" in lines
    assert "depth 1: h 28.00 ms (73.7%), wte 6.00 ms (15.8%)" in lines
    tree = next(line for line in lines if "(1):" in line)
    assert tree.startswith("    (1): 4 params, fwd 6.00 ms, bwd 16.00 ms, update 1.00 ms, 60.5% of the update")
    flat = profile_text(root, record, ProfilerSettings(module_depth=1, detailed=True))
    assert "(h):" in flat
    assert "(1):" not in flat
    assert "depth 2" not in flat
    assert "(h):" not in profile_text(root, record, ProfilerSettings(detailed=False))


def test_another_backend_has_no_profile():
    with pytest.raises(errors.InvalidArgument, match="flops_profiler: expects a compiled package"):
        initialize(model=NumpyBackend(), config=config(flops_profiler={"enabled": True}))


@pytest.mark.parametrize("recompute", ["none", "all"])
def test_a_compiled_update(recompute, capsys):
    own = {"task": "causal-lm", "threads": 2, "recompute": recompute}
    changes = {"ds_mlir": own, "flops_profiler": {"enabled": True, "profile_step": 1, "module_depth": 3}}
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=settings("causal-lm", **changes))
    data = micro_batches("gpt2", "causal-lm", 6)
    engine.train_batch(iter(data[:2]))
    assert capsys.readouterr().out == ""
    engine.train_batch(iter(data[2:4]))
    assert " profile of update 2 " in capsys.readouterr().out
    root = engine.watch.profiler.root
    layer = root.children["transformer"].children["h"].children["0"]
    mlp = layer.children["mlp"].children["c_fc"]
    hidden, tokens = SIZES["hidden_size"], 2 * 3 * 12
    products = 2 * hidden * 4 * hidden * tokens
    assert mlp.parameters == 4 * hidden * hidden + 4 * hidden
    assert mlp.forward_flops == pytest.approx(products, rel=0.05)
    times = 2 if recompute == "none" else 3  # of the input, of the matrix, and what is computed again
    assert mlp.flops - mlp.forward_flops == pytest.approx(times * products, rel=0.1)
    for part in (root, layer, mlp):
        assert min(part.forward_s, part.backward_s, part.update_s) > 0
        children = part.children.values()
        assert not children or part.seconds >= sum(child.seconds for child in children) - 1e-9
    assert root.flops == pytest.approx(engine.last.flops_per_second * engine.last.seconds, rel=1e-6)
    engine.train_batch(iter(data[4:]))
    assert capsys.readouterr().out == ""


def test_layers_that_ran_in_some_micro_steps(capsys):
    drop = {"progressive_layer_drop": {"enabled": True, "theta": 0.3, "gamma": 9.0}, "gradient_accumulation_steps": 5}
    own = {"task": "causal-lm", "threads": 1}
    config = settings("causal-lm", ds_mlir=own, flops_profiler={"enabled": True, "profile_step": 2}, seed=3, **drop)
    engine, *_ = ds_mlir.initialize(model=model_config("gpt2", **SIZES), config=config)
    for step in range(3):
        engine.train_batch(iter(micro_batches("gpt2", "causal-lm", 5, seed=step)))
    assert 0.2 < engine.last.kept_layers < 1.9  # some, not all
    root = engine.watch.profiler.root
    assert root.flops == pytest.approx(engine.last.flops_per_second * engine.last.seconds, rel=1e-6)
    layers = root.children["transformer"].children["h"].children
    runs = [layer.forward_flops / (2 * 12 * SIZES["hidden_size"] ** 2 * 36) for layer in layers.values()]
    assert sum(runs) == pytest.approx(5 * engine.last.kept_layers, rel=0.3)
    assert " profile of update 3 " in capsys.readouterr().out


def test_the_command_writes_what_the_ending_says(tmp_path):
    word_tokenizer(tmp_path / "words", [f"w{i}" for i in range(55)])
    (tmp_path / "text.txt").write_text(" ".join(f"w{i}" for i in np.random.default_rng(0).integers(0, 50, 900)))
    recipe = {
        **settings("causal-lm", gradient_accumulation_steps=1),
        "model": model_config("gpt2", **SIZES),
        "task": "causal-lm",
        "data": {"files": ["text.txt"], "tokenizer": "words", "sequence_length": 16},
        "output": "out",
        "steps": 3,
    }
    (tmp_path / "ds.json").write_text(json.dumps(recipe))
    file = tmp_path / "profile.json"
    assert main(["train", str(tmp_path / "ds.json"), "--progress=off", f"--profile={file}"]) == 0
    programs = {program["program"]: program for program in json.loads(file.read_text())["programs"]}
    assert sorted(programs) == ["norms", "step", "update"]
    roots = [child["name"] for child in programs["step"]["modules"]["children"]]
    assert "backward" in roots
    assert "transformer" in roots
