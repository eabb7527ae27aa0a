"""One utterance while it is heard: its words so far, and which of its audio is still decoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from .gate import FRAME, Closed, Frame, Opened
from .hypothesis import Hypothesis
from .terms import Terms
from .values import SAMPLE_RATE, Final, Partial, Word

_ANCHOR = 3 * SAMPLE_RATE // 2
_SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")


@dataclass(slots=True, eq=False)
class Utterance:
    """Its audio from ``window_start`` on is decoded, again and again as it grows.

    When the window gets long, its start moves up behind words that are committed, so that the work per second of audio
    stays bounded. Some committed words stay in it: they tell the model where it is and show where new words begin.
    """

    number: int
    opened: Opened
    terms: Terms
    window_start: int
    scheduled_until: int
    hypothesis: Hypothesis = field(default_factory=Hypothesis)
    frames: list[Frame] = field(default_factory=list)
    paused: tuple[int, int, tuple[Word, ...]] | None = None
    """Start, end and words of the audio decoded in the latest pause: final, if that pause ends the utterance."""
    told_at: float = 0.0
    """Stream time, in seconds, when those words were there."""
    shown: tuple[Word, ...] = ()
    committed: int = 0
    """How many of the words shown were shown as committed."""
    language: str = ""

    @classmethod
    def open(cls, number: int, opened: Opened, terms: Terms) -> Utterance:
        return cls(number, opened, terms, opened.audio_start, opened.start)

    @property
    def words(self) -> tuple[Word, ...]:
        """What is known of it."""
        return self.hypothesis.committed + self.hypothesis.tentative

    @property
    def has_news(self) -> bool:
        """More is known, or known for good, than was shown."""
        return self.words != self.shown or self.committed < len(self.hypothesis.committed)

    def partial(self, turn: int, sample: int) -> Partial:
        hypothesis = self.hypothesis
        return Partial(self.number, turn, sample, hypothesis.committed, hypothesis.tentative, self.language)

    def final(self, turn: int, closed: Closed, words: tuple[Word, ...], failed: bool) -> Final:
        span = (closed.sample, self.opened.start, closed.speech_end)
        return Final(self.number, turn, *span, words, self.language, closed.reason, failed)

    def shorten(self, decoded_until: int) -> None:
        """Move the start of a window that has grown too long to the best border between words."""
        longest = self.terms.longest_window
        if decoded_until - self.window_start <= longest:
            return
        committed = self.hypothesis.committed
        limit = self.hypothesis.committed_until - _ANCHOR
        borders = [
            (before, after)
            for before, after in itertools.pairwise(committed)
            if self.window_start < before.start and after.start <= limit
        ]
        late = [border for border in borders if border[0].end >= self.window_start + longest // 3]
        if late:
            self.window_start = self._quietest(*max(late, key=_rank))
        elif borders:
            self.window_start = self._quietest(*borders[-1])

    def _quietest(self, before: Word, after: Word) -> int:
        """The middle of the quietest frame around the border: word times are not exact."""
        near = [f for f in self.frames if before.end - FRAME <= f.end - FRAME // 2 <= after.start + FRAME]
        if not near:
            return max(before.end, self.window_start)
        return max(min(near, key=lambda frame: frame.level_db).end - FRAME // 2, self.window_start)


def _rank(border: tuple[Word, Word]) -> tuple[bool, int, int]:
    before, after = border
    return before.text.endswith(_SENTENCE_ENDS), after.start - before.end, before.end
