"""Checkpoints: bit-equal resumption, refusals that change nothing, and kills at any moment."""

import json
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import signal
import time

import numpy as np
import pytest
from ds_mlir import errors, initialize
from ds_mlir.training import Blocks, DataLoader, checkpoint
from numpy_backend import NumpyBackend, batches, config, same, snapshot
from safetensors.numpy import load_file

SETTINGS = {
    "gradient_accumulation_steps": 2,
    "gradient_clipping": 0.5,
    "scheduler": {"type": "WarmupCosineLR", "params": {"total_num_steps": 20, "warmup_num_steps": 4}},
    "progressive_layer_drop": {"enabled": True, "theta": 0.4, "gamma": 0.3},
    "seed": 3,
}


def make(model=None, data=True, **changes):
    blocks = Blocks(np.random.default_rng(0).integers(0, 11, (14, 6)).astype(np.int32), True) if data else None
    engine, *_ = initialize(
        model=model or NumpyBackend(gated=True, kind=changes.pop("kind", "adamw")),
        config=config(**{**SETTINGS, **changes}),
        training_data=blocks,
    )
    engine.print_line = None
    return engine


def everything(engine):
    return snapshot(engine.backend), json.dumps([engine.progress_state(), engine.optimizer.state_dict(), engine.lr_scheduler.state_dict()])


@pytest.mark.parametrize("kind", ["adamw", "lamb", "sgd"])
@pytest.mark.parametrize("at", [1, 5])  # 7 micro batches an epoch, 2 an update
def test_a_resumed_run_is_bit_equal(tmp_path, kind, at):
    settings = {"kind": kind, "optimizer": {"type": kind, "params": {"lr": 0.05}}}
    whole = make(**settings)
    losses = [whole.train_batch() for _ in range(9)]
    first = make(**settings)
    assert [first.train_batch() for _ in range(at)] == losses[:at]
    path = first.save_checkpoint(tmp_path, client_state={"best": 0.5, "numbers": np.float32(2)})
    assert path == str(tmp_path / f"global_step{at}")
    second = make(**settings)
    for value in second.backend.state["parameter"].values():
        value[...] = 7  # whatever was there
    assert second.load_checkpoint(tmp_path) == (path, {"best": 0.5, "numbers": 2.0})
    assert everything(first)[1] == everything(second)[1]
    assert [second.train_batch() for _ in range(9 - at)] == losses[at:]
    assert same(everything(whole)[0], everything(second)[0])
    assert everything(whole)[1] == everything(second)[1]


def test_a_run_resumed_between_micro_batches_is_bit_equal(tmp_path):
    data = batches(6, batch=2)
    whole, first, second = make(data=False), make(data=False), make(data=False)
    for engine in (whole, first):
        engine.train_batch(iter(data[:2]))
        engine.backward(engine(data[2]))
        engine.step()
    first.save_checkpoint(tmp_path)
    second.load_checkpoint(tmp_path)
    losses = [engine.train_batch(iter(data[3:4])) for engine in (whole, second)]
    assert losses[0] == losses[1]
    assert whole.last.kept_layers == second.last.kept_layers
    for engine in (whole, second):
        engine.train_batch(iter(data[4:]))
    assert same(snapshot(whole.backend), snapshot(second.backend))
    assert everything(whole)[1] == everything(second)[1]


def test_a_checkpoint_waits_for_the_step(tmp_path):
    engine, data = make(data=False), batches(2)
    loss = engine(data[0])
    with pytest.raises(errors.InvalidArgument, match="save_checkpoint: expects backward"):
        engine.save_checkpoint(tmp_path)
    engine.backward(loss)
    engine.step()
    engine.backward(engine(data[1]))
    with pytest.raises(errors.InvalidArgument, match="save_checkpoint"):
        engine.save_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_lies_in_the_folder(tmp_path):
    engine = make()
    engine.train_batch()
    engine.save_checkpoint(tmp_path, "a")
    engine.train_batch()
    engine.save_checkpoint(tmp_path, "b")
    engine.save_checkpoint(tmp_path, "a")  # in place of the first
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "latest"]
    assert (tmp_path / "latest").read_text() == "a"
    assert sorted(os.listdir(tmp_path / "a")) == ["control.json", "model.safetensors", "optimizer.safetensors"]
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    assert {name: list(value.shape) for name, value in tensors.items()} == {t.name: list(t.shape) for t in engine.backend.tensors}
    assert all(np.array_equal(value, engine.backend.view("parameter", name)) for name, value in tensors.items())
    assert "moment2.head.weight" in load_file(tmp_path / "a" / "optimizer.safetensors")
    assert json.loads((tmp_path / "a" / "control.json").read_text())["config_sha256"] == engine.config.digest
    other = make()
    other.load_checkpoint(tmp_path, "b")
    assert other.global_steps == 2


