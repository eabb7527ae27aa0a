"""Weights in 8 or 4 bits with activations as they are: groups of 32 along the inputs, each with numbers of its own.

The groups are laid out as those of GGUF's types Q8_0 and Q4_1 (``ggml-common.h`` of llama.cpp), and made of weights in
float32: what was stored in one of these is given back as it was where each group's outermost weights take the outermost
steps, as they do when it was rounded plainly; else it is rounded once more. A weight is ``step * scale``, or in 4 bits
``step * scale + least`` with steps from 0 to 15.

Axes: R rows (tokens), N outputs, K inputs, G groups of inputs, P bytes of a group.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float16, Int8, UInt8

from .kernels import MOST_ROWS, kernels_for
from .linear import product

GROUP = 32
"""Inputs of a group; the last one is filled up."""
Bits = Literal[8, 4]

_LARGEST = 127.0
_STEPS = 15.0


class GroupedWeight(NamedTuple):
    """A matrix [N, K] in groups. In 8 bits a byte is a signed step, and ``least`` is None. In 4 bits it has two steps,
    those of the first half of a group in the lower bits and those of its second half in the higher ones."""

    weight: Int8[np.ndarray, "N G 32"] | UInt8[np.ndarray, "N G 16"]
    scale: Float16[np.ndarray, "N G"]
    least: Float16[np.ndarray, "N G"] | None = None


class GroupedLinear(nnx.Module):
    """Product with a weight in groups, whose values are made within the step; sums are in float32.

    XLA makes all values before it multiplies; the kernels, for few rows on CPUs, each where it is used.
    """

    def __init__(
        self,
        weight_NGP: Int8[np.ndarray, "N G 32"] | UInt8[np.ndarray, "N G 16"],
        scale_NG: Float16[np.ndarray, "N G"],
        least_NG: Float16[np.ndarray, "N G"] | None = None,
    ) -> None:
        self.weight, self.scale = nnx.Param(jnp.asarray(weight_NGP)), nnx.Param(jnp.asarray(scale_NG))
        self.least = None if least_NG is None else nnx.Param(jnp.asarray(least_NG))

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        operands = x_RK, *(part[...] for part in (self.weight, self.scale, self.least) if part is not None)
        if x_RK.shape[0] <= MOST_ROWS and (kernels := kernels_for(x_RK)) is not None:
            return jax.lax.platform_dependent(*operands, cpu=kernels.product_in_groups, default=_product_in_groups)
        return _product_in_groups(*operands)

    def rows(self, index: Array) -> Float[Array, "R GK"]:
        """Rows of the weight in float32 and whole groups, for use as an embedding table."""
        least_RG = None if self.least is None else self.least[...][index]
        return _values(self.weight[...][index], self.scale[...][index], least_RG)


def _product_in_groups(x_RK: Array, weight_NGP: Array, scale_NG: Array, least_NG: Array | None = None) -> Array:
    values_NK = _values(weight_NGP, scale_NG, least_NG)
    return product(_filled_up(x_RK, values_NK.shape[1]), values_NK.astype(x_RK.dtype))


def _values(weight_NGP: Array, scale_NG: Array, least_NG: Array | None) -> Float[Array, "N GK"]:
    """float32 of whole groups."""
    if weight_NGP.dtype == jnp.uint8:
        weight_NGP = jnp.concatenate([weight_NGP & 15, weight_NGP >> 4], axis=-1)
    values_NGK = weight_NGP.astype(jnp.float32) * scale_NG.astype(jnp.float32)[..., None]
    if least_NG is not None:
        values_NGK = values_NGK + least_NG.astype(jnp.float32)[..., None]
    return values_NGK.reshape(len(values_NGK), -1)


def _filled_up(x_RK: Array, inputs: int) -> Array:
    """With zeros, by which it does not matter what a last group is filled up with."""
    return x_RK if x_RK.shape[1] == inputs else jnp.pad(x_RK, ((0, 0), (0, inputs - x_RK.shape[1])))


def quantise_groups(weight_NK: Float[np.ndarray, "N K"], bits: Bits) -> GroupedWeight:
    """Round to the nearest step, by groups: to 8 bits from ``-largest`` to ``largest``, to 4 bits from the least value
    to the largest. A weight is off by half a step at most, or by what float16 rounds the group's own numbers."""
    N, K = weight_NK.shape
    groups = -(-K // GROUP)
    filled_NK = np.pad(weight_NK, ((0, 0), (0, groups * GROUP - K)), mode="edge")  # which no group gets wider by
    weight_NGK = filled_NK.reshape(N, groups, GROUP)
    if bits == 8:
        scale_NG = (np.abs(weight_NGK).max(axis=-1) / _LARGEST).astype(np.float16)
        steps_NGK = _steps(weight_NGK, scale_NG)
        return GroupedWeight(np.clip(steps_NGK, -_LARGEST, _LARGEST).astype(np.int8), scale_NG)
    least_NG = weight_NGK.min(axis=-1).astype(np.float16)
    scale_NG = ((weight_NGK.max(axis=-1) - least_NG) / _STEPS).astype(np.float16)
    steps_NGK = _steps(weight_NGK - least_NG.astype(np.float32)[..., None], scale_NG)
    steps_NGK = np.clip(steps_NGK, 0, _STEPS).astype(np.uint8)
    half = GROUP // 2
    return GroupedWeight(steps_NGK[..., :half] | steps_NGK[..., half:] << 4, scale_NG, least_NG)


def _steps(values_NGK: np.ndarray, scale_NG: np.ndarray) -> np.ndarray:
    scale_NG = scale_NG.astype(np.float32)
    return np.rint(values_NGK / np.where(scale_NG > 0, scale_NG, 1.0)[..., None])


def grouped_bytes(rows: int, columns: int, bits: Bits) -> int:
    """Bytes of a matrix in groups, with their numbers."""
    return rows * -(-columns // GROUP) * (GROUP + 2 if bits == 8 else GROUP // 2 + 4)
