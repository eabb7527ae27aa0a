"""Attention of every token to every other of its sequence, padding aside, for encoders.

The backward pass keeps the output and the logarithm of each row's sum, not the weights, and makes these again
(FlashAttention-2: Dao, 2307.08691). Products take their operands' type and sum in float32; the softmax is float32.

Axes: B sequences, H heads, T tokens that attend, S tokens attended to, E head width.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .layouts import written_transposed

Method = Literal["plain", "cudnn"]
"""``cudnn`` is NVIDIA's fused kernel, for bfloat16 and float16 alone; ``plain`` runs anywhere."""

_MASKED = -1e30


def padded_attention(
    q_BHTE: Float[Array, "B H T E"],
    k_BHSE: Float[Array, "B H S E"],
    v_BHSE: Float[Array, "B H S E"],
    lengths_B: Int[Array, " B"],
    method: Method = "plain",
) -> Float[Array, "B H T E"]:
    """Each token's mixture of the values of the first ``lengths_B`` tokens of its sequence (at least one)."""
    if method == "cudnn":
        by_token = [x.swapaxes(1, 2) for x in (q_BHTE, k_BHSE, v_BHSE)]
        full_B = jnp.full(lengths_B.shape, q_BHTE.shape[2], jnp.int32)
        lengths = {"query_seq_lengths": full_B, "key_value_seq_lengths": lengths_B.astype(jnp.int32)}
        return jax.nn.dot_product_attention(*by_token, **lengths, implementation="cudnn").swapaxes(1, 2)
    return _attend(q_BHTE, k_BHSE, v_BHSE, lengths_B)


@jax.custom_vjp
def _attend(q_BHTE: Array, k_BHSE: Array, v_BHSE: Array, lengths_B: Array) -> Array:
    return _forward(q_BHTE, k_BHSE, v_BHSE, lengths_B)[0]


def _forward(q_BHTE: Array, k_BHSE: Array, v_BHSE: Array, lengths_B: Array) -> tuple[Array, tuple[Array, ...]]:
    scores_BHTS = _scores(q_BHTE, k_BHSE, lengths_B)
    largest_BHT1 = jnp.max(scores_BHTS, axis=-1, keepdims=True)
    weights_BHTS = jnp.exp(scores_BHTS - largest_BHT1)
    sum_BHT1 = jnp.sum(weights_BHTS, axis=-1, keepdims=True)
    output_BHTE = (_product(weights_BHTS.astype(v_BHSE.dtype), v_BHSE) / sum_BHT1).astype(q_BHTE.dtype)
    return output_BHTE, (q_BHTE, k_BHSE, v_BHSE, lengths_B, output_BHTE, largest_BHT1 + jnp.log(sum_BHT1))


def _backward(kept: tuple[Array, ...], change_BHTE: Array) -> tuple[Array, Array, Array, np.ndarray]:
    q_BHTE, k_BHSE, v_BHSE, lengths_B, output_BHTE, sums_BHT1 = kept
    dtype = q_BHTE.dtype
    shares_BHT1 = jnp.sum(change_BHTE.astype(jnp.float32) * output_BHTE.astype(jnp.float32), axis=-1, keepdims=True)
    weights_BHTS = jnp.exp(_scores(q_BHTE, k_BHSE, lengths_B) - sums_BHT1)
    to_weights_BHTS = _product(change_BHTE, v_BHSE.swapaxes(-1, -2))
    to_scores_BHTS = (weights_BHTS * (to_weights_BHTS - shares_BHT1) * q_BHTE.shape[-1] ** -0.5).astype(dtype)
    to_values_BHSE = _product(written_transposed(weights_BHTS.astype(dtype)), change_BHTE)
    to_keys_BHSE = _product(written_transposed(to_scores_BHTS), q_BHTE)
    to_lengths = np.zeros(lengths_B.shape, jax.dtypes.float0)
    return (
        _product(to_scores_BHTS, k_BHSE).astype(dtype),
        to_keys_BHSE.astype(dtype),
        to_values_BHSE.astype(dtype),
        to_lengths,
    )


_attend.defvjp(_forward, _backward)


def _scores(q_BHTE: Array, k_BHSE: Array, lengths_B: Array) -> Array:
    """float32; those of padding leave no weight."""
    scores_BHTS = _product(q_BHTE, k_BHSE.swapaxes(-1, -2)) * q_BHTE.shape[-1] ** -0.5
    return jnp.where(jnp.arange(k_BHSE.shape[-2]) < lengths_B[:, None, None, None], scores_BHTS, _MASKED)


def _product(left: Array, right: Array) -> Array:
    """Matrix product over the last axis of ``left`` and the last but one of ``right``, repeated over those before.

    These are made one axis: with two, XLA multiplies bfloat16 as float32 on a CPU, at a fifth of the speed.
    """
    many, (rows, inner), columns = left.shape[:-2], left.shape[-2:], right.shape[-1]
    stacked = left.reshape(-1, rows, inner), right.reshape(-1, inner, columns)
    sums = jax.lax.dot_general(*stacked, (((2,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32)
    return sums.reshape(*many, rows, columns)
