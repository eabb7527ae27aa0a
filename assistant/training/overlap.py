"""Finds passages that a data set shares with others, so that nothing is trained on what is measured later.

Two passages count as shared where thirteen words in a row stand in both, whatever their case and punctuation: the
measure of Brown et al. (2005.14165, appendix C). Chinese and Japanese, which part no words, are compared by characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..dataset import GivenPassage
from ..scoring import normalised

_WORDS = 13
_UNPARTED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_MARKS = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20"
_WORD = re.compile(rf"[{_UNPARTED}]|[^\s{_UNPARTED}{_MARKS}]+")


def shared_passages(passages: Sequence[GivenPassage], others: Sequence[GivenPassage]) -> set[str]:
    """The ids of those of ``passages`` that share a run of words with one of ``others``.

    One that is shorter than a run is shared where all of it stands in another; that a short one of ``others`` stands
    within it is not enough, or a heading would take out all that repeats it.
    """
    runs = {passage.id: set(_runs(_words(passage.text))) for passage in passages}
    ours = {run for of_passage in runs.values() for run in of_passage}
    lengths = {len(run) for run in ours}
    theirs = {
        run
        for other in others
        for words in [_words(other.text)]
        for length in lengths
        for run in _runs(words, length)
        if len(run) == length and run in ours
    }
    return {name for name, of_passage in runs.items() if not of_passage.isdisjoint(theirs)}


def _words(text: str) -> list[str]:
    return _WORD.findall(normalised(text))


def _runs(words: Sequence[str], length: int = _WORDS) -> Iterator[tuple[str, ...]]:
    """Every ``length`` words in a row, or all where there are fewer."""
    for begin in range(max(1, len(words) - length + 1) if words else 0):
        yield tuple(words[begin : begin + length])
