"""The decoder network: Llama (Touvron et al., 2302.13971; grouped queries: Ainslie et al., 2305.13245) and its kin.

Axes: B sequences, T new tokens, S cache slots, D width, K key heads, G query heads per key head, H head width,
R rows (B times T, in attention G times T), V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from .architecture import DecoderConfig
from .attention import Method, Scoring, causal_attention, soft_capped
from .cached_attention import LayerCaches, attend_over
from .experts import Experts, Routing
from .feed_forward import FeedForward, Product
from .grouped_heads import heads_of, in_order
from .grouped_weights import GroupedLinear
from .head_gates import HeadGates, gated_attention
from .head_groups import head_groups
from .layer_kernel import layer_kernel
from .linear import Int8Linear, Linear, product
from .positions import Rotation, rotate, rotation_at
from .sharding import split_heads, spread_rows


class RootMeanSquare(nnx.Module):
    """RMSNorm (Zhang & Sennrich, 1910.07467)."""

    def __init__(self, scale_D: Float[np.ndarray | Array, " D"], epsilon: float) -> None:
        self.scale = nnx.Param(jnp.asarray(scale_D))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "*A D"]) -> Float[Array, "*A D"]:
        return _normed(x, self.scale[...], self.epsilon)


@dataclass(frozen=True, slots=True)
class LayerParts:
    """What a layer is put together from, by the names of its matrices and vectors; None: the layer has no such vector.

    Names are as in `matrices.matrices` and `matrices.vectors`, without what numbers the layer. ``gates`` are there
    where they are trained, over whole sequences.
    """

    product: Callable[[str], Product]
    vector: Callable[[str], np.ndarray | Array | None]
    norm_epsilon: float
    gates: HeadGates | None = None

    def norm(self, name: str) -> RootMeanSquare | None:
        scale_D = self.vector(name)
        return None if scale_D is None else RootMeanSquare(scale_D, self.norm_epsilon)

    def bias(self, name: str) -> nnx.Param | None:
        bias_N = self.vector(name)
        return None if bias_N is None else nnx.Param(jnp.asarray(bias_N))


class Attention(nnx.Module):
    """Causal attention; ``inputs`` makes queries, keys and values in one product."""

    def __init__(self, config: DecoderConfig, layer: int, parts: LayerParts, method: Method | None = None) -> None:
        """``method`` is how whole sequences are attended to, without a cache; None: the device's own."""
        self.inputs, self.output = parts.product("attention.inputs"), parts.product("attention.output")
        self.bias, self.output_bias = parts.bias("attention.bias"), parts.bias("attention.output_bias")
        self.query_norm, self.key_norm = parts.norm("attention.query_norm"), parts.norm("attention.key_norm")
        self.heads, self.kv_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        self.scale, self.cap, self.groups = config.score_scale, config.score_cap, head_groups(config)[layer]
        self.method: Method | None = method
        self.shares = None if parts.gates is None else nnx.Param(parts.gates.shares)
        self.gated_reach = None if parts.gates is None else parts.gates[1:]

    def __call__(
        self,
        x_BTD: Array,
        rotation: Rotation | None,
        starts_B: Int[Array, " B"],
        caches: Sequence[LayerCaches] | None,
        segments_BT: Int[Array, "B T"] | None = None,
    ) -> tuple[Array, list[LayerCaches]]:
        """``caches`` are those of each sequence, in which it stands at its own start; for what they become see
        `attend_over`. ``rotation``: None: no positions.

        ``segments_BT`` part sequences that were packed into one; they are for whole sequences, without caches.
        """
        operands = [split_heads(x, self.kv_heads) for x in self._project(x_BTD, rotation)]
        mixed, made = [], []
        for index, group in enumerate(self.groups):
            scoring = Scoring(self.scale, self.cap, group.window, group.sinks)
            q, k, v = (heads_of(x, group, self.kv_heads) for x in operands)
            if caches is None:
                mixed.append(self._over_whole_text(q, k, v, segments_BT, scoring))
            else:
                each = attend_over([cache[index] for cache in caches], starts_B, q, k, v, scoring)
                mixed.append(each[0])
                made.append(each[1])
        mixed_BNTH = split_heads(in_order(mixed, self.groups), self.kv_heads)
        B, N, T, H = mixed_BNTH.shape
        made_RD = _plus(self.output(mixed_BNTH.swapaxes(1, 2).reshape(B * T, N * H)), self.output_bias)
        return made_RD.reshape(x_BTD.shape), list(zip(*made, strict=True))

    def _over_whole_text(self, q: Array, k: Array, v: Array, segments_BT: Array | None, scoring: Scoring) -> Array:
        operands = q, k, v, segments_BT, self.method, scoring
        if self.shares is None or self.gated_reach is None or scoring.window is not None:
            return causal_attention(*operands)
        return gated_attention(HeadGates(self.shares[...], *self.gated_reach), *operands)

    def _project(self, x_BTD: Array, rotation: Rotation | None) -> tuple[Array, Array, Array]:
        B, T, D = x_BTD.shape
        both = self.heads + 2 * self.kv_heads
        mixed_RN = _plus(self.inputs(x_BTD.reshape(B * T, D)), self.bias)
        mixed_BNTH = mixed_RN.reshape(B, T, both, self.head_width).swapaxes(1, 2)
        to_turn, values = jnp.split(mixed_BNTH, [self.heads + self.kv_heads], axis=1)
        if self.query_norm is not None:
            queries, keys = jnp.split(to_turn, [self.heads], axis=1)
            normed = _through(self.query_norm, queries), _through(self.key_norm, keys)
            to_turn = jnp.concatenate(normed, axis=1)
        queries, keys = jnp.split(to_turn if rotation is None else rotate(to_turn, rotation), [self.heads], axis=1)
        return queries, keys, values


