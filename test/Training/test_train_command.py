"""`ds-train`: the file, the logs, and a run that was cut and resumed."""

import csv
import errno
import json
import shutil

import numpy as np
import pytest
from ds_mlir import errors
from ds_mlir.__main__ import main
from ds_mlir.training import command, log
from ds_mlir.training.recipe import read_recipe
from ds_mlir.training.record import Record
from numpy_backend import NumpyBackend
from safetensors.numpy import load_file
from test_train_data import word_tokenizer

RECIPE = {
    "model": "model",
    "task": "masked-lm",
    "data": {"files": ["a.txt"], "sequence_length": 8, "validation": 0.25},
    "output": "out",
    "steps": 12,
    "save_every": 4,
    "validate_every": 6,
    "train_micro_batch_size_per_gpu": 4,
    "gradient_accumulation_steps": 2,
    "optimizer": {"type": "AdamW", "params": {"lr": 0.05}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 0.05, "warmup_num_steps": 4}},
    "progressive_layer_drop": {"enabled": True, "theta": 0.5, "gamma": 0.1},
    "steps_per_print": 4,
}


@pytest.fixture
def folder(tmp_path):
    word_tokenizer(tmp_path / "model")
    words = np.random.default_rng(0).choice(list("abcde"), 800)
    (tmp_path / "a.txt").write_text("\n".join(" ".join(words[i : i + 10]) for i in range(0, 800, 10)))
    return tmp_path


def recipe(folder, name="ds.json", **changes):
    file = folder / name
    file.write_text(json.dumps({key: value for key, value in {**RECIPE, **changes}.items() if value is not None}))
    return file


def backend(task="masked-lm", **changes):
    return NumpyBackend(vocabulary=10, gated=True, task=task, masked=True, **changes)


def test_a_run_and_its_logs(folder, capsys):
    made = read_recipe(recipe(folder))
    assert (made.config.own.task, made.config.own.max_tokens) == ("masked-lm", 32)
    engine = command.train(made, model=backend(), progress="off")
    assert engine.global_steps == 12
    lines = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert {*log.COLUMNS} - {"validation_loss"} <= {*steps[0]}
    assert steps[0]["theta"] == 1.0
    assert steps[11]["theta"] < 0.9
    assert steps[0]["tokens"] == 64
    assert [line["step"] for line in lines if "validation_loss" in line] == [6, 12]
    assert lines[-1]["validation_loss"] < 2.3  # log 10 is where it begins
    with (folder / "out" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == [str(line.get("loss", "")) for line in lines]
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "170 parameters in 8 tensors, 100 samples" or "parameters in 8 tensors" in printed[0]
    assert [line.split("  ")[0] for line in printed if line.startswith("step")] == [
        "step 4/12",
        "step 6",
        "step 8/12",
        "step 12/12",
        "step 12",
    ]
    assert sorted(path.name for path in (folder / "out" / "checkpoints").iterdir()) == [
        "global_step12",
        "global_step4",
        "global_step8",
        "latest",
    ]
    exported = load_file(folder / "out" / "model" / "model.safetensors")
    assert np.array_equal(exported["head.weight"], engine.backend.view("parameter", "head.weight"))


def test_a_run_that_was_cut_ends_as_one_that_was_not(folder):
    whole = command.train(read_recipe(recipe(folder), output=str(folder / "whole")), model=backend(), progress="off")
    made = read_recipe(recipe(folder))
    cut = backend()
    forward, count = cut.step, 0

    def die(*arguments):
        nonlocal count
        count += 1
        if count == 14:
            raise KeyboardInterrupt
        return forward(*arguments)

    cut.step = die
    with pytest.raises(KeyboardInterrupt):
        command.train(made, model=cut, progress="off")
    with pytest.raises(errors.InvalidArgument, match="has checkpoints; expects another output, or --resume"):
        command.train(made, model=backend(), progress="off")
    resumed = command.train(made, model=backend(seed=9), resume="", progress="off")
    for name, value in whole.backend.state["parameter"].items():
        assert np.array_equal(value.view(np.int32), resumed.backend.view("parameter", name).view(np.int32))
    logs = [log.read_log(folder / name / "log.jsonl") for name in ("whole", "out")]
    for line in (*logs[0], *logs[1]):
        for key in ("seconds", "tokens_per_second", "forward_s", "update_s"):
            line.pop(key, None)
    assert logs[0] == logs[1]


def test_causal_models_and_arrays_of_tokens(folder):
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, 10, 400))
    made = read_recipe(
        recipe(folder, task="causal-lm", model={"model_type": "gpt2"}, data={"files": "tokens.npy", "sequence_length": 10}, steps=3)
    )
    assert len(command.train(made, model=backend("causal-lm"), progress="off").training_dataloader.data) == 40


