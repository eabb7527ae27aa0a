"""Frequencies of rotary positions (Su et al., 2104.09864), and the ways in which checkpoints stretch them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .errors import UnsupportedCheckpoint

_METHODS = ("default", "linear", "llama3", "yarn", "longrope")


def rope_frequencies(base: float, dimensions: int, scaling: Mapping[str, Any] | None = None) -> tuple[float, ...]:
    """Radians per position of each pair among the ``dimensions`` that are turned.

    ``scaling`` is a checkpoint's ``rope_parameters`` (``rope_scaling`` in older ones). Of ``longrope`` the frequencies
    for short contexts are taken, up to ``original_max_position_embeddings``.

    Raises:
        UnsupportedCheckpoint: ``scaling`` asks for another method, or the dimensions make no pairs.
        KeyError: ``scaling`` lacks a number that its method needs.
    """
    if dimensions < 0 or dimensions % 2 or not (math.isfinite(base) and base > 0):
        raise UnsupportedCheckpoint(f"rotary positions of base {base} cannot turn {dimensions} dimensions in pairs")
    plain = tuple(base ** (-2.0 * pair / dimensions) for pair in range(dimensions // 2))
    kind = scaling_kind(scaling)
    if scaling is None or kind == "default":
        return plain
    if kind == "linear":
        return tuple(frequency / scaling["factor"] for frequency in plain)
    if kind == "llama3":
        return tuple(_llama3(frequency, scaling) for frequency in plain)
    if kind == "yarn":
        return tuple(_yarn(plain, base, scaling))
    if len(scaling["short_factor"]) != len(plain):
        raise UnsupportedCheckpoint(
            f"longrope has {len(scaling['short_factor'])} short factors for {len(plain)} pairs of dimensions"
        )
    return tuple(frequency / factor for frequency, factor in zip(plain, scaling["short_factor"], strict=True))


def scaling_kind(scaling: Mapping[str, Any] | None) -> str:
    """The method that ``scaling`` names.

    Raises:
        UnsupportedCheckpoint: one that is not computed here.
    """
    kind = (scaling or {}).get("rope_type") or (scaling or {}).get("type") or "default"
    kind = "default" if kind == "none" else kind
    if kind not in _METHODS:
        raise UnsupportedCheckpoint(
            f"rotary position scaling {kind!r} is not supported ({', '.join(_METHODS[1:-1])} and {_METHODS[-1]} are)"
        )
    return kind


def attention_factor(scaling: Mapping[str, Any] | None, context_tokens: int) -> float:
    """What cosines and sines are multiplied by: above 1 where YaRN or longrope stretch the context.

    ``context_tokens`` is the stretched context, which stands in where ``scaling`` names no factor.

    Raises:
        UnsupportedCheckpoint, KeyError: as `rope_frequencies`.
    """
    kind = scaling_kind(scaling)
    if scaling is None or kind not in ("yarn", "longrope"):
        return 1.0
    if scaling.get("attention_factor") is not None:
        return float(scaling["attention_factor"])
    original = scaling["original_max_position_embeddings"]
    factor = scaling.get("factor") or context_tokens / original
    if kind == "longrope":
        return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    of_all, of_part = scaling.get("mscale_all_dim"), scaling.get("mscale")
    if of_all and of_part:
        return _yarn_factor(factor, of_part) / _yarn_factor(factor, of_all)
    return _yarn_factor(factor)


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


def _yarn(plain: tuple[float, ...], base: float, scaling: Mapping[str, Any]) -> list[float]:
    """Pairs that turn often keep their frequency, those that turn less than once are stretched (2309.00071)."""
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    rounded: tuple[Callable[[float], float], ...] = (math.floor, math.ceil)

    def pair_that_turns(times: float) -> float:
        return len(plain) * math.log(original / (times * 2 * math.pi)) / math.log(base)

    bounds = [pair_that_turns(scaling.get("beta_fast") or 32), pair_that_turns(scaling.get("beta_slow") or 1)]
    if scaling.get("truncate", True):
        bounds = [to_whole(bound) for to_whole, bound in zip(rounded, bounds, strict=True)]
    first, last = max(bounds[0], 0), min(bounds[1], 2 * len(plain) - 1)
    width = (last - first) or 0.001
    shares = (min(max((pair - first) / width, 0.0), 1.0) for pair in range(len(plain)))
    return [frequency * (1 - share + share / factor) for frequency, share in zip(plain, shares, strict=True)]


def _yarn_factor(factor: float, scale: float = 1.0) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0
