"""The backend of compiled packages, over a runtime that only looks at what it is given; and what goes into and out of folders."""

import json

import numpy as np
import pytest
from ds_mlir import errors, initialize
from ds_mlir.training import NativeBackend, Tensor, export, package, parse_config
from ds_mlir.training.batches import positions_of
from ds_mlir.training.dropout import draw_seed
from numpy_backend import NumpyBackend, config

SHAPES = {"w": (3, 4), "b": (5,)}


class FakeRuntime:
    """Takes down each run and fills outputs with ones."""

    def __init__(self, parts=4):
        self.memory, self.runs = np.zeros(parts * 1024, np.uint8), []

    def state(self):
        return self.memory

    def run_program(self, program, batch, tokens, inputs, outputs):
        assert all(array.dtype == np.int32 and array.flags["C_CONTIGUOUS"] for _, array in inputs)
        assert all(array.dtype == np.float32 for _, array in outputs)
        self.runs.append((program, batch, tokens, dict(inputs), dict(outputs)))
        for _, array in outputs:
            array[...] = 1


def manifest(**changes):
    ids = [{"name": name, "shape": ["batch", "tokens"]} for name in ("input_ids", "positions", "mask")]
    rows = [{"name": "rows", "shape": ["rows"]}, {"name": "labels", "shape": ["rows"]}]
    gates = [{"name": "layer_gates", "shape": [2]}, {"name": "layer_scales", "shape": [2]}]
    loss = {"name": "loss", "shape": ["rows", 1]}
    programs = [
        {"name": "step", "inputs": [*ids, *rows, {"name": "loss_scale", "shape": [1]}, *gates], "outputs": [loss]},
        {"name": "evaluate", "inputs": [*ids, *rows], "outputs": [loss, {"name": "logits", "shape": ["rows", 7]}]},
        {"name": "norms", "inputs": [], "outputs": [{"name": "norms", "shape": [2]}]},
        {"name": "update", "inputs": [{"name": "controls", "shape": [10]}, {"name": "hyper", "shape": [8]}], "outputs": []},
    ]
    tensors = [
        {"name": name, "offset": 128 * i, "shape": list(shape), "source": name, "stored_shape": list(shape), "view": None, "layer": i - 1}
        for i, (name, shape) in enumerate(SHAPES.items())
    ]
    return {
        "model": {"task": "masked-lm", "family": "bert", "vocab_size": 7, "max_positions": 32},
        "positions": {"rule": "arange", "offset": 0, "pad_id": 0},
        "programs": [{**program, "max_batch": 2, "max_rows": 12, "arena_bytes": 4096} for program in programs],
        "state": {
            "recomputed_layers": 3,
            "part_bytes": 1024,
            "parts": ["parameter", "gradient", "moment1", "moment2"],
            "tensors": tensors,
            "frozen": [],
        },
        **changes,
    }


def test_views_lie_where_the_manifest_says():
    runtime = FakeRuntime()
    backend = NativeBackend(runtime, manifest())
    backend.view("gradient", "w")[1, 2] = 3.5
    backend.view("moment2", "b")[4] = 2.5
    assert backend.memory() == {"parameters": 1024, "gradients": 1024, "moments": 2048, "arena": 4096}
    assert backend.recomputed_layers == 3
    floats = runtime.memory.view(np.float32)
    assert (floats[256 + 6], floats[768 + 32 + 4], np.count_nonzero(floats)) == (3.5, 2.5, 2)
    assert ([t.layer for t in backend.tensors], backend.layers, backend.width, backend.inputs) == (
        [-1, 0],
        2,
        7,
        ["input_ids", "positions", "mask"],
    )


