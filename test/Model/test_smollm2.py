"""SmolLM2, the real model from its GGUF file, against eager torch on the same dequantized weights."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import threading
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMPTS = json.loads((ROOT / "benchmarks" / "cases" / "foundation.json").read_text())["prompts"]


@pytest.fixture(scope="module")
def prompts(smollm2):
    return [smollm2.tokenizer.encode(text) for text in PROMPTS]


def test_prompts_have_the_lengths_they_should(prompts):
    assert min(map(len, prompts)) <= 8
    assert 180 <= max(map(len, prompts)) <= 240


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_logits(smollm2, torch_smollm2, torch, prompts, index):
    with torch.no_grad():
        expected = torch_smollm2(torch.tensor([prompts[index]])).logits.numpy()
    assert np.abs(smollm2.logits(prompts[index]) - expected).max() <= 1e-3


@pytest.mark.parametrize("index", range(len(PROMPTS)))
def test_greedy_tokens(smollm2, torch_smollm2, torch, prompts, index):
    ids = torch.tensor([prompts[index]])
    with torch.no_grad():
        expected = torch_smollm2.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    found = smollm2.generate(prompts[index], max_new_tokens=64, eos_token_id=[])
    assert found[0].tolist() == expected[0].tolist()


def test_batch_padding_and_chunks_change_nothing(smollm2, prompts):
    alone = [smollm2.generate(prompt, max_new_tokens=12, eos_token_id=[])[0, len(prompt) :].tolist() for prompt in prompts]
    longest = max(map(len, prompts))
    for side in ("left", "right"):
        ids, mask = np.zeros((2, len(prompts), longest), dtype=np.int32)
        for row, prompt in enumerate(prompts):
            place = slice(longest - len(prompt), longest) if side == "left" else slice(0, len(prompt))
            ids[row, place], mask[row, place] = prompt, 1
        for chunk in (0, 7, 64):
            found = smollm2.generate(ids, mask, max_new_tokens=12, eos_token_id=[], prefill_chunk=chunk)
            assert [row[longest:].tolist() for row in found] == alone, (side, chunk)


def test_context_ends_generation(compiled, smollm2_path, prompts):
    import ds_mlir

    model = ds_mlir.load(compiled(smollm2_path, context=32))
    prompt = prompts[2][:30]
    result = model.generate(prompt, max_new_tokens=20, eos_token_id=[], return_dict_in_generate=True)
    assert result.finish == ["length"]
    assert 2 <= result.lengths[0] <= 3
    with pytest.raises(ValueError, match="32"):
        model.logits(prompts[2][:33])


def test_same_seed_same_tokens_at_any_batch(smollm2, prompts):
    options = {"max_new_tokens": 10, "do_sample": True, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "eos_token_id": []}
    short = prompts[0]
    alone = smollm2.generate(short, seed=7, **options)[0]
    batch = smollm2.generate([short, short, short], seed=7, **options)
    assert batch[0].tolist() == alone.tolist()
    assert smollm2.generate(short, seed=7, **options)[0].tolist() == alone.tolist()
    assert smollm2.generate(short, seed=8, **options)[0].tolist() != alone.tolist()


class Waiting:
    """A streamer that lets another thread call the model, and notes where it runs."""

    def __init__(self, call):
        self.thread, self.cpus = threading.Thread(target=call, daemon=True), set()

    def put(self, tokens):
        if not self.thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ran already
                self.thread.start()
        time.sleep(0.05)
        self.cpus |= os.sched_getaffinity(0)

    def end(self):
        pass


@pytest.mark.parametrize("call", ["memory", "profile"])
def test_other_threads_may_call_while_tokens_are_streamed(call, smollm2):
    """Both wait for the model, and must not hold Python's lock meanwhile."""
    done = []

    def other():
        if call == "memory":
            done.append(smollm2.memory())
        else:
            with smollm2.profile():
                done.append(1)

    waiting = Waiting(other)
    smollm2.generate([[1, 2, 3]], max_new_tokens=4, eos_token_id=[], streamer=waiting)
    waiting.thread.join(60)
    assert len(done) == 1
    assert waiting.cpus == os.sched_getaffinity(0)


def test_a_package_is_found_from_another_folder_and_changed_files_are_noticed(smollm2, tmp_path, monkeypatch):
    import ds_mlir

    monkeypatch.chdir(tmp_path)
    shutil.copytree(smollm2.path, "package", copy_function=os.link)
    model = ds_mlir.load("package", threads=1)
    other = ds_mlir.load("package", threads=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    with model.profile() as profile:
        model.generate([[1, 2]], max_new_tokens=10**12, eos_token_id=np.int64(model.generate([[1, 2]], max_new_tokens=1)[0, -1]))
    assert profile.data()["programs"]
    assert model.tokenizer.encode("hello") == smollm2.tokenizer.encode("hello")
    changed = tmp_path / "package" / "tokenizer.json"
    text = changed.read_text()
    changed.unlink()
    changed.write_text(text + " ")
    with pytest.raises(ds_mlir.errors.BadData, match=r"tokenizer\.json': expects sha256"):
        _ = other.tokenizer


def test_an_interrupt_ends_a_generation_without_a_streamer(smollm2):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            smollm2.generate([[1, 2, 3]] * 4, max_new_tokens=1500, eos_token_id=[])
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def test_stop_strings_and_streamer(smollm2):
    import io

    from ds_mlir.text import TextStreamer

    ids = smollm2.tokenizer.encode("1, 2, 3, 4,")
    file = io.StringIO()
    result = smollm2.generate(
        ids, max_new_tokens=40, stop_strings=" 7", streamer=TextStreamer(smollm2.tokenizer, file=file), return_dict_in_generate=True
    )
    text = smollm2.tokenizer.decode(result.sequences[0, len(ids) :])
    assert result.finish == ["stop"]
    assert text.endswith(" 7")
    assert file.getvalue().rstrip("\n") == text


def test_chat(smollm2):
    prompt = smollm2.tokenizer.apply_chat_template([{"role": "user", "content": "What is the capital of France?"}])
    ids = smollm2.tokenizer.encode(prompt, special=False)
    found = smollm2.generate(ids, max_new_tokens=24)
    assert "Paris" in smollm2.tokenizer.decode(found[0, len(ids) :])
