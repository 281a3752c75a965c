"""Trained parameters as a folder: transformers opens it without a key too many or too few, and ds-compile compiles it."""

import errno
import json
import os

import ds_mlir
import numpy as np
import pytest
import tiny_configs
from ds_mlir import errors
from ds_mlir.training import weights
from ds_mlir.training.model_config import model_config
from ds_mlir.training.model_writer import export_model
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


def trained(table, config, folder=None):
    """Values that no initialization gives, different in every element."""
    generator = np.random.default_rng(7)
    first = weights.initial_values(table, config, seed=1, folder=folder)
    return {name: value + generator.normal(0, 0.1, value.shape).astype(np.float32) for name, value in first}


def open_in_transformers(folder, class_name):
    import transformers

    model, info = getattr(transformers, class_name).from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not info.get(kind), (kind, info[kind])
    return model.eval()


def assert_same(model, table, values):
    """Every parameter of transformers' model has the values that were written."""
    state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    for tensor in table:
        found = weights.stored_box(np.ascontiguousarray(state[tensor["source"]]), tensor).reshape(tensor["shape"])
        assert np.array_equal(found, values[tensor["name"]]), tensor["name"]


def assert_compiles(folder, package, model):
    """The package of the folder computes what transformers computes."""
    import torch

    ids = np.random.default_rng(0).integers(6, 90, (2, 11)).astype(np.int32)
    compiled = ds_mlir.load(ds_mlir.compile(folder, package, target_cpu="x86-64-v2"))
    with torch.no_grad():
        expected = model(torch.tensor(ids).long()).logits.numpy()
    assert np.abs(compiled.logits(ids) - expected).max() <= 1e-4


