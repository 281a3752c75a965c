"""Perplexity and accuracy against eager torch on tiny models, the table of variants, and what they say of bad input."""

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
import tiny_models
from ds_mlir.__main__ import main

LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,'é"
NAMES = ["calm", "glad", "2"]
SIZES = {"max_rows": 32, "context": 64}


def add_tokenizer(folder):
    """Give a model's folder a tokenizer of one token a letter."""
    import tokenizers

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {letter: index + 3 for index, letter in enumerate(LETTERS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))


def random_text(length, seed=0):
    return "".join(np.random.default_rng(seed).choice(list(LETTERS), length))


def torch_perplexity(torch, model, ids, window, stride):
    """The loop of transformers' guide to perplexity, with exact counts. Returns: mean, tokens and windows."""
    total, count, windows, previous = 0.0, 0, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        part = torch.tensor([ids[begin:end]])
        targets = part.clone()
        targets[:, : -(end - previous)] = -100
        scored = int((targets[:, 1:] != -100).sum())
        if scored:
            with torch.no_grad():
                logits = model(part).logits.double()
            total += float(torch.nn.functional.cross_entropy(logits[0, :-1], targets[0, 1:], reduction="sum"))
            count, windows = count + scored, windows + 1
        previous = end
        if end == len(ids):
            break
    return total / count, count, windows


@pytest.fixture(scope="module")
def decoder(torch, compiled, tmp_path_factory):
    import ds_mlir

    folder = tmp_path_factory.mktemp("llama")
    reference = tiny_models.make_model("llama", folder)
    add_tokenizer(folder)
    return reference, ds_mlir.load(compiled(folder, **SIZES)), folder