def test_parameters_alone(tmp_path):
    engine = make()
    engine.train_batch()
    engine.save_checkpoint(tmp_path)
    other = make(kind="lamb", optimizer={"type": "Lamb"}, scheduler={"type": "WarmupLR"}, seed=5)
    other.load_checkpoint(tmp_path, load_module_only=True)
    assert all(
        np.array_equal(engine.backend.view("parameter", t.name), other.backend.view("parameter", t.name)) for t in engine.backend.tensors
    )
    assert (other.global_steps, other.optimizer.steps.sum()) == (0, 0)
    assert not other.backend.view("moment1", "head.weight").any()


def test_another_configuration_is_reported(tmp_path):
    engine = make()
    engine.save_checkpoint(tmp_path)
    with pytest.warns(UserWarning, match="differs in gradient_clipping, optimizer.params.lr$"):
        make(gradient_clipping=0.7, optimizer={"type": "AdamW", "params": {"lr": 0.06, "weight_decay": 0.01}}).load_checkpoint(tmp_path)


def damage(path, what):
    if what == "shorter":
        path.write_bytes(path.read_bytes()[:-5])
    elif what == "changed":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()


@pytest.mark.parametrize("what", ["shorter", "changed", "gone"])
@pytest.mark.parametrize("name", ["control.json", "model.safetensors", "optimizer.safetensors"])
def test_a_torn_checkpoint_changes_nothing(tmp_path, name, what):
    engine = make()
    engine.train_batch()
    engine.save_checkpoint(tmp_path)
    damage(tmp_path / "global_step1" / name, what)
    other = make()
    before = everything(other)
    with pytest.raises(errors.BadData, match=rf"{name}': expects .*torn$"):
        other.load_checkpoint(tmp_path)
    after = everything(other)
    assert same(before[0], after[0])
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: make(NumpyBackend(gated=True, hidden=6)), r"another model: expects 'embed.weight' of shape \[11, 6\], found \[11, 5\]"),
        (lambda: make(NumpyBackend(gated=True, blocks=4)), r"another model: expects 'layers.3.weight' of shape \[5, 5\], found none"),
        (lambda: make(NumpyBackend(gated=True, blocks=2)), r"another model: expects no 'layers.2.weight', found one"),
        (lambda: make(NumpyBackend(gated=True, task="masked-lm")), "another model: expects the task masked-lm, found causal-lm"),
        (lambda: make(kind="lamb", optimizer={"type": "Lamb"}), "optimizer: expects a state of lamb, found one of adamw"),
        (lambda: make(scheduler={"type": "WarmupLR"}), "expects the scheduler WarmupLR, found WarmupCosineLR"),
    ],
)
def test_a_checkpoint_of_something_else_changes_nothing(tmp_path, other, text):
    make().save_checkpoint(tmp_path)
    engine = other()
    before = everything(engine)
    with pytest.raises(errors.BadData, match=text):
        engine.load_checkpoint(tmp_path)
    after = everything(engine)
    assert same(before[0], after[0])
    assert before[1] == after[1]


