"""Attention of new tokens over the caches of their sequences, and how these are after it.

Axes: B sequences, N query heads, K key heads, G query heads per key head, T new tokens, S cache slots, H head width,
R rows (G times T), C tokens that are cut out of a cache, X any axis (of two operands, one or both of them summed over).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .attention import Scoring, soft_capped
from .head_groups import HeadGroup, is_ring
from .kernels import Kernels, attention_kernels
from .rings import positions_in, put, slots_of
from .rounded_cache import Rounded, Stored, as_floats, as_stored
from .sharding import over_mesh

_MASKED = -1e30


class LayerCache(NamedTuple):
    """One sequence's keys and values in one group of a layer's heads, heads before positions so that no step has to
    transpose them. There are `HeadGroup.slots` of them; where that makes it a ring, `rings` says what is where."""

    keys: Stored
    values: Stored

    @property
    def slots(self) -> int:
        return jax.tree.leaves(self.keys)[0].shape[1]

    @property
    def is_rounded(self) -> bool:
        return isinstance(self.keys, Rounded)

    def stored(self, keys_KTH: Float[Array, "K T H"], values_KTH: Float[Array, "K T H"]) -> LayerCache:
        """Of other tokens, in the form of this one."""
        return LayerCache(as_stored(keys_KTH, self.keys), as_stored(values_KTH, self.values))


LayerCaches = tuple[LayerCache, ...]
"""One sequence's caches in one layer, of each of its `head_groups`."""


class _Seen(NamedTuple):
    """Keys and values, and the positions that they stand at."""

    cache: LayerCache
    positions: Int[Array, " S"]


