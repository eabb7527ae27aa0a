"""The decoder network of the Llama family (Touvron et al., 2302.13971; grouped queries: Ainslie et al., 2305.13245).

Axes: B sequences, T new tokens, S cache slots, D width, K key heads, G query heads per key head, H head width,
R rows (B times T, in attention G times T), F hidden width of the feed-forward, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from .architecture import DecoderConfig
from .attention import Method, causal_attention
from .linear import AdaptedLinear, Int8Linear, Linear

Product = Linear | Int8Linear | AdaptedLinear

_MASKED = -1e30


class LayerCache(NamedTuple):
    """One sequence's keys and values in one layer, heads before positions so that no step has to transpose them."""

    keys: Float[Array, "K S H"]
    values: Float[Array, "K S H"]


class Rotation(NamedTuple):
    """Cosines and sines of each new token's position, of all sequences in common or of each one."""

    cos: Float[Array, "#B T H/2"]
    sin: Float[Array, "#B T H/2"]


class RootMeanSquare(nnx.Module):
    """RMSNorm (Zhang & Sennrich, 1910.07467)."""

    def __init__(self, scale_D: Float[np.ndarray | Array, " D"], epsilon: float) -> None:
        self.scale = nnx.Param(jnp.asarray(scale_D))
        self.epsilon = epsilon

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return _normed(x_BTD, self.scale[...], self.epsilon)


class Attention(nnx.Module):
    """Causal attention with rotary positions; ``inputs`` makes queries, keys and values in one product."""

    def __init__(self, config: DecoderConfig, inputs: Product, output: Product, method: Method | None = None) -> None:
        """``method`` is how whole sequences are attended to, without a cache; None: the device's own."""
        self.inputs, self.output = inputs, output
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.method: Method | None = method

    def __call__(
        self,
        x_BTD: Array,
        rotation: Rotation,
        starts_B: Int[Array, " B"],
        caches: Sequence[LayerCache] | None,
        segments_BT: Int[Array, "B T"] | None = None,
    ) -> tuple[Array, list[LayerCache]]:
        """``caches`` are one for each sequence, in which it stands at its own start.

        ``segments_BT`` part sequences that were packed into one; they are for whole sequences, without caches.
        """
        q_BNTH, k_BKTH, v_BKTH = self._project(x_BTD, rotation)
        if caches is None:
            written, mixed_BNTH = [], causal_attention(q_BNTH, k_BKTH, v_BKTH, segments_BT, self.method)
        else:
            written = [
                _written(cache, LayerCache(k_BKTH[row], v_BKTH[row]), starts_B[row]) for row, cache in enumerate(caches)
            ]
            each = [self._over_cache(q_BNTH[row], cache, starts_B[row]) for row, cache in enumerate(written)]
            mixed_BNTH = jnp.stack(each)
        B, N, T, H = mixed_BNTH.shape
        return self.output(mixed_BNTH.swapaxes(1, 2).reshape(B * T, N * H)).reshape(x_BTD.shape), written

    def _over_cache(self, q_NTH: Array, seen: LayerCache, start: Array) -> Array:
        N, T, H = q_NTH.shape
        K, G = self.kv_heads, N // self.kv_heads
        q_KRH = q_NTH.reshape(K, G * T, H) * H**-0.5
        hidden_TS = jnp.arange(seen.keys.shape[1])[None, :] > start + jnp.arange(T)[:, None]
        hidden_RS = jnp.broadcast_to(hidden_TS, (G, *hidden_TS.shape)).reshape(G * T, -1)
        scores_KRS = _each_head(q_KRH, seen.keys, over=1)
        weights_KRS = jax.nn.softmax(jnp.where(hidden_RS, _MASKED, scores_KRS), axis=-1)
        return _each_head(weights_KRS, seen.values, over=0).reshape(N, T, H)

    def _project(self, x_BTD: Array, rotation: Rotation) -> tuple[Array, Array, Array]:
        B, T, D = x_BTD.shape
        both = self.heads + 2 * self.kv_heads
        mixed_BNTH = self.inputs(x_BTD.reshape(B * T, D)).reshape(B, T, both, self.head_width).swapaxes(1, 2)
        to_turn, values = jnp.split(mixed_BNTH, [self.heads + self.kv_heads], axis=1)
        queries, keys = jnp.split(_rotate(to_turn, rotation), [self.heads], axis=1)
        return queries, keys, values


class FeedForward(nnx.Module):
    """SwiGLU (Shazeer, 2002.05202); ``inputs`` makes gate and value in one product."""

    def __init__(self, inputs: Product, output: Product) -> None:
        self.inputs, self.output = inputs, output

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        both_RF = self.inputs(x_BTD.reshape(-1, x_BTD.shape[-1]))
        gate_RF, value_RF = jnp.split(both_RF, 2, axis=-1)
        return self.output(_gated(gate_RF, value_RF)).reshape(x_BTD.shape)


