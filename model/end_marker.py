"""Finds the marker that ends a part of a generation, however it is cut into tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple


class Closing(NamedTuple):
    """Tokens that complete the marker from a state: with nothing behind it, and with something."""

    exactly: frozenset[int]
    beyond: frozenset[int]


class EndMarker:
    """Follows a text token by token. A state is how many bytes of the marker the text ends with, short of all."""

    def __init__(self, marker: bytes, pieces: Sequence[bytes]) -> None:
        """``pieces`` are the bytes of each token."""
        self._marker, self._pieces = marker, pieces
        self.closing = functools.cache(functools.partial(_closing, marker, pieces))
        """`Closing` of a state; takes milliseconds the first time."""

    def after(self, state: int, token: int) -> int:
        """The state behind a token that does not complete the marker."""
        text = self._marker[:state] + self._pieces[token]
        longest = min(len(text), len(self._marker) - 1)
        return next((size for size in range(longest, 0, -1) if text.endswith(self._marker[:size])), 0)

    def rest(self, state: int) -> str:
        """What of the marker is missing."""
        return self._marker[state:].decode()


def _closing(marker: bytes, pieces: Sequence[bytes], state: int) -> Closing:
    exactly, beyond = set(), set()
    for token, piece in enumerate(pieces):
        text = marker[:state] + piece
        found = text.find(marker)
        if found >= 0:
            (exactly if found + len(marker) == len(text) else beyond).add(token)
    return Closing(frozenset(exactly), frozenset(beyond))
