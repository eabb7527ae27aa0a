"""Decodes that a stream asks for: due, in line, and under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from .gate import Closed
from .protocols import Transcriber
from .utterance import Utterance
from .values import DecodeOptions


@dataclass(slots=True, eq=False)
class PendingDecode:
    """A decode that is due: of ``utterance`` up to sample ``end``. ``closed``: what it brings is the final."""

    utterance: Utterance
    end: int
    kind: Literal["partial", "pause", "final"]
    due: int
    closed: Closed | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DecodeJob:
    """Audio to decode: the stream's samples ``start`` to ``end``; due since the stream was at sample ``due``."""

    audio: Float32[np.ndarray, " S"]
    options: DecodeOptions
    start: int
    end: int
    due: int
    pending: PendingDecode

    @property
    def transcriber(self) -> Transcriber:
        """The speech model that the utterance began with."""
        return self.pending.utterance.terms.transcriber


class DecodeQueue:
    """The decodes of one stream: one under way at most, the others in line."""

    def __init__(self) -> None:
        self._line: deque[PendingDecode] = deque()
        self._running: PendingDecode | None = None

    @property
    def ready(self) -> bool:
        """One is due, and none under way."""
        return self._running is None and bool(self._line)

    @property
    def urgent(self) -> bool:
        """The next one ends an utterance, or may."""
        return bool(self._line) and self._line[0].kind != "partial"

    @property
    def empty(self) -> bool:
        return self._running is None and not self._line

    def put(self, pending: PendingDecode) -> PendingDecode | None:
        """Add ``pending``; gives the one whose place it took: the latest of its utterance, unless that is a final."""
        pending.utterance.scheduled_until = pending.end
        last = self._line[-1] if self._line else None
        replaced = last if last is not None and last.closed is None and last.utterance is pending.utterance else None
        if replaced is not None:
            self._line.pop()
        self._line.append(pending)
        return replaced

    def take(self) -> PendingDecode | None:
        """The next one, which is under way until `done`."""
        if not self.ready:
            return None
        self._running = self._line.popleft()
        return self._running

    def done(self) -> None:
        self._running = None

    def clear(self) -> None:
        """Forget those that are in line."""
        self._line.clear()

    def in_pause(self, utterance: Utterance, end: int) -> PendingDecode | None:
        """The decode of ``utterance`` up to ``end`` that a pause brought, if it is still to come."""
        for pending in (*self._line, *([self._running] if self._running else [])):
            if pending.kind == "pause" and pending.utterance is utterance and pending.end == end:
                return pending
        return None

    def needs_from(self) -> list[int]:
        """Where the audio of each that is in line begins."""
        return [pending.utterance.window_start for pending in self._line]
