"""From the tokens that an engine tells to the pieces of text that a reader sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .engine.job import End
from .protocol import Delta, Generation, Usage
from .text_stream import StopStrings, TextStream


class Transcript:
    """The text of one generation in the making.

    After a stop string is ``complete``, nothing more is wanted of the engine but its `End`.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str], prompt_tokens: int) -> None:
        self._text, self._stops = TextStream(decode), StopStrings(stop)
        self._prompt_tokens, self._tokens = prompt_tokens, 0
        self._pieces: list[str] = []
        self._end: End | None = None

    @property
    def complete(self) -> bool:
        """A stop string was found."""
        return self._stops.found

    @property
    def over(self) -> bool:
        return self._end is not None

    def add(self, told: int | End) -> Delta | None:
        """The piece that a token completed, if any; the last piece for the end.

        Raises:
            Exception: what the generation failed with.
        """
        if isinstance(told, End):
            return self._ended(told)
        if self.complete:
            return None
        self._tokens += 1
        return self._piece(self._stops.add(self._text.add(told)))

    def generation(self) -> Generation:
        """The whole of it, once it is over."""
        if self._end is None:
            raise AssertionError("the generation is not over")
        reason, usage = self._last()
        return Generation("".join(self._pieces), reason, usage, self._end.prefill_seconds, self._end.decode_seconds)

    def _ended(self, end: End) -> Delta:
        if end.error is not None and not self.complete:
            raise end.error
        self._end = end
        piece = self._piece(self._stops.rest())
        return Delta(piece.text if piece else "", *self._last())

    def _last(self):
        if self._end is None:
            raise AssertionError("the generation is not over")
        return "stop" if self.complete else self._end.reason, Usage(self._prompt_tokens, self._tokens)

    def _piece(self, text: str) -> Delta | None:
        if not text:
            return None
        self._pieces.append(text)
        return Delta(text)