def test_what_the_programs_are_given():
    runtime = FakeRuntime()
    engine, *_ = initialize(model=NativeBackend(runtime, manifest()), config=config(progressive_layer_drop={"enabled": True}))
    batch = {"input_ids": [[1, 2, 3], [4, 5, 6]], "labels": [[-100, 2, -100], [4, -100, 6]], "attention_mask": [[1, 1, 0], [1, 1, 1]]}
    loss = engine(batch)
    program, size, tokens, inputs, outputs = runtime.runs[-1]
    assert (program, size, tokens, float(loss)) == ("step", 2, 3, 1.0)
    assert sorted(inputs) == ["input_ids", "labels", "layer_gates", "layer_scales", "loss_scale", "mask", "positions", "rows"]
    assert inputs["rows"].tolist() == [1, 3, 5]
    assert inputs["labels"].tolist() == [2, 4, 6]
    assert inputs["loss_scale"].view(np.float32).tolist() == [np.float32(1 / 3)]
    assert inputs["layer_scales"].view(np.float32).tolist() == [1, 1]
    assert outputs["loss"].shape == (3, 1)
    engine.backward(loss)
    engine.step()
    assert [run[0] for run in runtime.runs] == ["step", "norms", "update"]
    program, size, tokens, inputs, outputs = runtime.runs[-1]
    assert inputs["controls"].view(np.float32).shape == (1, 10)
    assert inputs["hyper"].view(np.float32)[0, 0] == 1
    assert outputs["coefficients"].shape == (1, 2)
    assert engine.get_global_grad_norm() == pytest.approx(2**0.5)
    logits = engine.eval_batch(batch).logits
    assert logits.shape == (3, 7)
    assert sorted(runtime.runs[-1][3]) == ["input_ids", "labels", "mask", "positions", "rows"]


def test_what_is_too_large_is_refused():
    backend = NativeBackend(FakeRuntime(), manifest())
    for shape in ((3, 2), (2, 7)):
        ids = np.ones(shape, np.int32)
        with pytest.raises(
            errors.InvalidArgument, match=rf"at most 2 sequences and 12 tokens in a micro batch .*got {shape[0]} x {shape[1]}"
        ):
            backend.evaluate({"input_ids": ids}, np.zeros(1, np.int32), np.zeros(1, np.int32))


def test_packages_that_are_not_for_training():
    for changes, text in (
        ({"state": None}, "found one without state"),
        ({"programs": manifest()["programs"][1:]}, "found one without step"),
        (
            {"state": {**manifest()["state"], "parts": ["parameter"]}},
            "state.parts: expects parameter, gradient, moment1, moment2, found parameter",
        ),
    ):
        with pytest.raises(errors.BadData, match=text):
            NativeBackend(FakeRuntime(), manifest(**changes))
    with pytest.raises(errors.Internal, match="expects 4096 bytes, got 3072"):
        NativeBackend(FakeRuntime(3), manifest())


def test_positions_by_each_rule():
    ids, mask = np.array([[1, 5, 6, 1]]), np.array([[0, 1, 1, 0]])
    for rule, expected in (
        ({"rule": "arange", "offset": 2}, [2, 3, 4, 5]),
        ({"rule": "from_mask", "offset": 2}, [1, 2, 3, 1]),
        ({"rule": "from_mask", "offset": 0}, [0, 0, 1, 0]),
        ({"rule": "from_ids", "pad_id": 1}, [1, 2, 3, 1]),
    ):
        assert positions_of(rule, ids, mask).tolist() == [expected]


def test_the_compiler_is_called_with_what_the_configuration_says(tmp_path, monkeypatch):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 64}))
    script = tmp_path / "ds-compile"
    note, fault = "ds-compile: note: recompute: 3 of 4", "ds-compile: bad data: no such thing"
    script.write_text(f'#!/bin/sh\necho "$@" > "$3"\necho "{note}" >&2\n[ -e fail ] || exit 0\necho "{fault}" >&2\nexit 65\n')
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(package.compiler, "compiler_path", lambda: script)
    settings = parse_config(
        config(
            optimizer={"type": "Lamb"},
            progressive_layer_drop={"enabled": True},
            ds_mlir={"recompute": 3, "dropout": 0.25, "label_smoothing": 0.1, "task": "masked-lm"},
        )
    )
    assert package.compile_package(tmp_path / "m", tmp_path / "p", settings, True, "off") == ["recompute: 3 of 4"]
    given = (tmp_path / "p").read_text().split()
    expected = (
        "--train --optimizer=lamb --recompute=3 --dropout=0.25 --label-smoothing=0.1 --max-batch=2 --max-rows=128 --target-cpu=native "
        "--task=masked-lm"
    )
    assert given[3:] == [*expected.split(), "--layer-drop", "--random-weights", "--progress=off"]
    package.compile_package(tmp_path / "m", tmp_path / "p", parse_config(config(bf16={"enabled": True})), False, "off")
    assert "--compute=bf16" in (tmp_path / "p").read_text().split()
    (tmp_path / "fail").write_text("")
    with pytest.raises(errors.BadData, match=r"^bad data: no such thing$"):
        package.compile_package(tmp_path / "m", tmp_path / "p", settings, False, "off")


