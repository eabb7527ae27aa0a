"""Configurations as they stand on the hub, from before transformers 5, mean what transformers makes of them."""

from __future__ import annotations

import json

import pytest

from capibara.model.hub_config import read_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "tie_word_embeddings": True,
}
QWEN = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "max_window_layers": 21,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
}
GEMMA = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "rms_norm_eps": 1e-06,
    "query_pre_attn_scalar": 256,
    "hidden_activation": "gelu_pytorch_tanh",
}
PHI = {
    "model_type": "phi3",
    "vocab_size": 200064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
    "sliding_window": 262144,
    "tie_word_embeddings": True,
}
PLAIN_LLAMA = {name: value for name, value in LLAMA.items() if name not in ("rope_scaling", "rope_theta")}
HUB = {
    "llama-3.2": LLAMA,
    "llama-2": {**PLAIN_LLAMA, "num_key_value_heads": 32, "tie_word_embeddings": False, "rope_scaling": None},
    "linear": {**LLAMA, "rope_scaling": {"type": "linear", "factor": 4.0}},
    "mistral-v0.1": {**PLAIN_LLAMA, "model_type": "mistral", "sliding_window": 4096, "rope_theta": 10000.0},
    "mistral-v0.3": {**PLAIN_LLAMA, "model_type": "mistral", "sliding_window": None, "rope_theta": 1000000.0},
    "mistral-says-nothing": {**PLAIN_LLAMA, "model_type": "mistral"},
    "mixtral": {**PLAIN_LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2},
    "smollm3": {**PLAIN_LLAMA, "model_type": "smollm3", "no_rope_layer_interval": 4, "rope_theta": 5000000.0},
    "smollm3-says-nothing": {**PLAIN_LLAMA, "model_type": "smollm3"},
    "qwen2.5": {**QWEN, "model_type": "qwen2"},
    "qwen2.5-windows": {**QWEN, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4096},
    "qwen2.5-yarn": {
        **QWEN,
        "model_type": "qwen2",
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    },
    "qwen3": {**QWEN, "model_type": "qwen3", "head_dim": 128, "attention_bias": False},
    "qwen3-says-nothing": {**QWEN, "model_type": "qwen3"},
    "qwen3-moe": {
        **QWEN,
        "model_type": "qwen3_moe",
        "head_dim": 128,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [3],
    },
    "gemma": {**GEMMA, "model_type": "gemma", "hidden_act": "gelu", "max_position_embeddings": 8192},
    "gemma-2": {
        **GEMMA,
        "model_type": "gemma2",
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma-3": {
        **GEMMA,
        "model_type": "gemma3_text",
        "max_position_embeddings": 131072,
        "rope_theta": 1000000,
        "rope_local_base_freq": 10000,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 512,
        "sliding_window_pattern": 6,
    },
    "gemma-3-says-nothing": {**GEMMA, "model_type": "gemma3_text", "max_position_embeddings": 131072},
    "phi-4-mini": PHI,
    "phi-3-mini": {
        **PHI,
        "max_position_embeddings": 4096,
        "partial_rotary_factor": 1.0,
        "rope_scaling": None,
        "sliding_window": 2047,
        "tie_word_embeddings": False,
    },
}


@pytest.mark.parametrize("name", HUB)
def test_it_is_what_transformers_writes_once_it_has_read_it(name):
    import transformers

    transformers.logging.set_verbosity_error()
    given = json.loads(json.dumps(HUB[name]))
    theirs = transformers.AutoConfig.for_model(**given)
    ours = read_config(HUB[name], has_head=True)
    assert ours == read_config(json.loads(theirs.to_json_string(use_diff=False)), has_head=True)


@pytest.mark.parametrize(
    ("name", "context", "windows", "turned"),
    [
        ("llama-3.2", 131072, {None}, 64),
        ("mistral-v0.1", 131072, {4096}, 64),
        ("mistral-v0.3", 131072, {None}, 64),
        ("qwen2.5", 32768, {None}, 64),
        ("qwen2.5-windows", 32768, {None, 4096}, 64),
        ("gemma-3", 131072, {None, 512}, 256),
        ("phi-4-mini", 4096, {None}, 96),
        ("phi-3-mini", 4096, {2047}, 128),
    ],
)
def test_context_windows_and_turned_dimensions_are_those_of_the_model_cards(name, context, windows, turned):
    config = read_config(HUB[name], has_head=True)
    assert config.context_tokens == context
    assert {kind.window for kind in config.layer_kinds} == windows
    assert 2 * len(config.rope_frequencies) == turned


def test_a_head_that_is_not_there_is_the_embedding():
    untied = HUB["llama-2"]
    assert read_config(untied, has_head=False).tied_head
    assert not read_config(untied, has_head=True).tied_head
