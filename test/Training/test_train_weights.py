"""First values of a model: drawn as transformers draws them, or read from a checkpoint."""

import json

import numpy as np
import pytest
import tiny_configs
from ds_mlir import errors
from ds_mlir.training import weights
from ds_mlir.training.model_config import model_config

SIZES = {"layers": 2, "hidden_size": 32, "heads": 4, "vocab_size": 60, "max_positions": 16}


def entry(name, shape, source=None, stored_shape=None, view=None):
    return {"name": name, "shape": shape, "source": source or name, "stored_shape": stored_shape or shape, "view": view}


@pytest.mark.parametrize("name", tiny_configs.MODELS)
def test_values_are_drawn_as_transformers_draws_them(name):
    model, table = tiny_configs.make_model(name), tiny_configs.table_of(name)
    config = json.loads(model.config.to_json_string())
    expected = {key: value.detach().numpy() for key, value in model.named_parameters()}
    never_read = {"cls.predictions.bias"} if name.endswith("untied") else set()
    groups = weights.by_source(table)
    assert groups.keys() == expected.keys() - never_read
    for source, parts in groups.items():
        reference = expected[source]
        drawn = weights.draw_tensor(source, parts[0]["stored_shape"], config, seed=0)
        assert drawn.dtype == np.float32
        assert drawn.shape == reference.shape
        # Gains, biases and the row of the padding token are exact; what is random has the same deviation.
        assert np.array_equal(drawn == 0, reference == 0), source
        assert np.array_equal(drawn == 1, reference == 1), source
        if drawn.ndim == 2:
            assert abs(drawn.std() / reference.std() - 1) <= 4 / np.sqrt(drawn.size), source
            assert abs(drawn.mean()) <= 5 * reference.std() / np.sqrt(drawn.size), source


def test_each_name_has_its_own_stream():
    table, config = tiny_configs.table_of("gpt2"), tiny_configs.config_of("gpt2")
    values = dict(weights.initial_values(table, config, seed=3))
    assert values.keys() == {tensor["name"] for tensor in table}
    turned = dict(weights.initial_values(table[::-1][:9], config, seed=3))
    assert len(turned) == 9
    assert all(np.array_equal(values[name], turned[name]) for name in turned)
    other = dict(weights.initial_values(table, config, seed=4))
    first, second = "transformer.h.0.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc.weight"
    assert not np.array_equal(values[first], other[first])
    assert abs(np.corrcoef(values[first].ravel(), values[second].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(values[first].ravel(), other[first].ravel())[0, 1]) < 0.05


def test_values_do_not_change_from_version_to_version():
    drawn = weights.draw_tensor("bert.pooler.dense.weight", [4, 3], {"model_type": "bert"}, seed=1)
    assert drawn[0].tolist() == pytest.approx([0.00927818, 0.00307751, -0.03535378], rel=1e-5)


def test_parts_are_views_of_one_stored_tensor():
    table, config = tiny_configs.table_of("gpt2"), tiny_configs.config_of("gpt2")
    values = dict(weights.initial_values(table, config, seed=0))
    joined = weights.draw_tensor("transformer.h.0.attn.c_attn.weight", [48, 144], config, seed=0)
    parts = [values[f"transformer.h.0.attn.c_attn.weight.{part}"] for part in "qkv"]
    assert np.array_equal(np.concatenate(parts), joined.T)


def test_box_of_interleaved_heads():
    stored = np.arange(2 * 3 * 2 * 5, dtype=np.float32).reshape(12, 5)
    view = {"offset": 2 * 5, "sizes": [2, 2, 5], "strides": [3 * 2 * 5, 5, 1]}
    key = entry("w.k", [4, 5], "w", [12, 5], view)
    assert np.array_equal(weights.stored_box(stored, key).reshape(4, 5), stored.reshape(2, 3, 2, 5)[:, 1].reshape(4, 5))
    weights.stored_box(stored, key)[...] = -1
    assert (stored.reshape(2, 3, 2, 5)[:, 1] == -1).all()
    assert (stored.reshape(2, 3, 2, 5)[:, [0, 2]] >= 0).all()


@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1, "sizes": [4, 5], "strides": [5, 1]},
        {"offset": 0, "sizes": [4, 5], "strides": [6, 1]},
        {"offset": -1, "sizes": [4, 5], "strides": [5, 1]},
        {"offset": 19, "sizes": [4, 5], "strides": [-5, 1]},
        {"offset": 0, "sizes": [3, 5], "strides": [5, 1]},
    ],
)
def test_view_outside_its_tensor(view):
    with pytest.raises(errors.BadData, match="parameter 'w': its view does not lie in tensor 's'"):
        weights.stored_box(np.zeros((4, 5), np.float32), entry("w", [4, 5], "s", [4, 5], view))


