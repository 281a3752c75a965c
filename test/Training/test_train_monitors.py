"""Monitors of an engine: files of CSV, TensorBoard's event files, and what a resumed run makes of them."""

import csv
import importlib.util

import numpy as np
import pytest
from ds_mlir import errors
from ds_mlir.training.config import MonitorSettings
from ds_mlir.training.monitors import CsvMonitor, TensorBoardMonitor
from numpy_backend import NumpyBackend, config, initialize

BATCH = {"input_ids": np.arange(6).reshape(2, 3), "labels": np.arange(6).reshape(2, 3)}


def engine(folder, **sections):
    changes = {name: {"enabled": True, "output_path": str(folder), **values} for name, values in sections.items()}
    return initialize(model=NumpyBackend(), config=config(**changes))[0]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_files_of_csv(tmp_path):
    made = engine(tmp_path, csv_monitor={"job_name": "run"})
    per_update = made.train_batch_size()
    losses = [made.train_batch(iter([BATCH] * made.gradient_accumulation_steps())) for _ in range(3)]
    made.watch.validation(3, 1.5)
    assert rows(tmp_path / "run" / "Validation_Samples_loss.csv") == [["step", "loss"], [str(3 * per_update), "1.5"]]
    found = rows(tmp_path / "run" / "Train_Samples_train_loss.csv")
    assert found == [["step", "train_loss"], *([str(per_update * (i + 1)), str(loss)] for i, loss in enumerate(losses))]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"Train_Samples_lr.csv", "Train_Samples_grad_norm.csv", "Train_Samples_tokens_per_second.csv"} < names
    assert "Train_Samples_theta.csv" not in names


def test_a_resumed_run_takes_the_place_of_what_was_cut(tmp_path):
    made = engine(tmp_path / "log", csv_monitor={})
    batches = [BATCH] * made.gradient_accumulation_steps()
    for step in range(4):
        made.train_batch(iter(batches))
        if step == 1:
            made.save_checkpoint(tmp_path / "checkpoints")
    path = tmp_path / "log" / "DeepSpeedJobName" / "Train_Samples_train_loss.csv"
    whole = rows(path)
    resumed = engine(tmp_path / "log", csv_monitor={})
    resumed.load_checkpoint(tmp_path / "checkpoints")
    assert rows(path) == whole[:3]
    for _ in range(2):
        resumed.train_batch(iter(batches))
    assert rows(path) == whole


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "taken").write_text("")
    monitor = CsvMonitor(MonitorSettings(str(tmp_path), "taken"))
    with pytest.raises(errors.CannotWrite, match=f"^cannot write '{tmp_path}/taken': "):
        monitor.write([("a", 1.0, 1)])
    made = engine(tmp_path, csv_monitor={"job_name": "taken"})
    with pytest.raises(errors.CannotWrite):
        made.train_batch(iter([BATCH] * made.gradient_accumulation_steps()))
    assert made.global_steps == 1  # the update is done, and the engine ready for the next
    (tmp_path / "taken").unlink()
    made.train_batch(iter([BATCH] * made.gradient_accumulation_steps()))
    assert made.global_steps == 2


def test_tensorboard_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.Unavailable, match=r"^unavailable: tensorboard: event files need the package tensorboard, which is not"):
        TensorBoardMonitor(MonitorSettings(str(tmp_path)))


def test_event_files(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = engine(tmp_path, tensorboard={"job_name": "run"})
    batches = [BATCH] * made.gradient_accumulation_steps()
    losses = [made.train_batch(iter(batches)) for _ in range(2)]
    made.save_checkpoint(tmp_path / "checkpoints")
    made.train_batch(iter(batches))
    made.watch.close()
    resumed = engine(tmp_path, tensorboard={"job_name": "run"})
    resumed.load_checkpoint(tmp_path / "checkpoints")
    losses.append(resumed.train_batch(iter(batches)))
    resumed.watch.close()
    read = EventAccumulator(str(tmp_path / "run"))
    read.Reload()
    found = [(event.step, event.value) for event in read.Scalars("Train/Samples/train_loss")]
    assert found == [(made.train_batch_size() * (i + 1), pytest.approx(loss)) for i, loss in enumerate(losses)]
