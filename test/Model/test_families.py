"""Every family on tiny random models, against eager torch: logits with and without padding, greedy tokens through the cache."""

import numpy as np
import pytest
import tiny_models

BOUND = 1e-4


def padded(lengths, side, vocabulary=96, seed=0):
    """Random ids [B, T] and their mask, padded on one side."""
    generator = np.random.default_rng(seed)
    ids, mask = np.zeros((2, len(lengths), max(lengths)), dtype=np.int32)
    for row, length in enumerate(lengths):
        place = slice(max(lengths) - length, None) if side == "left" else slice(0, length)
        ids[row, place] = generator.integers(3, vocabulary, length)
        mask[row, place] = 1
    return ids, mask


def tensors(torch, *arrays):
    return [torch.tensor(array).long() for array in arrays]


@pytest.fixture(scope="module", params=tiny_models.DECODERS)
def decoder(request, torch, compiled, tmp_path_factory):
    import ds_mlir

    folder = tmp_path_factory.mktemp(request.param)
    reference = tiny_models.make_model(request.param, folder)
    return reference, ds_mlir.load(compiled(folder, max_rows=32, context=64))


@pytest.fixture(scope="module", params=tiny_models.ENCODERS)
def encoder(request, torch, compiled, tmp_path_factory):
    import ds_mlir

    folder = tmp_path_factory.mktemp(request.param)
    reference = tiny_models.make_model(request.param, folder)
    return reference, ds_mlir.load(compiled(folder))


def test_decoder_logits(decoder, torch):
    reference, model = decoder
    ids, _ = padded((21, 21), "right")
    with torch.no_grad():
        expected = reference(*tensors(torch, ids)).logits.numpy()
    assert np.abs(model.logits(ids) - expected).max() <= BOUND


def test_gaps_in_masks(decoder, torch):
    """They are like no tokens, or refused where attention counts how far apart tokens are."""
    import ds_mlir

    reference, model = decoder
    ids, mask = padded((13, 13), "right")
    mask[1, [4, 5, 9]] = 0
    config = reference.config
    if getattr(config, "sliding_window", None) or config.model_type in ("gpt_neo", "bloom"):
        with pytest.raises(ds_mlir.errors.InvalidArgument, match=r"attention_mask\[1\]\[4\]: expects 1 between tokens"):
            model.logits(ids, mask)
        with pytest.raises(ds_mlir.errors.InvalidArgument, match=r"attention_mask\[1\]\[4\]: expects 1 between tokens"):
            model.generate(ids, mask, max_new_tokens=2)
        return
    with torch.no_grad():
        expected = reference(*tensors(torch, ids), attention_mask=tensors(torch, mask)[0]).logits.numpy()
    assert np.abs((model.logits(ids, mask) - expected)[mask == 1]).max() <= BOUND


@pytest.mark.parametrize("side", ["left", "right"])
def test_decoder_logits_masked(decoder, torch, side):
    reference, model = decoder
    ids, mask = padded((13, 4, 9), side)
    with torch.no_grad():
        expected = reference(*tensors(torch, ids), attention_mask=tensors(torch, mask)[0]).logits.numpy()
    # What sees no token has no value: before the first one, and behind the last by more than the least window of these models.
    seen = mask.cumsum(axis=1)
    defined = seen - np.pad(seen, ((0, 0), (5, 0)))[:, :-5] > 0
    assert np.abs((model.logits(ids, mask) - expected)[defined]).max() <= BOUND


def test_decoder_logits_of_rows_longer_than_a_step(decoder, torch):
    reference, model = decoder
    ids, mask = padded((40, 25), "left")
    with torch.no_grad():
        expected = reference(*tensors(torch, ids), attention_mask=tensors(torch, mask)[0]).logits.numpy()
    found = model.logits(ids, mask)
    assert np.abs((found - expected)[mask == 1]).max() <= BOUND
    assert not found[mask == 0].any()