@pytest.mark.parametrize("name", ["gpt2", "bert-mlm", "llama"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
def test_checkpoint_is_read(name, kind, tmp_path):
    import torch

    model = tiny_configs.make_model(name).to(getattr(torch, kind))
    model.save_pretrained(tmp_path, max_shard_size="100KB" if name == "gpt2" else "1GB")
    assert (tmp_path / "model.safetensors.index.json").exists() == (name == "gpt2")
    table, config = tiny_configs.table_of(name), tiny_configs.config_of(name)
    stored = {key: value.float().numpy() for key, value in model.state_dict().items()}
    values = dict(weights.initial_values(table, config, seed=0, folder=tmp_path))
    assert weights.drawn_sources(table, config, tmp_path) == []
    for tensor in table:
        assert np.array_equal(values[tensor["name"]], weights.stored_box(stored[tensor["source"]], tensor).reshape(tensor["shape"]))


def test_head_that_a_checkpoint_lacks_is_drawn(tmp_path):
    """Hidden states alone have names without `bert.`; the first checkpoints have TensorFlow's names of norms."""
    from safetensors.numpy import load_file, save_file

    model = tiny_configs.make_model("bert-mlm").bert
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert "embeddings.LayerNorm.weight" in stored
    stored["embeddings.LayerNorm.gamma"] = stored.pop("embeddings.LayerNorm.weight") + 1
    save_file(stored, tmp_path / "model.safetensors")
    table, config = tiny_configs.table_of("bert-classifier"), tiny_configs.config_of("bert-classifier")
    drawn = ["bert.pooler.dense.bias", "bert.pooler.dense.weight", "classifier.bias", "classifier.weight"]
    assert weights.drawn_sources(table, config, tmp_path) == drawn
    values = dict(weights.initial_values(table, config, seed=0, folder=tmp_path))
    assert (values["bert.embeddings.LayerNorm.weight"] == 2).all()
    assert np.array_equal(values["bert.encoder.layer.1.output.dense.weight"], stored["encoder.layer.1.output.dense.weight"])
    assert 0.01 < values["classifier.weight"].std() < 0.03


def test_bad_checkpoints(tmp_path):
    from safetensors.numpy import save_file

    table, config = [entry("classifier.weight", [2, 3])], {"model_type": "bert"}

    def read():
        return dict(weights.initial_values(table, config, seed=0, folder=tmp_path))

    with pytest.raises(errors.Missing, match="expects weights as safetensors"):
        read()
    save_file({"classifier.weight": np.zeros((3, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(errors.BadData, match=r"tensor 'classifier.weight': expects shape \[2, 3\], found \[3, 2\]"):
        read()
    save_file({"classifier.weight": np.zeros((2, 3), np.int32)}, tmp_path / "model.safetensors")
    with pytest.raises(errors.BadData, match="expects a floating type, found I32"):
        read()
    save_file({"classifier.weight": np.zeros((2, 3), np.float32)}, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    for length in (0, 7, 40, len(data) - 1):
        (tmp_path / "model.safetensors").write_bytes(data[:length])
        with pytest.raises(errors.BadData, match="safetensors header"):
            read()
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}')
    with pytest.raises(errors.BadData, match="expects names of files in its folder"):
        read()


def test_no_rule_for_first_values():
    for source, shape, family in (("a.weight", [2, 2, 2], "bert"), ("a.scale", [2], "bert"), ("a.weight", [2, 2], "opt")):
        with pytest.raises(errors.BadData, match=f"tensor '{source}' .* has no rule"):
            weights.draw_tensor(source, shape, {"model_type": family}, seed=0)


@pytest.mark.parametrize("pre_layer_norm", [True, False])
@pytest.mark.parametrize("task", ["masked-lm", "sequence-classification"])
def test_where_norms_stand_is_a_switch(pre_layer_norm, task):
    import torch
    import transformers

    config = model_config("bert", pre_layer_norm=pre_layer_norm, task=task, labels=3, **SIZES)
    read = transformers.AutoConfig.for_model(**config)
    model = getattr(transformers, config["architectures"][0])(read)
    names = {name for name, _ in model.named_parameters()}
    base = "roberta_prelayernorm." if pre_layer_norm else "bert."
    assert (f"{base}encoder.layer.0.attention.LayerNorm.weight" in names) == pre_layer_norm
    assert (f"{base}LayerNorm.weight" in names) == pre_layer_norm
    assert (f"{base}encoder.layer.0.attention.output.LayerNorm.weight" in names) != pre_layer_norm
    logits = model(torch.full((1, SIZES["max_positions"]), 7)).logits
    assert logits.shape == ((1, 3) if task == "sequence-classification" else (1, SIZES["max_positions"], SIZES["vocab_size"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "t5"}, "kind: expects bert or gpt2"),
        ({"kind": "gpt2", "pre_layer_norm": False}, "pre_layer_norm: expects True"),
        ({"kind": "gpt2", "task": "masked-lm"}, "task: expects one of causal-lm for gpt2"),
        ({"heads": 5}, "heads: expects a divisor of the hidden size 32, got 5"),
        ({"layers": 0}, "layers: expects a positive number, got 0"),
        ({"pad_token_id": 60}, "pad_token_id: expects a token of 60, got 60"),
    ],
)
def test_configurations_that_no_model_has(changes, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        model_config(**{**SIZES, **changes})
