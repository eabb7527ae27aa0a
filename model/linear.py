"""Matrix products of the network, in float32 or with 8-bit weights and 8-bit activations.

Axes: R rows (tokens), N outputs, K inputs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int8

_LARGEST = 127.0
_FEWEST_ROWS = 2


class Linear(nnx.Module):
    """float32 product with a weight of [N, K]."""

    def __init__(self, weight_NK: Float[np.ndarray, "N K"]) -> None:
        self.weight = nnx.Param(jnp.asarray(weight_NK))

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        return _product(x_RK, self.weight[...], jnp.float32)

    def rows(self, index: Array) -> Float[Array, "R K"]:
        """Rows of the weight, for use as an embedding table."""
        return self.weight[...][index]


class Int8Linear(nnx.Module):
    """8-bit weights with one scale per output, activations rounded to 8 bits with one scale per row.

    XLA's CPU backend only has a fast 8-bit product for two rows or more, so a lone row gets an empty companion.
    """

    def __init__(self, weight_NK: Int8[np.ndarray, "N K"], scale_N: Float[np.ndarray, " N"]) -> None:
        self.weight = nnx.Param(jnp.asarray(weight_NK))
        self.scale = nnx.Param(jnp.asarray(scale_N))

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        rows = x_RK.shape[0]
        largest_R1 = jnp.max(jnp.abs(x_RK), axis=-1, keepdims=True)
        step_R1 = jnp.maximum(largest_R1, jnp.finfo(jnp.float32).tiny) / _LARGEST
        rounded_RK = jnp.round(x_RK / step_R1).astype(jnp.int8)
        if rows < _FEWEST_ROWS:
            rounded_RK = jnp.pad(rounded_RK, ((0, _FEWEST_ROWS - rows), (0, 0)))
        sums_RN = _product(rounded_RK, self.weight[...], jnp.int32)[:rows]
        return sums_RN.astype(jnp.float32) * step_R1 * self.scale[...][None, :]

    def rows(self, index: Array) -> Float[Array, "R K"]:
        """Rows of the weight, for use as an embedding table."""
        return self.weight[...][index].astype(jnp.float32) * self.scale[...][index][:, None]


def quantise_rows(weight_NK: Float[np.ndarray, "N K"]) -> tuple[Int8[np.ndarray, "N K"], Float[np.ndarray, " N"]]:
    """Symmetric 8-bit rounding with one scale per row: ``weight ≈ rounded * scale[:, None]``."""
    largest_N = np.maximum(weight_NK.max(axis=1), -weight_NK.min(axis=1))
    scale_N = np.where(largest_N > 0, largest_N / _LARGEST, 1.0).astype(np.float32)
    rounded_NK = np.rint(weight_NK * (1.0 / scale_N)[:, None]).astype(np.int8)
    return rounded_NK, scale_N


def _product(x_RK: Array, weight_NK: Array, accumulate: type) -> Array:
    return jax.lax.dot_general(x_RK, weight_NK, (((1,), (1,)), ((), ())), preferred_element_type=accumulate)
