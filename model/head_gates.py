"""Gates between full and streaming attention, by which it is found out which heads must see the whole text.

DuoAttention (Xiao et al., 2410.10819): a key head's gate mixes what its query heads get from all tokens with what they
get from the first and the newest ones.

Axes: L layers, B sequences, N query heads, K key heads, T tokens, H head width.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .attention import Method, Scoring, causal_attention


class HeadGates(NamedTuple):
    """A layer's gates, or those of all layers, and what streaming heads see: see `head_groups.HeadGroup`."""

    shares: Float[Array, "*L K"]
    sinks: int
    window: int


def gated_attention(
    gates: HeadGates,
    q_BNTH: Float[Array, "B N T H"],
    k_BKTH: Float[Array, "B K T H"],
    v_BKTH: Float[Array, "B K T H"],
    segments_BT: Int[Array, "B T"] | None,
    method: Method | None,
    scoring: Scoring,
) -> Float[Array, "B N T H"]:
    """share · `causal_attention` + (1 - share) · the same for heads that stream; a share of 1 is the former exactly."""
    streaming = scoring._replace(window=gates.window, sinks=gates.sinks)
    operands = q_BNTH, k_BKTH, v_BKTH, segments_BT, method
    share_N11 = jnp.repeat(gates.shares, q_BNTH.shape[1] // k_BKTH.shape[1])[:, None, None]
    full_BNTH, part_BNTH = causal_attention(*operands, scoring), causal_attention(*operands, streaming)
    return (share_N11 * full_BNTH + (1 - share_N11) * part_BNTH).astype(q_BNTH.dtype)
