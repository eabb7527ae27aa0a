"""bfloat16 arrays as their bits, where they are only moved.

XLA's CPU backend takes a slice of a bfloat16 array, puts one in, or joins two, by way of float32 -- of the whole array,
which in a loop means at each of its steps. Integers it moves as they are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree


def to_bits(tree: PyTree) -> PyTree:
    """Each bfloat16 leaf as uint16; nothing can be differentiated through this."""
    return jax.tree.map(lambda leaf: _as(leaf, jnp.uint16) if leaf.dtype == jnp.bfloat16 else leaf, tree)


def from_bits(tree: PyTree) -> PyTree:
    """Undoes `to_bits`, on a tree that has no uint16 leaves of its own."""
    return jax.tree.map(lambda leaf: _as(leaf, jnp.bfloat16) if leaf.dtype == jnp.uint16 else leaf, tree)


def _as(leaf: Array, dtype: type) -> Array:
    return jax.lax.bitcast_convert_type(leaf, dtype)
