"""Takes the heads of a group out of all of a layer, and puts what became of the groups together again.

Axes: B sequences, N heads (query or key heads), T tokens, H head width.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .head_groups import HeadGroup


def heads_of(x_BNTH: Float[Array, "B N T H"], group: HeadGroup, kv_heads: int) -> Float[Array, "B M T H"]:
    """The group's key heads, or the query heads that share them, of all that belong to ``kv_heads``."""
    if len(group.heads) == kv_heads:
        return x_BNTH
    return _by_key_head(x_BNTH, kv_heads)[:, list(group.heads)].reshape(len(x_BNTH), -1, *x_BNTH.shape[2:])


def in_order(parts: Sequence[Float[Array, "B M T H"]], groups: Sequence[HeadGroup]) -> Float[Array, "B N T H"]:
    """Heads of all groups, in the order that the layer has them in."""
    if len(groups) == 1:
        return parts[0]
    each = [_by_key_head(part, len(group.heads)) for part, group in zip(parts, groups, strict=True)]
    order = np.argsort([head for group in groups for head in group.heads])
    B, *_, T, H = each[0].shape
    return jnp.concatenate(each, axis=1)[:, order].reshape(B, -1, T, H)


def _by_key_head(x_BNTH: Array, kv_heads: int) -> Array:
    B, _, T, H = x_BNTH.shape
    return x_BNTH.reshape(B, kv_heads, -1, T, H)
