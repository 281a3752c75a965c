"""MiniLM, the real model, against eager torch."""

import ds_mlir
import models
import numpy as np
import pytest

SENTENCES = (
    "A cat sits on the mat.",
    "The weather is lovely today.",
    "It is raining again, as it did yesterday and the day before.",
    "He drove to the stadium.",
    "Compilers translate programs.",
    "To be or not to be, that is the question.",
    "x",
    "Transformers serve language, vision and sound; most of their time goes to matrix products and to reading weights from memory.",
)


@pytest.fixture(scope="module")
def reference(torch, minilm_path, minilm):
    """Ids, mask and torch's embeddings of the sentences, padded to one batch."""
    ids, mask, _ = minilm.tokenizer.batch(list(SENTENCES), 256)
    model = models.torch_encoder(minilm_path)
    with torch.no_grad():
        embeddings = models.torch_embed(model, torch.tensor(ids).long(), torch.tensor(mask).long())
        hidden = model(input_ids=torch.tensor(ids).long(), attention_mask=torch.tensor(mask).long()).last_hidden_state
    return ids, mask, embeddings.numpy(), hidden.numpy()


def test_texts_batched_and_padded(minilm, reference):
    *_, expected, _ = reference
    assert np.abs(minilm.encode(list(SENTENCES)) - expected).max() <= 1e-4


def test_one_text_equals_its_row(minilm, reference):
    *_, expected, _ = reference
    for row, sentence in enumerate(SENTENCES):
        assert np.abs(minilm.encode(sentence)[0] - expected[row]).max() <= 1e-4


def test_left_padding(minilm, torch, minilm_path, reference):
    ids, mask, _, _ = reference
    rolled = [np.roll(row, len(row) - int(used.sum())) for row, used in zip(ids, mask, strict=True)]
    left = np.stack(rolled), np.sort(mask, axis=1)
    model = models.torch_encoder(minilm_path)
    with torch.no_grad():
        expected = models.torch_embed(model, torch.tensor(left[0]).long(), torch.tensor(left[1]).long()).numpy()
    assert np.abs(minilm.encode(*left) - expected).max() <= 1e-4


def test_weights_on_huge_pages(minilm, reference):
    ids, mask, *_ = reference
    moved = ds_mlir.load(minilm.path, huge_pages=True)
    assert np.array_equal(moved.encode(ids, mask), minilm.encode(ids, mask))
    assert 0 <= moved.memory()["huge_weights"] <= moved.memory()["weights"]
    assert minilm.memory()["huge_weights"] == 0


def test_hidden_states(minilm, reference):
    ids, mask, _, expected = reference
    hidden = minilm.hidden_states(ids, mask)
    assert np.abs((hidden - expected)[mask == 1]).max() <= 1e-4


def test_arrays_by_dlpack(minilm, torch, reference):
    ids, mask, expected, _ = reference
    embeddings = minilm.encode(torch.tensor(ids), torch.tensor(mask))
    assert np.abs(torch.from_dlpack(embeddings).numpy() - expected).max() <= 1e-4


def test_more_than_one_step_holds(minilm, reference):
    ids, mask, expected, _ = reference
    times = 9
    many = minilm.encode(np.tile(ids, (times, 1)), np.tile(mask, (times, 1)))
    assert np.abs(many - np.tile(expected, (times, 1))).max() <= 1e-4


@pytest.mark.parametrize(("weights", "least"), [("bf16", 0.999), ("f16", 0.999999)])
def test_weights_of_16_bits_stay_close(compiled, minilm_path, reference, weights, least):
    import ds_mlir

    *_, expected, _ = reference
    model = ds_mlir.load(compiled(minilm_path, weights=weights))
    cosine = (model.encode(list(SENTENCES)) * expected).sum(axis=1)
    assert cosine.min() >= least


def test_too_long(minilm):
    limit = minilm.info["context"]
    with pytest.raises(ValueError, match=str(limit)):
        minilm.hidden_states(np.ones((1, limit + 1), dtype=np.int32))


def test_id_outside_the_vocabulary(minilm):
    with pytest.raises(ValueError, match="30522"):
        minilm.encode([[101, 30522, 102]])