@pytest.fixture(scope="module")
def classifier(torch, compiled, tmp_path_factory):
    import ds_mlir

    folder = tmp_path_factory.mktemp("classifier")
    reference = tiny_models.make_model("bert-classifier", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
    (folder / "config.json").write_text(json.dumps(config))
    add_tokenizer(folder)
    return reference, ds_mlir.load(compiled(folder)), folder


@pytest.fixture(scope="module")
def labelled(classifier, torch):
    """Texts of many lengths, each with a label that torch finds right or wrong, and how many are right."""
    reference, model, _ = classifier
    texts = [random_text(length, seed=length) for length in (3, 40, 17, 1, 55, 9, 26, 40, 12, 31, 5)]
    with torch.no_grad():
        found = [int(reference(input_ids=torch.tensor([model.tokenizer.encode(text)[:40]])).logits.argmax()) for text in texts]
    assert len(set(found)) > 1
    labels = [label if index % 3 else (label + 1) % len(NAMES) for index, label in enumerate(found)]
    return texts, labels, sum(map(int.__eq__, found, labels))


@pytest.mark.parametrize(
    ("window", "stride"),
    [(64, None), (None, None), (None, 48), (64, 64), (33, None), (32, 32), (48, 16), (20, 19), (20, 3), (2, 1), (2, 2)],
)
def test_perplexity(decoder, torch, window, stride):
    import ds_mlir

    reference, model, _ = decoder
    text = random_text(97)  # 97 = 3 * 32 + 1: a last window of one token, which scores nothing
    used = window or SIZES["context"]  # the default of 512 is too long
    mean, tokens, windows = torch_perplexity(torch, reference, model.tokenizer.encode(text), used, stride or used)
    found = ds_mlir.perplexity(model, text, window=window, stride=stride)
    assert (found.tokens, found.windows) == (tokens, windows)
    assert found.nll == pytest.approx(mean, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(mean), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(mean / math.log(2) * 97 / len(text.encode()), rel=1e-5)


def test_perplexity_of_a_short_text(decoder, torch):
    import ds_mlir

    reference, model, _ = decoder
    mean, *_ = torch_perplexity(torch, reference, model.tokenizer.encode("ab"), 64, 64)
    found = ds_mlir.perplexity(model.path, "ab", window=64, threads=1)
    assert (found.tokens, found.windows) == (1, 1)
    assert found.nll == pytest.approx(mean, rel=1e-5)


def test_perplexity_with_a_token_before_the_text(decoder, torch):
    import ds_mlir
    import tokenizers

    reference, text = decoder[0], random_text(30)
    model = ds_mlir.load(decoder[1].path)
    model.tokenizer.raw.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    ids = model.tokenizer.encode(text)
    assert ids[0] == 1
    mean, *_ = torch_perplexity(torch, reference, ids, 64, 64)
    found = ds_mlir.perplexity(model, text, window=64)
    assert found.tokens == 30
    assert found.nll == pytest.approx(mean, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(mean / math.log(2) * 30 / len(text.encode()), rel=1e-5)
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="text: expects at least 2 tokens, got 0"):
        ds_mlir.perplexity(model, "", window=64)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_accuracy(classifier, labelled, tmp_path, kind, batch):
    import ds_mlir

    model = classifier[1]
    texts, labels, right = labelled
    file = tmp_path / f"set.{kind}"
    # Ids and names in turn; the name "2" is the label 2 whichever of them it is taken for.
    written = [label if index % 2 else NAMES[label] for index, label in enumerate(labels)]
    if kind == "jsonl":
        lines = [json.dumps({"text": text, "label": label, "other": 0}) for text, label in zip(texts, written, strict=True)]
        file.write_text("\n".join([*lines, "", ""]), encoding="utf-8")
    else:
        table = io.StringIO(newline="")
        writer = csv.writer(table, delimiter="," if kind == "csv" else "\t")
        writer.writerows([("number", "label", "text"), *((index, *pair) for index, pair in enumerate(zip(written, texts, strict=True)))])
        file.write_bytes(("\ufeff" + table.getvalue()).encode())
    found = ds_mlir.accuracy(model, file, batch=batch)
    assert (found.correct, found.examples) == (right, len(texts))
    assert found.accuracy == right / len(texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("set.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "lab', 'line 2: expects a JSON object, found \'{"text": "b", "lab\''),
        ("set.jsonl", "[1]\n", "line 1: expects a JSON object, found '[1]'"),
        ("set.jsonl", '\n{"label": 0}\n', "line 2: text: expects a string, found None"),
        ("set.jsonl", '{"text": "a\\ud800", "label": 0}\n', r"line 1: text: expects a string, found 'a\ud800'"),
        ("set.jsonl", '{"text": "a", "label": "sad"}\n', "line 1: label: expects 0 to 2 or calm, glad, 2, found 'sad'"),
        ("set.jsonl", '{"text": "a", "label": 3}\n', "line 1: label: expects 0 to 2 or calm, glad, 2, found 3"),
        ("set.jsonl", '{"text": "a", "label": true}\n', "line 1: label: expects 0 to 2 or calm, glad, 2, found True"),
        ("set.jsonl", "\n", "expects at least one example, found none"),
        ("set.csv", "text,name\na,0\n", "line 1: expects the columns text and label, found no label"),
        ("set.csv", "", "line 1: expects the columns text and label, found no label and no text"),
        ("set.csv", 'text,label\n"a\nb",0\nc\n', "line 4: expects 2 columns, found 1"),
        ("set.csv", "text,label\na,b,0\n", "line 2: expects 2 columns, found 3"),
        ("set.csv", 'text,label\n"a"b,0\n', "line 2: expects a row of a table, found: ',' expected after '\"'"),
        ("set.tsv", "text\tlabel\na\t-1\n", "line 2: label: expects 0 to 2 or calm, glad, 2, found '-1'"),
        ("set.tsv", b"text\tlabel\na\xff\t0\n", "byte 12: expects UTF-8, found 0xff"),
    ],
)
def test_labelled_sets_that_are_wrong(classifier, tmp_path, name, content, message):
    import ds_mlir

    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ds_mlir.errors.BadData) as raised:
        ds_mlir.accuracy(classifier[1], file)
    assert str(raised.value) == f"bad data: '{file}': {message}"


