"""Configurations of models that start from random weights, in the words of transformers."""

from ds_mlir import errors

_HEADS = {
    ("bert", "masked-lm"): "BertForMaskedLM",
    ("bert", "sequence-classification"): "BertForSequenceClassification",
    ("roberta-prelayernorm", "masked-lm"): "RobertaPreLayerNormForMaskedLM",
    ("roberta-prelayernorm", "sequence-classification"): "RobertaPreLayerNormForSequenceClassification",
    ("gpt2", "causal-lm"): "GPT2LMHeadModel",
}


def model_config(
    kind: str = "bert",
    *,
    layers: int,
    hidden_size: int,
    heads: int,
    vocab_size: int,
    max_positions: int,
    pre_layer_norm: bool = True,
    task: str | None = None,
    intermediate_size: int | None = None,
    labels: int = 2,
    token_types: int = 2,
    pad_token_id: int = 0,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    dropout: float = 0.1,
    initializer_range: float = 0.02,
) -> dict:
    """Describe a model that `ds-compile --random-weights` and transformers both build.
    Args: kind, `bert` or `gpt2`; pre_layer_norm, whether norms stand before attention and MLP (transformers' roberta-prelayernorm) or
        behind the residual sums (bert); gpt2 always has them before; max_positions, tokens of the longest sequence; task, `masked-lm` or
        `sequence-classification` for bert, `causal-lm` for gpt2; intermediate_size, 4 * hidden_size when None.
    Returns: what config.json holds.
    Raises: InvalidArgument for a kind, task or size that no model has.
    >>> sizes = {"layers": 2, "hidden_size": 32, "heads": 4, "vocab_size": 100, "max_positions": 16}
    >>> model_config("bert", **sizes)["model_type"], model_config("bert", pre_layer_norm=False, **sizes)["model_type"]
    ('roberta-prelayernorm', 'bert')
    """
    if kind not in ("bert", "gpt2"):
        raise errors.InvalidArgument(f"invalid argument: kind: expects bert or gpt2, got {kind!r}")
    if kind == "gpt2" and not pre_layer_norm:
        raise errors.InvalidArgument("invalid argument: pre_layer_norm: expects True, as gpt2 has its norms before attention and MLP")
    sizes = {"layers": layers, "hidden_size": hidden_size, "heads": heads, "vocab_size": vocab_size, "max_positions": max_positions}
    sizes |= {"labels": labels, "token_types": token_types, "intermediate_size": intermediate_size or 4 * hidden_size}
    for name, size in sizes.items():
        if size < 1:
            raise errors.InvalidArgument(f"invalid argument: {name}: expects a positive number, got {size}")
    if hidden_size % heads:
        raise errors.InvalidArgument(f"invalid argument: heads: expects a divisor of the hidden size {hidden_size}, got {heads}")
    if not 0 <= pad_token_id < vocab_size:
        raise errors.InvalidArgument(f"invalid argument: pad_token_id: expects a token of {vocab_size}, got {pad_token_id}")
    model_type = "gpt2" if kind == "gpt2" else "roberta-prelayernorm" if pre_layer_norm else "bert"
    task = task or ("causal-lm" if kind == "gpt2" else "masked-lm")
    if (model_type, task) not in _HEADS:
        known = ", ".join(name for family, name in _HEADS if family == model_type)
        raise errors.InvalidArgument(f"invalid argument: task: expects one of {known} for {kind}, got {task!r}")
    config = {"model_type": model_type, "architectures": [_HEADS[model_type, task]], "vocab_size": vocab_size}
    config |= {"initializer_range": initializer_range, "tie_word_embeddings": True, "dtype": "float32"}
    config |= {"pad_token_id": pad_token_id, "bos_token_id": bos_token_id, "eos_token_id": eos_token_id}
    if kind == "gpt2":
        config |= {"n_layer": layers, "n_embd": hidden_size, "n_head": heads, "n_positions": max_positions}
        config |= {"n_inner": sizes["intermediate_size"], "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
        return config | {"attn_pdrop": dropout, "embd_pdrop": dropout, "resid_pdrop": dropout}
    # RoBERTa counts positions from behind the padding token's id, so its table has that many rows more.
    unused = pad_token_id + 1 if model_type == "roberta-prelayernorm" else 0
    config |= {"num_hidden_layers": layers, "hidden_size": hidden_size, "num_attention_heads": heads, "type_vocab_size": token_types}
    config |= {"intermediate_size": sizes["intermediate_size"], "max_position_embeddings": max_positions + unused, "hidden_act": "gelu"}
    config |= {"layer_norm_eps": 1e-12, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    if task == "sequence-classification":
        config |= {"id2label": {str(i): f"LABEL_{i}" for i in range(labels)}, "label2id": {f"LABEL_{i}": i for i in range(labels)}}
    return config
