"""Which heads of a layer see equally far back, and the room that their keys and values take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .architecture import DecoderConfig

CacheKind = Literal["float", "int8"]
"""``float``: keys and values in the type of the activations; ``int8``: in 8 bits, each token's with a float32 scale."""


@dataclass(frozen=True, slots=True)
class HeadGroup:
    """Key heads of one layer that see equally far back, with the query heads that share them.

    Attributes:
        heads: their numbers, ascending.
        window: how many tokens one sees, itself the last of them; None: all before it.
        sinks: first tokens that are seen whatever the window is (StreamingLLM's attention sinks: Xiao et al.,
            2309.17453).
    """

    heads: tuple[int, ...]
    window: int | None = None
    sinks: int = 0

    def slots(self, tokens: int) -> int:
        """Slots of their caches, in a sequence with room for ``tokens``: as many as will ever be seen at once."""
        return tokens if self.window is None else min(tokens, self.sinks + self.window)

    def is_ring(self, slots: int) -> bool:
        return is_ring(slots, self.window, self.sinks)

    def keeps(self, first: int, end: int, tokens: int) -> bool:
        """Of a sequence of ``tokens``, those from ``first`` to ``end`` are in the caches still."""
        return self.window is None or end <= self.sinks or max(first, self.sinks) >= tokens - self.window


def is_ring(slots: int, window: int | None, sinks: int) -> bool:
    """In a cache of so many slots, for heads that see so far, newer tokens take the place of older ones."""
    return window is not None and slots == sinks + window


def head_groups(config: DecoderConfig) -> tuple[tuple[HeadGroup, ...], ...]:
    """The groups of each layer; every key head is in one. Heads that see farthest come first."""
    return tuple(_of_layer(config, layer) for layer in range(config.layers))


def cache_bytes(config: DecoderConfig, tokens: int, value_bytes: int, kind: CacheKind = "float") -> int:
    """What the keys and values of one sequence take that has room for ``tokens``:
    2 · `token_bytes` · the sum over all key heads of their slots. ``value_bytes`` are those of an activation."""
    slots = sum(len(group.heads) * group.slots(tokens) for layer in head_groups(config) for group in layer)
    return 2 * token_bytes(config, value_bytes, kind) * slots


def token_bytes(config: DecoderConfig, value_bytes: int, kind: CacheKind) -> int:
    """What a token's keys take in one head, and its values again."""
    return config.head_width + 4 if kind == "int8" else config.head_width * value_bytes


def _of_layer(config: DecoderConfig, layer: int) -> tuple[HeadGroup, ...]:
    kind, every = config.layer_kinds[layer], range(config.kv_heads)
    if kind.streaming is None:
        return (HeadGroup(tuple(every), kind.window),)
    streaming = HeadGroup(kind.streaming.heads, kind.streaming.window, kind.streaming.sinks)
    others = tuple(head for head in every if head not in streaming.heads)
    return (HeadGroup(others), streaming) if others else (streaming,)