def test_arguments_that_are_wrong(decoder, classifier, tmp_path):
    import ds_mlir

    model = decoder[1]
    for text, options, message in [
        ("", {"window": 8}, "text: expects at least 2 tokens, got 0"),
        ("a", {"window": 8}, "text: expects at least 2 tokens, got 1"),
        ("ab", {"window": 65}, f"window: expects 2 to 64 tokens, the context of '{model.path}', got 65"),
        ("ab", {"window": 1}, f"window: expects 2 to 64 tokens, the context of '{model.path}', got 1"),
        ("ab", {"window": 8, "stride": 9}, "stride: expects 1 to 8 tokens, the window, got 9"),
        ("ab", {"window": 8, "stride": 0}, "stride: expects 1 to 8 tokens, the window, got 0"),
        ("ab", {"window": 8, "threads": 1}, "threads: expects None for a model that is loaded, got 1"),
    ]:
        with pytest.raises(ds_mlir.errors.InvalidArgument) as raised:
            ds_mlir.perplexity(model, text, **options)
        assert str(raised.value) == f"invalid argument: {message}"
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="expects a model of the task causal-lm, got sequence-classification"):
        ds_mlir.perplexity(classifier[1], "ab")
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="expects a model of the task sequence-classification, got causal-lm"):
        ds_mlir.accuracy(model, tmp_path / "set.csv")
    with pytest.raises(ds_mlir.errors.InvalidArgument, match=r"expects a file \.jsonl, \.csv or \.tsv, got '\.txt'"):
        ds_mlir.accuracy(classifier[1], tmp_path / "set.txt")
    (tmp_path / "one.csv").write_text("text,label\na,0\n")
    with pytest.raises(ds_mlir.errors.InvalidArgument, match="batch: expects at least 1, got 0"):
        ds_mlir.accuracy(classifier[1], tmp_path / "one.csv", batch=0)
    for variants in ([], ["f32", "f32"]):
        with pytest.raises(ds_mlir.errors.InvalidArgument, match="variants: expects different names"):
            ds_mlir.compare(tmp_path, "ab", variants)
    with pytest.raises(ds_mlir.errors.InvalidArgument, match=r"--task: expects .* got 'causal-lm'"):  # before anything is compiled
        ds_mlir.compare(classifier[2], "ab")


def test_logits_that_are_not_numbers(decoder, monkeypatch):
    import ds_mlir

    model = decoder[1]
    monkeypatch.setattr(model, "logits", lambda ids: np.full((1, len(ids), 96), math.nan, dtype=np.float32))
    with pytest.raises(ds_mlir.errors.Internal, match="tokens 0 to 8: expects numbers as logits, found NaN"):
        ds_mlir.perplexity(model, "abcdefghijkl", window=8)


def test_compare(decoder, capfd):
    import ds_mlir

    _, model, folder = decoder
    text = random_text(100)
    options = {"window": 64, "stride": 32, "repetitions": 2, "prompt_tokens": 100, "new_tokens": 8, "progress": "on", **SIZES}
    rows = ds_mlir.compare(folder, text, ("f32", "bf16", "f16"), **options)
    assert [row.variant for row in rows] == ["f32", "bf16", "f16"]
    assert min(speed for row in rows for speed in (row.prefill, row.decode)) > 0
    bytes_of_files = sum(file.stat().st_size for file in model.path.rglob("*") if file.is_file())
    assert rows[0].megabytes == pytest.approx(bytes_of_files / 1e6, rel=0.01)
    assert rows[1].megabytes < rows[0].megabytes
    assert rows[0].perplexity == ds_mlir.perplexity(model, text, window=64, stride=32).perplexity
    assert rows[0].change == 0
    assert rows[2].megabytes < rows[0].megabytes
    assert 0 < abs(rows[1].change) < 5
    assert 0 < abs(rows[2].change) < abs(rows[1].change)
    assert rows[1].change == pytest.approx(100 * (rows[1].perplexity / rows[0].perplexity - 1))
    assert capfd.readouterr().err.splitlines()[-4:] == ["speed", "f32: perplexity", "bf16: perplexity", "f16: perplexity"]


def test_a_window_beyond_the_context_of_a_comparison(decoder, capfd):
    """It is noticed when the context is known, before the other variants are compiled, and the model is the one that was given."""
    import ds_mlir

    folder = decoder[2]
    with pytest.raises(ds_mlir.errors.InvalidArgument) as raised:
        ds_mlir.compare(folder, "ab", ("f32", "bf16"), window=65, progress="on", **SIZES)
    assert str(raised.value) == f"invalid argument: window: expects 2 to 64 tokens, the context of '{folder}', got 65"
    assert capfd.readouterr().err == "f32: compiling\n"


