"""Long texts with pass keys hidden in them that are asked for at the end: only heads that look far back can tell them.

As DuoAttention makes them (Xiao et al., 2410.10819), with sentences of our own.

Axes: B texts, T tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from .errors import InvalidOption

_WHO = ("The gardener", "A neighbour", "The old teacher", "Our baker", "The captain", "A visitor", "The night guard")
_DOES = ("walks past", "talks about", "paints", "repairs", "forgets", "writes to his sister about", "looks for")
_WHAT = (
    "the bridge",
    "a blue boat",
    "the market",
    "his garden gate",
    "the tall clock",
    "a broken chair",
    "the harbour",
)
_WHEN = ("in the morning", "after the rain", "on Sundays", "when the bells ring", "before supper", "every other week")
_KEY_WORDS = """
amber anchor apple arrow autumn badge barrel basil beacon birch bishop bottle branch brass bronze butter candle canyon
carbon castle cedar cherry cinder circus clover cobalt copper coral cotton cradle crystal dagger desert diamond dragon
eagle echo ember falcon feather fiddle forest fossil garlic ginger glacier granite hammer hazel helmet honey indigo
island ivory jacket jasmine jungle kettle ladder lantern lemon linen lizard magnet maple marble meadow mirror mustard
needle nickel oasis olive orchid oyster paddle pepper pewter pigeon planet quartz rabbit raven ribbon rocket saddle
saffron salmon shadow silver spider temple thunder timber turtle velvet violet walnut whisper willow winter zebra
"""


class PasskeyTexts(NamedTuple):
    """``recalled`` marks the tokens that are followed by one of a pass key, where it is asked for."""

    tokens: Int[np.ndarray, "B T"]
    recalled: Bool[np.ndarray, "B T"]


def passkey_texts(
    encode: Callable[[str], Sequence[int]], texts: int, tokens: int, *, keys: int = 10, words: int = 8, seed: int = 0
) -> PasskeyTexts:
    """``texts`` of ``tokens`` each, with ``keys`` pass keys of that many ``words``; ``encode`` makes tokens of a piece.

    Raises:
        InvalidOption: there is no room for the pass keys.
    """
    rng = random.Random(seed)
    made = [_text(encode, tokens, keys, words, rng) for _ in range(texts)]
    return PasskeyTexts(*(np.stack(part) for part in zip(*made, strict=True)))


def _text(encode: Callable[[str], Sequence[int]], tokens: int, keys: int, words: int, rng: random.Random):
    secrets = {number: " ".join(rng.sample(_KEY_WORDS.split(), words)) for number in range(1, keys + 1)}
    hidden = [list(encode(f" Pass key {number} is {secret}.")) for number, secret in secrets.items()]
    end, recalled = [], []
    for number in rng.sample(list(secrets), keys):
        question, answer = encode(f" What is pass key {number}? It is"), encode(f" {secrets[number]}")
        end += [*question, *answer]
        recalled += [False] * (len(question) - 1) + [True] * len(answer) + [False]
    room = tokens - len(end) - sum(map(len, hidden))
    if room < 0:
        raise InvalidOption(f"{keys} pass keys and their questions take more than {tokens} tokens: make texts longer")
    filler: list[int] = []
    while len(filler) < room:
        filler += encode(f" {' '.join(rng.choice(part) for part in (_WHO, _DOES, _WHAT, _WHEN))}.")
    cuts = [0, *sorted(rng.randrange(room + 1) for _ in hidden)]
    text = [
        token for cut, after, key in zip(cuts, cuts[1:], hidden, strict=False) for token in (*filler[cut:after], *key)
    ]
    text += filler[cuts[-1] : room]
    return np.array([*text, *end], np.int32), np.array([False] * len(text) + recalled)