def test_folders_of_models(tmp_path):
    made = package.model_folder({"model_type": "gpt2", "n_layer": 2}, tmp_path)
    assert json.loads((made / "config.json").read_text()) == {"model_type": "gpt2", "n_layer": 2}
    assert package.known_by_config(made)
    assert not package.has_weights(made)
    assert not package.known_by_config(tmp_path / "nowhere")
    assert package.model_folder(str(tmp_path), tmp_path) == tmp_path


def test_each_forward_has_a_seed_of_its_own():
    made = manifest()
    made["programs"][0]["inputs"].append({"name": "dropout_seed", "shape": [2]})
    batch = {"input_ids": [[1, 2, 3]], "labels": [[-100, 2, 3]], "attention_mask": [[1, 1, 1]]}
    seeds = {}
    for seed in (0, 1):
        runtime = FakeRuntime()
        settings = config(train_batch_size=4, gradient_accumulation_steps=2, seed=seed)
        engine, *_ = initialize(model=NativeBackend(runtime, made), config=settings)
        for _ in range(4):
            engine.backward(engine(batch))
            engine.step()
        engine.eval_batch(batch)
        assert "dropout_seed" not in runtime.runs[-1][3]
        given = [run[3]["dropout_seed"] for run in runtime.runs if run[0] == "step"]
        assert all(one.shape == (2,) for one in given)
        seeds |= {(seed, i // 2, i % 2): one.tolist() for i, one in enumerate(given)}
    assert len({tuple(one) for one in seeds.values()}) == 8
    assert all(draw_seed(*place).tolist() == one for place, one in seeds.items())


def test_an_exported_folder_is_what_the_model_was_made_of(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    sizes = {"vocab_size": 16, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes))
    folder = package.model_folder(model, tmp_path)
    backend = NumpyBackend()
    name = "transformer.h.0.attn.c_attn"  # stored as [8, 24]; query, key and value are transposed parts of it
    views = [{"offset": 8 * part, "sizes": [8, 8], "strides": [1, 24]} for part in range(3)]
    backend.tensors = [Tensor(f"{name}.{part}", (8, 8), f"{name}.weight", (8, 24), views[part]) for part in range(3)]
    backend.tensors += [Tensor("wte", (16, 8), "transformer.wte.weight", (16, 8))]
    backend.state["parameter"] = {
        tensor.name: np.random.default_rng(i).normal(size=tensor.shape) for i, tensor in enumerate(backend.tensors)
    }
    assert export.export(backend, tmp_path / "out", folder) == tmp_path / "out"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["GPT2LMHeadModel"]
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out")
    joined = np.concatenate([backend.state["parameter"][f"{name}.{part}"].T for part in range(3)], axis=1)
    assert torch.equal(loaded.transformer.h[0].attn.c_attn.weight.data, torch.tensor(joined, dtype=torch.float32))
    assert torch.equal(loaded.lm_head.weight.data, torch.tensor(backend.state["parameter"]["wte"], dtype=torch.float32))
    assert torch.equal(loaded.transformer.wpe.weight.data, model.transformer.wpe.weight.data)  # not trained here: taken over
    with pytest.raises(errors.InvalidArgument, match="expects a new folder"):
        export.export(backend, tmp_path / "out", folder)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("exporting")]
