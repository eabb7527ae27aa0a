"""Tiny random models of every family, made by transformers and saved as it saves them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 260
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 48
_STRETCHED = {"factor": 8.0, "rope_theta": 500000.0}
_LLAMA3 = {**_STRETCHED, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_BOTH_BASES = {
    "full_attention": {**_STRETCHED, "rope_type": "linear"},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
_LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}

DENSE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "LlamaConfig",
        {"attention_bias": True, "rope_parameters": {**_LLAMA3, "original_max_position_embeddings": 64}},
    ),
    "mistral": ("MistralConfig", {"sliding_window": WINDOW, "head_dim": 16}),
    "smollm3": ("SmolLM3Config", {"no_rope_layer_interval": 2}),
    "qwen2": (
        "Qwen2Config",
        {
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 1,
            "rope_parameters": {**_STRETCHED, "rope_type": "yarn", "original_max_position_embeddings": 128},
        },
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma": ("GemmaConfig", {"head_dim": 16}),
    "gemma2": (
        "Gemma2Config",
        {
            "head_dim": 16,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 10,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gemma3": (
        "Gemma3TextConfig",
        {
            "head_dim": 16,
            "sliding_window": WINDOW,
            "query_pre_attn_scalar": 24,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_parameters": _BOTH_BASES,
        },
    ),
    "phi3": (
        "Phi3Config",
        {
            "sliding_window": WINDOW,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 1024,
            "rope_parameters": {**_LONGROPE, "short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]},
        },
    ),
}
MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {
            "num_hidden_layers": 3,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 24,
            "head_dim": 16,
            "mlp_only_layers": [1],
        },
    ),
}
FAMILIES = DENSE | MIXTURES


@dataclass(frozen=True)
class Saved:
    """transformers' model, and the folder it was saved to."""

    oracle: Any
    folder: Path

    def logits(self, tokens: list[int]) -> np.ndarray:
        return logits_of(self.oracle, tokens)


def logits_of(oracle: Any, tokens: list[int]) -> np.ndarray:
    import torch

    with torch.no_grad():
        return oracle(torch.tensor([tokens])).logits[0].numpy()


def saved(family: str, folder: Path, **changes: Any) -> Saved:
    """Saved in shards, with weights large enough that answers differ from token to token."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind, options = FAMILIES[family]
    config = getattr(transformers, kind)(**{**SIZES, **options, **changes})
    oracle = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    torch.manual_seed(sum(family.encode()))
    with torch.no_grad():
        for weight in oracle.parameters():
            if weight.ndim == 1:
                weight.add_(0.1 * torch.randn_like(weight))
            else:
                weight.normal_(0.0, 0.2)
    oracle.save_pretrained(folder, max_shard_size="60KB")
    return Saved(oracle, folder)


def random_tokens(count: int, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count).tolist()
