"""From the ``config.json`` of a Hugging Face folder to the description of its decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .architecture import Activation, DecoderConfig, ExpertsConfig, LayerKind
from .errors import UnsupportedCheckpoint
from .families import FAMILIES, Family
from .rotary import attention_factor, rope_frequencies, scaling_kind

_ACTIVATIONS: dict[str, Activation] = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
_REFUSED = ("mlp_bias", "use_bidirectional_attention", "quantization_config")
_SLIDING, _FULL = "sliding_attention", "full_attention"


def family_of(given: Mapping[str, Any]) -> Family:
    """
    Raises:
        UnsupportedCheckpoint: a family that is not run here; names those that are.
    """
    family = given.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        *others, last = FAMILIES
        raise UnsupportedCheckpoint(f"model type {family!r} is not supported ({', '.join(others)} and {last} are)")
    return FAMILIES[family]


def read_config(given: Mapping[str, Any], *, has_head: bool) -> DecoderConfig:
    """``has_head``: the checkpoint has a tensor for the head.

    Raises:
        UnsupportedCheckpoint: another family or feature, by name.
        KeyError: something that has no default is missing.
    """
    family = family_of(given)
    for feature in _REFUSED:
        if given.get(feature):
            raise UnsupportedCheckpoint(f"{feature} is not supported")
    heads, width, layers = given["num_attention_heads"], given["hidden_size"], given["num_hidden_layers"]
    head_width = given.get("head_dim") or family.head_width or width // heads
    biased = bool(given.get("attention_bias"))
    rope, local = _rope_parameters(given, family)
    context, turned = _context(given, rope), int(head_width * (rope.get("partial_rotary_factor") or 1.0))
    scalar = given.get("query_pre_attn_scalar")
    return DecoderConfig(
        vocabulary=given["vocab_size"],
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=given.get("num_key_value_heads") or heads,
        head_width=head_width,
        hidden_width=given["intermediate_size"],
        context_tokens=context,
        norm_epsilon=given.get("rms_norm_eps", 1e-6),
        rope_frequencies=rope_frequencies(rope["rope_theta"], turned, rope),
        rope_factor=attention_factor(rope, given["max_position_embeddings"]),
        local_frequencies=None if local is None else rope_frequencies(local["rope_theta"], head_width, local),
        tied_head=bool(given.get("tie_word_embeddings", family.tied_head)) or not has_head,
        layer_kinds=tuple(_layer_kinds(given, family, layers, context)),
        attention_bias=biased or family.attention_bias,
        output_bias=biased and not family.attention_bias,
        query_norm=family.query_norm,
        post_norms=family.post_norms,
        activation=_activation(given, family),
        query_scale=None if scalar is None else scalar**-0.5,
        score_cap=given.get("attn_logit_softcapping"),
        logit_cap=given.get("final_logit_softcapping"),
        embedding_scale=math.sqrt(width) if family.embedding_scaled else 1.0,
        experts=_experts(given) if family.experts else None,
    )


def _activation(given: Mapping[str, Any], family: Family) -> Activation:
    named = given.get("hidden_activation") or given.get("hidden_act")
    # The first Gemma's own files say "gelu" and mean its approximation by tanh.
    if named is None or (named == "gelu" and family.activation == "gelu_tanh"):
        return family.activation
    if named not in _ACTIVATIONS:
        raise UnsupportedCheckpoint(f"activation {named!r} is not supported ({' and '.join(_ACTIVATIONS)} are)")
    return _ACTIVATIONS[named]


def _rope_parameters(given: Mapping[str, Any], family: Family) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Of layers that see everything, and of those with a window where these have their own; both with their base."""
    # Files written before transformers 5 keep base and scaling apart.
    rope = given.get("rope_parameters") or given.get("rope_scaling") or {}
    old = {"rope_theta": given.get("rope_theta"), "partial_rotary_factor": given.get("partial_rotary_factor")}
    if "original_max_position_embeddings" in given:
        old["original_max_position_embeddings"] = given["original_max_position_embeddings"]
    whole, sliding = rope.get(_FULL, rope) or {}, rope.get(_SLIDING) or {}
    stands_in = {"original_max_position_embeddings": given["max_position_embeddings"]}
    whole = {**stands_in, **_said(old), **_said(whole)}
    whole.setdefault("rope_theta", family.rope_base)
    if "short_factor" in whole:  # which older files of Phi-3 call by other names
        whole["rope_type"] = "longrope"
    if family.local_rope_base is None:
        return whole, None
    base = given.get("rope_local_base_freq") or family.local_rope_base
    return whole, {**stands_in, "rope_theta": base, **_said(sliding)}


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _context(given: Mapping[str, Any], rope: Mapping[str, Any]) -> int:
    """Longrope turns longer contexts by other frequencies, which keys already in a cache do not have."""
    longest = given["max_position_embeddings"]
    return min(longest, rope["original_max_position_embeddings"]) if scaling_kind(rope) == "longrope" else longest


