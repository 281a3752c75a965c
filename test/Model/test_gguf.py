"""Tiny llamas in GGUF files of every type of block, against eager torch on the values that gguf-py dequantizes."""

import gguf
import models
import numpy as np
import pytest

HIDDEN, INNER, HEADS, KV_HEADS, VOCABULARY = 256, 512, 8, 4, 64
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")

# Bits of a weight in a package of blocks as stored.
BITS = {"Q5_0": 5.5, "Q5_1": 6, "Q2_K": 2.875, "Q3_K": 3.625, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.625, "IQ4_NL": 8.5, "IQ4_XS": 8.375}


def random_blocks(generator, rows, columns, kind):
    """Random stored bytes [rows, bytes of a row] with scales of a sane size."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    first, last = slice(0, 4), slice(-2, None)
    scales = {"Q2_K": slice(-4, None), "Q3_K": last, "Q4_K": first, "Q5_K": first, "Q6_K": last, "Q4_1": first, "Q5_1": first}
    place = scales.get(kind.name, slice(0, 2))
    small = {"IQ4_NL": 0.0005, "IQ4_XS": 0.00003}.get(kind.name, 0.0004 if kind.name.endswith("K") else 0.004)
    count = len(range(size)[place]) // 2
    blocks[:, place] = (generator.normal(size=(len(blocks), count)) * small).astype(np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def llama3_factors(factor=8.0, low=1.0, high=4.0, original=8192, base=10000.0):
    """What llama.cpp writes for the rope of Llama 3: by what each frequency is divided."""
    half = HIDDEN // HEADS // 2
    factors = []
    for i in range(half):
        wavelength = 2 * np.pi * base ** (i / half)
        smooth = (original / wavelength - low) / (high - low)
        factors.append(1.0 if smooth > 1 else factor if smooth < 0 else 1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def write_llama(path, kind_name, change=None, factors=None, others=None):
    """Write a two-layer llama whose matrices are of one type, but for `others`, types by parts of names. `change` edits the metadata,
    `factors` divide the frequencies of rope."""
    generator = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    settings = {
        "context_length": 64,
        "embedding_length": HIDDEN,
        "block_count": 2,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "rope.dimension_count": HIDDEN // HEADS,
        **(change or {}),
    }
    for key, value in settings.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32("llama.rope.freq_base", 10000.0)

    def matrix(name, rows, columns):
        kind_of = next((other for part, other in (others or {}).items() if part in name), kind_name)
        kind = gguf.GGMLQuantizationType[kind_of]
        if kind_of in ("F32", "F16", "BF16"):
            values = (generator.normal(size=(rows, columns)) * 0.05).astype(np.float32)
            data = gguf.quants.quantize(values, kind)
        else:
            data = random_blocks(generator, rows, columns, kind)
        writer.add_tensor(name, data, raw_dtype=kind)

    def vector(name):
        writer.add_tensor(name, (1 + generator.normal(size=HIDDEN) * 0.1).astype(np.float32))

    matrix("token_embd.weight", VOCABULARY, HIDDEN)
    vector("output_norm.weight")
    matrix("output.weight", VOCABULARY, HIDDEN)
    for layer in range(2):
        for name, rows, columns in (
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", HIDDEN // HEADS * KV_HEADS, HIDDEN),
            ("attn_v", HIDDEN // HEADS * KV_HEADS, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_gate", INNER, HIDDEN),
            ("ffn_up", INNER, HIDDEN),
            ("ffn_down", HIDDEN, INNER),
        ):
            matrix(f"blk.{layer}.{name}.weight", rows, columns)
        vector(f"blk.{layer}.attn_norm.weight")
        vector(f"blk.{layer}.ffn_norm.weight")
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_type(kind, torch, compiled, tmp_path):
    import ds_mlir

    path = write_llama(tmp_path / f"{kind}.gguf", kind)
    model = ds_mlir.load(compiled(path))
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (2, 19), dtype=np.int32)
    with torch.no_grad():
        expected = models.torch_causal_lm(path)(torch.tensor(ids).long()).logits.numpy()
    assert np.abs(expected).max() > 0.01
    assert np.abs(model.logits(ids) - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize(("kind", "bits"), list(BITS.items()))
def test_stored_blocks(kind, bits, compiled, tmp_path):
    """The values of the file, in as many bits or little more (docs/quantization.md)."""
    import ds_mlir

    path = write_llama(tmp_path / f"{kind}.gguf", kind)
    package = compiled(path, quantize="stored", target_cpu="x86-64-v2")
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (2, 19), dtype=np.int32)
    expected = ds_mlir.load(compiled(path, target_cpu="x86-64-v2")).logits(ids)
    assert np.abs(ds_mlir.load(package).logits(ids) - expected).max() <= 1e-5 * np.abs(expected).max()
    weights = 2 * VOCABULARY * HIDDEN + 2 * HIDDEN * (2 * HIDDEN + 2 * HIDDEN // HEADS * KV_HEADS + 3 * INNER)
    size = sum(file.stat().st_size for file in package.glob("*.safetensors"))
    norms_and_rope = 4 * (5 * HIDDEN + 64 * HIDDEN // HEADS)
    assert size == pytest.approx(weights * bits / 8 + norms_and_rope, rel=0.01)


@pytest.mark.parametrize("number", ["NaN", "infinity"])
def test_stored_scale_that_is_no_number(number, tmp_path):
    import ds_mlir

    path = write_llama(tmp_path / "Q4_1.gguf", "Q4_1")
    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == "blk.1.ffn_down.weight")
    tensor.data[3, 20:22] = np.array([np.float16("nan" if number == "NaN" else "inf")]).view(np.uint8)
    tensor.data.flush()
    with pytest.raises(ds_mlir.errors.BadData, match=rf"layers\.1\.mlp\.down_proj.*row 3, group 1: expects a finite scale, found {number}"):
        ds_mlir.compile(path, tmp_path / "package", quantize="stored", target_cpu="x86-64-v2")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("most", "others"),
    [
        ("Q4_K", {"attn_v": "Q6_K", "ffn_down": "Q6_K", "output.": "Q6_K", "ffn_up": "Q5_K"}),
        ("Q2_K", {"attn_v": "Q4_K", "ffn_down": "Q3_K", "output.": "Q6_K", "ffn_up": "IQ4_XS", "attn_k": "IQ4_NL"}),
    ],
)
def test_blocks_of_several_types(most, others, compiled, tmp_path):
    """As llama.cpp mixes them: groups of 32 and of 16 meet in one launch. Prompts and single tokens have the file's values."""
    import ds_mlir

    path = write_llama(tmp_path / "mixed.gguf", most, others=others)
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (2, 19), dtype=np.int32)
    stored, plain = (ds_mlir.load(compiled(path, quantize=scheme, target_cpu="native")) for scheme in ("stored", "none"))
    expected = plain.logits(ids)
    assert np.abs(stored.logits(ids) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.array_equal(stored.generate(ids[0], max_new_tokens=20), plain.generate(ids[0], max_new_tokens=20))


def test_rope_of_llama_3(torch, compiled, tmp_path):
    import ds_mlir

    path = write_llama(tmp_path / "factors.gguf", "F32", factors=llama3_factors())
    plain = write_llama(tmp_path / "plain.gguf", "F32")
    ids = np.random.default_rng(1).integers(0, VOCABULARY, (1, 60), dtype=np.int32)
    with torch.no_grad():
        expected = models.torch_causal_lm(path)(torch.tensor(ids).long()).logits.numpy()
    found = ds_mlir.load(compiled(path)).logits(ids)
    assert np.abs(found - expected).max() <= 1e-4
    assert np.abs(found - ds_mlir.load(compiled(plain)).logits(ids)).max() > 1e-3
    wrong = llama3_factors()
    wrong[3] *= 1.1
    path = write_llama(tmp_path / "wrong.gguf", "F32", factors=wrong)
    with pytest.raises(ds_mlir.errors.BadData, match=r"rope_freqs\.weight': expects the factors of Llama 3"):
        ds_mlir.compile(path, tmp_path / "package")


def test_what_the_file_says_is_checked(tmp_path):
    import ds_mlir

    path = write_llama(tmp_path / "experts.gguf", "F32", {"expert_count": 8})
    with pytest.raises(ds_mlir.errors.BadData, match=r"key 'llama\.expert_count': expects a key this architecture handles"):
        ds_mlir.compile(path, tmp_path / "package")
    path = write_llama(tmp_path / "heads.gguf", "F32", {"attention.head_count": 7})
    with pytest.raises(ds_mlir.errors.BadData, match="head"):
        ds_mlir.compile(path, tmp_path / "package")
    path = write_llama(tmp_path / "narrow.gguf", "F32", {"embedding_length": 128, "rope.dimension_count": 16})
    with pytest.raises(ds_mlir.errors.BadData, match=r"expects shape \[64, 128\]"):
        ds_mlir.compile(path, tmp_path / "package")
    assert not (tmp_path / "package").exists()
