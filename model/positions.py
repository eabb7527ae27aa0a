"""Rotary positions (Su et al., 2104.09864) at work: what turns queries and keys, and the turning.

Axes: B sequences, N heads, T tokens, H head width, P pairs of turned dimensions.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .architecture import Rotary


class Rotation(NamedTuple):
    """Cosines and sines of each new token's position, of all sequences in common or of each one."""

    cos: Float[Array, "#B T P"]
    sin: Float[Array, "#B T P"]


def rotation_at(rotary: Rotary, positions_BT: Int[Array, "#B T"]) -> Rotation:
    """What turns the queries and keys of tokens at these positions, float32."""
    angles_BTP = positions_BT.astype(jnp.float32)[..., None] * jnp.asarray(rotary.frequencies, jnp.float32)
    cos_BTP, sin_BTP = jnp.cos(angles_BTP), jnp.sin(angles_BTP)
    if rotary.factor != 1.0:
        cos_BTP, sin_BTP = cos_BTP * rotary.factor, sin_BTP * rotary.factor
    return Rotation(cos_BTP, sin_BTP)


@functools.partial(jax.checkpoint, prevent_cse=False)
def rotate(x_BNTH: Float[Array, "B N T H"], rotation: Rotation) -> Float[Array, "B N T H"]:
    """The first pairs of dimensions turned; dimensions beyond them stay."""
    pairs = rotation.cos.shape[-1]
    first, second = x_BNTH[..., :pairs], x_BNTH[..., pairs : 2 * pairs]
    cos, sin = rotation.cos[:, None], rotation.sin[:, None]
    turned = [first * cos - second * sin, second * cos + first * sin]
    rest = [x_BNTH[..., 2 * pairs :]] if 2 * pairs < x_BNTH.shape[-1] else []
    return jnp.concatenate([*turned, *rest], axis=-1).astype(x_BNTH.dtype)