def _layer_kinds(given: Mapping[str, Any], family: Family, layers: int, context: int) -> list[LayerKind]:
    window = given.get("sliding_window", family.window)
    if family.windows == "flagged" and not given.get("use_sliding_window"):
        window = None
    if family.windows == "none" and window is not None and window < context:
        raise UnsupportedCheckpoint(f"a sliding attention window is not supported in {given['model_type']!r}")
    turned, found = _turned(given, family, layers), []
    for index, sliding in enumerate(_sliding(given, family, layers)):
        local = sliding and family.local_rope_base is not None
        found.append(
            LayerKind(
                window=window if sliding and window is not None and window < context else None,
                positions=("local" if local else "global") if turned[index] else "none",
                experts=family.experts and _has_experts(given, index),
            )
        )
    return found


def _sliding(given: Mapping[str, Any], family: Family, layers: int) -> list[bool]:
    """Which layers have the window, where there is one."""
    if family.windows == "all" or family.experts:
        return [True] * layers
    if types := given.get("layer_types"):
        if other := sorted(set(types) - {_SLIDING, _FULL}):
            raise UnsupportedCheckpoint(f"layers of type {other[0]!r} are not supported ({_FULL} and {_SLIDING} are)")
        return [kind == _SLIDING for kind in _for_each(types, layers, "layer_types")]
    if period := given.get("sliding_window_pattern", family.window_period):
        return [(index + 1) % period != 0 for index in range(layers)]
    if family.unturned_period:
        return [not turned for turned in _turned(given, family, layers)]
    return [index >= given.get("max_window_layers", layers) for index in range(layers)]


def _turned(given: Mapping[str, Any], family: Family, layers: int) -> Sequence[int]:
    """1 for layers with rotary positions, 0 for those without (NoPE: 2305.19466)."""
    if not family.unturned_period:
        return [1] * layers
    if given.get("no_rope_layers"):
        return _for_each(given["no_rope_layers"], layers, "no_rope_layers")
    period = given.get("no_rope_layer_interval", family.unturned_period)
    return [int((index + 1) % period != 0) for index in range(layers)]


def _for_each(values: Sequence[Any], layers: int, name: str) -> Sequence[Any]:
    if len(values) < layers:
        raise UnsupportedCheckpoint(f"{name} describes {len(values)} of {layers} layers")
    return values[:layers]


def _has_experts(given: Mapping[str, Any], index: int) -> bool:
    return index not in (given.get("mlp_only_layers") or ()) and (index + 1) % given.get("decoder_sparse_step", 1) == 0


def _experts(given: Mapping[str, Any]) -> ExpertsConfig:
    return ExpertsConfig(
        count=given["num_local_experts"] if "num_local_experts" in given else given["num_experts"],
        used=given["num_experts_per_tok"],
        hidden_width=given.get("moe_intermediate_size", given["intermediate_size"]),
        renormalise=given.get("norm_topk_prob", given["model_type"] == "mixtral"),
    )
