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
_REMAINDERS = 254.0


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

    Rounding activations costs more quality than rounding weights. A lone row, and every row where ``fine`` is set,
    is therefore split into two 8-bit rows, value and remainder, which keep some 16 bits. For a lone row that is free:
    XLA's CPU backend has a fast 8-bit product for two rows or more only.
    """

    def __init__(
        self, weight_NK: Int8[np.ndarray, "N K"], scale_N: Float[np.ndarray, " N"], *, fine: bool = False
    ) -> None:
        self.weight = nnx.Param(jnp.asarray(weight_NK))
        self.scale = nnx.Param(jnp.asarray(scale_N))
        self.fine = fine

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        rows = x_RK.shape[0]
        largest_R1 = jnp.max(jnp.abs(x_RK), axis=-1, keepdims=True)
        step_R1 = jnp.maximum(largest_R1, jnp.finfo(jnp.float32).tiny) / _LARGEST
        steps_RK = x_RK / step_R1
        whole_RK = jnp.round(steps_RK)
        if rows == 1 or self.fine:
            rest_RK = jnp.round((steps_RK - whole_RK) * _REMAINDERS)
            both_RN = self._sums(jnp.concatenate([whole_RK, rest_RK]))
            sums_RN = both_RN[:rows] + both_RN[rows:] / _REMAINDERS
        else:
            sums_RN = self._sums(whole_RK)
        return sums_RN * step_R1 * self.scale[...][None, :]

    def _sums(self, rounded_RK: Array) -> Array:
        return _product(rounded_RK.astype(jnp.int8), self.weight[...], jnp.int32).astype(jnp.float32)

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
