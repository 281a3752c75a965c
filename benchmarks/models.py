"""The models that benchmarks and tests use, as files of installed packages and as eager torch models."""

import importlib.util
import pathlib


def model_path(package):
    """Find the model that an installed package carries: a `.gguf` file, or the folder of a `config.json`."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"package {package} is not installed: run scripts/deps")
    root = pathlib.Path(spec.submodule_search_locations[0])
    found = sorted(root.rglob("*.gguf")) + sorted(path.parent for path in root.rglob("config.json") if path.parent.name != "1_Pooling")
    if not found:
        raise FileNotFoundError(f"package {package} has no model below {root}")
    return found[0]


def torch_causal_lm(path):
    """Load a causal language model for eager torch in float32; of a GGUF file, the weights that gguf-py dequantizes."""
    import torch
    from transformers import AutoModelForCausalLM

    if path.suffix == ".gguf":
        return _llama_of_gguf(path)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def _llama_of_gguf(path):
    import gguf
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    reader = gguf.GGUFReader(path)

    def field(name):
        return reader.get_field(f"llama.{name}").contents()

    heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    arrays = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    rope = {"rope_type": "default", "rope_theta": field("rope.freq_base")}
    if "rope_freqs.weight" in arrays:
        factor = float(arrays.pop("rope_freqs.weight").max())
        bounds = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        rope |= {"rope_type": "llama3", "factor": factor, **bounds}
    config = LlamaConfig(
        vocab_size=arrays["token_embd.weight"].shape[0],
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=field("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=field("context_length"),
        rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
        rope_parameters=rope,
        tie_word_embeddings="output.weight" not in arrays,
        attn_implementation="eager",
    )
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    state = {}
    for name, array in arrays.items():
        stem = name.removesuffix(".weight")
        if stem in whole:
            state[f"{whole[stem]}.weight"] = torch.tensor(array)
            continue
        _, layer, part = stem.split(".")
        if part in ("attn_q", "attn_k"):
            # GGUF has the two halves of a turned head interleaved.
            count = heads if part == "attn_q" else kv_heads
            array = array.reshape(count, -1, 2, array.shape[-1]).swapaxes(1, 2).reshape(array.shape)
        state[f"model.layers.{layer}.{names[part]}.weight"] = torch.tensor(array)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to_empty(device="cpu")
    # Made again: a meta device leaves the table of frequencies empty.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"{path}: expects the tensors of a llama, missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    return model.float().eval()


def torch_encoder(path):
    """Load a BERT-like encoder for eager torch in float32."""
    import torch
    from transformers import AutoModel

    return AutoModel.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def torch_embed(model, input_ids, attention_mask):
    """Sentence embeddings as sentence-transformers has them for MiniLM: mean over tokens, then length one.
    Shapes: B = batch, T = tokens, H = hidden size.
    Returns: embeddings [B, H] float32.
    """
    import torch

    hidden = model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    mask = attention_mask[:, :, None].to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=1)
