"""What the native kernels are given in tests, and what they should make of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from capibara.model.attention import Scoring
from capibara.model.cached_attention import LayerCache
from capibara.model.head_groups import head_groups
from capibara.model.linear import quantise_rows


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def int8_weights(outputs: int, inputs: int):
    return quantise_rows(np.asarray(normal(outputs, inputs, seed=1)))


def dense(q_NTH, keys_KSH, values_KSH, start: int, scoring: Scoring) -> np.ndarray:
    """Attention by its formula, in float64."""
    N, T, H = q_NTH.shape
    groups = N // keys_KSH.shape[0]
    keys, values = (np.repeat(np.asarray(x, np.float64), groups, axis=0) for x in (keys_KSH, values_KSH))
    scores = np.einsum("nth,nsh->nts", np.asarray(q_NTH, np.float64), keys) * (scoring.scale or H**-0.5)
    if scoring.cap:
        scores = scoring.cap * np.tanh(scores / scoring.cap)
    slots, own = np.arange(keys.shape[1])[None], start + np.arange(T)[:, None]
    seen = (slots <= own) & (slots > own - (scoring.window or keys.shape[1] + T))
    weights = np.where(seen, np.exp(scores - np.max(scores, where=seen, initial=-np.inf, axis=-1, keepdims=True)), 0)
    return np.einsum("nts,nsh->nth", weights / weights.sum(-1, keepdims=True), values)


def run(decoder, tokens, starts, caches):
    x, written = jax.jit(lambda: decoder(jnp.asarray(tokens), jnp.asarray(starts), caches))()
    return np.asarray(x), [np.asarray(part) for part in jax.tree.leaves(written)]


def filled_caches(config, sequences: int):
    def cache(slots: int, seed: int) -> LayerCache:
        return LayerCache(*(0.3 * normal(config.kv_heads, slots, config.head_width, seed=seed + i) for i in (0, 50)))

    return [
        [(cache(group.slots(64), 10 * layer + row),) for row in range(sequences)]
        for layer, (group,) in enumerate(head_groups(config))
    ]
