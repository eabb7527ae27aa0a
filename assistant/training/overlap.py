"""Finds passages that a data set shares with others, so that nothing is trained on what is measured later.

Two passages count as shared where thirteen words in a row stand in both, whatever their case and punctuation: the
measure of Brown et al. (2005.14165, appendix C).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..dataset import GivenPassage
from ..scoring import normalised

_WORDS = 13


def shared_passages(passages: Sequence[GivenPassage], others: Sequence[GivenPassage]) -> set[str]:
    """The ids of those of ``passages`` that share a run of words with one of ``others``; shorter ones, if all of it."""
    theirs = {run for other in others for run in _runs(other.text)}
    return {passage.id for passage in passages if any(run in theirs for run in _runs(passage.text))}


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = normalised(text).split()
    for begin in range(max(1, len(words) - _WORDS + 1) if words else 0):
        yield tuple(words[begin : begin + _WORDS])