def test_classification_of_labelled_texts(folder):
    lines = [{"text": " ".join("abc"[i % 3] * 1 for _ in range(1 + i % 5)), "label": i % 3} for i in range(60)]
    (folder / "labelled.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    settings = {"files": ["labelled.jsonl"], "sequence_length": 6, "validation": 0.2}
    made = read_recipe(recipe(folder, task="sequence-classification", data=settings, progressive_layer_drop=None, steps=30))
    engine = command.train(made, model=backend("sequence-classification", labels=3), progress="off")
    assert log.read_log(folder / "out" / "log.jsonl")[-1]["validation_loss"] < 0.7  # log 3 is 1.1
    assert engine.backend.steps_run[0]["rows"] is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"task": None}, "task: expects causal-lm, masked-lm or sequence-classification, found none"),
        ({"task": "generation"}, "task: expects"),
        ({"model": None}, "model: expects a folder"),
        ({"steps": 0}, "steps: expects at least 1"),
        ({"steps": None}, "steps: expects a whole number"),
        ({"output": None}, "output: expects a folder"),
        ({"data": None}, "data: expects an object with files"),
        ({"data": {"files": []}}, "data.files: expects a file or a list of files"),
        ({"data": {"files": "a", "sequence_lenght": 3}}, "data.sequence_lenght: unknown key, did you mean 'sequence_length'?"),
        ({"data": {"files": "a", "validation": 1}}, "data.validation: expects at least 0 and less than 1"),
        ({"data": {"files": "a", "mlm_probability": 0}}, "data.mlm_probability: expects more than 0"),
        ({"ds_mlir": {"task": "causal-lm"}}, "ds_mlir.task: expects masked-lm, as task says, found causal-lm"),
        ({"optimizer": {"type": "Adam", "params": {"foo": 1}}}, "optimizer.params.foo: unknown key"),
        ({"stepz": 3}, "stepz: unknown key"),
    ],
)
def test_files_that_are_refused(folder, changes, text):
    file = recipe(folder, **changes)
    with pytest.raises(errors.InvalidArgument) as caught:
        read_recipe(file)
    assert f"'{file}': {text}" in str(caught.value)


def test_the_command_line(folder, capsys):
    assert main(["train", str(folder / "no.json")]) == 66
    assert capsys.readouterr().err.startswith(f"ds_mlir: missing: '{folder}/no.json'")
    assert command.main([str(recipe(folder, steps=None))]) == 2
    assert "steps: expects" in capsys.readouterr().err
    made = read_recipe(recipe(folder), steps=5, output="elsewhere", threads=3)
    assert (made.steps, str(made.output), made.config.own.threads) == (5, "elsewhere", 3)


def test_places_of_what_looks_on(folder):
    sections = {
        "tensorboard": {"enabled": True, "output_path": "board"},
        "csv_monitor": {"enabled": True},
        "flops_profiler": {"enabled": True, "output_file": "p.html"},
        "ds_mlir": {"machine": "machine.json"},
    }
    made = read_recipe(recipe(folder, **sections)).config
    assert (made.tensorboard.output_path, made.csv_monitor.output_path) == (str(folder / "board"), str(folder / "out"))
    assert (made.profiler.output_file, made.own.machine) == (str(folder / "p.html"), str(folder / "machine.json"))
    changes = {"csv_monitor": {"enabled": True, "job_name": "csv"}, "steps": 2, "save_every": 0, "validate_every": 1}
    command.train(read_recipe(recipe(folder, **changes)), model=backend(), progress="off")
    lines = (folder / "out" / "csv" / "Validation_Samples_loss.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "8", "16"]


def test_a_masked_model_needs_a_tokenizer(folder):
    shutil.rmtree(folder / "model")
    with pytest.raises(errors.InvalidArgument, match="expects a tokenizer for a text"):
        command.train(read_recipe(recipe(folder)), model=backend(), progress="off")


def test_a_log_is_whole_until_the_next_one_is(tmp_path, monkeypatch):
    lines = '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n'
    (tmp_path / "log.jsonl").write_text(lines)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log.RunLog, "_write", full)
        with pytest.raises(errors.CannotWrite, match=f"cannot write '{tmp_path}': no space left on device"):
            log.RunLog(tmp_path, 9, resumed=1)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("log.jsonl", lines)]
    log.RunLog(tmp_path, 9, resumed=1).close()
    assert (tmp_path / "log.jsonl").read_text() == lines.splitlines(keepends=True)[0]
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()] == ["step", "1"]
    assert len(list(tmp_path.iterdir())) == 2


def test_lines_and_pictures(tmp_path):
    record = Record(3, 2.5, 1e-3, 0.75, 0.9, 4.5, 128, 0.5, 256.0, False, 0.3, 0.1)
    assert log.describe(record, total=9) == "step 3/9  loss 2.5000  lr 0.001  norm 0.75  theta 0.900, 4.5 layers  256 tokens/s"
    assert log.describe(record, True).endswith("forward and backward 300.0 ms, update 100.0 ms")
    record.flops_per_second = 12.34e9
    assert log.describe(record).endswith("256 tokens/s  12.3 GFLOP/s")
    record.peak_share = 0.41
    assert log.describe(record).endswith("256 tokens/s  12.3 GFLOP/s (41% of the peak)")
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n{"step": 2, "validation_loss": 1.7}\n{"st')
    assert len(log.read_log(tmp_path / "log.jsonl")) == 3
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        with pytest.raises(errors.Unavailable, match="needs the package matplotlib"):
            log.plot_losses({"a": tmp_path / "log.jsonl"}, tmp_path / "loss.png")
    else:
        assert log.plot_losses({"a": tmp_path / "log.jsonl"}, tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
