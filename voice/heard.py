"""Tells from the samples played how much of an answer was heard: whole sentences, and the words of the one in work."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from .speakable import Sentence

_AUDIBLE = 0.003
"""Samples weaker than this (-50 dB) at the ends of a sentence are pauses, in which no word is said."""


@dataclass(slots=True)
class _Spoken:
    """One sentence in the stream of samples; ``end`` is None while more of it may come."""

    sentence: Sentence
    start: int
    end: int | None = None
    first: int | None = None
    """First audible sample, and ``last`` the one behind the last."""
    last: int = 0


@dataclass(slots=True)
class HeardText:
    """Keeps which samples say which sentence of one answer. Samples count from the answer's first."""

    _spoken: list[_Spoken] = field(default_factory=list)
    _written: int = 0

    def begin(self, sentence: Sentence) -> None:
        """What is written from here on says ``sentence``."""
        self._spoken.append(_Spoken(sentence, self._written))

    def wrote(self, samples: Float32[np.ndarray, " S"]) -> None:
        """``samples`` of the sentence in work went to the sink."""
        current = self._spoken[-1]
        audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
        if audible.size:
            if current.first is None:
                current.first = self._written + int(audible[0])
            current.last = self._written + int(audible[-1]) + 1
        self._written += len(samples)

    def finish(self) -> None:
        """The sentence in work is written to its end."""
        self._spoken[-1].end = self._written

    @property
    def written(self) -> int:
        """Samples written for the answer."""
        return self._written

    def sentences(self, played: int) -> list[Sentence]:
        """The sentences that were heard to their end after ``played`` samples."""
        return [spoken.sentence for spoken in self._spoken if spoken.end is not None and played >= spoken.end]

    def position(self, played: int) -> int:
        """How many characters of the answer were heard after ``played`` samples.

        Within a sentence its words share the audible time by their length; a sentence whose speech is not complete
        yet, so that its length is unknown, counts from its end alone.
        """
        position = 0
        for spoken in self._spoken:
            if spoken.end is None or played <= spoken.start:
                break
            if played >= max(spoken.last, spoken.start + 1):
                position = spoken.sentence.end
                continue
            words = _words_said(spoken, played)
            return spoken.sentence.word_ends[words - 1] if words else max(position, spoken.sentence.start)
        return position

    def around(self, played: int, before: int, behind: int) -> str:
        """The sentences that sound between ``before`` samples before ``played`` and ``behind`` samples after it."""
        return " ".join(
            spoken.sentence.text
            for spoken in self._spoken
            if spoken.start < played + behind and (spoken.end is None or spoken.end > played - before)
        )


def _words_said(spoken: _Spoken, played: int) -> int:
    """Words of the sentence that are said to their end when ``played`` samples are."""
    if spoken.first is None or played <= spoken.first:
        return 0
    words = spoken.sentence.words
    weights = np.cumsum([len(word) + 1 for word in words])
    share = (played - spoken.first) / (spoken.last - spoken.first)
    return int(np.searchsorted(weights, share * weights[-1], side="right"))
