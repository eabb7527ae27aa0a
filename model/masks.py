"""Masks over a vocabulary with one bit for each token, as `llguidance` packs them: bit i % 32 of word i // 32.

Axes: B sequences, V vocabulary, W words of 32 bits (V / 32, rounded up).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int32

if TYPE_CHECKING:
    from jaxtyping import Array

_BITS = 32


def words(vocabulary: int) -> int:
    """Words of a mask over that many tokens."""
    return -(-vocabulary // _BITS)


def everything(vocabulary: int) -> Int32[np.ndarray, " W"]:
    """The mask that allows all tokens; bits behind the vocabulary's end are set and mean nothing."""
    return np.full(words(vocabulary), -1, np.int32)


def without(packed_W: Int32[np.ndarray, " W"], tokens: Iterable[int]) -> Int32[np.ndarray, " W"]:
    """A mask that allows the same tokens except these."""
    return packed_W & ~pack(tokens, packed_W.size * _BITS)


def pack(tokens: Iterable[int], vocabulary: int) -> Int32[np.ndarray, " W"]:
    """The mask that allows these tokens alone.

    Raises:
        IndexError: one of them is not in the vocabulary.
    """
    chosen = np.fromiter(tokens, np.int64)
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < vocabulary:
        raise IndexError(f"tokens {chosen.min()} to {chosen.max()} do not lie in a vocabulary of {vocabulary}")
    allowed_V = np.zeros(words(vocabulary) * _BITS, bool)
    allowed_V[chosen] = True
    return np.packbits(allowed_V, bitorder="little").view("<i4").astype(np.int32)


def unpack(packed_BW: Int32[np.ndarray, "*B W"], vocabulary: int) -> Bool[np.ndarray, "*B V"]:
    """One truth value for each token; a mask that is too short allows none behind its end."""
    bits_B = np.unpackbits(packed_BW.astype("<i4").view(np.uint8), axis=-1, bitorder="little").astype(bool)[
        ..., :vocabulary
    ]
    missing = vocabulary - bits_B.shape[-1]
    return np.pad(bits_B, [(0, 0)] * (bits_B.ndim - 1) + [(0, missing)])


def masked(logits_BV: Float[Array, "B V"], packed_BW: Int32[Array, "B W"]) -> Float[Array, "B V"]:
    """Logits with -inf for tokens whose bit is 0; to be traced in a compiled step. W must be `words` of V."""
    import jax.numpy as jnp  # here, because rules are made where JAX may not have been needed yet

    token_V = jnp.arange(logits_BV.shape[-1])
    allowed_BV = (packed_BW[:, token_V // _BITS] >> (token_V % _BITS)) & 1
    return jnp.where(allowed_BV == 1, logits_BV, -jnp.inf)