class DecoderLayer(nnx.Module):
    """Attention and feed-forward, each on normed input and, with post-norms after them, added to what came in."""

    def __init__(self, config: DecoderConfig, layer: int, parts: LayerParts, method: Method | None = None) -> None:
        """``parts`` are those of layer number ``layer``; ``method`` is as in `Attention`."""
        self.attention_norm, self.feed_norm = parts.norm("attention_norm"), parts.norm("feed_norm")
        self.attention_post_norm, self.feed_post_norm = parts.norm("attention_post_norm"), parts.norm("feed_post_norm")
        self.attention = Attention(config, layer, parts, method)
        inputs, output = parts.product("feed.inputs"), parts.product("feed.output")
        self.feed: FeedForward | Experts
        if config.experts is not None and config.layer_kinds[layer].experts:
            products = parts.product("feed.router"), inputs, output
            self.feed = Experts(config.experts, *products, config.activation)
        else:
            self.feed = FeedForward(inputs, output, config.activation)

    def __call__(
        self,
        x_BTD: Array,
        rotation: Rotation | None,
        starts_B: Array,
        caches: Sequence[LayerCaches] | None,
        segments_BT: Int[Array, "B T"] | None = None,
    ) -> tuple[Array, list[LayerCaches]]:
        if caches is not None and (native := layer_kernel(self, x_BTD, caches)) is not None:
            operands = x_BTD, rotation, starts_B, list(caches)
            return jax.lax.platform_dependent(*operands, cpu=native, default=self._by_parts)
        return self._by_parts(x_BTD, rotation, starts_B, caches, segments_BT)

    def _by_parts(
        self,
        x_BTD: Array,
        rotation: Rotation | None,
        starts_B: Array,
        caches: Sequence[LayerCaches] | None,
        segments_BT: Int[Array, "B T"] | None = None,
    ) -> tuple[Array, list[LayerCaches]]:
        x_BTD, written = self.attended(x_BTD, rotation, starts_B, caches, segments_BT)
        return x_BTD + _through(self.feed_post_norm, self.feed(self.feed_input(x_BTD))), written

    def attended(
        self,
        x_BTD: Array,
        rotation: Rotation | None,
        starts_B: Array,
        caches: Sequence[LayerCaches] | None,
        segments_BT: Int[Array, "B T"] | None = None,
    ) -> tuple[Array, list[LayerCaches]]:
        """What the feed-forward is then added to, and the caches."""
        normed_BTD = _through(self.attention_norm, x_BTD)
        mixed_BTD, written = self.attention(normed_BTD, rotation, starts_B, caches, segments_BT)
        return x_BTD + _through(self.attention_post_norm, mixed_BTD), written

    def feed_input(self, x_BTD: Array) -> Array:
        return _through(self.feed_norm, x_BTD)


