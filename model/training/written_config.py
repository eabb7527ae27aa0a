"""The ``config.json`` that describes a network to Hugging Face's tools: that of the family which computes the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..architecture import DecoderConfig
from ..errors import UnsupportedCheckpoint
from ..families import FAMILIES, Family
from ..hub_config import read_config
from ..rotary import rope_frequencies

_CLASSES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "smollm3": "SmolLM3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma": "Gemma",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3",
}
_REFUSAL = "cannot be written: train an adapter instead"


def config_json(config: DecoderConfig, dtype: type[np.floating] = np.float16) -> dict[str, Any]:
    """``config.json`` of the family that computes what this network does; weights have the names they are trained by.

    Raises:
        UnsupportedCheckpoint: its rotary positions are scaled in a way that its frequencies do not tell, or no family
            is like it.
    """
    family = family_to_write(config)
    written = {
        "architectures": [f"{_CLASSES[family]}ForCausalLM"],
        "model_type": family,
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.hidden_width,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}[config.activation],
        "rope_parameters": _rope(config),
        "tie_word_embeddings": config.tied_head,
        "pad_token_id": None,  # which families have by default, beyond a small vocabulary too
        "dtype": np.dtype(dtype).name,
        **_particulars(config, FAMILIES[family], family),
    }
    _check(config, written)
    return written


def family_to_write(config: DecoderConfig) -> str:
    """The name of the family that has what the network has; whether it has no more, `config_json` finds out."""
    if config.embedding_scale != 1.0:
        if not config.post_norms:
            return "gemma"
        return "gemma3_text" if config.query_norm else "gemma2"
    if config.query_norm:
        return "qwen3"
    if any(kind.positions == "none" for kind in config.layer_kinds):
        return "smollm3"
    if config.attention_bias and not config.output_bias:
        return "qwen2"
    return "mistral" if any(kind.window for kind in config.layer_kinds) else "llama"


def _particulars(config: DecoderConfig, family: Family, name: str) -> dict[str, Any]:
    """What not every family has."""
    found: dict[str, Any] = {} if name in ("mistral", "qwen2") else {"attention_bias": config.attention_bias}
    windows = {kind.window for kind in config.layer_kinds if kind.window is not None}
    if family.windows != "none":
        found["sliding_window"] = max(windows) if windows else None
    if family.windows == "flagged":
        found["use_sliding_window"] = bool(windows)
    if family.windows in ("flagged", "named"):
        found["layer_types"] = [
            "sliding_attention" if _sliding(kind) else "full_attention" for kind in config.layer_kinds
        ]
    if name in ("gemma2", "gemma3_text"):
        found["query_pre_attn_scalar"] = _whole(config.score_scale**-2)
        found["attn_logit_softcapping"], found["final_logit_softcapping"] = config.score_cap, config.logit_cap
    if family.activation == "gelu_tanh":
        found["hidden_activation"] = "gelu_pytorch_tanh"
    if family.unturned_period:
        found["no_rope_layers"] = [int(kind.positions != "none") for kind in config.layer_kinds]
    return found


def _sliding(kind: Any) -> bool:
    return kind.window is not None or kind.positions == "local"


def _rope(config: DecoderConfig) -> dict[str, Any]:
    if config.local_frequencies is None:
        return _rope_of(config.rope_frequencies, config)
    return {
        "full_attention": _rope_of(config.rope_frequencies, config),
        "sliding_attention": _rope_of(config.local_frequencies, config),
    }


def _rope_of(frequencies: tuple[float, ...], config: DecoderConfig) -> dict[str, Any]:
    """Base and linear factor, out of the frequencies."""
    first, *others = frequencies
    base = (others[0] / first) ** (-len(frequencies)) if others else 10000.0
    # The root that the frequencies are made with loses some digits; bases are whole numbers.
    base, factor = float(round(base)), float(f"{1.0 / first:.12g}")
    scaling = {"rope_type": "default"} if factor == 1.0 else {"rope_type": "linear", "factor": factor}
    found = rope_frequencies(base, 2 * len(frequencies), scaling)
    if not np.allclose(found, frequencies, rtol=1e-6, atol=0.0) or config.rope_factor != 1.0:
        raise UnsupportedCheckpoint(f"the rotary positions of this model are scaled in a way that {_REFUSAL}")
    return {"rope_theta": base, **scaling}


def _whole(number: float) -> float | int:
    """A whole number as such, where a root has lost some digits of it."""
    return round(number) if abs(number - round(number)) < 1e-6 * number else number


def _check(config: DecoderConfig, written: dict[str, Any]) -> None:
    """What is written must be read as what it was written from; roots and their squares differ in their last digits."""
    read = read_config(written, has_head=not config.tied_head)

    def digits(values: Any) -> Any:
        return tuple(float(f"{value:.6g}") for value in values or ())

    alike = [
        replace(
            each,
            rope_frequencies=digits(each.rope_frequencies),
            local_frequencies=digits(each.local_frequencies),
            query_scale=float(f"{each.score_scale:.6g}"),
        )
        for each in (config, read)
    ]
    if alike[0] != alike[1]:
        raise UnsupportedCheckpoint(f"no family of Hugging Face's is like this model: it {_REFUSAL}")
