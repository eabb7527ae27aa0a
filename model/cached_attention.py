"""Attention of new tokens over the caches of their sequences, which they are written into.

Axes: B sequences, N query heads, K key heads, G query heads per key head, T new tokens, S cache slots, H head width,
R rows (G times T).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .attention import Scoring, soft_capped
from .kernels import Kernels, attention_kernels
from .sharding import over_mesh

_MASKED = -1e30


class LayerCache(NamedTuple):
    """One sequence's keys and values in one layer, heads before positions so that no step has to transpose them."""

    keys: Float[Array, "K S H"]
    values: Float[Array, "K S H"]


def attend_over(
    caches: Sequence[LayerCache],
    starts_B: Int[Array, " B"],
    q_BNTH: Float[Array, "B N T H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    scoring: Scoring,
) -> tuple[Float[Array, "B N T H"], list[LayerCache]]:
    """Each new token's mixture of the values at and before it, and the caches with the new tokens from their starts."""
    plain = functools.partial(_attend_over, scoring)
    operands = (list(caches), starts_B, q_BNTH, k_BKTH, v_BKTH)
    if (kernels := attention_kernels(q_BNTH)) is not None:
        native = functools.partial(_attend_natively, kernels, scoring)
        return jax.lax.platform_dependent(*operands, cpu=native, default=plain)
    return plain(*operands)


def flattened(caches: Sequence[LayerCache]) -> list[Array]:
    """Keys and values in turn, as the native kernels take them."""
    return [part for cache in caches for part in cache]


def paired(flat: Sequence[Array]) -> list[LayerCache]:
    """The caches again of what `flattened` gave."""
    return [LayerCache(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def _attend_natively(kernels: Kernels, scoring: Scoring, caches, starts_B, q_BNTH, k_BKTH, v_BKTH):
    mixed_BNTH, written = kernels.cached_attention(q_BNTH, k_BKTH, v_BKTH, starts_B, flattened(caches), scoring)
    return mixed_BNTH, paired(written)


def _attend_over(scoring: Scoring, caches, starts_B, q_BNTH, k_BKTH, v_BKTH):
    written = [_written(cache, LayerCache(k_BKTH[row], v_BKTH[row]), starts_B[row]) for row, cache in enumerate(caches)]
    each = [_attend(scoring, q_BNTH[row], cache, starts_B[row]) for row, cache in enumerate(written)]
    return jnp.stack(each), written


def _attend(scoring: Scoring, q_NTH: Array, seen: LayerCache, start: Array) -> Array:
    N, T, H = q_NTH.shape
    K = seen.keys.shape[0]
    G = N // K
    scale, cap, window = scoring
    q_KRH = q_NTH.reshape(K, G * T, H) * (H**-0.5 if scale is None else scale)
    places_S, positions_T1 = jnp.arange(seen.keys.shape[1])[None, :], start + jnp.arange(T)[:, None]
    hidden_TS = places_S > positions_T1
    if window is not None:
        hidden_TS = hidden_TS | (places_S <= positions_T1 - window)
    hidden_RS = jnp.broadcast_to(hidden_TS, (G, *hidden_TS.shape)).reshape(G * T, -1)
    scores_KRS = soft_capped(_each_head(q_KRH, seen.keys, over=1), cap)
    weights_KRS = jax.nn.softmax(jnp.where(hidden_RS, _MASKED, scores_KRS), axis=-1)
    mixed_KRH = _each_head(weights_KRS.astype(seen.values.dtype), seen.values, over=0)
    return mixed_KRH.astype(q_NTH.dtype).reshape(N, T, H)


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

    return LayerCache(put(cache.keys, new.keys), put(cache.values, new.values))
