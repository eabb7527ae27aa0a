"""Keys and values in 8 bits: each token's are rounded on their own, head by head, with a scale that makes the largest
127 (per-token quantisation, as KIVI has it for values: Liu et al., 2402.02750).

Axes: K key heads, S slots, T new tokens, H head width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int8

_LARGEST = 127


class Rounded(NamedTuple):
    """Keys or values, which are ``whole`` times ``scale``."""

    whole: Int8[Array, "K S H"]
    scale: Float[Array, "K S 1"]


Stored = Array | Rounded
"""Keys or values as they lie in a cache."""


def rounded(exact_KTH: Float[Array, "K T H"]) -> Rounded:
    """Off by at most half of its scale in each number. What is not finite makes its token's scale so too."""
    exact_KTH = exact_KTH.astype(jnp.float32)
    largest_KT1 = jnp.max(jnp.abs(exact_KTH), axis=-1, keepdims=True)
    scale_KT1 = jnp.where(largest_KT1 == 0, 1.0, largest_KT1 / _LARGEST)
    return Rounded(jnp.round(exact_KTH / scale_KT1).astype(jnp.int8), scale_KT1)


def as_stored(exact_KTH: Float[Array, "K T H"], like: Stored) -> Stored:
    """In the form that ``like`` has."""
    return rounded(exact_KTH) if isinstance(like, Rounded) else exact_KTH


def as_floats(stored: Stored, dtype: DTypeLike) -> Float[Array, "K S H"]:
    """What attention reckons with."""
    return (stored.whole * stored.scale).astype(dtype) if isinstance(stored, Rounded) else stored