def test_what_is_not_there(tmp_path):
    engine = make()
    with pytest.raises(errors.Missing, match=r"latest': expects the name of a checkpoint"):
        engine.load_checkpoint(tmp_path)
    with pytest.raises(errors.Missing, match=r"no': expects a checkpoint, found nothing"):
        engine.load_checkpoint(tmp_path, "no")
    for text in ("../elsewhere", "", ".hidden"):
        (tmp_path / "latest").write_text(text)
        with pytest.raises(errors.BadData, match="expects the name of a checkpoint, found"):
            engine.load_checkpoint(tmp_path)
    for tag in ("a/b", "..", "latest", "", "x" * 200):
        with pytest.raises(errors.InvalidArgument, match="tag: expects a plain file name"):
            engine.save_checkpoint(tmp_path, tag)
    with pytest.raises(errors.InvalidArgument, match="client_state: expects what JSON can hold"):
        engine.save_checkpoint(tmp_path, client_state={"a": object()})
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.CannotWrite, match="the checkpoints before are as they were"):
        engine.save_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("tag", [None, "same"])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, tag):
    engine = make()
    engine.train_batch()
    path = engine.save_checkpoint(tmp_path, tag)
    engine.train_batch()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for size in (1, 500, max(file.stat().st_size for file in pathlib.Path(path).iterdir()) - 1):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            with pytest.raises(errors.CannotWrite, match=r"cannot write '.*': file too large; the checkpoints before are as they were"):
                engine.save_checkpoint(tmp_path, tag)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert {*os.listdir(tmp_path)} == {os.path.basename(path), "latest"}
    other = make()
    assert other.load_checkpoint(tmp_path)[0] == path
    assert other.global_steps == 1
    engine.train_batch()  # and training goes on


def save_for_ever(folder, tags, ready):
    """Save checkpoints whose parameters are all the number of the step, until the parent kills this process."""
    engine = make(data=False)
    if (folder / "latest").exists():
        engine.load_checkpoint(folder)
    else:
        engine.save_checkpoint(folder, tags[0], {"step": 0})
    ready.set()
    while True:
        engine.global_steps += 1
        for value in engine.backend.state["parameter"].values():
            value[...] = engine.global_steps
        engine.save_checkpoint(folder, tags[engine.global_steps % len(tags)], {"step": engine.global_steps})
        for old in folder.glob("t*"):  # keep three: what is removed is never the latest
            if int(old.name[1:]) not in [(engine.global_steps - back) % len(tags) for back in range(3)]:
                shutil.rmtree(old)


@pytest.mark.parametrize("tags", [["one"], [f"t{i}" for i in range(50)]], ids=["one tag", "many tags"])
def test_kills_while_saving(tmp_path, tags):
    """100 kills in all, at random moments: what opens is whole, and never older than before."""
    random.seed(len(tags))
    context = multiprocessing.get_context("fork")
    newest, engine = 0, make(data=False)
    began = time.monotonic()
    engine.save_checkpoint(tmp_path / "measured")
    longest = min(3 * (time.monotonic() - began), 0.5)  # three saves, on a disk that flushes slowly half a second
    for _ in range(50):
        ready = context.Event()
        process = context.Process(target=save_for_ever, args=(tmp_path, tags, ready))
        process.start()
        assert ready.wait(20)
        time.sleep(random.uniform(0, longest))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        _, state = engine.load_checkpoint(tmp_path)
        values = (
            {0.0}
            if not state["step"]
            else {float(value) for tensor in engine.backend.state["parameter"].values() for value in np.unique(tensor)}
        )
        assert values == {float(state["step"])} == {float(engine.global_steps)}
        assert state["step"] >= newest
        newest = state["step"]
    assert newest > 0, "no save ended before its kill"
    engine.save_checkpoint(tmp_path, "last")
    assert [name for name in os.listdir(tmp_path) if name.endswith(".saving")] == []


def test_a_save_killed_between_two_renames(tmp_path):
    engine = make()
    engine.train_batch()
    path = tmp_path / "a"
    engine.save_checkpoint(tmp_path, "a")
    path.rename(checkpoint._previous(path))
    assert make().load_checkpoint(tmp_path)[0] == str(tmp_path / ".a.previous")
    engine.train_batch()
    engine.save_checkpoint(tmp_path, "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "latest"]
    other = make()
    other.load_checkpoint(tmp_path)
    assert other.global_steps == 2


def test_a_loader_of_other_data_is_refused(tmp_path):
    engine = make()
    engine.save_checkpoint(tmp_path)
    other = make()
    other.training_dataloader = DataLoader(Blocks(np.zeros((5, 6), np.int32), True), 2)
    with pytest.raises(errors.BadData, match="training_data: expects samples 5, found 14"):
        other.load_checkpoint(tmp_path)