def test_greedy_tokens_at_any_chunk_and_batch(decoder, torch):
    reference, model = decoder
    ids, mask = padded((11, 3, 17), "left", seed=1)
    options = {"max_new_tokens": 8, "do_sample": False}
    with torch.no_grad():
        long_ids, long_mask = tensors(torch, ids, mask)
        expected = reference.generate(long_ids, attention_mask=long_mask, eos_token_id=None, pad_token_id=0, **options)[
            :, ids.shape[1] :
        ].numpy()
    for chunk in (0, 1, 5):
        found = model.generate(ids, mask, eos_token_id=[], prefill_chunk=chunk, **options)[:, ids.shape[1] :]
        assert found.tolist() == expected.tolist(), chunk
    for row in range(len(ids)):
        alone = model.generate(ids[row][mask[row] == 1], eos_token_id=[], **options)[0, mask[row].sum() :]
        assert alone.tolist() == expected[row].tolist()


def test_tokens_without_the_cache_are_the_same(decoder):
    _, model = decoder
    ids, _ = padded((6,), "right", seed=2)
    cached = model.generate(ids, max_new_tokens=8, eos_token_id=[])
    while ids.shape[1] < cached.shape[1]:
        ids = np.concatenate([ids, model.logits(ids)[:, -1:].argmax(-1).astype(np.int32)], axis=1)
    assert ids.tolist() == cached.tolist()


@pytest.mark.parametrize("side", ["left", "right", "none"])
def test_encoder(encoder, torch, side):
    reference, model = encoder
    ids, mask = padded((12, 12) if side == "none" else (12, 5, 9), side)
    if model.info["family"].startswith("roberta"):
        ids[mask == 0] = reference.config.pad_token_id
    with torch.no_grad():
        output = reference(input_ids=tensors(torch, ids)[0], attention_mask=tensors(torch, mask)[0])
    if "logits" in output:
        found, expected = model.logits(ids, mask), output.logits.numpy()
    else:
        found, expected = model.hidden_states(ids, mask), output.last_hidden_state.numpy()
    keep = mask == 1 if found.ndim == 3 else slice(None)
    assert np.abs((found - expected)[keep]).max() <= BOUND


def test_token_types(torch, compiled, tmp_path):
    import ds_mlir

    reference = tiny_models.make_model("bert", tmp_path / "bert")
    model = ds_mlir.load(compiled(tmp_path / "bert"))
    ids, _ = padded((10, 10), "right")
    types = np.repeat([[0] * 4 + [1] * 6], 2, axis=0).astype(np.int32)
    with torch.no_grad():
        expected = reference(input_ids=tensors(torch, ids)[0], token_type_ids=tensors(torch, types)[0]).last_hidden_state.numpy()
    assert np.abs(model.hidden_states(ids, token_type_ids=types) - expected).max() <= BOUND


def test_f16_weights_of_a_decoder(torch, compiled, tmp_path):
    """Stored as f16, matrices stay what they are, and vectors are no less exact in f32: torch's products are of the same numbers."""
    import ds_mlir

    made = tiny_models.make_model("llama", tmp_path / "llama").half()
    made.save_pretrained(tmp_path / "half", safe_serialization=True)
    # Read again, as `half` rounds the frequencies of rope too, which no file has.
    reference = type(made).from_pretrained(tmp_path / "half", dtype=torch.float32, attn_implementation="eager").eval()
    model = ds_mlir.load(compiled(tmp_path / "half", weights="f16"))
    assert model.info["weights_dtype"] == "f16"
    for rows in (1, 17, 40):
        ids, _ = padded((rows,), "right")
        with torch.no_grad():
            expected = reference(*tensors(torch, ids)).logits.numpy()
        assert np.abs(model.logits(ids) - expected).max() <= BOUND


def test_bf16_weights_of_a_decoder(torch, compiled, tmp_path):
    import ds_mlir

    reference = tiny_models.make_model("llama", tmp_path / "llama").bfloat16().float()
    model = ds_mlir.load(compiled(tmp_path / "llama", weights="bf16"))
    ids, _ = padded((17,), "right")
    with torch.no_grad():
        expected = reference(*tensors(torch, ids)).logits.numpy()
    # Vectors stay f32 here and are rounded there: the bound is that of their rounding.
    assert np.abs(model.logits(ids) - expected).max() <= 0.05 * np.abs(expected).max()