@pytest.mark.parametrize("name", tiny_configs.MODELS)
def test_model_of_a_configuration(name, tmp_path):
    table, config = tiny_configs.table_of(name), tiny_configs.config_of(name)
    values = trained(table, config)
    folder = export_model(tmp_path / "model", table, values, config)
    model = open_in_transformers(folder, tiny_configs.MODELS[name][1])
    assert_same(model, table, values)
    if name in ("bert-classifier", "prelayernorm-mlm", "gpt2", "llama"):
        assert_compiles(folder, tmp_path / "package", model)
    with safe_open(folder / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert len(set(file.keys())) == len(weights.by_source(table)) + (name == "bert-mlm-untied")


@pytest.mark.parametrize("pre_layer_norm", [True, False])
def test_model_of_model_config(pre_layer_norm, tmp_path):
    config = model_config(layers=1, hidden_size=24, heads=2, vocab_size=90, max_positions=16, pre_layer_norm=pre_layer_norm)
    (tmp_path / "config.json").write_text(json.dumps(config))
    table = tiny_configs.table_of_folder(tmp_path, "--random-weights")
    values = trained(table, config)
    folder = export_model(tmp_path / "model", table, values, config)
    model = open_in_transformers(folder, config["architectures"][0])
    assert_same(model, table, values)
    assert_compiles(folder, tmp_path / "package", model)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A BERT with both heads of its pretraining in bf16, second copies of what is tied, a buffer, and a tokenizer."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("pretrained")
    model = transformers.BertForPreTraining(transformers.BertConfig(**tiny_configs.ENCODER)).bfloat16()
    model.save_pretrained(folder)
    from safetensors.torch import load_file, save_file

    stored = load_file(folder / "model.safetensors")
    stored["cls.predictions.decoder.weight"] = stored["bert.embeddings.word_embeddings.weight"].clone()
    stored["bert.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "modules.json").write_text("[]")
    return folder


def test_checkpoint_keeps_what_was_not_trained(pretrained, tmp_path):
    table, config = tiny_configs.table_of("bert-mlm"), json.loads((pretrained / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    values = trained(table, config, pretrained)
    folder = export_model(tmp_path / "model", table, values, config, task="masked-lm", checkpoint=pretrained)
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "tokenizer.json").read_text() == '{"version": "1.0"}'
    assert json.loads((folder / "config.json").read_text()) == {**config, "dtype": "float32", "architectures": ["BertForMaskedLM"]}
    before, after = weights.CheckpointTensors(pretrained), weights.CheckpointTensors(folder)
    assert set(after.names()) == set(before.names()) - {"cls.predictions.decoder.weight"}
    kept = set(after.names()) - {tensor["source"] for tensor in table}
    assert kept == {
        "bert.embeddings.position_ids",
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    }
    for name in kept:
        assert after.raw(name)[:2] == before.raw(name)[:2]
        assert np.array_equal(after.raw(name)[2], before.raw(name)[2])
    assert after.raw("bert.embeddings.position_ids")[0] == "I64"
    import transformers

    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    assert_same(model, table, values)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert_compiles(folder, tmp_path / "package", model)


def test_hidden_states_alone_become_a_classifier(tmp_path):
    model = tiny_configs.make_model("bert-mlm").bert
    model.save_pretrained(tmp_path / "hidden")
    stored = load_file(tmp_path / "hidden" / "model.safetensors") | {"extra.weight": np.ones(3, np.float32)}
    save_file(stored, tmp_path / "hidden" / "model.safetensors")
    table, config = tiny_configs.table_of("bert-classifier"), tiny_configs.config_of("bert-classifier")
    values = trained(table, config, tmp_path / "hidden")
    # As a folder of hidden states has it.
    config["architectures"] = ["BertModel"]
    folder = export_model(tmp_path / "model", table, values, config, task="sequence-classification", checkpoint=tmp_path / "hidden")
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]
    names = set(load_file(folder / "model.safetensors"))
    assert names == {tensor["source"] for tensor in table} | {"bert.extra.weight"}


def test_parts_that_do_not_fill_a_tensor(tmp_path):
    view = {"offset": 4, "sizes": [2, 4], "strides": [4, 1]}
    table = [{"name": "w.part", "shape": [2, 4], "source": "w", "stored_shape": [4, 4], "view": view}]
    values, config = {"w.part": np.full((2, 4), 5, np.float32)}, {"model_type": "bert"}
    with pytest.raises(errors.BadData, match="tensor 'w': its parameters do not fill it"):
        export_model(tmp_path / "model", table, values, config)
    (tmp_path / "old").mkdir()
    save_file({"w": np.arange(16, dtype=np.float16).reshape(4, 4)}, tmp_path / "old" / "model.safetensors")
    folder = export_model(tmp_path / "model", table, values, config, checkpoint=tmp_path / "old")
    assert load_file(folder / "model.safetensors")["w"].tolist() == [[0, 1, 2, 3], [5] * 4, [5] * 4, [12, 13, 14, 15]]


TABLE = [{"name": "w", "shape": [2, 3], "source": "w", "stored_shape": [2, 3], "view": None}]


def export_number(path, number):
    return export_model(path, TABLE, {"w": np.full((2, 3), number, np.float32)}, {"model_type": "bert"})


def test_older_folder_is_replaced(tmp_path):
    for number in (1, 2):
        folder = export_number(tmp_path / "out" / "model", number)
        assert (load_file(folder / "model.safetensors")["w"] == number).all()
        assert os.listdir(tmp_path / "out") == ["model"]


def test_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    folder = export_number(tmp_path / "model", 1)

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    for path in (folder, tmp_path / "other"):
        with pytest.raises(errors.CannotWrite, match=f"cannot write '{path}': no space left on device"):
            export_number(path, 2)
    assert os.listdir(tmp_path) == ["model"]
    assert (load_file(folder / "model.safetensors")["w"] == 1).all()


def test_refused_places_and_values(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(errors.CannotWrite, match="expects a model's folder, an empty one or nothing there"):
        export_number(tmp_path / "notes", 1)
    with pytest.raises(errors.CannotWrite, match="file exists"):
        export_number(tmp_path / "notes" / "a.txt" / "model", 1)
    for values, found in (({}, "none"), ({"w": np.zeros((3, 3), np.float32)}, r"\[3, 3\]")):
        with pytest.raises(errors.BadData, match=rf"parameter 'w': expects values of shape \[2, 3\], found {found}"):
            export_model(tmp_path / "model", TABLE, values, {"model_type": "bert"})
    assert os.listdir(tmp_path) == ["notes"]
