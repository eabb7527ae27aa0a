"""The families of decoders, as data: what their checkpoints take for granted and do not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from .architecture import Activation

Windows = Literal["none", "all", "named", "flagged"]
"""Which layers a sliding window is for: none; all; those whose type is said to be sliding; or the latter, where a flag
of the checkpoint (``use_sliding_window``) allows it."""


@dataclass(frozen=True, slots=True)
class Family:
    """What is true of every member of a family, and what is where a checkpoint says nothing.

    Attributes:
        rope_base, window, head_width, tied_head: stand in for what is left out; a head width of None is the network's
            width over its heads.
        window_period: where no types of layers are given, every so-maniest layer sees everything; 0: all do.
        unturned_period: every so-maniest layer has no rotary positions; 0: all have.
        local_rope_base: base of the rotary positions of layers with a window; None: they have no positions of their
            own.
        attention_bias: queries, keys and values have a bias in any case.
        embedding_scaled: embeddings are multiplied by the root of the network's width.
        norms_around_one: norms are stored less one.
        fused: queries, keys and values are stored as one tensor, so are gate and value of the feed-forward.
        experts: layers are mixtures of experts.
    """

    rope_base: float = 10000.0
    head_width: int | None = None
    tied_head: bool = False
    windows: Windows = "none"
    window: int | None = None
    window_period: int = 0
    unturned_period: int = 0
    local_rope_base: float | None = None
    attention_bias: bool = False
    query_norm: bool = False
    post_norms: bool = False
    activation: Activation = "silu"
    embedding_scaled: bool = False
    norms_around_one: bool = False
    fused: bool = False
    experts: bool = False


_GEMMA = {
    "head_width": 256,
    "tied_head": True,
    "activation": "gelu_tanh",
    "embedding_scaled": True,
    "norms_around_one": True,
}
_ALTERNATING = {"windows": "named", "window": 4096, "post_norms": True}

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "llama": Family(),
        "mistral": Family(windows="all", window=4096),
        "smollm3": Family(rope_base=2000000.0, tied_head=True, windows="flagged", unturned_period=4),
        "qwen2": Family(windows="flagged", window=4096, attention_bias=True),
        "qwen3": Family(windows="flagged", window=4096, head_width=128, query_norm=True),
        "gemma": Family(**_GEMMA),
        "gemma2": Family(**_GEMMA, **_ALTERNATING, window_period=2),
        "gemma3_text": Family(
            **_GEMMA, **_ALTERNATING, window_period=6, query_norm=True, rope_base=1000000.0, local_rope_base=10000.0
        ),
        "phi3": Family(windows="all", fused=True),
        "mixtral": Family(rope_base=1000000.0, windows="all", experts=True),
        "qwen3_moe": Family(windows="flagged", window=4096, query_norm=True, experts=True),
    }
)
"""By the name that Hugging Face's configurations have for them (``model_type``)."""
