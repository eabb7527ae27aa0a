"""Which words of an utterance are settled: LocalAgreement-2 over the transcripts of its growing audio.

A word is committed when two transcripts in a row agree on it and on all before it (Liu et al. 2020, "Low-latency
sequence-to-sequence speech recognition and translation by partial hypothesis selection"). Committed words never change.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from .values import Word

_FRESH = 3_200
"""Words that end within 0.2 s of the end of the audio may be cut off, and are never committed."""


class Hypothesis:
    """The committed words of an utterance, and the latest guess at the rest.

    Words before the sample ``said_until`` were told by the utterance before, and are left out.
    """

    def __init__(self) -> None:
        self.said_until = 0
        self.committed: tuple[Word, ...] = ()
        self.tentative: tuple[Word, ...] = ()

    @property
    def committed_until(self) -> int:
        return self.committed[-1].end if self.committed else self.said_until

    def update(self, words: Sequence[Word], audio_start: int, audio_end: int) -> None:
        """Take the transcript of the audio from ``audio_start`` to ``audio_end``; all in samples of the stream."""
        rest = self._continuation(words, audio_start)
        agreed = 0
        for before, now in zip(self.tentative, rest, strict=False):
            if not same_word(before, now) or now.end > audio_end - _FRESH:
                break
            agreed += 1
        if agreed and agreed == len(rest) and not _same_punctuation(self.tentative[agreed - 1], rest[agreed - 1]):
            agreed -= 1
        self.committed += rest[:agreed]
        self.tentative = rest[agreed:]

    def complete(self, words: Sequence[Word], audio_start: int) -> tuple[Word, ...]:
        """All words of the utterance, given the transcript of its last audio, from ``audio_start`` on."""
        self.committed += self._continuation(words, audio_start)
        self.tentative = ()
        return self.committed

    def _continuation(self, words: Sequence[Word], audio_start: int) -> tuple[Word, ...]:
        """The words that come after the committed ones, with times that do not run backwards."""
        fresh = [word for word in words if (word.start + word.end) // 2 >= self.said_until]
        if self.committed:
            anchor = [word for word in self.committed if (word.start + word.end) // 2 >= audio_start]
            fresh = fresh[_length_told(anchor, fresh, self.committed_until) :]
        return _in_order(fresh, self.committed_until)


def same_word(a: Word, b: Word) -> bool:
    """True for words that differ at most in case and punctuation."""
    return normal(a.text) == normal(b.text)


def normal(text: str) -> str:
    """``text`` in lower case without punctuation; as it is where nothing would be left."""
    return "".join(c for c in text.casefold() if not unicodedata.category(c).startswith("P")) or text


def _same_punctuation(a: Word, b: Word) -> bool:
    return a.text.casefold() == b.text.casefold()


def _length_told(committed: Sequence[Word], words: Sequence[Word], until: int) -> int:
    """How many of ``words`` tell what ``committed`` told: the prefix with the least edit distance to it.

    Among equals, the one that ends nearest to sample ``until``.
    """
    if not committed:
        return sum((word.start + word.end) // 2 < until for word in words)
    told = [normal(word.text) for word in committed]
    row = list(range(len(told) + 1))
    distances = [row[-1]]
    for word in words:
        text, above = normal(word.text), row
        row = [above[0] + 1]
        for i, other in enumerate(told):
            row.append(min(above[i] + (text != other), above[i + 1] + 1, row[i] + 1))
        distances.append(row[-1])

    def misfit(length: int) -> tuple[int, int]:
        end = words[length - 1].end if length else 0
        return distances[length], abs(end - until)

    return min(range(len(words) + 1), key=misfit)


def _in_order(words: Sequence[Word], not_before: int) -> tuple[Word, ...]:
    ordered = []
    for word in words:
        start = max(word.start, not_before)
        ordered.append(replace(word, start=start, end=max(word.end, start)))
        not_before = start
    return tuple(ordered)
