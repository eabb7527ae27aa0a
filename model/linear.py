"""Matrix products of the network: in float32 or bfloat16, with 8-bit weights and activations, and low-rank adapted.

Axes: R rows (tokens), N outputs, K inputs, J ranks of all adapted parts of a matrix together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int8, PRNGKeyArray

from .adapter_files import LoraFactors
from .bits import from_bits, to_bits
from .kernels import MOST_ROWS, kernels_for
from .layouts import written_transposed

if TYPE_CHECKING:
    from .grouped_weights import GroupedLinear

_LARGEST = 127.0
_REMAINDERS = 254.0


class Linear(nnx.Module):
    """Product with a weight of [N, K], in the type of what comes in: float32, or bfloat16 with sums in float32."""

    def __init__(self, weight_NK: Float[np.ndarray | Array, "N K"]) -> None:
        self.weight = nnx.Param(jnp.asarray(weight_NK))

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        return product(x_RK, self.weight[...])

    def rows(self, index: Array) -> Float[Array, "R K"]:
        """Rows of the weight, for use as an embedding table."""
        return self.weight[...][index]


class Int8Linear(nnx.Module):
    """8-bit weights with one scale per output, activations rounded to 8 bits with one scale per row.

    Rounding activations costs more quality than rounding weights. Where there are few rows, and wherever ``fine`` is
    set, each is therefore split into two 8-bit rows, value and remainder, which keep some 16 bits: reading the weights
    takes longer than such rows do. A row gives the same however few others are with it.
    """

    def __init__(
        self, weight_NK: Int8[np.ndarray, "N K"], scale_N: Float[np.ndarray, " N"], *, fine: bool = False
    ) -> None:
        self.weight = nnx.Param(jnp.asarray(weight_NK))
        self.scale = nnx.Param(jnp.asarray(scale_N))
        self.fine = fine

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        plain = functools.partial(_int8_product, fine=self.fine or x_RK.shape[0] <= MOST_ROWS)
        operands = x_RK, self.weight[...], self.scale[...]
        if (kernels := kernels_for(x_RK)) is not None:
            return jax.lax.platform_dependent(*operands, cpu=kernels.int8_product, default=plain)
        return plain(*operands)

    def rows(self, index: Array) -> Float[Array, "R K"]:
        """Rows of the weight, for use as an embedding table."""
        return self.weight[...][index].astype(jnp.float32) * self.scale[...][index][:, None]


def _int8_product(x_RK: Array, weight_NK: Array, scale_N: Array, *, fine: bool) -> Array:
    largest_R1 = jnp.max(jnp.abs(x_RK), axis=-1, keepdims=True)
    step_R1 = jnp.maximum(largest_R1, jnp.finfo(jnp.float32).tiny) / _LARGEST
    steps_RK = x_RK / step_R1
    whole_RK = jnp.round(steps_RK)
    if fine:
        rest_RK = jnp.round((steps_RK - whole_RK) * _REMAINDERS)
        rounded_RK = jnp.concatenate([whole_RK, rest_RK]).astype(jnp.int8)
        whole_RN, rest_RN = jnp.split(_product(rounded_RK, weight_NK, jnp.int32).astype(jnp.float32), 2)
        sums_RN = whole_RN + rest_RN / _REMAINDERS
    else:
        sums_RN = _product(whole_RK.astype(jnp.int8), weight_NK, jnp.int32).astype(jnp.float32)
    return sums_RN * step_R1 * scale_N[None, :]


def quantise_rows(weight_NK: Float[np.ndarray, "N K"]) -> tuple[Int8[np.ndarray, "N K"], Float[np.ndarray, " N"]]:
    """Symmetric 8-bit rounding with one scale per row: ``weight ≈ rounded * scale[:, None]``."""
    largest_N = np.maximum(weight_NK.max(axis=1), -weight_NK.min(axis=1))
    scale_N = np.where(largest_N > 0, largest_N / _LARGEST, 1.0).astype(np.float32)
    rounded_NK = np.rint(weight_NK * (1.0 / scale_N)[:, None]).astype(np.int8)
    return rounded_NK, scale_N


def join_factors(parts: Sequence[LoraFactors | None], outputs: Sequence[int], scale: float) -> LoraFactors | None:
    """The factors of matrices stacked along their outputs, as one pair with ``scale`` worked into ``up``.

    ``outputs`` are the parts' numbers of outputs; a part of None is not adapted. The result is ``down`` [J, K] and
    ``up`` [sum of outputs, J], which is zero outside the block of each part: two products then serve all parts.
    None where no part is adapted.
    """
    ranks = [0 if part is None else part.down.shape[0] for part in parts]
    downs, ups, before = [], [], 0
    for part, size, rank in zip(parts, outputs, ranks, strict=True):
        up_NR = jnp.zeros((size, 0), jnp.float32) if part is None else jnp.asarray(part.up) * scale
        ups.append(jnp.pad(up_NR, ((0, 0), (before, sum(ranks) - before - rank))))
        downs += [] if part is None else [jnp.asarray(part.down)]
        before += rank
    return LoraFactors(jnp.concatenate(downs), jnp.concatenate(ups)) if downs else None


class AdaptedLinear(nnx.Module):
    """A product plus a low-rank change of it (LoRA: Hu et al., 2106.09685): ``base(x) + up · down · x``.

    ``base`` may be a matrix joined from several parts; `join_factors` makes the one pair of factors it takes.
    Dropout, for training alone, acts on the change's input.
    """

    def __init__(
        self,
        base: Linear | Int8Linear | GroupedLinear,
        factors: LoraFactors,
        *,
        dropout: float = 0.0,
        key: PRNGKeyArray | None = None,
    ) -> None:
        self.base = base
        self.down, self.up = nnx.Param(jnp.asarray(factors.down)), nnx.Param(jnp.asarray(factors.up))
        self.dropout, self.key = (dropout, key) if dropout and key is not None else (0.0, None)

    def __call__(self, x_RK: Float[Array, "R K"]) -> Float[Array, "R N"]:
        given_RK = x_RK if self.key is None else _dropped_out(x_RK, self.dropout, self.key)
        low_RJ = product(given_RK, self.down[...])
        many = x_RK.shape[0] > MOST_ROWS  # for a few it would take longest to put the matrices side by side
        if many and isinstance(self.base, Linear) and x_RK.dtype != jnp.float32:
            return _product_of_both(x_RK, low_RJ, self.base.weight[...], self.up[...])
        return self.base(x_RK) + product(low_RJ, self.up[...])


def _dropped_out(x_RK: Array, rate: float, key: PRNGKeyArray) -> Array:
    """Each value is zero with probability ``rate``; the others grow so that the mean stays."""
    return jnp.where(jax.random.bernoulli(key, 1.0 - rate, x_RK.shape), x_RK / (1.0 - rate), 0).astype(x_RK.dtype)


def product(
    x_RK: Float[Array, "R K"], weight_NK: Float[Array, "N K"], result: DTypeLike | None = None
) -> Float[Array, "R N"]:
    """``x · weightᵀ`` in the type of ``x``, with sums in float32, rounded to ``result`` (None: the type of ``x``).

    A float32 weight gets a float32 gradient, also where ``x`` is bfloat16.
    """
    if x_RK.dtype == weight_NK.dtype == jnp.float32:
        return _product(x_RK, weight_NK, jnp.float32)
    return _rounded_product(x_RK, weight_NK, jnp.dtype(result or x_RK.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded_product(x_RK: Array, weight_NK: Array, result: np.dtype) -> Array:
    return _product(x_RK, weight_NK.astype(x_RK.dtype), jnp.float32).astype(result)


def _keep_operands(x_RK: Array, weight_NK: Array, result: np.dtype) -> tuple[Array, tuple[Array, Array]]:
    return _rounded_product(x_RK, weight_NK, result), (x_RK, weight_NK)


def _to_operands(_: np.dtype, operands: tuple[Array, Array], change_RN: Array) -> tuple[Array, Array]:
    """JAX would multiply float32 by bfloat16 here, for which no processor has an instruction."""
    x_RK, weight_NK = operands
    change_RN, rounded_NK = change_RN.astype(x_RK.dtype), weight_NK.astype(x_RK.dtype)
    to_x_RK, to_weight_NK = _sums(change_RN, rounded_NK, 1, 0), _over_rows(change_RN, x_RK)
    return to_x_RK.astype(x_RK.dtype), to_weight_NK.astype(weight_NK.dtype)


_rounded_product.defvjp(_keep_operands, _to_operands)


@jax.custom_vjp
def _product_of_both(x_RK: Array, low_RJ: Array, weight_NK: Array, up_NJ: Array) -> Array:
    """``x · weightᵀ + low · upᵀ`` as one product: a second one would write, and a sum read, all outputs again."""
    both_NJ = _side_by_side(weight_NK.astype(x_RK.dtype), up_NJ.astype(x_RK.dtype))
    return _product(_side_by_side(x_RK, low_RJ), both_NJ, jnp.float32).astype(x_RK.dtype)


def _keep_both_operands(*operands: Array) -> tuple[Array, tuple[Array, ...]]:
    return _product_of_both(*operands), operands


def _to_both_operands(operands: tuple[Array, ...], change_RN: Array) -> tuple[Array, ...]:
    x_RK, low_RJ, weight_NK, up_NJ = operands
    both_NJ = _side_by_side(weight_NK.astype(x_RK.dtype), up_NJ.astype(x_RK.dtype))
    to_inputs_RJ = _sums(change_RN, both_NJ, 1, 0).astype(x_RK.dtype)
    to_x_RK, to_low_RJ = jnp.split(to_inputs_RJ, [x_RK.shape[1]], axis=1)
    # Each is a product of its own, so that nobody computes the gradient of a frozen weight.
    to_weight_NK, to_up_NJ = _over_rows(change_RN, x_RK), _over_rows(change_RN, low_RJ)
    return to_x_RK, to_low_RJ, to_weight_NK.astype(weight_NK.dtype), to_up_NJ.astype(up_NJ.dtype)


_product_of_both.defvjp(_keep_both_operands, _to_both_operands)


def _side_by_side(left: Array, right: Array) -> Array:
    return from_bits(jnp.concatenate(to_bits([left, right]), axis=-1))


def _over_rows(change_RN: Array, x_RK: Array) -> Array:
    """``changeᵀ · x``. On a CPU the first is written transposed before: only then is there a fast product (AMX:
    2,048 rows of 1,536 and 384 in 3 ms instead of 10)."""
    return _sums(written_transposed(change_RN), x_RK, 1, 0)


def _sums(left: Array, right: Array, over_left: int, over_right: int) -> Array:
    """A product summed in float32 over one axis of each."""
    axes = (((over_left,), (over_right,)), ((), ()))
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)


def _product(x_RK: Array, weight_NK: Array, accumulate: type) -> Array:
    return jax.lax.dot_general(x_RK, weight_NK, (((1,), (1,)), ((), ())), preferred_element_type=accumulate)