class Decoder(nnx.Module):
    """Tokens in, hidden states out, and from these logits. ``head`` is None where the embedding serves as head."""

    def __init__(
        self,
        config: DecoderConfig,
        embedding: Linear | Int8Linear | GroupedLinear,
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
        caches: Sequence[Sequence[LayerCaches]] | None = None,
    ) -> tuple[Float[Array, "B T D"], list[list[LayerCaches]]]:
        """Hidden states of tokens, each sequence's at positions from its start, and the caches with them.

        ``caches`` are by layer, then by sequence; those of one layer may differ in their slots. What is returned of
        them becomes the sequences' caches by `after_step`. Without them the tokens see one another alone, and none are
        returned.
        """
        x_BTD, written = spread_rows(self.embedded(tokens_BT)), []
        rotations = rotations_at(self.config, starts_B[:, None] + jnp.arange(tokens_BT.shape[1]))
        for index, layer in enumerate(self.layers):
            graph, weights = nnx.split(layer)
            own = None if caches is None else list(caches[index])
            x_BTD, fresh = _run_layer(graph, weights, x_BTD, rotations[index], starts_B, own)
            x_BTD = spread_rows(x_BTD)
            written.append(fresh)
        return x_BTD, written

    def embedded(self, tokens_BT: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """What the first layer takes in."""
        rows_RD = self.embedding.rows(tokens_BT.reshape(-1))[:, : self.config.width]  # groups may be filled up
        if self.config.embedding_scale != 1.0:
            rows_RD = rows_RD * self.config.embedding_scale
        return rows_RD.reshape(*tokens_BT.shape, -1)

    def routings(self, tokens_BT: Int[Array, "B T"]) -> list[Routing]:
        """Which experts the tokens use in each layer that has such; `load_balance` makes statistics of it."""
        starts_B, found = jnp.zeros(len(tokens_BT), jnp.int32), []
        rotations = rotations_at(self.config, jnp.arange(tokens_BT.shape[1])[None])
        x_BTD = self.embedded(tokens_BT)
        for rotation, layer in zip(rotations, self.layers, strict=True):
            if isinstance(layer.feed, Experts):
                before_BTD, _ = layer.attended(x_BTD, rotation, starts_B, None)
                found.append(layer.feed.routing(layer.feed_input(before_BTD).reshape(-1, x_BTD.shape[-1])))
            x_BTD, _ = layer(x_BTD, rotation, starts_B, None)
        return found

    def logits(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """float32, whatever the arithmetic: tokens are told apart by less than bfloat16 can."""
        head = self.embedding if self.head is None else self.head
        x_RD = self.norm(x_BTD).reshape(-1, x_BTD.shape[-1])
        exact = isinstance(head, Linear)
        logits_RV = product(x_RD, head.weight[...], jnp.float32) if exact else head(x_RD).astype(jnp.float32)
        return soft_capped(logits_RV, self.config.logit_cap).reshape(*x_BTD.shape[:-1], -1)


def rotations_at(config: DecoderConfig, positions_BT: Int[Array, "#B T"]) -> list[Rotation | None]:
    """What turns the queries and keys of tokens at these positions, layer by layer; layers of one kind share theirs."""
    rotaries = [config.rotary(kind) for kind in config.layer_kinds]
    rotations = {rotary: rotation_at(rotary, positions_BT) for rotary in set(rotaries) if rotary is not None}
    return [None if rotary is None else rotations[rotary] for rotary in rotaries]


@functools.partial(jax.checkpoint, prevent_cse=False, static_argnums=2)
def _normed(x_BTD: Array, scale_D: Array, epsilon: float) -> Array:
    exact_BTD = x_BTD.astype(jnp.float32)
    mean_BT1 = jnp.mean(jnp.square(exact_BTD), axis=-1, keepdims=True)
    return (exact_BTD * jax.lax.rsqrt(mean_BT1 + epsilon) * scale_D).astype(x_BTD.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _run_layer(graph, weights, x_BTD, rotation, starts_B, caches):
    """All layers of a kind have one shape: behind this inner `jit` each kind is traced once, not once per layer."""
    return nnx.merge(graph, weights)(x_BTD, rotation, starts_B, caches)


def _through(norm: RootMeanSquare | None, x: Array) -> Array:
    return x if norm is None else norm(x)


def _plus(x_RN: Array, bias: nnx.Param | None) -> Array:
    return x_RN if bias is None else x_RN + bias[...].astype(x_RN.dtype)
