"""How arrays lie in memory, where a fast product depends on it."""

from __future__ import annotations

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array


def written_transposed(x: Array) -> Array:
    """``x`` with its last two axes exchanged, in memory too where it is on a CPU.

    XLA would read the other operand of a product across its rows instead, for which its CPU kernels have no bfloat16
    product and fall back to a slow one.
    """
    return jax.lax.platform_dependent(x, cpu=_written, default=_exchanged)


def _exchanged(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def _written(x: Array) -> Array:
    return with_layout_constraint(_exchanged(x), Layout(tuple(range(x.ndim))))
