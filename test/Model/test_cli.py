"""`python -m ds_mlir`: text in, text out, and errors by their exit status."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_models
from ds_mlir import compiler
from ds_mlir.__main__ import main
from ds_mlir.compiler import compiler_path


def test_generate_answers_in_the_chat_template(smollm2, capsys):
    assert main(["generate", str(smollm2.path), "What is the capital of France?", "-n", "24"]) == 0
    assert "Paris" in capsys.readouterr().out


def test_generate_continues_a_text(smollm2, capsys):
    assert main(["generate", str(smollm2.path), "1, 2, 3, 4,", "--no-chat", "-n", "40", "--stop", " 7"]) == 0
    assert capsys.readouterr().out == "1, 2, 3, 4, 5, 6, 7\n"


def test_generate_says_when_it_was_cut(smollm2, capsys):
    assert main(["generate", str(smollm2.path), "Tell me a story.", "-n", "3"]) == 0
    assert capsys.readouterr().err == "[ended after 3 tokens: length]\n"


def test_embed_writes_json_lines(minilm, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a cat\na dog\n"))
    assert main(["embed", str(minilm.path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == ["a cat", "a dog"]
    assert np.abs(np.array([line["embedding"] for line in lines]) - minilm.encode(["a cat", "a dog"])).max() <= 1e-6


@pytest.mark.parametrize(
    ("command", "redirection", "status", "line"),
    [
        ("generate", "< word", 65, "bad data: standard input: byte 3: expects UTF-8, found 0xe9"),
        ("embed", "< word", 65, "bad data: standard input: byte 3: expects UTF-8, found 0xe9"),
        ("generate", "<&-", 66, "missing: standard input: expects text, found it closed"),
        ("embed", "<&-", 66, "missing: standard input: expects text, found it closed"),
        ("generate", "< text > /dev/full", 73, "cannot write standard output: No space left on device"),
        ("embed", "< text > /dev/full", 73, "cannot write standard output: No space left on device"),
        ("generate", "< text >&-", 73, "cannot write standard output: it is closed"),
    ],
)
def test_standard_input_and_output_that_fail(command, redirection, status, line, minilm, smollm2, tmp_path):
    (tmp_path / "word").write_bytes(b"caf\xe9")
    (tmp_path / "text").write_text("a cat\n")
    words = [f"'{smollm2.path}'", "-", "--no-chat", "-n", "2"] if command == "generate" else [f"'{minilm.path}'"]
    shell = " ".join([f"'{sys.executable}' -m ds_mlir", command, *words, redirection])
    done = subprocess.run(shell, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stderr.splitlines()[-1] == f"ds_mlir: {line}"


def test_files_that_fail_are_not_taken_for_standard_output(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/folder/schemes.json")

    monkeypatch.setattr(compiler, "compile", full)
    assert main(["compile", "model", "-o", "package"]) == 73
    assert capsys.readouterr().err == "ds_mlir: cannot write '/folder/schemes.json': No space left on device\n"


def test_embed_writes_an_array(minilm, tmp_path):
    assert main(["embed", str(minilm.path), "a cat", "-o", str(tmp_path / "cat.npy")]) == 0
    assert np.load(tmp_path / "cat.npy").shape == (1, 384)


def test_embed_that_cannot_write(minilm, tmp_path, capsys):
    assert main(["embed", str(minilm.path), "a cat", "-o", str(tmp_path / "nowhere" / "cat.npy")]) == 73
    assert capsys.readouterr().err == f"ds_mlir: cannot write '{tmp_path}/nowhere/cat.npy': No such file or directory\n"


def test_compile_and_its_errors(tmp_path, capsys, torch):
    tiny_models.make_model("llama", tmp_path / "model")
    assert main(["compile", str(tmp_path / "model"), "-o", str(tmp_path / "package"), "--target-cpu", "x86-64-v2"]) == 0
    assert sorted(os.listdir(tmp_path / "package" / "code")) == ["x86-64-v2.so"]
    capsys.readouterr()
    assert main(["compile", str(tmp_path / "nowhere"), "-o", str(tmp_path / "other")]) == 66
    assert capsys.readouterr().err == f"ds_mlir: '{tmp_path}/nowhere': expects a model's folder or a GGUF file, found nothing\n"
    assert main(["compile", str(tmp_path / "model"), "-o", str(tmp_path / "other"), "--target", "cpu,rocm"]) == 2
    line = "ds_mlir: --target: expects a list of cpu, cuda and cuda:ARCH,..., got 'cpu,rocm'\n"
    assert capsys.readouterr().err == line
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("ignored", [True, False])
def test_compile_ends_on_a_hangup_unless_it_is_ignored(ignored, tmp_path, torch):
    """What `nohup` starts goes on when the terminal closes; LLVM's handlers would take the signal all the same."""
    tiny_models.make_model("llama", tmp_path / "model")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        command = [compiler_path(), tmp_path / "model", "-o", tmp_path / "package", "--target-cpu=x86-64-v2", "--quiet"]
        compiler = subprocess.Popen(command, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGHUP, before)
    while compiler.poll() is None:
        time.sleep(0.1)
        compiler.send_signal(signal.SIGHUP)
    assert (compiler.returncode == 0, (tmp_path / "package").exists()) == (ignored, ignored)