def attend_over(
    caches: Sequence[LayerCache],
    starts_B: Int[Array, " B"],
    q_BNTH: Float[Array, "B N T H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    scoring: Scoring,
) -> tuple[Float[Array, "B N T H"], list[LayerCache]]:
    """Each new token's mixture of the values at and before it, and what `after_step` makes the caches of: the caches
    with the new tokens from their starts, or, of rings, the new tokens alone.

    Some of the new tokens may turn out to be none of the sequence's (drafts, what fills a piece up). In a ring they
    would take the places of others that are still seen.
    """
    operands = (list(caches), starts_B, q_BNTH, k_BKTH, v_BKTH)
    if is_ring(caches[0].slots, scoring.window, scoring.sinks):
        return _attend_over_rings(scoring, *operands)
    scoring = scoring.within(caches[0].slots)
    plain = functools.partial(_attend_over, scoring)
    by_xla = caches[0].is_rounded or scoring.window is not None  # which the kernels know nothing of
    kernels = None if by_xla else attention_kernels(q_BNTH)
    if kernels is not None:
        native = functools.partial(_attend_natively, kernels, scoring)
        return jax.lax.platform_dependent(*operands, cpu=native, default=plain)
    return plain(*operands)


def after_step(
    group: HeadGroup, before: LayerCache, made: LayerCache, start: Int[Array, ""], count: Int[Array, ""]
) -> LayerCache:
    """A cache once it is known that the first ``count`` of the new tokens, from ``start``, are the sequence's own."""
    if not group.is_ring(before.slots):
        return made
    return jax.tree.map(lambda old, new: put(old, new, start, count, group.sinks), before, made)


def cut(group: HeadGroup, cache: LayerCache, start: Int[Array, ""], size: int) -> LayerCache:
    """What the cache holds for ``size`` tokens from ``start``; for those that it has no longer, something else."""
    if not group.is_ring(cache.slots):
        return jax.tree.map(lambda part: jax.lax.dynamic_slice_in_dim(part, start, size, axis=1), cache)
    slots_C = slots_of(start + jnp.arange(size), group.sinks, cache.slots)
    return jax.tree.map(lambda part: part[:, slots_C], cache)


def pasted(group: HeadGroup, cache: LayerCache, new: LayerCache, start: Int[Array, ""]) -> LayerCache:
    """The cache with tokens that were `cut` from another one, which holds the same up to them."""
    made = new if group.is_ring(cache.slots) else _written(cache, new, start)
    return after_step(group, cache, made, start, jnp.asarray(new.slots))


def flattened(caches: Sequence[LayerCache]) -> list[Array]:
    """Keys and values in turn, as the native kernels take them, which read floats alone."""
    return [cast("Array", part) for cache in caches for part in cache]


def paired(flat: Sequence[Array]) -> list[LayerCache]:
    """The caches again of what `flattened` gave."""
    return [LayerCache(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def _attend_natively(kernels: Kernels, scoring: Scoring, caches, starts_B, q_BNTH, k_BKTH, v_BKTH):
    mixed_BNTH, written = kernels.cached_attention(q_BNTH, k_BKTH, v_BKTH, starts_B, flattened(caches), scoring)
    return mixed_BNTH, paired(written)


def _attend_over(scoring: Scoring, caches, starts_B, q_BNTH, k_BKTH, v_BKTH):
    written = [
        _written(cache, cache.stored(k_BKTH[row], v_BKTH[row]), starts_B[row]) for row, cache in enumerate(caches)
    ]
    each = [
        _attend(scoring, q_BNTH[row], [_Seen(cache, jnp.arange(cache.slots))], starts_B[row])
        for row, cache in enumerate(written)
    ]
    return jnp.stack(each), written


def _attend_over_rings(scoring: Scoring, caches, starts_B, q_BNTH, k_BKTH, v_BKTH):
    new = [cache.stored(*own) for cache, *own in zip(caches, k_BKTH, v_BKTH, strict=True)]
    mixed = []
    for cache, own, start, q_NTH in zip(caches, new, starts_B, q_BNTH, strict=True):
        earlier = _Seen(cache, positions_in(start, scoring.sinks, cache.slots))
        mixed.append(_attend(scoring, q_NTH, [earlier, _Seen(own, start + jnp.arange(own.slots))], start))
    return jnp.stack(mixed), new


def _attend(scoring: Scoring, q_NTH: Array, seen: Sequence[_Seen], start: Array) -> Array:
    N, T, H = q_NTH.shape
    keys = [as_floats(part.cache.keys, q_NTH.dtype) for part in seen]
    values = [as_floats(part.cache.values, q_NTH.dtype) for part in seen]
    K = keys[0].shape[0]
    G = N // K
    q_KRH = q_NTH.reshape(K, G * T, H) * (H**-0.5 if scoring.scale is None else scoring.scale)
    positions_1S = jnp.concatenate([part.positions for part in seen])[None, :]
    positions_T1 = start + jnp.arange(T)[:, None]
    hidden_TS = positions_1S > positions_T1
    if scoring.window is not None:
        hidden_TS = hidden_TS | ((positions_1S <= positions_T1 - scoring.window) & (positions_1S >= scoring.sinks))
    hidden_RS = jnp.broadcast_to(hidden_TS, (G, *hidden_TS.shape)).reshape(G * T, -1)
    scores_KRS = jnp.concatenate([_each_head(q_KRH, part_KSH, over=1) for part_KSH in keys], axis=-1)
    weights_KRS = jax.nn.softmax(jnp.where(hidden_RS, _MASKED, soft_capped(scores_KRS, scoring.cap)), axis=-1)
    shares = jnp.split(weights_KRS, np.cumsum([part.cache.slots for part in seen])[:-1], axis=-1)
    mixed = [
        _each_head(share_KRS.astype(part_KSH.dtype), part_KSH, over=0)
        for share_KRS, part_KSH in zip(shares, values, strict=True)
    ]
    return sum(mixed[1:], mixed[0]).astype(q_NTH.dtype).reshape(N, T, H)


def _each_head(left_KRX: Array, right_KXX: Array, over: int) -> Array:
    """One product per key head, summing the last axis of ``left`` with axis ``over`` of ``right``, in float32.

    XLA's CPU backend runs a batched product with few rows six times slower than the same products one by one. Over a
    mesh each device has heads of its own, which taken one by one would go to all others.
    """
    summed = functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32)
    if over_mesh.value is not None or jax.default_backend() != "cpu":
        return summed(left_KRX, right_KXX, (((2,), (over + 1,)), ((0,), (0,))))
    heads = zip(left_KRX, right_KXX, strict=True)
    return jnp.stack([summed(left, right, (((1,), (over,)), ((), ()))) for left, right in heads])


def _written(cache: LayerCache, new: LayerCache, start: Array) -> LayerCache:
    def put(old: Array, fresh: Array) -> Array:
        return jax.lax.dynamic_update_slice(old, fresh, (0, start, 0))

    return jax.tree.map(put, cache, new)
