"""One sequence's caches in all layers: made empty, taken through a step, read and written in blocks of tokens.

Axes: L layers, K key heads, C tokens of a block, H head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from .architecture import DecoderConfig
from .cached_attention import LayerCache, LayerCaches, after_step, cut, pasted
from .head_groups import CacheKind, HeadGroup, head_groups
from .rounded_cache import Rounded, Stored

Groups = tuple[tuple[HeadGroup, ...], ...]
"""As `head_groups` gives them."""
Block = Stored
"""What the caches hold for some tokens, [L, 2, K, C, H]: keys and values of all layers, the heads of each in the order
that its groups have them in."""


def empty_caches(config: DecoderConfig, slots: int, kind: CacheKind, dtype: DTypeLike) -> list[LayerCaches]:
    """For a sequence with room for so many tokens, whose activations are of ``dtype``."""

    def empty(heads: int, slots: int) -> Stored:
        whole = heads, slots, config.head_width
        if kind == "int8":
            return Rounded(jnp.zeros(whole, jnp.int8), jnp.zeros((heads, slots, 1), jnp.float32))
        return jnp.zeros(whole, dtype)

    def of_group(group: HeadGroup) -> LayerCache:
        size = len(group.heads), group.slots(slots)
        return LayerCache(empty(*size), empty(*size))

    return [tuple(map(of_group, layer)) for layer in head_groups(config)]


def settled(
    groups: Groups,
    before: Sequence[LayerCaches],
    made: Sequence[LayerCaches],
    start: Int[Array, ""],
    count: Int[Array, ""],
) -> list[LayerCaches]:
    """The caches with the first ``count`` new tokens, from ``start``, of what a step has ``made`` of them."""
    layers = zip(groups, before, made, strict=True)
    return [tuple(after_step(*each, start, count) for each in zip(*layer, strict=True)) for layer in layers]


def read_block(groups: Groups, caches: Sequence[LayerCaches], start: Int[Array, ""], size: int) -> Block:
    """For ``size`` tokens from ``start``, all of which must be there still."""

    def read(of_layer: tuple[HeadGroup, ...], caches: LayerCaches) -> Block:
        parts = [cut(group, cache, start, size) for group, cache in zip(of_layer, caches, strict=True)]
        each = [jax.tree.map(lambda *both: jnp.stack(both), part.keys, part.values) for part in parts]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *each)

    layers = [read(*layer) for layer in zip(groups, caches, strict=True)]
    return jax.tree.map(lambda *layers: jnp.stack(layers), *layers)


def write_block(
    groups: Groups, caches: Sequence[LayerCaches], start: Int[Array, ""], block: Block
) -> list[LayerCaches]:
    """The caches with what was read for tokens from ``start``; they hold those before them."""
    after = []
    for layer, (of_layer, before) in enumerate(zip(groups, caches, strict=True)):
        first, own = 0, []
        for group, cache in zip(of_layer, before, strict=True):
            heads = slice(first, first := first + len(group.heads))
            keys, values = (_part_of(block, layer, half, heads) for half in (0, 1))
            own.append(pasted(group, cache, LayerCache(keys, values), start))
        after.append(tuple(own))
    return after


def _part_of(block: Block, layer: int, half: int, heads: slice) -> Stored:
    return jax.tree.map(lambda part: part[layer, half, heads], block)