def test_compare_classifier(classifier, labelled, tmp_path, capsys):
    import ds_mlir

    folder, (texts, labels, right) = classifier[2], labelled
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "set.jsonl").write_text("\n".join(lines))
    rows = ds_mlir.compare_classifier(folder, tmp_path / "set.jsonl", ("f32", "int4-g16"))
    assert [row.variant for row in rows] == ["f32", "int4-g16"]
    assert rows[0].accuracy == right / len(texts)
    assert rows[0].change == 0
    assert rows[1].change == 100 * (rows[1].accuracy - rows[0].accuracy)
    assert rows[1].megabytes < rows[0].megabytes
    assert min(row.speed for row in rows) > 0
    assert main(["compare", str(folder), "--labels", str(tmp_path / "set.jsonl"), "--variants", "f32"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["variant", "MB", "texts/s", "accuracy", "change"]
    assert second.split()[0::3] == ["f32", f"{right / len(texts):.4f}"]
    assert second.endswith("  +0.00 points")


def test_command_line(decoder, classifier, labelled, tmp_path, capsys):
    import ds_mlir

    model, text = decoder[1], random_text(50)
    (tmp_path / "text").write_text(text, encoding="utf-8")
    expected = ds_mlir.perplexity(model, text, window=20, stride=10)
    command = ["eval", str(model.path), "--text", str(tmp_path / "text"), "--window", "20", "--stride", "10"]
    assert main(command) == 0
    line = f"perplexity {expected.perplexity:.4f}: {expected.nll:.6f} nats a token, {expected.bits_per_byte:.4f} bits a byte, "
    assert capsys.readouterr().out == line + "49 tokens in 4 windows\n"
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["perplexity"] == pytest.approx(expected.perplexity, rel=1e-9)

    texts, labels, right = labelled
    lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "set.jsonl").write_text("\n".join(lines))
    assert main(["eval", str(classifier[1].path), "--labels", str(tmp_path / "set.jsonl"), "-t", "1"]) == 0
    assert capsys.readouterr().out == f"accuracy {right / len(texts):.4f}: {right} of {len(texts)} examples\n"


def test_command_line_of_a_comparison(tmp_path, monkeypatch, capsys):
    from ds_mlir import comparison
    from ds_mlir.comparison import Comparison

    rows = [Comparison("f32", 542.3, 1234.56, 31.25, 22.43581, 0.0), Comparison("int4-g64", 96.1, 999.9, 80, 23.1, 2.96)]
    calls = []
    monkeypatch.setattr(comparison, "compare", lambda *arguments, **options: calls.append((arguments, options)) or rows)
    assert main(["compare", "model.gguf", "--text", "text", "--variants", "f32,int4-g64", "--stride", "256", "-t", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "variant         MB   prefill tok/s   decode tok/s   perplexity     change",
        "f32          542.3          1234.6           31.2      22.4358    +0.00 %",
        "int4-g64      96.1           999.9           80.0      23.1000    +2.96 %",
    ]
    ((model, text, variants), options), *_ = calls
    assert (model, str(text), variants) == ("model.gguf", "text", ["f32", "int4-g64"])
    assert options == {"window": None, "stride": 256, "threads": 2, "calibration": None}
    assert main(["compare", "model.gguf", "--text", "text", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == dataclasses.asdict(rows[1])
    assert calls[1][0][2] == ["f32", "bf16", "int8", "int4-g64"]


def test_command_line_errors(decoder, tmp_path, capsys):
    package = str(decoder[1].path)
    assert main(["eval", package, "--text", str(tmp_path / "none")]) == 66
    expected = f"ds_mlir: missing: '{tmp_path}/none': expects a text file, found no such file or directory\n"
    assert capsys.readouterr() == ("", expected)
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    assert main(["eval", package, "--text", str(tmp_path / "latin"), "--window", "8"]) == 65
    assert capsys.readouterr().err == f"ds_mlir: bad data: '{tmp_path}/latin': byte 3: expects UTF-8, found 0xe9\n"
    (tmp_path / "empty").write_bytes(b"")
    assert main(["eval", package, "--text", str(tmp_path / "empty"), "--window", "8"]) == 2
    assert capsys.readouterr().err == f"ds_mlir: invalid argument: '{tmp_path}/empty': expects at least 2 tokens, got 0\n"
    assert main(["eval", package, "--text", str(tmp_path / "empty"), "--window", "512"]) == 2
    assert capsys.readouterr().err.startswith("ds_mlir: invalid argument: window: expects 2 to 64 tokens, the context of")
    assert main(["eval", str(tmp_path), "--text", str(tmp_path / "empty")]) == 66
    assert main(["compare", str(tmp_path / "nowhere"), "--text", str(tmp_path / "none")]) == 66


def test_quantize_is_handed_to_the_compiler(tmp_path, monkeypatch):
    import ds_mlir
    from ds_mlir import compiler

    script = tmp_path / "ds-compile"
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{tmp_path}/arguments"\n')
    script.chmod(0o755)
    monkeypatch.setattr(compiler, "compiler_path", lambda: script)
    ds_mlir.compile(tmp_path, tmp_path / "package")
    assert "--quantize" not in (tmp_path / "arguments").read_text()
    assert main(["compile", str(tmp_path), "-o", str(tmp_path / "package"), "--quantize", "int4-g64"]) == 0
    assert "--quantize=int4-g64\n" in (tmp_path / "arguments").read_text()
