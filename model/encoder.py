"""The encoder network of the BERT family (Devlin et al., 1810.04805): every token sees every other.

Axes: B sequences, T tokens, D width, F hidden width of the feed-forward, H heads,
E head width; of a linear map: R rows (B times T), N outputs, K inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .encoder_attention import Method, padded_attention
from .encoder_checkpoint import EncoderConfig
from .linear import product

EncoderWeights = Mapping[str, Array]
"""Weights by the names of Hugging Face's ``BertModel``."""


class Dropout(NamedTuple):
    """Sets a share ``rate`` of the activations to zero, by ``key`` (Srivastava et al. 2014, JMLR 15)."""

    rate: float
    key: PRNGKeyArray

    def fold(self, place: int) -> Dropout:
        """The dropout of one place in the network, independent of every other's."""
        return Dropout(self.rate, jax.random.fold_in(self.key, place))


class Computation(NamedTuple):
    """``dtype`` is what matrices are multiplied in (float32 or bfloat16; all else is float32), ``attention`` by which
    method. ``remat`` keeps only each layer's input for the backward pass and computes the rest again (Chen et al.,
    1604.06174)."""

    dtype: DTypeLike = jnp.float32
    attention: Method = "plain"
    remat: bool = False


class Affine(nnx.Module):
    """A linear map with bias; takes and gives ``compute``, sums in float32."""

    def __init__(self, weights: EncoderWeights, name: str, compute: DTypeLike) -> None:
        self.weight = nnx.Param(jnp.asarray(weights[f"{name}.weight"]))
        self.bias = nnx.Param(jnp.asarray(weights[f"{name}.bias"]))
        self.compute = compute

    def __call__(self, x: Float[Array, "*axes K"]) -> Float[Array, "*axes N"]:
        y_RN = product(x.reshape(-1, x.shape[-1]).astype(self.compute), self.weight[...])
        return (y_RN + self.bias[...].astype(self.compute)).reshape(*x.shape[:-1], -1)


class LayerNorm(nnx.Module):
    """Layer normalisation (Ba et al., 1607.06450), in float32."""

    def __init__(self, weights: EncoderWeights, name: str, epsilon: float) -> None:
        self.scale = nnx.Param(jnp.asarray(weights[f"{name}.weight"]))
        self.bias = nnx.Param(jnp.asarray(weights[f"{name}.bias"]))
        self.epsilon = epsilon

    def __call__(self, x_BTD: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        centred_BTD = x_BTD - jnp.mean(x_BTD, axis=-1, keepdims=True)
        variance_BT1 = jnp.mean(jnp.square(centred_BTD), axis=-1, keepdims=True)
        return centred_BTD * jax.lax.rsqrt(variance_BT1 + self.epsilon) * self.scale[...] + self.bias[...]


class Attention(nnx.Module):
    """Scaled dot-product attention of several heads (Vaswani et al., 1706.03762), without its output map."""

    def __init__(self, config: EncoderConfig, weights: EncoderWeights, name: str, how: Computation) -> None:
        self.query, self.key, self.value = (
            Affine(weights, f"{name}.{part}", how.dtype) for part in ("query", "key", "value")
        )
        self.heads = config.heads
        self.method: Method = how.attention

    def __call__(self, x_BTD: Float[Array, "B T D"], lengths_B: Int[Array, " B"]) -> Float[Array, "B T D"]:
        q_BHTE, k_BHTE, v_BHTE = (
            part(x_BTD).reshape(*x_BTD.shape[:2], self.heads, -1).swapaxes(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed_BHTE = padded_attention(q_BHTE, k_BHTE, v_BHTE, lengths_B, self.method)
        return mixed_BHTE.swapaxes(1, 2).reshape(x_BTD.shape)


class EncoderLayer(nnx.Module):
    """Attention and feed-forward; each is added to what came in, and the sum is normed."""

    def __init__(self, config: EncoderConfig, weights: EncoderWeights, name: str, how: Computation) -> None:
        self.attention = Attention(config, weights, f"{name}.attention.self", how)
        self.attention_output = Affine(weights, f"{name}.attention.output.dense", how.dtype)
        self.attention_norm = LayerNorm(weights, f"{name}.attention.output.LayerNorm", config.norm_epsilon)
        self.feed_inputs = Affine(weights, f"{name}.intermediate.dense", how.dtype)
        self.feed_output = Affine(weights, f"{name}.output.dense", how.dtype)
        self.feed_norm = LayerNorm(weights, f"{name}.output.LayerNorm", config.norm_epsilon)

    def __call__(self, x_BTD: Array, lengths_B: Array, dropout: Dropout | None) -> Float[Array, "B T D"]:
        mixed_BTD = self.attention_output(self.attention(x_BTD, lengths_B))
        x_BTD = self.attention_norm(x_BTD + _dropped(mixed_BTD, dropout and dropout.fold(0)))
        hidden_BTF = jax.nn.gelu(self.feed_inputs(x_BTD).astype(jnp.float32), approximate=False)
        fed_BTD = self.feed_output(hidden_BTF)
        return self.feed_norm(x_BTD + _dropped(fed_BTD, dropout and dropout.fold(1)))


class Encoder(nnx.Module):
    """Tokens in, hidden states out.

    ``weights`` may be arrays or values being traced, so that a loss can build the network around weights that it
    differentiates.
    """

    def __init__(self, config: EncoderConfig, weights: EncoderWeights, how: Computation | None = None) -> None:
        how = how or Computation()
        self.words, self.positions, self.types = (
            nnx.Param(jnp.asarray(weights[f"embeddings.{part}_embeddings.weight"]))
            for part in ("word", "position", "token_type")
        )
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", config.norm_epsilon)
        self.layers = nnx.List(
            [EncoderLayer(config, weights, f"encoder.layer.{index}", how) for index in range(config.layers)]
        )
        self.remat = how.remat

    def __call__(
        self, tokens_BT: Int[Array, "B T"], lengths_B: Int[Array, " B"], dropout: Dropout | None = None
    ) -> Float[Array, "B T D"]:
        """Last hidden states, float32; what stands after the first ``lengths_B`` tokens of a row is padding.

        All tokens are of the first token type.
        """
        embedded_BTD = self.words[...][tokens_BT] + self.positions[...][None, : tokens_BT.shape[1]] + self.types[...][0]
        x_BTD = _dropped(self.norm(embedded_BTD), dropout and dropout.fold(len(self.layers)))
        for index, layer in enumerate(self.layers):
            run = jax.checkpoint(layer.__call__) if self.remat else layer
            x_BTD = run(x_BTD, lengths_B, dropout and dropout.fold(index))
        return x_BTD


def _dropped(x_BTD: Array, dropout: Dropout | None) -> Array:
    if dropout is None:
        return x_BTD
    kept_BTD = jax.random.bernoulli(dropout.key, 1 - dropout.rate, x_BTD.shape)
    return jnp.where(kept_BTD, x_BTD / (1 - dropout.rate), 0)
