"""Chooses the next token from logits, inside the compiled step.

The order is that of transformers: repetition penalty (Keskar et al., 1909.05858), temperature, top-k,
top-p (Holtzman et al., 1904.09751), min-p (Nguyen et al., 2407.01082). Axes: B sequences, V vocabulary,
W words of 32 bits for a vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .masks import masked
from .protocol import Sampling

_NEVER = -jnp.inf


class Choice(NamedTuple):
    """`Sampling` as scalars the compiled step takes as arguments; ``key`` is the seed of the random numbers.

    ``bias`` is added to the logit of token ``biased`` where the token for ``bias_position`` is chosen. Those of several
    sequences are stacked by `together`.
    """

    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    repetition_penalty: Array
    key: Array
    biased: Array
    bias: Array
    bias_position: Array


class Opening(NamedTuple):
    """The first token of `Sampling.opening_bias`'s text, and the position at which a generation begins."""

    token: int
    position: int


def choice_of(sampling: Sampling, seed: int, opening: Opening | None = None) -> Choice:
    """The arguments for ``sampling``; ``seed`` stands in where it names none, ``opening`` where it has a bias."""
    token, position = opening or Opening(0, -1)
    chosen = (sampling.seed if sampling.seed is not None else seed) % 2**64
    values = (
        np.float32(sampling.temperature),
        np.int32(min(sampling.top_k, np.iinfo(np.int32).max)),
        np.float32(sampling.top_p),
        np.float32(sampling.min_p),
        np.float32(sampling.repetition_penalty),
        np.array([chosen >> 32, chosen % 2**32], np.uint32),
        np.int32(token),
        np.float32(sampling.opening_bias[1] if sampling.opening_bias else 0.0),
        np.int32(position),
    )
    return Choice(*map(jax.device_put, values))


def together(choices: Sequence[Choice]) -> Choice:
    """The choices of several sequences as one, for `choose`."""
    return Choice(*(jnp.stack(field) for field in zip(*choices, strict=True)))


def choose(
    logits_BV: Float[Array, "B V"],
    seen_BV: Bool[Array, "B V"],
    choice: Choice,
    position: Int[Array, "#B"] | Int[Array, ""],
    allowed_BW: Int[Array, "B W"] | None = None,
) -> Int[Array, " B"]:
    """The next token of each sequence; -1 where a logit is not finite. ``position`` makes each draw another one.

    ``choice`` and ``position`` are those of all sequences, or of each. ``allowed_BW`` are the packed bits of the tokens
    that may be chosen (`masks`); None: all may. A sequence's token does not depend on the others.
    """
    B = logits_BV.shape[0]
    choice = Choice(*(jnp.broadcast_to(field, (B, 2) if field is choice.key else (B,)) for field in choice))
    position_B = jnp.broadcast_to(position, (B,))
    added_B = jnp.where(position_B == choice.bias_position, choice.bias, 0.0)
    biased_BV = logits_BV.at[jnp.arange(B), choice.biased].add(added_B)
    penalised_BV = _penalise(biased_BV, seen_BV, choice.repetition_penalty[:, None])
    if allowed_BW is not None:
        penalised_BV = masked(penalised_BV, allowed_BW)
    greedy_B, draws_B = jnp.argmax(penalised_BV, axis=-1).astype(jnp.int32), choice.temperature > 0.0
    token_B = jax.lax.cond(
        jnp.any(draws_B),
        lambda: jnp.where(draws_B, _draw(penalised_BV, choice, position_B), greedy_B),
        lambda: greedy_B,
    )
    finite_B = jnp.all(jnp.isfinite(logits_BV), axis=-1)
    return jnp.where(finite_B, token_B, -1)


def filtered(logits_BV: Float[Array, "B V"], choice: Choice) -> Float[Array, "B V"]:
    """Logits over temperature, 0 the largest, with -inf where top-k, top-p or min-p rule a token out.

    Tokens exactly as likely as the last one kept are kept too. ``choice`` is that of all sequences, or of each.
    """
    temperature, top_k, top_p, min_p = (jnp.reshape(field, (-1, 1)) for field in choice[:4])
    # From the largest down: near zero, a temperature makes infinities of large numbers.
    logits_BV = (logits_BV - jnp.max(logits_BV, axis=-1, keepdims=True)) / temperature
    vocabulary = logits_BV.shape[-1]
    counted = jnp.where(top_k > 0, jnp.minimum(top_k, vocabulary), vocabulary).astype(jnp.float32)
    odds_BV = jnp.exp(logits_BV)
    least_B1 = _largest_threshold(odds_BV, jnp.ones_like(odds_BV), counted)
    kept_BV = jnp.where(odds_BV >= least_B1, odds_BV, 0.0)
    mass_B1 = top_p * jnp.sum(kept_BV, axis=-1, keepdims=True)
    nucleus_B1 = jnp.where(top_p < 1.0, _largest_threshold(kept_BV, kept_BV, mass_B1), 0.0)
    bound_B1 = jnp.maximum(jnp.maximum(least_B1, nucleus_B1), min_p)
    return jnp.where(odds_BV >= bound_B1, logits_BV, _NEVER)


def _penalise(logits_BV: Array, seen_BV: Array, penalty_B1: Array) -> Array:
    pushed_BV = jnp.where(logits_BV > 0, logits_BV / penalty_B1, logits_BV * penalty_B1)
    return jnp.where(seen_BV, pushed_BV, logits_BV)


def _draw(logits_BV: Array, choice: Choice, position_B: Array) -> Array:
    def draw(key: Array, position: Array, logits_V: Array) -> Array:
        return jax.random.categorical(jax.random.fold_in(jax.random.wrap_key_data(key), position), logits_V)

    return jax.vmap(draw)(choice.key, position_B, filtered(logits_BV, choice)).astype(jnp.int32)


def _largest_threshold(odds_BV: Array, worth_BV: Array, enough: Array) -> Array:
    """The largest t for which the tokens with odds >= t are worth ``enough`` together, to the last bit.

    Sorting a vocabulary costs XLA's CPU backend milliseconds. Non-negative floats are ordered as their bits are,
    so 31 halvings of the bit pattern find the threshold instead.
    """
    bits_BV = jax.lax.bitcast_convert_type(odds_BV, jnp.int32)

    def halve(step: Array, found_B1: Array) -> Array:
        tried_B1 = found_B1 | (1 << (30 - step))
        worth_B1 = jnp.sum(jnp.where(bits_BV >= tried_B1, worth_BV, 0.0), axis=-1, keepdims=True)
        return jnp.where(worth_B1 >= enough, tried_B1, found_B1)

    start_B1 = jnp.zeros((*odds_BV.shape[:-1], 1), jnp.int32)
    return jax.lax.bitcast_convert_type(jax.lax.fori_loop(0, 31, halve, start_B1), jnp.float32)