def launches_of(package):
    return json.loads((package / "code" / "launches.json").read_text())["programs"]


def test_compile_for_cublaslt(tmp_path, capsys, torch):
    tiny_models.make_model("llama", tmp_path / "model")
    capsys.readouterr()
    command = ["compile", str(tmp_path / "model"), "-o", str(tmp_path / "package"), "--target", "cuda:sm_90a"]
    assert main([*command, "--cublaslt=16"]) == 2
    assert capsys.readouterr().err == "ds_mlir: --cublaslt: expects 17 rows to --max-rows, 512, got '16'\n"
    assert main([*command, "--cublaslt"]) == 0
    (prefill,) = (program for program in launches_of(tmp_path / "package") if program["name"] == "prefill")
    bounds = [launch["when"] for launch in prefill["launches"] if "product" in launch]
    assert bounds
    assert all(when == [["token_rows", 512, 1 << 30]] for when in bounds)


def test_errors_carry_the_same_text(minilm, smollm2):
    import ds_mlir

    with pytest.raises(FileNotFoundError, match="manifest"):
        ds_mlir.load("/nowhere")
    with pytest.raises(ds_mlir.errors.Unavailable, match="nothing for the device cuda:0"):
        ds_mlir.load(minilm.path, device="cuda:0")
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="49152"):
        smollm2.generate([[49152]])
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="expects integers, got float64"):
        smollm2.logits([[0.5]])
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="temperature"):
        smollm2.generate([[1]], do_sample=True, temperature=0.0)
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="embedding"):
        smollm2.encode([[1]])
    wrong = {"seed": (-1, 2**64), "max_new_tokens": (2.5, np.array([2])), "top_k": (2**31,), "eos_token_id": ("2", [2, "2"])}
    for name, value in ((name, value) for name, values in wrong.items() for value in values):
        with pytest.raises(ds_mlir.errors.InvalidArgument, match=rf"{name}: expects an integer from .*, got "):
            smollm2.generate([[1]], do_sample=True, **{name: value})
    for eos in (np.int64(2), {2}, np.array([2]), None):
        assert smollm2.generate([[1]], eos_token_id=eos, max_new_tokens=1).shape == (1, 2)
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="got 4294967296"):
        ds_mlir.load(minilm.path, threads=2**32)


def test_a_changed_byte_is_refused(compiled, torch, tmp_path):
    import shutil

    import ds_mlir

    tiny_models.make_model("llama", tmp_path / "model")
    package = compiled(tmp_path / "model")
    for name in ("manifest.json", "weights-00001.safetensors", next((package / "code").iterdir()).relative_to(package)):
        copy = tmp_path / "copy"
        shutil.copytree(package, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ds_mlir.errors.BadData):
            ds_mlir.load(copy)
        shutil.rmtree(copy)
