"""Data: packing, masking, loaders that go on where they stopped, texts through a tokenizer."""

import json

import numpy as np
import pytest
import tokenizers
from ds_mlir import errors
from ds_mlir.text import Tokenizer
from ds_mlir.training import Blocks, DataLoader, Masking, RepeatingLoader, pack
from ds_mlir.training import data as training_data


def word_tokenizer(folder, words=("a", "b", "c", "d", "e")):
    """A tokenizer of words with BERT's special tokens, in a folder."""
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    raw.post_processor = tokenizers.processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "[MASK]"}))
    return Tokenizer(folder)


def test_packing():
    documents = [np.arange(5, dtype=np.int32), np.arange(5, 11, dtype=np.int32)]
    assert pack(documents, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert pack(documents, 6, [101], [102]).tolist() == [[101, 0, 1, 2, 3, 102], [101, 4, 5, 6, 7, 102]]
    with pytest.raises(errors.InvalidArgument, match="expects at least 12 tokens for a block of 12, got 11"):
        pack(documents, 12)
    with pytest.raises(errors.InvalidArgument, match="for a block of 2, got 11"):
        pack(documents, 2, [101], [102])


def test_holding_out_takes_the_end():
    train, held_out = training_data.hold_out(np.arange(10), 0.2)
    assert (train.tolist(), held_out.tolist()) == (list(range(8)), [8, 9])


def test_a_loader_shuffles_anew_and_goes_on():
    blocks = Blocks(np.arange(21).reshape(7, 3), True)
    loader = DataLoader(blocks, 2, seed=4)
    assert len(loader) == 3
    epochs = [[batch["input_ids"][:, 0].tolist() for batch in loader] for _ in range(3)]
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        flat = [index for batch in epoch for index in batch]
        assert len(set(flat)) == 6
        assert set(flat) <= set(range(0, 21, 3))
    again = DataLoader(blocks, 2, seed=4)
    repeated = RepeatingLoader(again)
    first = [next(repeated)["input_ids"][:, 0].tolist() for _ in range(4)]
    assert first == [batch for epoch in epochs for batch in epoch][:4]
    resumed = DataLoader(blocks, 2, seed=4)
    resumed.load_state_dict(again.state_dict())
    assert (resumed.epoch, resumed.position) == (1, 1)
    rest = RepeatingLoader(resumed)
    assert [next(rest)["input_ids"][:, 0].tolist() for _ in range(5)] == [batch for epoch in epochs for batch in epoch][4:]
    other = [batch["input_ids"][:, 0].tolist() for batch in DataLoader(blocks, 2, seed=5)]
    assert other != epochs[0]


def test_loaders_without_shuffle_or_with_what_is_left():
    blocks = Blocks(np.arange(10).reshape(5, 2), False)
    loader = DataLoader(blocks, 2, shuffle=False, drop_last=False)
    assert [batch["input_ids"].tolist() for batch in loader] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9]]]
    assert list(next(iter(loader))) == ["input_ids"]
    assert list(DataLoader(blocks, 5, shuffle=False, collate_fn=len)) == [5]
    with pytest.raises(errors.InvalidArgument, match="training_data: expects at least 6 samples, got 5"):
        DataLoader(blocks, 6)
    with pytest.raises(errors.InvalidArgument, match="samples of the same keys and shapes"):
        list(DataLoader([{"a": [1]}, {"a": [1, 2]}], 2))


def test_masking_by_its_shares():
    masking = Masking(200, 4, [0, 1, 2, 3], 0.15, seed=1)
    ids = np.random.default_rng(0).integers(5, 200, (400, 128)).astype(np.int32)
    ids[:, 0], ids[:, -1] = 2, 3
    masked, labels = masking.mask(ids, 0, 0)
    chosen = labels != -100
    count = chosen.sum()
    assert not chosen[:, [0, -1]].any()
    assert abs(chosen[:, 1:-1].mean() - 0.15) < 0.005
    assert np.array_equal(labels[chosen], ids[chosen])
    assert np.array_equal(masked[~chosen], ids[~chosen])
    assert abs((masked[chosen] == 4).sum() / count - 0.8) < 0.02
    assert abs((masked[chosen] == ids[chosen]).sum() / count - 0.1) < 0.02
    others = masked[chosen & (masked != 4) & (masked != ids)]
    assert abs(len(others) / count - 0.1) < 0.02
    assert others.min() >= 5
    assert len(np.unique(others)) > 150


