"""Whole decoder layers in one native call: between parts that are called one by one, memory would stand idle.

Axes: B sequences, T new tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jaxtyping import Array, Float, Int

from .attention import Scoring
from .cached_attention import LayerCaches, flattened, paired
from .feed_forward import FeedForward
from .kernels import LayerWeights, kernels_for
from .linear import Int8Linear
from .positions import Rotation

if TYPE_CHECKING:
    from .decoder import DecoderLayer

_Step = Callable[
    [Array, Rotation | None, Array, Sequence[LayerCaches]], tuple[Float[Array, "B T D"], list[LayerCaches]]
]


def layer_kernel(layer: DecoderLayer, x_BTD: Float[Array, "B T D"], caches: Sequence[LayerCaches]) -> _Step | None:
    """``layer`` as a function of hidden states, rotation, starts and such caches; None: it has to be run part by part.

    It is for CPUs: see `kernels_for`.
    """
    weights = _plain_weights(layer) if _are_plain(layer, caches) else None
    kernels = None if weights is None else kernels_for(x_BTD, weights.output.shape[1], weights.feed_output.shape[1])
    if weights is None or kernels is None:
        return None
    attention = layer.attention
    scoring = Scoring(attention.scale, attention.cap)

    def step(
        x_BTD: Array, rotation: Rotation | None, starts_B: Int[Array, " B"], caches: Sequence[LayerCaches]
    ) -> tuple[Array, list[LayerCaches]]:
        flat = flattened([cache for (cache,) in caches])
        out_BTD, written = kernels.decoder_layer(x_BTD, weights, rotation, starts_B, flat, scoring)
        return out_BTD, [(cache,) for cache in paired(written)]

    return step


def _are_plain(layer: DecoderLayer, caches: Sequence[LayerCaches]) -> bool:
    """All heads see all tokens that the caches have room for, and these are kept as they are."""
    groups = layer.attention.groups
    return len(groups) == 1 and not any(groups[0].is_ring(cache.slots) or cache.is_rounded for (cache,) in caches)


def _plain_weights(layer: DecoderLayer) -> LayerWeights | None:
    """None: the layer has more than these, or not all of them."""
    attention, feed = layer.attention, layer.feed
    before = layer.attention_norm, layer.feed_norm
    beside = (
        *(attention.bias, attention.output_bias, attention.query_norm, attention.key_norm),
        *(layer.attention_post_norm, layer.feed_post_norm),
    )
    if not isinstance(feed, FeedForward) or feed.activation != "silu" or any(part is not None for part in beside):
        return None
    inputs, output, feed_inputs, feed_output = attention.inputs, attention.output, feed.inputs, feed.output
    if (
        not isinstance(inputs, Int8Linear)
        or not isinstance(output, Int8Linear)
        or not isinstance(feed_inputs, Int8Linear)
        or not isinstance(feed_output, Int8Linear)
        or before[0] is None
        or before[1] is None
    ):
        return None
    return LayerWeights(
        before[0].scale[...],
        *(inputs.weight[...], inputs.scale[...], output.weight[...], output.scale[...]),
        before[1].scale[...],
        *(feed_inputs.weight[...], feed_inputs.scale[...], feed_output.weight[...], feed_output.scale[...]),
        before[0].epsilon,
    )