class DecoderLayer(nnx.Module):
    """Attention and feed-forward, each on normed input and added to what came in."""

    def __init__(
        self, attention_norm: RootMeanSquare, attention: Attention, feed_norm: RootMeanSquare, feed: FeedForward
    ) -> None:
        self.attention_norm, self.attention = attention_norm, attention
        self.feed_norm, self.feed = feed_norm, feed

    def __call__(
        self,
        x_BTD: Array,
        rotation: Rotation,
        starts_B: Array,
        caches: Sequence[LayerCache] | None,
        segments_BT: Int[Array, "B T"] | None = None,
    ) -> tuple[Array, list[LayerCache]]:
        mixed_BTD, written = self.attention(self.attention_norm(x_BTD), rotation, starts_B, caches, segments_BT)
        x_BTD = x_BTD + mixed_BTD
        return x_BTD + self.feed(self.feed_norm(x_BTD)), written


class Decoder(nnx.Module):
    """Tokens in, hidden states out, and from these logits. ``head`` is None where the embedding serves as head."""

    def __init__(
        self,
        config: DecoderConfig,
        embedding: Linear | Int8Linear,
        layers: list[DecoderLayer],
        norm: RootMeanSquare,
        head: Product | None,
    ) -> None:
        self.config = config
        self.embedding, self.norm, self.head = embedding, norm, head
        self.layers = nnx.List(layers)

    def __call__(
        self,
        tokens_BT: Int[Array, "B T"],
        starts_B: Int[Array, " B"],
        caches: Sequence[Sequence[LayerCache]] | None = None,
    ) -> tuple[Float[Array, "B T D"], list[list[LayerCache]]]:
        """Hidden states of tokens, each sequence's at positions from its start, and the caches with them written in.

        ``caches`` are by layer, then by sequence; those of one layer may differ in their slots. Without them the
        tokens see one another alone, and none are returned.
        """
        B, T = tokens_BT.shape
        x_BTD = self.embedding.rows(tokens_BT.reshape(-1)).reshape(B, T, -1)
        rotation = rotation_at(self.config, starts_B[:, None] + jnp.arange(T))
        written = []
        for index, layer in enumerate(self.layers):
            graph, weights = nnx.split(layer)
            own = None if caches is None else list(caches[index])
            x_BTD, fresh = _run_layer(graph, weights, x_BTD, rotation, starts_B, own)
            written.append(fresh)
        return x_BTD, written

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        head = self.embedding if self.head is None else self.head
        return head(self.norm(x_BTD).reshape(-1, x_BTD.shape[-1])).reshape(*x_BTD.shape[:-1], -1)


@functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
def _normed(x_BTD: Array, scale_D: Array, epsilon: float) -> Array:
    exact_BTD = x_BTD.astype(jnp.float32)
    mean_BT1 = jnp.mean(jnp.square(exact_BTD), axis=-1, keepdims=True)
    return (exact_BTD * jax.lax.rsqrt(mean_BT1 + epsilon) * scale_D).astype(x_BTD.dtype)


@functools.partial(jax.checkpoint, prevent_cse=False)
def _gated(gate_RF: Array, value_RF: Array) -> Array:
    """Made again in a backward pass, as norms and rotations are: less work than to keep what they pass through."""
    return jax.nn.silu(gate_RF) * value_RF


@functools.partial(jax.jit, static_argnums=0)
def _run_layer(graph, weights, x_BTD, rotation, starts_B, caches):
    """All layers have one shape: behind this inner `jit` the network is traced once, not once per layer."""
    return nnx.merge(graph, weights)(x_BTD, rotation, starts_B, caches)


def rotation_at(config: DecoderConfig, positions_BT: Int[Array, "#B T"]) -> Rotation:
    """What turns the queries and keys of tokens at these positions, float32."""
    angles_BTH = positions_BT.astype(jnp.float32)[..., None] * jnp.asarray(config.rope_frequencies, jnp.float32)
    return Rotation(jnp.cos(angles_BTH), jnp.sin(angles_BTH))


@functools.partial(jax.checkpoint, prevent_cse=False)
def _rotate(x_BNTH: Array, rotation: Rotation) -> Array:
    first, second = jnp.split(x_BNTH, 2, axis=-1)
    cos, sin = rotation.cos[:, None], rotation.sin[:, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BNTH.dtype)


def _each_head(left_KRX: Array, right_KXX: Array, over: int) -> Array:
    """One product per key head, summing the last axis of ``left`` with axis ``over`` of ``right``.

    XLA's CPU backend runs a batched product with few rows six times slower than the same products one by one.
    """
    heads = zip(left_KRX, right_KXX, strict=True)
    return jnp.stack([jax.lax.dot_general(left, right, (((1,), (over,)), ((), ()))) for left, right in heads])


def _written(cache: LayerCache, new: LayerCache, start: Array) -> LayerCache:
    def put(old: Array, fresh: Array) -> Array:
        return jax.lax.dynamic_update_slice(old, fresh, (0, start, 0))

    return LayerCache(put(cache.keys, new.keys), put(cache.values, new.values))
