"""The one description of a decoder network: its sizes, its positions and its numerical constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import UnsupportedCheckpoint


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """A decoder of the Llama family: pre-normed by RMS, rotary positions, grouped queries, SwiGLU.

    ``rope_frequencies`` are in radians per position, one for each pair of a head's dimensions (half-split
    pairs: i and i + head_width / 2).
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden_width: int
    context_tokens: int
    norm_epsilon: float
    rope_frequencies: tuple[float, ...]
    tied_head: bool

    def __post_init__(self) -> None:
        sizes = ("vocabulary", "width", "layers", "heads", "kv_heads", "head_width", "hidden_width", "context_tokens")
        for name in sizes:
            if getattr(self, name) < 1:
                raise UnsupportedCheckpoint(f"{name} is {getattr(self, name)}; it must be positive")
        if self.heads % self.kv_heads:
            raise UnsupportedCheckpoint(f"{self.heads} query heads cannot share {self.kv_heads} key heads evenly")
        if 2 * len(self.rope_frequencies) != self.head_width:
            raise UnsupportedCheckpoint(
                f"rotary positions turn {2 * len(self.rope_frequencies)} of {self.head_width} dimensions; "
                "only models that turn all of them are supported"
            )


def rope_frequencies(base: float, dimensions: int, scaling: Mapping[str, Any] | None = None) -> tuple[float, ...]:
    """Inverse wave lengths of rotary positions (Su et al., 2104.09864), with the scalings Llama checkpoints name.

    Raises:
        UnsupportedCheckpoint: ``scaling`` asks for a method other than linear or llama3.
    """
    plain = tuple(base ** (-2.0 * pair / dimensions) for pair in range(dimensions // 2))
    kind = (scaling or {}).get("rope_type") or (scaling or {}).get("type") or "default"
    if scaling is None or kind == "default":
        return plain
    if kind == "linear":
        return tuple(frequency / scaling["factor"] for frequency in plain)
    if kind == "llama3":
        return tuple(_llama3(frequency, scaling) for frequency in plain)
    raise UnsupportedCheckpoint(f"rotary position scaling {kind!r} is not supported (linear and llama3 are)")


def _llama3(frequency: float, scaling: Mapping[str, Any]) -> float:
    """Long waves are stretched, short ones kept, those between mixed (Llama 3.1 reference implementation)."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)
    if turns < low:
        return frequency / factor
    if turns > high:
        return frequency
    smooth = (turns - low) / (high - low)
    return (1 - smooth) * frequency / factor + smooth * frequency
