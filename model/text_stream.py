"""Turns tokens into text piece by piece: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_LONGEST_TAIL = 3


class TextStream:
    """Feeds tokens in, takes whole characters out. The pieces joined are what ``decode`` makes of all tokens.

    A character may take up to four tokens; a tail that can still become one is held back, and dropped at the end.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._finished = 0
        self._given = 0

    def add(self, token: int) -> str:
        """The characters that ``token`` completed."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        whole = text.rstrip(_UNFINISHED)
        tail = len(text) - len(whole)
        end = len(text) - min(tail, _LONGEST_TAIL)
        piece = text[self._given : end]
        self._given = max(self._given, end)
        if tail == 0:
            self._slide()
        return piece

    def _slide(self) -> None:
        """Forget all but the newest finished tokens: decoding needs some, or it takes a space for the text's first."""
        kept = self._tokens[self._finished :]
        text = self._decode(kept)
        if text:
            self._tokens, self._finished, self._given = kept, len(kept), len(text)


class StopStrings:
    """Cuts a text at the first stop string, which may arrive in pieces."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(stop)
        self._held = ""
        self.found = False

    def add(self, piece: str) -> str:
        """What of the text so far can be given out; sets ``found`` once a stop string is complete."""
        if self.found:
            return ""
        text = self._held + piece
        places = [place for place in (text.find(stop) for stop in self._stop) if place >= 0]
        if places:
            self.found, self._held = True, ""
            return text[: min(places)]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back; to be given out when the text ends without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that begins ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
