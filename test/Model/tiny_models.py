"""Tiny random models of every family, made with transformers: name -> configuration and class."""

SIZES = {"vocab_size": 96, "bos_token_id": 1, "eos_token_id": 2}
GPT2_SIZES = {"n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": 64, **SIZES}
LLAMA_SIZES = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    **SIZES,
}
BERT_SIZES = {
    "vocab_size": 96,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 72,
    "max_position_embeddings": 40,
}
NEOX_SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
    **SIZES,
}
OPT_SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "ffn_dim": 72,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "vocab_size": 96,
    "eos_token_id": 2,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

DECODERS = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2_SIZES),
    "gpt2-by-layer": ("GPT2Config", "GPT2LMHeadModel", {**GPT2_SIZES, "scale_attn_by_inverse_layer_idx": True, "n_inner": 100}),
    "gpt_neo": (
        "GPTNeoConfig",
        "GPTNeoForCausalLM",
        {
            "hidden_size": 48,
            "num_layers": 4,
            "num_heads": 3,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 5,
            "max_position_embeddings": 64,
            **SIZES,
        },
    ),
    "gptj": ("GPTJConfig", "GPTJForCausalLM", {**GPT2_SIZES, "rotary_dim": 8, "tie_word_embeddings": False}),
    "gpt_neox": (
        "GPTNeoXConfig",
        "GPTNeoXForCausalLM",
        {**NEOX_SIZES, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}},
    ),
    "gpt_neox-in-turn": ("GPTNeoXConfig", "GPTNeoXForCausalLM", {**NEOX_SIZES, "use_parallel_residual": False}),
    "opt": ("OPTConfig", "OPTForCausalLM", {**OPT_SIZES, "word_embed_proj_dim": 48}),
    "opt-projected": ("OPTConfig", "OPTForCausalLM", {**OPT_SIZES, "word_embed_proj_dim": 24, "do_layer_norm_before": False}),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"hidden_size": 48, "n_layer": 2, "n_head": 6, **SIZES}),
    "llama": ("LlamaConfig", "LlamaForCausalLM", LLAMA_SIZES),
    "llama-tied-biased": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {**LLAMA_SIZES, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 12},
    ),
    "llama-3": ("LlamaConfig", "LlamaForCausalLM", {**LLAMA_SIZES, "rope_parameters": {**LLAMA3_ROPE, "rope_theta": 50000.0}}),
    "llama-linear": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {**LLAMA_SIZES, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
    ),
    "mistral": ("MistralConfig", "MistralForCausalLM", {**LLAMA_SIZES, "sliding_window": 6, "head_dim": 8}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", LLAMA_SIZES),
    "qwen2-windowed": (
        "Qwen2Config",
        "Qwen2ForCausalLM",
        {**LLAMA_SIZES, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    ),
    "phi": ("PhiConfig", "PhiForCausalLM", LLAMA_SIZES),
}
ENCODERS = {
    "bert": ("BertConfig", "BertModel", BERT_SIZES),
    "bert-mlm": ("BertConfig", "BertForMaskedLM", BERT_SIZES),
    "bert-mlm-untied": ("BertConfig", "BertForMaskedLM", {**BERT_SIZES, "tie_word_embeddings": False, "hidden_act": "gelu_new"}),
    "bert-classifier": ("BertConfig", "BertForSequenceClassification", {**BERT_SIZES, "num_labels": 3}),
    "roberta-mlm": ("RobertaConfig", "RobertaForMaskedLM", {**BERT_SIZES, "pad_token_id": 1}),
    "roberta-classifier": ("RobertaConfig", "RobertaForSequenceClassification", {**BERT_SIZES, "pad_token_id": 1, "num_labels": 3}),
    "prelayernorm": ("RobertaPreLayerNormConfig", "RobertaPreLayerNormModel", {**BERT_SIZES, "pad_token_id": 1}),
    "prelayernorm-mlm": ("RobertaPreLayerNormConfig", "RobertaPreLayerNormForMaskedLM", {**BERT_SIZES, "pad_token_id": 1}),
    "prelayernorm-mlm-untied": (
        "RobertaPreLayerNormConfig",
        "RobertaPreLayerNormForMaskedLM",
        {**BERT_SIZES, "pad_token_id": 0, "tie_word_embeddings": False},
    ),
    "prelayernorm-classifier": (
        "RobertaPreLayerNormConfig",
        "RobertaPreLayerNormForSequenceClassification",
        {**BERT_SIZES, "pad_token_id": 1, "num_labels": 3},
    ),
    "distilbert-mlm": (
        "DistilBertConfig",
        "DistilBertForMaskedLM",
        {"vocab_size": 96, "dim": 48, "n_layers": 2, "n_heads": 3, "hidden_dim": 72, "max_position_embeddings": 40},
    ),
    "distilbert-classifier": (
        "DistilBertConfig",
        "DistilBertForSequenceClassification",
        {"vocab_size": 96, "dim": 48, "n_layers": 2, "n_heads": 3, "hidden_dim": 72, "max_position_embeddings": 40, "num_labels": 4},
    ),
}


def make_model(name, folder, **other_sizes):
    """Make a model with weights large enough for differences to show, save it to a folder, and return it."""
    import torch
    import transformers

    config_name, class_name, sizes = {**DECODERS, **ENCODERS}[name]
    config = getattr(transformers, config_name)(**{**sizes, **other_sizes}, attn_implementation="eager")
    torch.manual_seed(sum(map(ord, name)))
    model = getattr(transformers, class_name)(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model
