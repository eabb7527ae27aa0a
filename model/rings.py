"""Caches in which the newest tokens take the place of older ones, while the first tokens stay.

A token at position p has slot p among the first, or else slot ``sinks + (p - sinks) mod (S - sinks)``.

Axes: K key heads, S slots, T new tokens, H head width.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

NOWHERE = np.iinfo(np.int32).max
"""The position of what is in an empty slot: after every token."""


def slots_of(positions_T: Int[Array, " T"], sinks: int, slots: int) -> Int[Array, " T"]:
    """Where tokens at these positions belong."""
    return jnp.where(positions_T < sinks, positions_T, sinks + (positions_T - sinks) % (slots - sinks))


def positions_in(tokens: Int[Array, ""], sinks: int, slots: int) -> Int[Array, " S"]:
    """Positions of what the slots hold of a sequence of ``tokens``; `NOWHERE`: nothing yet."""
    slots_S = jnp.arange(slots)
    newest = tokens - 1 - sinks
    later_S = sinks + newest - (newest - (slots_S - sinks)) % (slots - sinks)
    positions_S = jnp.where(slots_S < sinks, slots_S, later_S)
    held_S = (positions_S >= jnp.minimum(slots_S, sinks)) & (positions_S < tokens)
    return jnp.where(held_S, positions_S, NOWHERE)


def put(
    cache_KSH: Float[Array, "K S H"],
    new_KTH: Float[Array, "K T H"],
    start: Int[Array, ""],
    count: Int[Array, ""],
    sinks: int,
) -> Float[Array, "K S H"]:
    """The cache with the first ``count`` of the new tokens, which stand at positions from ``start``, in it."""
    slots, places_T = cache_KSH.shape[1], jnp.arange(new_KTH.shape[1])
    positions_T = start + places_T
    stay_T = (places_T < count) & ((positions_T < sinks) | (places_T >= count - (slots - sinks)))
    to_T = jnp.where(stay_T, slots_of(positions_T, sinks, slots), slots)  # what lies beyond the cache is dropped
    return cache_KSH.at[:, to_T].set(new_KTH, mode="drop")
