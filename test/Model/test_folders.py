"""What a Hugging Face folder may hold beside one file of weights: shards, pooling modules, other dtypes, a wheel of ourselves."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_models

ROOT = pathlib.Path(__file__).resolve().parents[2]
IDS = np.random.default_rng(3).integers(3, 90, (3, 9), dtype=np.int32)


def test_shards(torch, compiled, tmp_path):
    import ds_mlir

    model = tiny_models.make_model("qwen2", tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = (ds_mlir.load(compiled(tmp_path / name)) for name in ("whole", "shards"))
    assert np.array_equal(whole.logits(IDS), shards.logits(IDS))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_stored_types(torch, compiled, tmp_path, dtype):
    import ds_mlir

    model = tiny_models.make_model("gpt2", tmp_path / "f32").to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / dtype)
    with torch.no_grad():
        expected = model.float()(torch.tensor(IDS).long()).logits.numpy()
    assert np.abs(ds_mlir.load(compiled(tmp_path / dtype)).logits(IDS) - expected).max() <= 1e-4


@pytest.mark.parametrize("mode", ["cls_token", "mean_tokens", "lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling(torch, compiled, tmp_path, mode, normalize):
    import ds_mlir

    folder = tmp_path / "model"
    model = tiny_models.make_model("bert", folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 48, f"pooling_mode_{mode}": True}))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if normalize else [])
    (folder / "modules.json").write_text(
        json.dumps([{"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(modules)])
    )
    mask = np.array([[1] * 9, [1] * 4 + [0] * 5, [1] + [0] * 8], dtype=np.int32)
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor(IDS).long(), attention_mask=torch.tensor(mask).long()).last_hidden_state.numpy()
    lengths = mask.sum(axis=1)
    expected = {
        "cls_token": hidden[:, 0],
        "mean_tokens": (hidden * mask[:, :, None]).sum(axis=1) / lengths[:, None],
        "lasttoken": hidden[np.arange(3), lengths - 1],
    }[mode]
    if normalize:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(ds_mlir.load(compiled(folder)).encode(IDS, mask) - expected).max() <= 1e-4


def test_pooling_that_is_not_handled(torch, tmp_path):
    import ds_mlir

    folder = tmp_path / "model"
    tiny_models.make_model("bert", folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]')
    with pytest.raises(ds_mlir.errors.BadData, match="pooling_mode_max_tokens"):
        ds_mlir.compile(folder, tmp_path / "package")


@pytest.mark.slow
def test_wheel(tmp_path):
    """`pip install .` gives a package that compiles and runs on its own. Built with the flags of the tree, whose objects ccache has."""
    cached = {
        "CMAKE_C_COMPILER_LAUNCHER": "ccache",
        "CMAKE_CXX_COMPILER_LAUNCHER": "ccache",
        "CCACHE_BASEDIR": str(ROOT),
        "CCACHE_SLOPPINESS": "pch_defines,time_macros",
    }
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--config-settings=cmake.define.CMAKE_CXX_FLAGS_RELEASE=-O2",
        "--target",
        str(tmp_path / "site"),
        str(ROOT),
    ]
    subprocess.run(command, check=True, env={**os.environ, **(cached if shutil.which("ccache") else {})})
    assert sorted(path.name for path in (tmp_path / "site").iterdir() if path.suffix != ".dist-info") == ["bin", "ds_mlir"]
    assert sorted(path.name for path in (tmp_path / "site/bin").iterdir()) == ["ds-eval", "ds-train"]
    subprocess.run([sys.executable, str(ROOT / "test/tools/Inputs/make_llama.py"), str(tmp_path / "model")], check=True)
    code = "import ds_mlir, sys; print(ds_mlir.load(ds_mlir.compile(*sys.argv[1:])).generate([[3, 4]], max_new_tokens=3).shape)"
    arguments = [str(tmp_path / "model"), str(tmp_path / "package")]
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert run.stdout == "(1, 5)\n"