def test_masking_depends_on_seed_epoch_and_position_alone():
    ids = np.random.default_rng(0).integers(5, 50, (4, 16)).astype(np.int32)
    one, two = Masking(50, 4, [0, 1, 2, 3], seed=1), Masking(50, 4, [0, 1, 2, 3], seed=1)
    two.mask(ids, 0, 0)
    assert np.array_equal(one.mask(ids, 3, 5)[0], two.mask(ids, 3, 5)[0])
    results = [one.mask(ids, *counter)[1].tobytes() for counter in ((0, 0), (0, 1), (1, 0))]
    results.append(Masking(50, 4, [0, 1, 2, 3], seed=2).mask(ids, 0, 0)[1].tobytes())
    assert len(set(results)) == 4


def test_each_block_has_a_masked_token():
    masking = Masking(50, 4, [0, 1, 2, 3], 0.001)
    ids = np.full((300, 5), 2, np.int32)
    ids[:, 2:4] = 7
    labels = masking.mask(ids, 0, 0)[1]
    assert ((labels != -100).sum(axis=1) >= 1).all()
    assert (labels[:, [0, 1, 4]] == -100).all()
    with pytest.raises(errors.BadData, match="special tokens alone"):
        masking.mask(np.full((1, 5), 2, np.int32), 0, 0)
    with pytest.raises(errors.InvalidArgument, match="mlm_probability"):
        Masking(50, 4, [], 0.0)


def test_masking_in_a_loader_is_the_same_after_resuming():
    blocks = Blocks(np.random.default_rng(0).integers(5, 50, (6, 8)).astype(np.int32), False)
    make = lambda: DataLoader(blocks, 2, collate_fn=Masking(50, 4, [0, 1, 2, 3], seed=1), seed=1)  # noqa: E731
    whole = list(make())
    assert sorted(whole[0]) == ["input_ids", "labels"]
    resumed = make()
    resumed.load_state_dict({**resumed.state_dict(), "position": 2})
    assert np.array_equal(next(iter(resumed))["input_ids"], whole[2]["input_ids"])


def test_tokens_of_texts_and_arrays(tmp_path):
    tokenizer = word_tokenizer(tmp_path / "model")
    (tmp_path / "a.txt").write_text("a b\nc x e\n")
    assert training_data.read_tokens(tmp_path / "a.txt", tokenizer).tolist() == [5, 6, 7, 1, 9]
    (tmp_path / "long.txt").write_text("a b c\n" * 400000)  # in pieces
    assert np.array_equal(training_data.read_tokens(tmp_path / "long.txt", tokenizer), np.tile([5, 6, 7], 400000))
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.uint16).reshape(2, 3))
    tokens = training_data.read_tokens(tmp_path / "a.npy", None)
    assert (tokens.tolist(), tokens.dtype) == (list(range(6)), np.int32)
    assert training_data.special_around(tokenizer) == ([2], [3])
    assert (training_data.mask_id(tokenizer), sorted(training_data.special_ids(tokenizer))) == (4, [0, 1, 2, 3, 4])
    np.save(tmp_path / "f.npy", np.zeros(3))
    (tmp_path / "broken.npy").write_bytes(b"no array")
    (tmp_path / "latin.txt").write_bytes(b"a \xff")
    for name, kind, text in (
        ("none.txt", errors.Missing, "no such file"),
        ("none.npy", errors.Missing, "expects an array of tokens"),
        ("f.npy", errors.BadData, "expects integers, found float64"),
        ("broken.npy", errors.BadData, "expects a .npy array"),
        ("latin.txt", errors.BadData, "expects UTF-8"),
    ):
        with pytest.raises(kind, match=text):
            training_data.read_tokens(tmp_path / name, tokenizer)
    with pytest.raises(errors.InvalidArgument, match="expects a tokenizer for a text"):
        training_data.read_tokens(tmp_path / "a.txt", None)


def test_labelled_texts_are_padded_to_the_longest(tmp_path):
    samples = training_data.Labelled(["a b c", "d"], np.array([1, 0]), word_tokenizer(tmp_path), 4)
    batch = training_data.pad_batch([samples[1], samples[0]])
    assert batch["input_ids"].tolist() == [[2, 8, 3, 0], [2, 5, 6, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["labels"].tolist() == [0, 1]
    assert training_data.pad_batch([samples[1]])["input_ids"].shape == (1, 3)
